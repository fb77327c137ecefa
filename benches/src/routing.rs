//! Routing by each kind of exchange, through the broker's engine, and topics by a scan with
//! glob-match as the baseline.
//!
//! The timed operation is `basic.publish` to an exchange whose bindings all lead to another
//! exchange without bindings: the whole routing, and no queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mooq_core::{
    Binding, BindingDestination, ExchangeDeclare, ExchangeKind, ExchangeName, FieldTable, Message,
    Properties, Publish, RoutingKey,
};
use mooq_engine::Method;

use crate::client::Client;

/// An engine with one exchange of `bindings` bindings, of which one matches the message.
#[derive(Debug)]
pub struct Routing {
    client: Client,
    publish: Publish,
}

/// A topic exchange, with its patterns once more for the scan.
#[derive(Debug)]
pub struct Topic {
    routing: Routing,
    patterns: Vec<String>,
    key: String,
}

impl Topic {
    /// A topic exchange with patterns of three words, a tenth of them with a wildcard.
    #[must_use]
    pub fn new(bindings: usize) -> Self {
        let patterns: Vec<_> = (0..bindings).map(pattern).collect();
        let key = "region1.host0.metric1".to_string();
        let mut routing = Routing::new(ExchangeKind::Topic, &key, FieldTable::new());
        for pattern in &patterns {
            routing.bind("sink", pattern, FieldTable::new());
        }
        Self {
            routing,
            patterns,
            key,
        }
    }

    /// Time to route `count` messages.
    pub fn route(&mut self, count: u64) -> Duration {
        self.routing.route(count)
    }

    /// Time to match `count` keys by trying every pattern as a glob. Dots are slashes there, since
    /// `*` must not match a dot.
    #[must_use]
    pub fn scan(&self, count: u64) -> Duration {
        let globs: Vec<_> = self.patterns.iter().map(|p| p.replace('.', "/")).collect();
        let key = self.key.replace('.', "/");
        let begin = Instant::now();
        for _ in 0..count {
            let matches = globs
                .iter()
                .filter(|glob| glob_match::glob_match(glob, &key));
            assert!(matches.count() > 0, "one pattern matches");
        }
        begin.elapsed()
    }
}

/// The `number`th of a set of patterns that are all different.
fn pattern(number: usize) -> String {
    let (region, host) = (number % 100, number / 100);
    if number.is_multiple_of(10) {
        format!("region{region}.*.metric{number}")
    } else {
        format!("region{region}.host{host}.metric{number}")
    }
}

impl Routing {
    /// A direct exchange with `bindings` keys.
    #[must_use]
    pub fn direct(bindings: usize) -> Self {
        let mut routing = Self::new(ExchangeKind::Direct, "key1", FieldTable::new());
        for number in 0..bindings {
            routing.bind("sink", &format!("key{number}"), FieldTable::new());
        }
        routing
    }

    /// A fanout exchange with `bindings` destinations, which all get the message.
    #[must_use]
    pub fn fanout(bindings: usize) -> Self {
        let mut routing = Self::new(ExchangeKind::Fanout, "", FieldTable::new());
        for number in 0..bindings {
            let sink = format!("sink{number}");
            routing.declare(&sink, ExchangeKind::Fanout);
            routing.bind(&sink, "", FieldTable::new());
        }
        routing
    }

    /// A headers exchange whose bindings each want two headers.
    #[must_use]
    pub fn headers(bindings: usize) -> Self {
        let wanted = |number: usize| {
            let number = i64::try_from(number).expect("a small number");
            let region = FieldTable::new().with("region", number % 100);
            region
                .and_then(|table| table.with("host", number))
                .expect("short keys")
        };
        let mut routing = Self::new(ExchangeKind::Headers, "", wanted(1));
        for number in 0..bindings {
            routing.bind("sink", "", wanted(number));
        }
        routing
    }

    fn new(kind: ExchangeKind, key: &str, headers: FieldTable) -> Self {
        let mut properties = Properties::default();
        properties.headers = headers;
        let publish = Publish::new(Message {
            exchange: "bench".try_into().expect("a short name"),
            routing_key: key.try_into().expect("a short key"),
            properties: Arc::new(properties),
            body: bytes::Bytes::from_static(&[b'x'; 64]),
        });
        let mut routing = Self {
            client: Client::new(),
            publish,
        };
        routing.declare("bench", kind);
        routing.declare("sink", ExchangeKind::Fanout);
        routing
    }

    /// Time to route `count` messages.
    pub fn route(&mut self, count: u64) -> Duration {
        let begin = Instant::now();
        for _ in 0..count {
            self.client.send(Method::BasicPublish(self.publish.clone()));
        }
        let taken = begin.elapsed();
        assert!(self.client.effect().is_none(), "no publish failed");
        taken
    }

    fn declare(&mut self, name: &str, kind: ExchangeKind) {
        let name = ExchangeName::try_from(name).expect("a short name");
        self.client
            .call(Method::ExchangeDeclare(ExchangeDeclare::new(name, kind)));
    }

    fn bind(&mut self, destination: &str, key: &str, arguments: FieldTable) {
        let destination = destination.try_into().expect("a short name");
        self.client.call(Method::Bind(Binding {
            source: "bench".try_into().expect("a short name"),
            destination: BindingDestination::Exchange(destination),
            routing_key: RoutingKey::try_from(key).expect("a short key"),
            arguments,
        }));
    }
}
