//! Teardown of consumers, channels, connections and queues.

use mooq_core::{CloseReason, Consume, QueueDeclare};
use mooq_engine::{Capabilities, Method, Options};

use crate::harness::{Broker, Channel, code_and_text, consumer, publish_with, queue};

#[test]
fn an_auto_delete_queue_goes_with_its_last_consumer_never_before_it_had_one() {
    let mut broker = Broker::new();
    let c = broker.channel();
    let declare = || {
        Method::QueueDeclare(QueueDeclare {
            auto_delete: true,
            ..queue("q")
        })
    };
    broker.ok(c, declare());
    broker.put(c, "q", &["1"]);
    broker.get(c, "q");
    assert!(broker.queue("q").is_some(), "fetching is not consuming");
    let other = broker.channel();
    broker.consume(c, "q", "a");
    broker.consume(other, "q", "b");
    broker.ok(
        c,
        Method::BasicCancel {
            tag: "a".try_into().unwrap(),
        },
    );
    assert!(broker.queue("q").is_some());
    broker.ok(other, Method::ChannelClose);
    assert!(broker.queue("q").is_none());
}

#[test]
fn a_channel_gives_back_on_close_and_an_exclusive_queue_stays() {
    let mut broker = Broker::new();
    let c = broker.channel();
    let mine = QueueDeclare {
        exclusive: true,
        ..queue("mine")
    };
    broker.ok(c, Method::QueueDeclare(mine));
    broker.put(c, "mine", &["1", "2"]);
    broker.consume(c, "mine", "t");
    let sibling = broker.sibling(c);
    broker.ok(c, Method::ChannelClose);
    assert_eq!(broker.counts("mine"), (2, 0));
    broker.ok(sibling, Method::ConnectionClose);
    assert!(broker.queue("mine").is_none());
}

#[test]
fn deliveries_requeued_by_a_closing_channel_go_to_others_in_order() {
    let mut broker = Broker::new();
    let (c, other) = (broker.channel(), broker.channel());
    broker.declare(c, "q");
    broker.put(c, "q", &["1", "2", "3"]);
    broker.consume(c, "q", "t");
    broker.ack(c, 2);
    broker.consume(other, "q", "o");
    broker.ok(c, Method::ChannelClose);
    assert_eq!(broker.heard(other), ["#1 1 to o again", "#2 3 to o again"]);
}

/// A channel with a delivery that has expired, and a consumer without acknowledgements of the quorum
/// queue `to`, where its dead letter goes.
fn with_dying_delivery(broker: &mut Broker) -> Channel {
    let c = broker.channel();
    broker.declare_with(c, "to", [("x-queue-type", "quorum".into())]);
    let to = [
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", "to".into()),
    ];
    broker.declare_with(c, "from", to);
    broker.consume(c, "from", "f");
    let no_ack = Consume {
        no_ack: true,
        ..consumer("to", "t")
    };
    broker.ok(c, Method::BasicConsume(no_ack));
    let expiring = publish_with("", "from", "m", |properties| {
        properties.expiration = Some("0".try_into().unwrap());
    });
    assert_eq!(broker.publish(c, expiring), None);
    assert_eq!(broker.heard(c), ["#1 m to f"]);
    c
}

/// RabbitMQ, mostly too: see `docs/divergences.md`.
#[test]
fn a_quorum_queue_gets_back_what_it_sent_to_a_channel_that_is_gone() {
    for end in [Method::ChannelClose, Method::ConnectionClose] {
        let mut broker = Broker::new();
        let c = with_dying_delivery(&mut broker);
        let other = broker.channel();
        broker.ok(c, end);
        assert_eq!(broker.counts("to"), (1, 0));
        broker.consume(other, "to", "o");
        assert_eq!(broker.heard(other), ["#1 m to o again"]);
    }
}

#[test]
fn a_channel_that_has_failed_ends_to_quorum_queues_with_its_close_ok() {
    let mut broker = Broker::new();
    let c = with_dying_delivery(&mut broker);
    let other = broker.channel();
    broker.put(other, "to", &["seen"]);
    assert_eq!(broker.heard(c), ["#2 seen to t"]);
    assert_eq!(code_and_text(broker.ack(c, 9)).0, 406);
    // It has taken the dead letter, which nobody sees, and takes what comes.
    broker.put(other, "to", &["unseen"]);
    assert_eq!(broker.counts("to"), (0, 0));
    assert_eq!(broker.send(c, Method::ChannelCloseOk), None);
    broker.put(other, "to", &["kept"]);
    assert_eq!(broker.counts("to"), (1, 0));
    assert_eq!(broker.heard(c), ["close 406"]);
}

