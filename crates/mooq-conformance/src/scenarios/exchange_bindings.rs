//! Exchanges behind exchanges: bindings from one to another, and alternate exchanges.

use mooq_core::{Binding, ExchangeDeclare, ExchangeKind};

use crate::Fixture;
use crate::expect::method::EXCHANGE_BIND;
use crate::raw::{Raw, binding, exchange, exchange_binding, mandatory, message, table};
use crate::scenario;

impl Raw {
    /// Declares a direct exchange with an alternate.
    async fn declare_with_alternate(&self, name: &str, alternate: &str) {
        let declare = ExchangeDeclare {
            arguments: table([("alternate-exchange", alternate.into())]),
            ..exchange(name, ExchangeKind::Direct)
        };
        self.channel.declare_exchange(declare).await.unwrap();
    }
}

#[scenario]
async fn a_message_goes_from_exchange_to_exchange(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (source, target, q) = (
        fixture.name("source"),
        fixture.name("target"),
        fixture.name("q"),
    );
    raw.declare_exchange(&source, ExchangeKind::Topic).await;
    raw.declare_exchange(&target, ExchangeKind::Direct).await;
    raw.declare(&q).await;
    raw.add(exchange_binding(&target, &source, "a.*")).await;
    raw.bind(&q, &target, "a.b").await;

    raw.put(&source, "a.b", "both match").await;
    raw.put(&source, "a.c", "the second does not").await;
    raw.put(&source, "b", "the first does not").await;
    let fetched = raw.fetch(&q).await;
    assert_eq!(crate::raw::body(&fetched.message), "both match");
    assert_eq!(fetched.message.exchange, source.as_str());
    assert_eq!(fetched.message.routing_key, "a.b");
    assert_eq!(raw.drain(&q).await, [""; 0]);

    raw.remove(exchange_binding(&target, &source, "a.*")).await;
    raw.remove(exchange_binding(&target, &source, "a.*")).await;
    raw.put(&source, "a.b", "unbound").await;
    assert_eq!(raw.drain(&q).await, [""; 0]);
}

#[scenario]
async fn a_cycle_of_exchanges_ends(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (a, b, q) = (fixture.name("a"), fixture.name("b"), fixture.name("q"));
    for x in [&a, &b] {
        raw.declare_exchange(x, ExchangeKind::Fanout).await;
    }
    raw.declare(&q).await;
    raw.add(exchange_binding(&b, &a, "")).await;
    raw.add(exchange_binding(&a, &b, "")).await;
    raw.add(exchange_binding(&a, &a, "")).await;
    raw.bind(&q, &a, "").await;
    raw.bind(&q, &b, "").await;
    raw.put(&a, "", "once").await;
    raw.put(&b, "", "once more").await;
    assert_eq!(raw.drain(&q).await, ["once", "once more"]);
}

#[scenario]
async fn binding_missing_exchanges_is_refused(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (there, first, second) = (
        fixture.name("there"),
        fixture.name("first"),
        fixture.name("second"),
    );
    raw.declare_exchange(&there, ExchangeKind::Fanout).await;
    // If both ends are missing, the error names the source.
    for (destination, source, named) in [
        (&there, &first, &first),
        (&first, &there, &first),
        (&first, &second, &second),
    ] {
        let binding = exchange_binding(destination, source, "k");
        let outcome = raw.channel.bind(binding.clone()).await;
        let text = format!("NOT_FOUND - no exchange '{named}' in vhost '/'");
        raw.refused(outcome, 404, EXCHANGE_BIND, &text).await;
        raw.remove(binding).await;
    }
}

#[scenario]
async fn deleting_the_destination_ends_an_auto_delete_source(fixture: Fixture) {
    let raw = fixture.raw().await;
    let (source, target) = (fixture.name("source"), fixture.name("target"));
    let declare = ExchangeDeclare {
        auto_delete: true,
        ..exchange(&source, ExchangeKind::Fanout)
    };
    raw.channel.declare_exchange(declare).await.unwrap();
    raw.declare_exchange(&target, ExchangeKind::Fanout).await;
    raw.add(exchange_binding(&target, &source, "")).await;
    let name = target.as_str().try_into().unwrap();
    raw.channel.delete_exchange(name, false).await.unwrap();
    assert!(!raw.has_exchange(&source).await);
}

