//! Exchanges: declaring, declaring again, deleting, and auto-delete.

use mooq_core::{Binding, BindingDestination, ExchangeDeclare, ExchangeKind, Publish};

use crate::Fixture;
use crate::expect::expect_reason;
use crate::expect::method::{
    BASIC_PUBLISH, EXCHANGE_BIND, EXCHANGE_DECLARE, EXCHANGE_DELETE, EXCHANGE_UNBIND, QUEUE_BIND,
    QUEUE_UNBIND,
};
use crate::raw::{binding, exchange, exchange_binding, message, passive_exchange, queue, table};
use crate::scenario;

#[scenario]
async fn exchange_declared_again_keeps_its_bindings(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::Direct).await;
    raw.declare(&q).await;
    raw.bind(&q, &x, "k").await;
    raw.declare_exchange(&x, ExchangeKind::Direct).await;
    raw.put(&x, "k", "still bound").await;
    assert_eq!(raw.drain(&q).await, ["still bound"]);
}

#[scenario]
async fn exchange_declared_again_compares_type_first_and_alternate_last(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let x = fixture.name("x");
    raw.declare_exchange(&x, ExchangeKind::Direct).await;

    let alternate = table([("alternate-exchange", "amq.fanout".into())]);
    let mut declare = ExchangeDeclare {
        durable: false,
        auto_delete: true,
        internal: true,
        arguments: alternate,
        ..exchange(&x, ExchangeKind::Topic)
    };
    let inequivalent = |arg: &str, received: &str, current: &str| {
        format!(
            "PRECONDITION_FAILED - inequivalent arg '{arg}' for exchange '{x}' in vhost '/': \
             received {received} but current is {current}"
        )
    };

    let outcome = raw.channel.declare_exchange(declare.clone()).await;
    let text = inequivalent("type", "'topic'", "'direct'");
    raw.refused(outcome, 406, EXCHANGE_DECLARE, &text).await;

    declare.kind = ExchangeKind::Direct;
    let outcome = raw.channel.declare_exchange(declare.clone()).await;
    let text = inequivalent("durable", "'false'", "'true'");
    raw.refused(outcome, 406, EXCHANGE_DECLARE, &text).await;

    declare.durable = true;
    let outcome = raw.channel.declare_exchange(declare.clone()).await;
    let text = inequivalent("auto_delete", "'true'", "'false'");
    raw.refused(outcome, 406, EXCHANGE_DECLARE, &text).await;

    declare.auto_delete = false;
    let outcome = raw.channel.declare_exchange(declare.clone()).await;
    let text = inequivalent("internal", "'true'", "'false'");
    raw.refused(outcome, 406, EXCHANGE_DECLARE, &text).await;

    declare.internal = false;
    let outcome = raw.channel.declare_exchange(declare.clone()).await;
    let value = "the value 'amq.fanout' of type 'longstr'";
    let text = inequivalent("alternate-exchange", value, "none");
    raw.refused(outcome, 406, EXCHANGE_DECLARE, &text).await;
}

#[scenario]
async fn alternate_exchange_left_out_or_changed_is_named(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let x = fixture.name("x");
    let with_alternate = |name: &str| ExchangeDeclare {
        arguments: table([("alternate-exchange", name.into())]),
        ..exchange(&x, ExchangeKind::Direct)
    };
    let declared = raw.channel.declare_exchange(with_alternate("a")).await;
    declared.unwrap();

    let without = exchange(&x, ExchangeKind::Direct);
    let outcome = raw.channel.declare_exchange(without).await;
    let text = format!(
        "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange '{x}' in vhost \
         '/': received none but current is the value 'a' of type 'longstr'"
    );
    raw.refused(outcome, 406, EXCHANGE_DECLARE, &text).await;

    let outcome = raw.channel.declare_exchange(with_alternate("b")).await;
    let text = format!(
        "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange '{x}' in vhost \
         '/': received 'b' but current is 'a'"
    );
    raw.refused(outcome, 406, EXCHANGE_DECLARE, &text).await;
}

#[scenario]
async fn unknown_exchange_arguments_are_not_compared(fixture: Fixture) {
    let raw = fixture.raw().await;
    let x = fixture.name("x");
    raw.declare_exchange(&x, ExchangeKind::Fanout).await;
    let declare = ExchangeDeclare {
        arguments: table([("x-whatever", 1.into())]),
        ..exchange(&x, ExchangeKind::Fanout)
    };
    raw.channel.declare_exchange(declare).await.unwrap();
}

