//! Exchange kinds of plugins: none without its plugin, and the delayed message exchange, which no
//! scenario can compare with RabbitMQ, by the rules of the plugin's documentation
//! (<https://github.com/rabbitmq/rabbitmq-delayed-message-exchange>).

use mooq_core::{ExchangeDeclare, ExchangeKind, FieldValue, Publish};
use mooq_engine::{Method, Options, Plugin, Profile};

use crate::harness::{
    Broker, Channel, binding, code_and_text, e2e, exchange, publish_with, queue, table,
};

/// Outcome of a declare of an exchange of this kind.
fn declared(options: Options, kind: ExchangeKind) -> (u16, String) {
    let mut broker = Broker::with(options);
    let channel = broker.channel();
    let declare = ExchangeDeclare {
        arguments: table([("x-delayed-type", "direct".into())]),
        ..exchange("x", kind)
    };
    let outcome = broker.call(channel, Method::ExchangeDeclare(declare));
    outcome.map_or_else(
        |reason| code_and_text(Some(reason)),
        |_| (200, String::new()),
    )
}

#[test]
fn a_kind_of_a_plugin_is_unknown_unless_the_plugin_is_enabled() {
    for plugin in Plugin::ALL {
        let kind = match plugin {
            Plugin::ConsistentHashExchange => ExchangeKind::ConsistentHash,
            Plugin::RandomExchange => ExchangeKind::Random,
            Plugin::RecentHistoryExchange => ExchangeKind::RecentHistory,
            Plugin::DelayedMessageExchange => ExchangeKind::DelayedMessage,
            other => panic!("the kind of {other:?} is not known here"),
        };
        let unknown = format!("unknown exchange type '{kind}'");
        assert_eq!(
            declared(Options::of(Profile::V4_0), kind.clone()),
            (406, format!("PRECONDITION_FAILED - {unknown}"))
        );
        assert_eq!(
            declared(Options::of(Profile::V3_10), kind.clone()),
            (503, format!("COMMAND_INVALID - {unknown}"))
        );
        // Without plugins, 4.3 knows the words of two kinds that it does not have.
        let word = if plugin == Plugin::RandomExchange {
            "invalid"
        } else {
            "unknown"
        };
        assert_eq!(
            declared(Options::of(Profile::V4_3), kind.clone()),
            (
                406,
                format!("PRECONDITION_FAILED - {word} exchange type '{kind}'")
            )
        );
        let mut others = Options::default();
        others.plugins.extend(Plugin::ALL);
        others.plugins.remove(&plugin);
        assert_eq!(declared(others, kind.clone()).0, 406);
        assert_eq!(declared(Options::default().plugin(plugin), kind).0, 200);
    }
    let jms = ExchangeKind::Other("x-jms-topic".try_into().unwrap());
    assert_eq!(
        declared(Options::of(Profile::V4_3), jms),
        (
            406,
            "PRECONDITION_FAILED - invalid exchange type 'x-jms-topic'".into()
        )
    );
}

/// A broker with an exchange `x` that delays, and routes to the queue `q` by the key `k`.
fn delaying() -> (Broker, Channel) {
    let mut broker = Broker::with(Options::default().plugin(Plugin::DelayedMessageExchange));
    let c = broker.channel();
    let declare = ExchangeDeclare {
        arguments: table([
            ("x-delayed-type", "direct".into()),
            ("alternate-exchange", "amq.fanout".into()),
        ]),
        ..exchange("x", ExchangeKind::DelayedMessage)
    };
    broker.ok(c, Method::ExchangeDeclare(declare));
    broker.declare(c, "q");
    broker.bind(c, "x", "k", "q");
    (broker, c)
}

fn delayed(key: &str, body: &str, delay: impl Into<FieldValue>) -> Publish {
    publish_with("x", key, body, |properties| {
        properties.headers = table([("x-delay", delay.into())]);
    })
}

#[test]
fn messages_come_in_the_order_in_which_their_delays_end() {
    let (mut broker, c) = delaying();
    for (body, delay) in [("late", 5_000), ("early", 1_000), ("early too", 1_000)] {
        broker.publish(c, delayed("k", body, delay));
    }
    broker.publish(c, publish_with("x", "k", "at once", |_| {}));
    assert_eq!(broker.drain(c, "q"), ["at once"]);
    broker.pass(999);
    assert_eq!(broker.counts("q"), (0, 0));
    broker.pass(1);
    assert_eq!(broker.drain(c, "q"), ["early", "early too"]);
    broker.pass(3_999);
    assert_eq!(broker.counts("q"), (0, 0));
    broker.pass(1);
    assert_eq!(broker.drain(c, "q"), ["late"]);
    assert_eq!(broker.engine.next_deadline(), None);
}

#[test]
fn bindings_count_as_they_are_when_the_delay_ends() {
    let (mut broker, c) = delaying();
    broker.publish(c, delayed("later", "found", 100));
    broker.publish(c, delayed("k", "too late", 200));
    broker.bind(c, "x", "later", "q");
    broker.pass(100);
    assert_eq!(broker.drain(c, "q"), ["found"]);
    broker.ok(c, Method::Unbind(binding("x", "k", "q")));
    broker.pass(100);
    assert_eq!(broker.counts("q"), (0, 0));
}