#[scenario]
async fn alternate_exchange_gets_unroutable_messages(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, alternate) = (fixture.name("x"), fixture.name("alternate"));
    let (q, rest) = (fixture.name("q"), fixture.name("rest"));
    raw.declare_with_alternate(&x, &alternate).await;
    raw.declare_exchange(&alternate, ExchangeKind::Fanout).await;
    for queue in [&q, &rest] {
        raw.declare(queue).await;
    }
    raw.bind(&q, &x, "k").await;
    raw.bind(&rest, &alternate, "").await;

    raw.put(&x, "k", "routed").await;
    raw.put_message(mandatory(message(&x, "other", "not routed")))
        .await;
    assert_eq!(raw.drain(&q).await, ["routed"]);
    let fetched = raw.fetch(&rest).await;
    assert_eq!(crate::raw::body(&fetched.message), "not routed");
    assert_eq!(
        fetched.message.exchange,
        x.as_str(),
        "where it was published"
    );
    assert_eq!(fetched.message.routing_key, "other");
    assert_eq!(raw.drain(&rest).await, [""; 0]);
}

#[scenario]
async fn alternate_exchanges_may_form_a_chain_or_a_circle(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (a, b, c) = (fixture.name("a"), fixture.name("b"), fixture.name("c"));
    let q = fixture.name("q");
    raw.declare_with_alternate(&a, &b).await;
    raw.declare_with_alternate(&b, &c).await;
    raw.declare_with_alternate(&c, &a).await;
    raw.declare(&q).await;
    raw.bind(&q, &c, "k").await;
    raw.put(&a, "k", "the third").await;
    assert_eq!(raw.drain(&q).await, ["the third"]);

    raw.send(mandatory(message(&a, "none", "round and out")));
    assert_eq!(raw.returned().await.reply_code, 312);
    raw.confirmed().await;
}

#[scenario]
async fn a_matching_exchange_binding_suppresses_the_alternate(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, alternate, dead_end) = (
        fixture.name("x"),
        fixture.name("alternate"),
        fixture.name("dead-end"),
    );
    let rest = fixture.name("rest");
    raw.declare_with_alternate(&x, &alternate).await;
    raw.declare_exchange(&alternate, ExchangeKind::Fanout).await;
    raw.declare_exchange(&dead_end, ExchangeKind::Fanout).await;
    raw.declare(&rest).await;
    raw.bind(&rest, &alternate, "").await;
    raw.add(exchange_binding(&dead_end, &x, "k")).await;

    raw.send(mandatory(message(&x, "k", "to a dead end")));
    assert_eq!(raw.returned().await.reply_code, 312);
    raw.confirmed().await;
    raw.put(&x, "other", "to the alternate").await;
    assert_eq!(raw.drain(&rest).await, ["to the alternate"]);
}

#[scenario]
async fn missing_alternate_exchange_makes_messages_unroutable(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, later, q) = (fixture.name("x"), fixture.name("later"), fixture.name("q"));
    raw.declare_with_alternate(&x, &later).await;
    raw.send(mandatory(message(&x, "k", "too early")));
    assert_eq!(raw.returned().await.reply_code, 312);
    raw.confirmed().await;

    raw.declare_exchange(&later, ExchangeKind::Fanout).await;
    raw.declare(&q).await;
    raw.bind(&q, &later, "").await;
    raw.put(&x, "k", "in time").await;
    assert_eq!(raw.drain(&q).await, ["in time"]);
}

#[scenario]
async fn exchange_bindings_differ_by_key_and_arguments(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (source, target, q) = (
        fixture.name("source"),
        fixture.name("target"),
        fixture.name("q"),
    );
    raw.declare_exchange(&source, ExchangeKind::Direct).await;
    raw.declare_exchange(&target, ExchangeKind::Fanout).await;
    raw.declare(&q).await;
    raw.bind(&q, &target, "").await;
    let plain = exchange_binding(&target, &source, "k");
    let with_arguments = Binding {
        arguments: table([("n", 1.into())]),
        ..plain.clone()
    };
    raw.add(plain.clone()).await;
    raw.add(with_arguments.clone()).await;
    raw.put(&source, "k", "one copy").await;
    assert_eq!(raw.drain(&q).await, ["one copy"]);

    raw.remove(plain).await;
    raw.put(&source, "k", "the other is left").await;
    assert_eq!(raw.drain(&q).await, ["the other is left"]);
    raw.remove(with_arguments).await;
    raw.put(&source, "k", "none is left").await;
    raw.remove(binding(&q, &target, "")).await;
    assert_eq!(raw.drain(&q).await, [""; 0]);
}