#[scenario]
async fn alternate_exchange_must_be_a_name(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let x = fixture.name("x");
    let declare = ExchangeDeclare {
        arguments: table([("alternate-exchange", 5.into())]),
        ..exchange(&x, ExchangeKind::Direct)
    };
    let outcome = raw.channel.declare_exchange(declare).await;
    let text = format!(
        "PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' in exchange \
         '{x}' in vhost '/'"
    );
    raw.refused(outcome, 406, EXCHANGE_DECLARE, &text).await;
    assert!(!raw.has_exchange(&x).await);
}

#[scenario(since = V4_0)]
async fn unknown_exchange_type_is_refused_before_anything_else(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let existing = fixture.name("existing");
    raw.declare_exchange(&existing, ExchangeKind::Direct).await;
    for name in [&fixture.name("new"), &existing, "amq.new", ""] {
        let kind = ExchangeKind::try_from("x-no-such-type").unwrap();
        let outcome = raw.channel.declare_exchange(exchange(name, kind)).await;
        let text = "PRECONDITION_FAILED - unknown exchange type 'x-no-such-type'";
        raw.refused(outcome, 406, EXCHANGE_DECLARE, text).await;
    }
}

#[scenario(since = V4_0)]
async fn exchange_type_that_is_another_word_of_rabbitmqs_is_invalid(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    for (kind, word) in [
        ("rabbit", "invalid"),
        ("default", "invalid"),
        ("queue", "invalid"),
        ("Direct", "unknown"),
        ("TOPIC", "unknown"),
    ] {
        let declare = exchange(&fixture.name("x"), kind.try_into().unwrap());
        let outcome = raw.channel.declare_exchange(declare).await;
        let text = format!("PRECONDITION_FAILED - {word} exchange type '{kind}'");
        raw.refused(outcome, 406, EXCHANGE_DECLARE, &text).await;
    }
}

#[scenario(before = V4_0)]
async fn exchange_type_that_is_another_word_closes_the_connection(fixture: Fixture) {
    for kind in ["rabbit", "default", "Direct"] {
        let mut raw = fixture.raw().await;
        let declare = exchange(&fixture.name("x"), kind.try_into().unwrap());
        let err = raw.channel.declare_exchange(declare).await.unwrap_err();
        let text = format!("COMMAND_INVALID - invalid exchange type '{kind}'");
        expect_reason(&err, 503, EXCHANGE_DECLARE, &text);
        raw.closes_connection(503, EXCHANGE_DECLARE, &text).await;
    }
}

#[scenario(before = V4_0)]
async fn unknown_exchange_type_closes_the_connection(fixture: Fixture) {
    for name in [&fixture.name("new"), "amq.direct", ""] {
        let mut raw = fixture.raw().await;
        let kind = ExchangeKind::try_from("x-no-such-type").unwrap();
        let outcome = raw.channel.declare_exchange(exchange(name, kind)).await;
        let err = outcome.unwrap_err();
        let text = "COMMAND_INVALID - unknown exchange type 'x-no-such-type'";
        expect_reason(&err, 503, EXCHANGE_DECLARE, text);
        raw.closes_connection(503, EXCHANGE_DECLARE, text).await;
    }
}

#[scenario]
async fn exchange_names_that_begin_with_amq_are_reserved(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let declare = exchange("amq.mine", ExchangeKind::Direct);
    let outcome = raw.channel.declare_exchange(declare).await;
    let text = "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'";
    raw.refused(outcome, 403, EXCHANGE_DECLARE, text).await;

    let outcome = raw
        .channel
        .declare_exchange(passive_exchange("amq.mine"))
        .await;
    let text = "NOT_FOUND - no exchange 'amq.mine' in vhost '/'";
    raw.refused(outcome, 404, EXCHANGE_DECLARE, text).await;
}

#[scenario]
async fn the_predeclared_exchanges_may_be_declared_as_they_are(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    for (name, kind, internal) in [
        ("amq.direct", ExchangeKind::Direct, false),
        ("amq.fanout", ExchangeKind::Fanout, false),
        ("amq.topic", ExchangeKind::Topic, false),
        ("amq.headers", ExchangeKind::Headers, false),
        ("amq.match", ExchangeKind::Headers, false),
        ("amq.rabbitmq.trace", ExchangeKind::Topic, true),
    ] {
        let declare = ExchangeDeclare {
            internal,
            ..exchange(name, kind.clone())
        };
        raw.channel.declare_exchange(declare.clone()).await.unwrap();

        let transient = ExchangeDeclare {
            durable: false,
            ..declare
        };
        let outcome = raw.channel.declare_exchange(transient).await;
        let text = format!(
            "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange '{name}' in vhost '/': \
             received 'false' but current is 'true'"
        );
        raw.refused(outcome, 406, EXCHANGE_DECLARE, &text).await;
    }
}

