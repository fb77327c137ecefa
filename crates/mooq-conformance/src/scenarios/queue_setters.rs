//! Typed setters of a queue's arguments.

use std::time::Duration;

use mooq::topology::{DeclareQueue, Overflow};
use mooq::{Channel, ErrorKind, FieldValue};

use crate::Fixture;
use crate::expect::LIMIT;
use crate::scenario;
use crate::steps::record;

/// Asserts that the queue `name` has these arguments: declaring it again with all of them succeeds,
/// and without any one of them is refused.
async fn expect_arguments(chan: &Channel, name: &str, arguments: &[(&str, FieldValue)]) {
    let declare = |arguments: &mut dyn Iterator<Item = &(&str, FieldValue)>| {
        arguments.fold(chan.declare_queue(name), |declare, (key, value)| {
            declare.argument(*key, value.clone())
        })
    };
    declare(&mut arguments.iter()).await.unwrap();
    for left_out in 0..arguments.len() {
        let (before, after) = arguments.split_at(left_out);
        let declared = declare(&mut before.iter().chain(&after[1..])).await;
        let err = declared.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::PreconditionFailed, "{left_out}");
    }
}

fn every_classic_argument(declare: DeclareQueue) -> DeclareQueue {
    declare
        .message_ttl(Duration::from_secs(60))
        .expires(Duration::from_secs(3_600))
        .max_length(7)
        .max_length_bytes(1_000_000)
        .overflow(Overflow::RejectPublish)
        .dead_letter("", "later")
        .max_priority(5)
        .single_active_consumer()
}

fn classic_arguments() -> [(&'static str, FieldValue); 9] {
    [
        ("x-message-ttl", 60_000.into()),
        ("x-expires", 3_600_000.into()),
        ("x-max-length", 7.into()),
        ("x-max-length-bytes", 1_000_000.into()),
        ("x-overflow", "reject-publish".into()),
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", "later".into()),
        ("x-max-priority", 5.into()),
        ("x-single-active-consumer", true.into()),
    ]
}

#[scenario]
async fn setters_of_a_declared_queue_are_its_arguments(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    let declare = chan.declare_queue(&queue);
    every_classic_argument(declare).await.unwrap();
    expect_arguments(&chan, &queue, &classic_arguments()).await;
}

#[scenario]
async fn setters_of_a_consumers_queue_are_its_arguments(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let [exchange, queue] = ["exchange", "queue"].map(|name| fixture.name(name));
    let (recorder, _calls) = record::<String>();
    let register = chan.register_consumer(&exchange, "fanout").queue(&queue);
    let consumer = register
        .message_ttl(Duration::from_secs(60))
        .expires(Duration::from_secs(3_600))
        .max_length(7)
        .max_length_bytes(1_000_000)
        .overflow(Overflow::RejectPublish)
        .dead_letter("", "later")
        .max_priority(5)
        .single_active_consumer()
        .callback(recorder.callback())
        .await
        .unwrap();
    consumer.cancel().await.unwrap();
    let other = conn.create_channel().await.unwrap();
    expect_arguments(&other, &queue, &classic_arguments()).await;
}

#[scenario]
async fn setters_of_a_quorum_queue_are_its_arguments(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    let declare = chan.declare_queue(&queue).quorum().delivery_limit(3);
    let declare = declare.dead_letter_exchange("amq.fanout");
    declare.overflow(Overflow::DropHead).await.unwrap();
    let arguments = [
        ("x-queue-type", "quorum".into()),
        ("x-delivery-limit", 3.into()),
        ("x-dead-letter-exchange", "amq.fanout".into()),
        ("x-overflow", "drop-head".into()),
    ];
    expect_arguments(&chan, &queue, &arguments).await;
}

#[scenario]
async fn queue_setters_out_of_range_are_refused(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    let declare = chan.declare_queue(&queue).expires(Duration::ZERO);
    let err = declare.await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::PreconditionFailed, "{err}");
    let declare = chan.declare_queue(&queue).message_ttl(Duration::MAX);
    let err = declare.await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::PreconditionFailed, "{err}");
    let declare = chan.declare_queue(&queue).quorum().max_priority(3);
    let err = declare.await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::PreconditionFailed, "{err}");
    let declare = chan.declare_queue(&queue).dead_letter("", "x".repeat(256));
    let err = declare.await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidName, "{err}");
}

#[scenario]
async fn a_dead_letter_takes_the_key_that_the_setter_names(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let [queue, dead] = ["queue", "dead"].map(|name| fixture.name(name));
    chan.declare_queue(&dead).await.unwrap();
    let declare = chan.declare_queue(&queue).max_length(1);
    declare.dead_letter("", &dead).await.unwrap();
    for body in ["first", "second"] {
        crate::steps::put(&chan, &queue, body).await;
    }
    let letter = chan.get_one::<String>(&dead).timeout(LIMIT).await.unwrap();
    assert_eq!(letter.ack().await.unwrap(), "first");
}
