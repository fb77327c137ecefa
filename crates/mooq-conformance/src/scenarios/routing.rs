//! Routing: direct, fanout and default exchanges, bindings, mandatory messages, CC and BCC.

use mooq_core::{ChannelEvent, ExchangeKind, FieldTable, FieldValue};

use crate::Fixture;
use crate::expect::method::BASIC_PUBLISH;
use crate::raw::{Raw, binding, body, mandatory, message, message_with, table};
use crate::scenario;
use mooq_core::{Binding, Publish};

#[scenario]
async fn a_direct_exchange_compares_keys_byte_by_byte(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::Direct).await;
    raw.declare(&q).await;
    raw.bind(&q, &x, "a.*").await;
    raw.bind(&q, &x, "Ä").await;
    for key in ["a.*", "a.b", "A.*", "a.* ", "", "#", "Ä", "ä", "A\u{308}"] {
        raw.put(&x, key, key).await;
    }
    assert_eq!(raw.drain(&q).await, ["a.*", "Ä"]);
}

#[scenario]
async fn a_direct_exchange_sends_to_every_queue_with_the_key(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let x = fixture.name("x");
    raw.declare_exchange(&x, ExchangeKind::Direct).await;
    let queues = ["1", "2", "3"].map(|what| fixture.name(what));
    for (queue, key) in queues.iter().zip(["k", "k", "other"]) {
        raw.declare(queue).await;
        raw.bind(queue, &x, key).await;
    }
    raw.put(&x, "k", "m").await;
    assert_eq!(raw.drain(&queues[0]).await, ["m"]);
    assert_eq!(raw.drain(&queues[1]).await, ["m"]);
    assert_eq!(raw.drain(&queues[2]).await, [""; 0]);
}

#[scenario]
async fn a_fanout_exchange_ignores_keys(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, first, second) = (
        fixture.name("x"),
        fixture.name("first"),
        fixture.name("second"),
    );
    raw.declare_exchange(&x, ExchangeKind::Fanout).await;
    raw.declare(&first).await;
    raw.declare(&second).await;
    raw.bind(&first, &x, "a").await;
    raw.bind(&second, &x, "").await;
    raw.put(&x, "whatever", "m").await;
    let fetched = raw.fetch(&first).await;
    assert_eq!(fetched.message.routing_key, "whatever", "the key is kept");
    assert_eq!(raw.drain(&second).await, ["m"]);
}

#[scenario]
async fn the_default_exchange_routes_by_queue_name(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, other) = (fixture.name("q"), fixture.name("other"));
    raw.declare(&q).await;
    raw.declare(&other).await;
    raw.put("", &q, "m").await;
    let fetched = raw.fetch(&q).await;
    assert_eq!(fetched.message.exchange, "");
    assert_eq!(fetched.message.routing_key, q.as_str());
    assert_eq!(fetched.message_count, 0);
    assert_eq!(raw.counts(&other).await, (0, 0));
}

#[scenario]
async fn a_queue_gets_one_copy_however_many_bindings_match(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, inner, q) = (fixture.name("x"), fixture.name("inner"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::Topic).await;
    raw.declare_exchange(&inner, ExchangeKind::Fanout).await;
    raw.declare(&q).await;
    for pattern in ["a.b", "a.*", "#", "*.b"] {
        raw.bind(&q, &x, pattern).await;
    }
    raw.bind(&q, &inner, "").await;
    raw.add(crate::raw::exchange_binding(&inner, &x, "#")).await;
    let copies = table([("CC", FieldValue::Array(vec!["a.c".into(), "d".into()]))]);
    let publish = Publish::new(message_with(&x, "a.b", "m", copies));
    raw.put_message(publish).await;
    assert_eq!(raw.drain(&q).await, ["m"]);
}

#[scenario]
async fn bindings_differ_by_key_and_arguments(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::Direct).await;
    raw.declare(&q).await;
    let plain = binding(&q, &x, "k");
    let numbered = |n: FieldValue| Binding {
        arguments: table([("n", n)]),
        ..plain.clone()
    };
    raw.add(plain.clone()).await;
    raw.add(plain.clone()).await;
    raw.add(numbered(1.into())).await;
    raw.add(numbered(2.into())).await;

    // A binding added twice is gone when it is removed once; others with its key stay.
    raw.remove(plain.clone()).await;
    raw.put(&x, "k", "two are left").await;
    raw.remove(numbered(1.into())).await;
    raw.put(&x, "k", "one is left").await;
    raw.remove(numbered(3.into())).await;
    raw.put(&x, "k", "one is still left").await;
    raw.remove(numbered(2.into())).await;
    raw.put(&x, "k", "none is left").await;
    let bodies = ["two are left", "one is left", "one is still left"];
    assert_eq!(raw.drain(&q).await, bodies);
}

#[scenario]
async fn unbinding_one_of_two_keys_leaves_the_other(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::Direct).await;
    raw.declare(&q).await;
    raw.bind(&q, &x, "a").await;
    raw.bind(&q, &x, "b").await;
    raw.remove(binding(&q, &x, "a")).await;
    raw.put(&x, "a", "a").await;
    raw.put(&x, "b", "b").await;
    assert_eq!(raw.drain(&q).await, ["b"]);
}