#[scenario]
async fn the_default_exchange_cannot_be_changed(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    let text = "ACCESS_REFUSED - operation not permitted on the default exchange";

    let declare = exchange("", ExchangeKind::Direct);
    let outcome = raw.channel.declare_exchange(declare).await;
    raw.refused(outcome, 403, EXCHANGE_DECLARE, text).await;
    let outcome = raw.channel.declare_exchange(passive_exchange("")).await;
    raw.refused(outcome, 403, EXCHANGE_DECLARE, text).await;
    let outcome = raw
        .channel
        .delete_exchange("".try_into().unwrap(), false)
        .await;
    raw.refused(outcome, 403, EXCHANGE_DELETE, text).await;

    let outcome = raw.channel.bind(binding(&q, "", "k")).await;
    raw.refused(outcome, 403, QUEUE_BIND, text).await;
    let outcome = raw.channel.unbind(binding(&q, "", &q)).await;
    raw.refused(outcome, 403, QUEUE_UNBIND, text).await;
    for (destination, source) in [("", "amq.direct"), ("amq.direct", "")] {
        let binding = exchange_binding(destination, source, "k");
        let outcome = raw.channel.bind(binding.clone()).await;
        raw.refused(outcome, 403, EXCHANGE_BIND, text).await;
        let outcome = raw.channel.unbind(binding).await;
        raw.refused(outcome, 403, EXCHANGE_UNBIND, text).await;
    }
}

#[scenario]
async fn a_passive_declare_asks_for_the_name_alone(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let x = fixture.name("x");
    let outcome = raw.channel.declare_exchange(passive_exchange(&x)).await;
    let text = format!("NOT_FOUND - no exchange '{x}' in vhost '/'");
    raw.refused(outcome, 404, EXCHANGE_DECLARE, &text).await;

    raw.declare_exchange(&x, ExchangeKind::Direct).await;
    let other = ExchangeDeclare {
        kind: ExchangeKind::Fanout,
        durable: false,
        internal: true,
        ..passive_exchange(&x)
    };
    raw.channel.declare_exchange(other).await.unwrap();
}

#[scenario]
async fn an_exchange_is_in_use_while_it_has_bindings_as_source(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (x, upstream, q) = (
        fixture.name("x"),
        fixture.name("upstream"),
        fixture.name("q"),
    );
    raw.declare_exchange(&x, ExchangeKind::Direct).await;
    raw.declare_exchange(&upstream, ExchangeKind::Fanout).await;
    raw.declare(&q).await;
    raw.bind(&q, &x, "k").await;
    raw.add(exchange_binding(&x, &upstream, "")).await;

    let name = || x.as_str().try_into().unwrap();
    let outcome = raw.channel.delete_exchange(name(), true).await;
    let text = format!("PRECONDITION_FAILED - exchange '{x}' in vhost '/' in use");
    raw.refused(outcome, 406, EXCHANGE_DELETE, &text).await;

    raw.remove(binding(&q, &x, "k")).await;
    raw.channel.delete_exchange(name(), true).await.unwrap();
    assert!(
        !raw.has_exchange(&x).await,
        "an exchange that is only a destination is unused"
    );
}

#[scenario]
async fn deleting_an_exchange_removes_its_bindings(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::Fanout).await;
    raw.declare(&q).await;
    raw.bind(&q, &x, "").await;
    let deleted = raw
        .channel
        .delete_exchange(x.as_str().try_into().unwrap(), false)
        .await;
    deleted.unwrap();
    assert!(!raw.has_exchange(&x).await);

    raw.declare_exchange(&x, ExchangeKind::Fanout).await;
    raw.put(&x, "", "to no one").await;
    assert_eq!(raw.counts(&q).await, (0, 0));
}

#[scenario]
async fn deleting_a_missing_exchange_is_no_error(fixture: Fixture) {
    let raw = fixture.raw().await;
    let x = fixture.name("x");
    for if_unused in [false, true] {
        let name = x.as_str().try_into().unwrap();
        raw.channel.delete_exchange(name, if_unused).await.unwrap();
    }
    assert!(!raw.has_exchange(&x).await);
}

#[scenario]
async fn system_exchanges_cannot_be_deleted(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    for name in ["amq.direct", "amq.rabbitmq.trace", "amq.missing"] {
        let outcome = raw
            .channel
            .delete_exchange(name.try_into().unwrap(), false)
            .await;
        let text = format!(
            "ACCESS_REFUSED - deletion of system exchange '{name}' in vhost '/' not allowed"
        );
        raw.refused(outcome, 403, EXCHANGE_DELETE, &text).await;
    }
}

