//! Routing through exchanges, returns and confirms.

use std::sync::Arc;

use mooq_core::ExchangeKind::{Direct, Fanout, Topic};
use mooq_core::{ExchangeDeclare, FieldValue, Publish};
use mooq_engine::Method;

use crate::harness::{Broker, code_and_text, e2e, exchange, publish, publish_with, table};

#[test]
fn a_queue_gets_one_copy_however_many_ways_lead_to_it() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare_exchange(c, "x", Topic);
    broker.declare_exchange(c, "y", Fanout);
    broker.declare(c, "q");
    broker.bind(c, "x", "a.*", "q");
    broker.bind(c, "x", "#", "q");
    broker.bind(c, "y", "", "q");
    broker.ok(c, Method::Bind(e2e("x", "a.b", "y")));
    broker.ok(c, Method::Bind(e2e("y", "", "x")));
    let with_cc = publish_with("x", "a.b", "one", |p| {
        p.headers = table([("CC", vec![FieldValue::from("a.c")].into())]);
    });
    broker.publish(c, with_cc);
    assert_eq!(broker.drain(c, "q"), ["one"]);
}

#[test]
fn an_alternate_exchange_gets_what_its_own_exchange_has_no_way_for() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare_exchange(c, "rest", Fanout);
    broker.declare_exchange(c, "nowhere", Fanout);
    let arguments = table([("alternate-exchange", "rest".into())]);
    let x = ExchangeDeclare {
        arguments,
        ..exchange("x", Direct)
    };
    broker.ok(c, Method::ExchangeDeclare(x));
    broker.declare(c, "q");
    broker.bind(c, "rest", "", "q");
    broker.ok(c, Method::Bind(e2e("x", "known", "nowhere")));
    broker.publish(c, publish("x", "unknown", "to the rest"));
    broker.publish(c, publish("x", "known", "lost, though nothing lies behind"));
    assert_eq!(broker.drain(c, "q"), ["to the rest"]);
}

#[test]
fn a_mandatory_message_without_a_queue_comes_back_before_its_confirm() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.ok(c, Method::ConfirmSelect);
    broker.publish(c, publish("", "nowhere", "dropped"));
    let mandatory = Publish {
        mandatory: true,
        ..publish("", "nowhere", "returned")
    };
    broker.publish(c, mandatory);
    assert_eq!(
        broker.heard(c),
        ["confirm 1", "return returned", "confirm 2"]
    );
}

#[test]
fn bcc_is_kept_from_everyone_and_cc_is_not() {
    let mut broker = Broker::new();
    let c = broker.channel();
    for name in ["to", "cc", "bcc"] {
        broker.declare(c, name);
    }
    let keys = |key: &str| FieldValue::from(vec![FieldValue::from(key)]);
    let message = publish_with("", "to", "one", |p| {
        p.headers = table([("CC", keys("cc")), ("BCC", keys("bcc"))]);
    });
    broker.publish(c, message);
    for name in ["to", "cc", "bcc"] {
        let got = broker.get_message(c, name).unwrap();
        assert_eq!(
            got.properties.headers,
            table([("CC", keys("cc"))]),
            "{name}"
        );
        assert_eq!(got.routing_key, "to");
    }
}

#[test]
fn publish_checks_run_in_rabbitmqs_order() {
    let mut broker = Broker::new();
    let c = broker.channel();
    let internal = ExchangeDeclare {
        internal: true,
        ..exchange("internal", Direct)
    };
    broker.ok(c, Method::ExchangeDeclare(internal));
    let all_wrong = |exchange: &str| {
        publish_with(exchange, "k", "", |p| {
            p.expiration = Some("soon".try_into().unwrap());
            p.headers = table([("CC", 1.into())]);
            p.user_id = Some("somebody".try_into().unwrap());
        })
    };
    let mut message = all_wrong("none");
    let mut check = |message: &Publish, expected: &str| {
        let c = broker.channel();
        let (_, text) = code_and_text(broker.publish(c, message.clone()));
        assert_eq!(text, expected);
    };
    check(&message, "NOT_FOUND - no exchange 'none' in vhost '/'");
    check(
        &all_wrong("internal"),
        "ACCESS_REFUSED - cannot publish to internal exchange 'internal' in vhost '/'",
    );
    message = all_wrong("amq.direct");
    check(
        &message,
        "PRECONDITION_FAILED - invalid expiration 'soon': no_integer",
    );
    Arc::make_mut(&mut message.message.properties).expiration = None;
    check(
        &message,
        "PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,\"CC\",signedint}",
    );
    Arc::make_mut(&mut message.message.properties).headers = Default::default();
    check(
        &message,
        "PRECONDITION_FAILED - user_id property set to 'somebody' but authenticated user was 'guest'",
    );
}

#[test]
fn too_large_a_body_closes_the_channel_and_immediate_the_connection() {
    let mut broker = Broker::new();
    let c = broker.channel();
    let mut large = publish("none", "k", "");
    large.message.body = vec![0; 16 * 1024 * 1024 + 1].into();
    assert_eq!(
        code_and_text(broker.publish(c, large)),
        (
            406,
            "PRECONDITION_FAILED - message size 16777217 is larger than configured max size 16777216".into()
        )
    );
    let c = broker.channel();
    let immediate = Publish {
        immediate: true,
        ..publish("none", "k", "")
    };
    let (code, text) = code_and_text(broker.publish(c, immediate));
    assert_eq!((code, &*text), (540, "NOT_IMPLEMENTED - immediate=true"));
    assert!(broker.closed(c).is_some());
}

#[test]
fn a_transaction_holds_back_until_it_is_committed() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare(c, "q");
    broker.put(c, "q", &["first"]);
    broker.consume(c, "q", "t");
    assert_eq!(broker.heard(c), ["#1 first to t"]);
    broker.ok(c, Method::TxSelect);
    broker.put(c, "q", &["held"]);
    assert_eq!(broker.ack(c, 1), None);
    assert_eq!((broker.heard(c), broker.counts("q")), (vec![], (0, 1)));

    broker.ok(c, Method::TxRollback);
    assert_eq!(
        broker.heard(c),
        [""; 0],
        "outstanding again, not delivered again"
    );
    assert_eq!(broker.ack(c, 1), None);
    broker.put(c, "q", &["second"]);
    broker.ok(c, Method::TxCommit);
    assert_eq!(broker.heard(c), ["#2 second to t"]);
    assert_eq!(broker.counts("q"), (0, 1));

    let (code, text) = code_and_text(broker.call(c, Method::ConfirmSelect).err());
    assert_eq!(
        (code, &*text),
        (
            406,
            "PRECONDITION_FAILED - cannot switch from tx to confirm mode"
        )
    );
}

#[test]
fn a_commit_that_a_queue_refuses_in_part_closes_the_channel() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare_with(
        c,
        "q",
        [
            ("x-max-length", 1.into()),
            ("x-overflow", "reject-publish".into()),
        ],
    );
    broker.ok(c, Method::TxSelect);
    broker.put(c, "q", &["fits", "does not"]);
    let (code, text) = code_and_text(broker.call(c, Method::TxCommit).err());
    assert_eq!(
        (code, &*text),
        (406, "PRECONDITION_FAILED - partial tx completion")
    );
    assert_eq!(broker.counts("q"), (1, 0));
}
