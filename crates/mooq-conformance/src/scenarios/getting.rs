//! Getting one message.

use std::future::IntoFuture;
use std::time::Duration;

use bytes::Bytes;
use mooq::{Channel, ErrorKind, ErrorScope, RawBytes};

use crate::Fixture;
use crate::expect::LIMIT;
use crate::scenario;
use crate::steps::{fill, put, ready_in};

#[scenario]
async fn get_gives_the_oldest_message(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["first", "second"]).await;
    let got = chan.get_one::<String>(&queue).await.unwrap();
    assert_eq!(got.msg, "first");
    assert_eq!(got.queue, queue.as_str());
    assert_eq!(got.routing_key, queue.as_str());
    assert!(!got.redelivered);
    assert_eq!(ready_in(&chan, &queue).await, 1);
    got.ack().await.unwrap();
    let got = chan.get_one::<String>(&queue).await.unwrap();
    assert_eq!(got.ack().await.unwrap(), "second");
}

#[scenario]
async fn get_from_an_empty_queue_is_none(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    assert!(chan.get::<String>(&queue).await.unwrap().is_none());
    put(&chan, &queue, "now").await;
    let got = chan.get::<String>(&queue).await.unwrap();
    assert_eq!(got.unwrap().ack().await.unwrap(), "now");
    assert!(chan.get::<String>(&queue).await.unwrap().is_none());
}

#[scenario]
async fn get_one_from_an_empty_queue_is_nothing_to_consume(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let err = chan.get_one::<String>(&queue).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NothingToConsume);
    assert_eq!(err.scope(), ErrorScope::Operation);
    assert!(err.to_string().contains(&queue), "{err}");
    put(&chan, &queue, "now").await;
    assert_eq!(chan.get_one::<String>(&queue).await.unwrap().msg, "now");
}

#[scenario]
async fn get_with_a_timeout_ends_in_consume_timeout(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let get = chan.get::<String>(&queue);
    let err = get.timeout(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConsumeTimeout);
    assert_eq!(err.scope(), ErrorScope::Operation);
    // No consumer stays, and the channel goes on.
    let declared = chan.declare_queue(&queue).passive().await.unwrap();
    assert_eq!(declared.consumer_count, 0);
}

#[scenario]
async fn get_with_a_timeout_takes_what_is_there_at_once(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["body"]).await;
    let get = chan.get::<String>(&queue).timeout(Duration::from_nanos(1));
    assert_eq!(get.await.unwrap().ack().await.unwrap(), "body");
}

#[scenario]
async fn a_message_that_comes_while_get_waits_ends_the_wait(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let other = conn.create_channel().await.unwrap();
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let waiting = tokio::spawn(chan.get::<String>(&queue).timeout(LIMIT).into_future());
    until_consumed(&other, &queue).await;
    fill(&other, &queue, &["came", "next"]).await;
    let got = waiting.await.unwrap().unwrap();
    assert_eq!(got.msg, "came");
    assert!(!got.redelivered);
    // The get took one message, and stopped consuming.
    let declared = other.declare_queue(&queue).passive().await.unwrap();
    assert_eq!((declared.message_count, declared.consumer_count), (1, 0));
    got.ack().await.unwrap();
    assert_eq!(chan.get_one::<String>(&queue).await.unwrap().msg, "next");
}

#[scenario]
async fn a_get_that_waits_can_be_auto_ack_too(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let other = conn.create_channel().await.unwrap();
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let get = chan.get::<String>(&queue).auto_ack().timeout(LIMIT);
    let waiting = tokio::spawn(get.into_future());
    until_consumed(&other, &queue).await;
    fill(&other, &queue, &["came", "next"]).await;
    assert_eq!(waiting.await.unwrap().unwrap().msg, "came");
    conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    let got = chan.get_one::<String>(&queue).await.unwrap();
    assert_eq!(got.ack().await.unwrap(), "next");
}