#[test]
fn closing_one_connection_leaves_anothers_consumer_alone() {
    let mut broker = Broker::new();
    let (c, other) = (broker.channel(), broker.channel());
    broker.declare(c, "q");
    broker.consume(c, "q", "t");
    broker.consume(other, "q", "t");
    broker.ok(c, Method::ConnectionClose);
    broker.put(other, "q", &["1", "2"]);
    assert_eq!(broker.heard(other), ["#1 1 to t", "#2 2 to t"]);
}

#[test]
fn consumers_hear_of_the_end_of_their_queue_if_they_understand_it() {
    let mut broker = Broker::new();
    let (c, other) = (broker.channel(), broker.channel());
    let none = Capabilities {
        consumer_cancel_notify: false,
        ..Capabilities::default()
    };
    let deaf = broker.channel_with(none);
    broker.declare(c, "q");
    for channel in [c, other, deaf] {
        broker.consume(channel, "q", "t");
    }
    let name = "q".try_into().unwrap();
    broker.ok(
        c,
        Method::QueueDelete {
            name,
            if_unused: false,
            if_empty: false,
        },
    );
    assert_eq!(broker.heard(c), ["cancel t"]);
    assert_eq!(broker.heard(other), ["cancel t"]);
    assert_eq!(broker.heard(deaf), [""; 0]);
    broker.declare(c, "again");
    broker.consume(c, "again", "t");
}

#[test]
fn an_error_on_one_channel_is_nobody_elses() {
    let mut broker = Broker::new();
    let c = broker.channel();
    let sibling = broker.sibling(c);
    assert_eq!(code_and_text(broker.ack(c, 1)).0, 406);
    assert_eq!(broker.heard(c), ["close 406"]);
    assert_eq!(broker.heard(sibling), [""; 0]);
    broker.declare(sibling, "q");
    assert_eq!(broker.send(c, Method::ChannelCloseOk), None);
    broker.ok(c, Method::ChannelOpen);
}

#[test]
fn a_method_on_a_channel_that_is_not_open_closes_the_connection() {
    let mut broker = Broker::new();
    let c = broker.channel();
    let (code, text) = code_and_text(broker.call(c, Method::ChannelOpen).err());
    assert_eq!(
        (code, &*text),
        (504, "CHANNEL_ERROR - second 'channel.open' seen")
    );
    let mut c = broker.channel();
    c.number = 9;
    let (code, text) = code_and_text(broker.call(c, Method::TxSelect).err());
    assert_eq!(
        (code, &*text),
        (504, "CHANNEL_ERROR - expected 'channel.open'")
    );
    assert!(broker.closed(c).is_some());
}

#[test]
fn refusal_by_mooq_server_comes_after_everything_before_it() {
    let mut broker = Broker::new();
    let (c, other) = (broker.channel(), broker.channel());
    broker.ok(c, Method::UpdateSecret);
    broker.ok(c, Method::AccessRequest);
    broker.declare(c, "q");
    broker.put(c, "q", &["1"]);
    broker.consume(c, "q", "t");
    let reason = Some(CloseReason {
        code: 501,
        text: "FRAME_ERROR - unknown_frame".into(),
        class_id: 0,
        method_id: 0,
    });
    let refuse = Method::Refuse {
        reason: reason.clone(),
    };
    assert_eq!(broker.send(c, refuse), reason);
    assert_eq!(broker.closed(c), reason.as_ref());
    assert_eq!(broker.get(other, "q").as_deref(), Some("1"));
}

#[test]
fn message_whose_header_announces_too_much_closes_its_channel() {
    let mut options = Options::default();
    options.max_message_size = Some(10);
    let mut broker = Broker::with(options);
    let c = broker.channel();
    let closed = broker.send(c, Method::PublishTooLarge { size: 11 });
    let text = "PRECONDITION_FAILED - message size 11 is larger than configured max size 10";
    assert_eq!(code_and_text(closed), (406, text.into()));
}

#[test]
fn channel_that_the_broker_has_closed_cannot_be_opened_before_its_close_ok() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.ack(c, 7).unwrap();
    let text = "CHANNEL_ERROR - second 'channel.open' seen";
    assert_eq!(
        code_and_text(broker.send(c, Method::ChannelOpen)),
        (504, text.into())
    );
}