#[scenario]
async fn unbinding_what_is_not_bound_is_no_error(fixture: Fixture) {
    let raw = fixture.raw().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::Direct).await;
    raw.declare(&q).await;
    raw.remove(binding(&q, &x, "k")).await;
    raw.remove(binding(&fixture.name("missing"), &x, "k")).await;
    raw.remove(binding(&q, &fixture.name("missing"), "k")).await;
    raw.settled().await;
}

#[scenario]
async fn a_mandatory_message_that_reaches_no_queue_comes_back_before_its_confirm(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::Direct).await;
    raw.declare(&q).await;
    raw.bind(&q, &x, "k").await;

    let sent = message_with(&x, "none", "back", table([("h", 1.into())]));
    raw.send(mandatory(sent.clone()));
    let returned = raw.returned().await;
    assert_eq!(returned.reply_code, 312);
    assert_eq!(returned.reply_text, "NO_ROUTE");
    assert_eq!(*returned.message, sent);
    assert_eq!(raw.confirmed().await, 1);

    raw.put_message(mandatory(message(&x, "k", "routed"))).await;
    raw.nothing_more().await;
    assert_eq!(raw.drain(&q).await, ["routed"]);
}

#[scenario]
async fn the_default_exchange_returns_what_no_queue_is_named_for(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let missing = fixture.name("missing");
    raw.send(mandatory(message("", &missing, "back")));
    let returned = raw.returned().await;
    assert_eq!(returned.reply_code, 312);
    assert_eq!(returned.message.routing_key, missing.as_str());
    assert_eq!(raw.confirmed().await, 1);
}

#[scenario]
async fn an_unroutable_message_is_confirmed_and_gone(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::Fanout).await;
    raw.declare(&q).await;
    raw.publish(&x, "", "gone");
    match raw.event().await {
        ChannelEvent::Confirm { sequence: 1, .. } => {}
        other => panic!("expected a confirm, not {other:?}"),
    }
    raw.bind(&q, &x, "").await;
    assert_eq!(raw.drain(&q).await, [""; 0]);
}

#[scenario]
async fn mandatory_message_comes_back_without_confirms_too(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let missing = fixture.name("missing");
    raw.send(mandatory(message("", &missing, "back")));
    assert_eq!(body(&raw.returned().await.message), "back");
    raw.nothing_more().await;
}

impl Raw {
    /// A direct exchange with one queue for each key, named by the key.
    async fn queues_by_key(&self, fixture: &Fixture, keys: &[&str]) -> String {
        let x = fixture.name("x");
        self.declare_exchange(&x, ExchangeKind::Direct).await;
        for key in keys {
            self.declare(&fixture.name(key)).await;
            self.bind(&fixture.name(key), &x, key).await;
        }
        x
    }
}

fn copies(header: &str, keys: &[&str]) -> FieldTable {
    let keys = keys.iter().copied().map(FieldValue::from).collect();
    table([(header, FieldValue::Array(keys))])
}

#[scenario]
async fn cc_adds_keys_and_stays_on_the_message(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let x = raw.queues_by_key(&fixture, &["k", "b", "c"]).await;
    let headers = copies("CC", &["b", "c", "nowhere"]);
    let publish = Publish::new(message_with(&x, "k", "m", headers.clone()));
    raw.put_message(publish).await;
    for key in ["k", "b", "c"] {
        let fetched = raw.fetch(&fixture.name(key)).await;
        assert_eq!(fetched.message.routing_key, "k");
        assert_eq!(fetched.message.properties.headers, headers);
    }
}

#[scenario]
async fn bcc_adds_keys_and_is_removed(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let x = raw.queues_by_key(&fixture, &["k", "b"]).await;
    let mut headers = copies("BCC", &["b"]);
    headers.insert("kept".try_into().unwrap(), true);
    raw.put_message(Publish::new(message_with(&x, "k", "m", headers.clone())))
        .await;
    for key in ["k", "b"] {
        let fetched = raw.fetch(&fixture.name(key)).await;
        assert_eq!(
            fetched.message.properties.headers,
            table([("kept", true.into())])
        );
    }

    let mut nowhere = copies("BCC", &["nowhere"]);
    nowhere.insert("kept".try_into().unwrap(), true);
    raw.send(mandatory(message_with(&x, "none", "m", nowhere)));
    let returned = raw.returned().await;
    let headers = &returned.message.properties.headers;
    assert_eq!(*headers, table([("kept", true.into())]));
    raw.confirmed().await;
}

#[scenario]
async fn cc_and_bcc_must_be_arrays(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    for (header, value, kind) in [
        ("CC", FieldValue::from("b"), "longstr"),
        ("CC", 1.into(), "signedint"),
        ("BCC", true.into(), "bool"),
    ] {
        let message = message_with("", &q, "m", table([(header, value)]));
        raw.send(Publish::new(message));
        let text = format!(
            "PRECONDITION_FAILED - invalid message: \
             {{unacceptable_type_in_header,\"{header}\",{kind}}}"
        );
        raw.closes(406, BASIC_PUBLISH, &text).await;
    }
    assert_eq!(raw.drain(&q).await, [""; 0]);
}