#[scenario]
async fn a_get_that_is_dropped_while_it_waits_takes_nothing(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let other = conn.create_channel().await.unwrap();
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let waiting = tokio::spawn(chan.get::<String>(&queue).timeout(LIMIT).into_future());
    until_consumed(&other, &queue).await;
    waiting.abort();
    put(&other, &queue, "body").await;
    let got = other.get::<String>(&queue).timeout(LIMIT).await.unwrap();
    assert_eq!(got.ack().await.unwrap(), "body");
}

#[scenario]
async fn getting_from_a_missing_queue_fails(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("missing");
    let err = chan.get::<String>(&queue).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::QueueNotFound);
    let text = format!("NOT_FOUND - no queue '{queue}' in vhost '/'");
    crate::expect_reason(&err, 404, (60, 70), &text);
}

#[scenario]
async fn a_queue_deleted_while_get_waits_ends_the_wait(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let other = conn.create_channel().await.unwrap();
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let waiting = tokio::spawn(chan.get::<String>(&queue).timeout(LIMIT).into_future());
    until_consumed(&other, &queue).await;
    other.delete_queue(&queue).await.unwrap();
    let err = waiting.await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConsumerCancelled);
    assert!(err.to_string().contains(&queue), "{err}");
}

#[scenario]
async fn a_get_that_waits_is_a_consumer_and_an_auto_delete_queue_goes_with_it(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    let declare = || chan.declare_queue(&queue).auto_delete();
    declare().await.unwrap();
    // Without a timeout get uses no consumer, and the queue stays.
    assert!(chan.get::<String>(&queue).await.unwrap().is_none());
    declare().passive().await.unwrap();
    let get = chan.get::<String>(&queue);
    let err = get.timeout(Duration::from_millis(10)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConsumeTimeout);
    let err = declare().passive().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::QueueNotFound);
}

#[scenario]
async fn an_auto_ack_get_leaves_nothing_to_settle(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["body"]).await;
    let got = chan.get_one::<String>(&queue).auto_ack().await.unwrap();
    let err = got.requeue().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotAllowed);
    conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(ready_in(&chan, &queue).await, 0);
}

#[scenario]
async fn a_message_that_was_requeued_is_redelivered(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["first", "second"]).await;
    let got = chan.get_one::<String>(&queue).await.unwrap();
    got.requeue().await.unwrap();
    let got = chan.get_one::<String>(&queue).await.unwrap();
    assert_eq!((got.msg.as_str(), got.redelivered), ("first", true));
    drop(got);
    let got = chan.get_one::<String>(&queue).await.unwrap();
    assert_eq!((got.msg.as_str(), got.redelivered), ("first", true));
    got.reject().await.unwrap();
    let got = chan.get_one::<String>(&queue).await.unwrap();
    assert_eq!((got.msg.as_str(), got.redelivered), ("second", false));
}

#[scenario]
async fn delivery_tags_are_counted_per_channel(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let other = conn.create_channel().await.unwrap();
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["1", "2", "3", "4"]).await;
    let mut held = Vec::new();
    for (chan, tag) in [(&chan, 1), (&chan, 2), (&other, 1), (&other, 2)] {
        let got = chan.get_one::<String>(&queue).await.unwrap();
        assert_eq!(got.delivery_tag, tag);
        held.push(got);
    }
    for got in held {
        got.ack().await.unwrap();
    }
    assert_eq!(ready_in(&chan, &queue).await, 0);
}

#[scenario]
async fn get_takes_raw_bytes(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["json"]).await;
    let got = chan.get_one::<Bytes>(&queue).codec(RawBytes).await.unwrap();
    assert_eq!(got.ack().await.unwrap(), "\"json\"");
}

/// Polls until `queue` has a consumer: RabbitMQ has no event for that.
async fn until_consumed(chan: &Channel, queue: &str) {
    let consumed = async {
        while chan
            .declare_queue(queue)
            .passive()
            .await
            .unwrap()
            .consumer_count
            == 0
        {
            tokio::task::yield_now().await;
        }
    };
    crate::within("a consumer", consumed).await;
}