#[test]
fn a_delayed_message_tells_its_delay_as_a_negative_number_and_is_delayed_once() {
    let (mut broker, c) = delaying();
    let declare = ExchangeDeclare {
        arguments: table([("x-delayed-type", "fanout".into())]),
        ..exchange("y", ExchangeKind::DelayedMessage)
    };
    broker.ok(c, Method::ExchangeDeclare(declare));
    broker.ok(c, Method::Bind(e2e("x", "onwards", "y")));
    broker.bind(c, "y", "", "q");
    broker.publish(c, delayed("onwards", "m", 300));
    broker.pass(300);
    let message = broker.get_message(c, "q").unwrap();
    assert_eq!(
        message.properties.headers.get("x-delay"),
        Some(&FieldValue::I32(-300))
    );
    assert_eq!(broker.engine.next_deadline(), None);
}

#[test]
fn only_a_delay_above_zero_and_within_erlangs_timers_delays() {
    let (mut broker, c) = delaying();
    for delay in [
        FieldValue::I32(0),
        FieldValue::I32(-5),
        FieldValue::I64(4_294_967_296),
        "soon".into(),
        FieldValue::Bool(true),
        FieldValue::Void,
    ] {
        broker.publish(c, delayed("k", "at once", delay.clone()));
        assert_eq!(broker.drain(c, "q"), ["at once"], "{delay:?}");
    }
    for delay in [
        FieldValue::U8(10),
        FieldValue::I64(10),
        "10".into(),
        FieldValue::F64(10.9),
    ] {
        broker.publish(c, delayed("k", "later", delay.clone()));
        assert_eq!(broker.counts("q"), (0, 0), "{delay:?}");
        broker.pass(10);
        assert_eq!(broker.drain(c, "q"), ["later"], "{delay:?}");
    }
    broker.publish(
        c,
        delayed("k", "in 50 days", FieldValue::I64(4_294_967_295)),
    );
    broker.pass(4_294_967_294);
    assert_eq!(broker.counts("q"), (0, 0));
    broker.pass(1);
    assert_eq!(broker.drain(c, "q"), ["in 50 days"]);
}

#[test]
fn a_message_that_waits_counts_as_unroutable_until_then() {
    let (mut broker, c) = delaying();
    broker.declare(c, "alternate");
    broker.bind(c, "amq.fanout", "", "alternate");
    broker.publish(c, delayed("k", "twice", 50));
    assert_eq!(broker.drain(c, "alternate"), ["twice"]);
    broker.pass(50);
    assert_eq!(broker.drain(c, "q"), ["twice"]);
    broker.heard(c);
    broker.ok(c, Method::Unbind(binding("amq.fanout", "", "alternate")));
    let mandatory = Publish {
        mandatory: true,
        ..delayed("k", "returned", 50)
    };
    broker.publish(c, mandatory);
    assert_eq!(broker.heard(c), ["return returned"]);
    broker.pass(50);
    assert_eq!(broker.drain(c, "q"), ["returned"]);
}

#[test]
fn messages_that_wait_survive_a_restart_and_go_with_their_exchange() {
    let (mut broker, c) = delaying();
    broker.publish(c, delayed("k", "survives", 100));
    broker.engine.shut_down(broker.time());
    broker.engine.forget_transient();
    broker.pass(100);
    let c = broker.channel();
    assert_eq!(broker.drain(c, "q"), ["survives"]);

    broker.publish(c, delayed("k", "goes", 100));
    let name = "x".try_into().unwrap();
    let if_unused = false;
    broker.ok(c, Method::ExchangeDelete { name, if_unused });
    broker.pass(100);
    assert_eq!(broker.counts("q"), (0, 0));
}

#[test]
fn the_kind_behind_a_delay_must_exist_and_keeps_its_rules() {
    let options = || Options::default().plugin(Plugin::DelayedMessageExchange);
    let declare = |options: Options, arguments: &[(&str, FieldValue)]| {
        let mut broker = Broker::with(options);
        let c = broker.channel();
        let mut declare = exchange("x", ExchangeKind::DelayedMessage);
        for (name, value) in arguments {
            let name = (*name).try_into().unwrap();
            declare.arguments.insert(name, value.clone());
        }
        let outcome = broker.call(c, Method::ExchangeDeclare(declare));
        (outcome.err().map(|reason| reason.text), broker, c)
    };
    let invalid = "PRECONDITION_FAILED - Invalid argument, 'x-delayed-type' must be an existing \
                   exchange type";
    for kind in [None, Some(5.into()), Some("x-delayed-message".into())] {
        let arguments: Vec<_> = kind
            .map(|kind| ("x-delayed-type", kind))
            .into_iter()
            .collect();
        assert_eq!(declare(options(), &arguments).0.as_deref(), Some(invalid));
    }
    let unknown = [("x-delayed-type", "x-consistent-hash".into())];
    let text = "PRECONDITION_FAILED - unknown exchange type 'x-consistent-hash'";
    assert_eq!(declare(options(), &unknown).0.as_deref(), Some(text));

    let with_hash = options().plugin(Plugin::ConsistentHashExchange);
    let (refused, mut broker, c) = declare(with_hash, &unknown);
    assert_eq!(refused, None);
    broker.ok(c, Method::QueueDeclare(queue("q")));
    let refused = broker
        .call(c, Method::Bind(binding("x", "light", "q")))
        .err();
    let text = "PRECONDITION_FAILED - The binding key must be an integer: <<\"light\">>";
    assert_eq!(code_and_text(refused), (406, text.into()));
}