#[scenario]
async fn an_auto_delete_exchange_goes_with_its_last_binding(fixture: Fixture) {
    let raw = fixture.raw().await;
    let (x, upstream, q) = (
        fixture.name("x"),
        fixture.name("upstream"),
        fixture.name("q"),
    );
    let declare = ExchangeDeclare {
        auto_delete: true,
        ..exchange(&x, ExchangeKind::Direct)
    };
    raw.channel.declare_exchange(declare).await.unwrap();
    raw.declare(&q).await;

    // A binding as destination comes and goes without effect.
    raw.declare_exchange(&upstream, ExchangeKind::Fanout).await;
    raw.add(exchange_binding(&x, &upstream, "")).await;
    raw.remove(exchange_binding(&x, &upstream, "")).await;
    raw.remove(binding(&q, &x, "never bound")).await;
    assert!(raw.has_exchange(&x).await, "it never had a binding");

    raw.bind(&q, &x, "a").await;
    raw.bind(&q, &x, "b").await;
    raw.remove(binding(&q, &x, "a")).await;
    assert!(raw.has_exchange(&x).await, "one binding is left");
    raw.remove(binding(&q, &x, "b")).await;
    assert!(!raw.has_exchange(&x).await);
}

#[scenario]
async fn an_auto_delete_exchange_goes_with_its_last_queue(fixture: Fixture) {
    let raw = fixture.raw().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    let declare = ExchangeDeclare {
        auto_delete: true,
        ..exchange(&x, ExchangeKind::Fanout)
    };
    raw.channel.declare_exchange(declare).await.unwrap();
    raw.declare(&q).await;
    raw.bind(&q, &x, "").await;
    raw.delete(&q).await;
    assert!(!raw.has_exchange(&x).await);
}

#[scenario]
async fn publishing_to_an_internal_exchange_is_refused(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, upstream, q) = (
        fixture.name("x"),
        fixture.name("upstream"),
        fixture.name("q"),
    );
    let declare = ExchangeDeclare {
        internal: true,
        ..exchange(&x, ExchangeKind::Fanout)
    };
    raw.channel.declare_exchange(declare).await.unwrap();
    raw.declare_exchange(&upstream, ExchangeKind::Fanout).await;
    raw.declare(&q).await;
    raw.bind(&q, &x, "").await;
    raw.add(exchange_binding(&x, &upstream, "")).await;

    raw.put(&upstream, "", "through another").await;
    raw.publish(&x, "", "straight");
    let text = format!("ACCESS_REFUSED - cannot publish to internal exchange '{x}' in vhost '/'");
    raw.closes(403, BASIC_PUBLISH, &text).await;
    assert_eq!(raw.drain(&q).await, ["through another"]);
}

#[scenario]
async fn publishing_to_a_missing_exchange_closes_the_channel(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare(&q).await;
    raw.publish(&x, "k", "lost");
    // The transport may know by now that the channel is closed; if not, the broker ignores this.
    let late = Publish::new(message("", &q, "after the error nothing counts"));
    let _ = raw.channel.publish(late);
    let text = format!("NOT_FOUND - no exchange '{x}' in vhost '/'");
    raw.closes(404, BASIC_PUBLISH, &text).await;
    raw.confirm_select().await;
    raw.fill(&q, &["after"]).await;
    assert_eq!(raw.drain(&q).await, ["after"]);
}

#[scenario]
async fn line_breaks_are_stripped_from_names(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    let broken = format!("\r{x}\n");
    raw.declare_exchange(&broken, ExchangeKind::Fanout).await;
    assert!(raw.has_exchange(&x).await);

    let declared = raw.declare_with(queue(&format!("{q}\r\n"))).await;
    assert_eq!(declared, q);
    raw.bind(&format!("\n{q}"), &broken, "").await;
    raw.put(&x, "", "bound").await;
    assert_eq!(raw.drain(&q).await, ["bound"]);

    raw.remove(Binding {
        destination: BindingDestination::Queue(format!("{q}\r").try_into().unwrap()),
        ..binding("", &broken, "")
    })
    .await;
    raw.put(&x, "", "no longer").await;
    assert_eq!(raw.delete(&format!("\r\n{q}")).await, 0);
    assert!(!raw.has_queue(&q).await);
    let name = broken.as_str().try_into().unwrap();
    raw.channel.delete_exchange(name, false).await.unwrap();
    assert!(!raw.has_exchange(&x).await);
}
