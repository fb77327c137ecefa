//! Consuming as a stream.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use mooq::{Deliveries, Delivery, ErrorKind, RawBytes, Retry};

use crate::Fixture;
use crate::scenario;
use crate::steps::{drain, fill, put, ready_in};

#[scenario]
async fn a_stream_gives_the_queues_messages_in_order(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["1", "2", "3"]).await;
    let mut stream = chan.consume::<String>(&queue).await.unwrap();
    put(&chan, &queue, "4").await;
    for (tag, body) in (1..).zip(["1", "2", "3", "4"]) {
        let delivery = next(&mut stream).await;
        assert_eq!(delivery.msg, body);
        assert_eq!(delivery.delivery_tag, tag);
        assert_eq!(delivery.queue, queue.as_str());
        assert_eq!(delivery.exchange, "");
        assert_eq!(delivery.routing_key, queue.as_str());
        delivery.ack().await.unwrap();
    }
    stream.cancel().await.unwrap();
    assert_eq!(ready_in(&chan, &queue).await, 0);
}

#[scenario]
async fn a_stream_works_with_the_adaptors_of_futures(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["1", "2", "3"]).await;
    let stream = chan.consume::<String>(&queue).await.unwrap();
    let bodies = stream.take(3).and_then(Delivery::ack).try_collect();
    let bodies: Vec<String> = crate::within("three messages", bodies).await.unwrap();
    assert_eq!(bodies, ["1", "2", "3"]);
}

#[scenario]
async fn a_stream_holds_no_more_than_its_prefetch(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["1", "2", "3", "4", "5"]).await;
    let mut stream = chan.consume::<String>(&queue).prefetch(2).await.unwrap();
    let first = next(&mut stream).await;
    let second = next(&mut stream).await;
    assert_eq!(ready_in(&chan, &queue).await, 3);
    first.ack().await.unwrap();
    assert_eq!(next(&mut stream).await.msg, "3");
    assert_eq!(second.msg, "2");
    assert_eq!(ready_in(&chan, &queue).await, 2);
}

#[scenario]
async fn each_consumer_of_a_channel_has_a_prefetch_of_its_own(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let (narrow, wide) = (fixture.name("narrow"), fixture.name("wide"));
    for queue in [&narrow, &wide] {
        fill(&chan, queue, &["1", "2", "3", "4", "5"]).await;
    }
    let mut one = chan.consume::<String>(&narrow).prefetch(1).await.unwrap();
    let mut three = chan.consume::<String>(&wide).prefetch(3).await.unwrap();
    let _held = next(&mut one).await;
    let _held = (
        next(&mut three).await,
        next(&mut three).await,
        next(&mut three).await,
    );
    assert_eq!(ready_in(&chan, &narrow).await, 4);
    assert_eq!(ready_in(&chan, &wide).await, 2);
}

#[scenario]
async fn a_delivery_dropped_unsettled_comes_again(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["body"]).await;
    let mut stream = chan.consume::<String>(&queue).await.unwrap();
    let first = next(&mut stream).await;
    assert!(!first.redelivered);
    drop(first);
    let again = next(&mut stream).await;
    assert!(again.redelivered);
    assert_eq!(again.requeue().await.unwrap(), "body");
    let third = next(&mut stream).await;
    assert!(third.redelivered);
    third.reject().await.unwrap();
    put(&chan, &queue, "after").await;
    assert_eq!(next(&mut stream).await.msg, "after");
}

#[scenario]
async fn a_message_that_is_requeued_keeps_its_place(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["1", "2", "3"]).await;
    let mut stream = chan.consume::<String>(&queue).prefetch(1).await.unwrap();
    next(&mut stream).await.requeue().await.unwrap();
    for (body, redelivered) in [("1", true), ("2", false), ("3", false)] {
        let delivery = next(&mut stream).await;
        assert_eq!(
            (delivery.msg.as_str(), delivery.redelivered),
            (body, redelivered)
        );
        delivery.ack().await.unwrap();
    }
}

#[scenario]
async fn a_cancelled_stream_gives_back_what_it_had_not_given_out(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["held", "back", "back too"]).await;
    let mut stream = chan.consume::<String>(&queue).await.unwrap();
    let held = next(&mut stream).await;
    stream.cancel().await.unwrap();
    let declared = chan.declare_queue(&queue).passive().await.unwrap();
    assert_eq!(declared.consumer_count, 0);
    assert_eq!(drain(&chan, &queue).await, ["back", "back too"]);
    // Deliveries that were given out stay with their holder.
    held.ack().await.unwrap();
}

#[scenario]
async fn a_dropped_stream_gives_back_what_it_had_not_given_out(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["1", "2", "3"]).await;
    let mut stream = chan.consume::<String>(&queue).await.unwrap();
    next(&mut stream).await.ack().await.unwrap();
    drop(stream);
    for body in ["2", "3"] {
        let got = chan.get::<String>(&queue).timeout(crate::expect::LIMIT);
        assert_eq!(got.await.unwrap().ack().await.unwrap(), body);
    }
}

#[scenario]
async fn a_stream_dropped_while_it_opens_leaves_no_consumer(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["body"]).await;
    // The opening is dropped at different points, and must never lose a message.
    for polls in 0..8 {
        let mut opening = chan.consume::<String>(&queue).into_future();
        for _ in 0..polls {
            if futures_util::poll!(&mut opening).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(opening);
        let got = chan.get::<String>(&queue).timeout(crate::expect::LIMIT);
        assert_eq!(got.await.unwrap().requeue().await.unwrap(), "body");
    }
}

#[scenario]
async fn an_auto_ack_stream_leaves_nothing_to_settle(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["body"]).await;
    let mut stream = chan.consume::<String>(&queue).auto_ack().await.unwrap();
    let delivery = next(&mut stream).await;
    let err = delivery.ack().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotAllowed);
    conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(ready_in(&chan, &queue).await, 0);
}

#[scenario]
async fn a_body_that_does_not_decode_is_an_item_and_the_stream_goes_on(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["no number"]).await;
    chan.publish("", &7).routing_key(&queue).await.unwrap();
    let mut stream = chan.consume::<u32>(&queue).await.unwrap();
    let item = crate::within("the first item", stream.next()).await;
    let err = item.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Decode);
    let item = crate::within("the second item", stream.next()).await;
    assert_eq!(item.unwrap().unwrap().ack().await.unwrap(), 7);
    // The body that does not decode stays unacked while the stream is open.
    assert_eq!(ready_in(&chan, &queue).await, 0);
    stream.cancel().await.unwrap();
    let kept = chan.get::<String>(&queue).timeout(crate::expect::LIMIT);
    assert_eq!(kept.await.unwrap().ack().await.unwrap(), "no number");
    conn.close().await.unwrap();
}

#[scenario]
async fn requeue_gives_a_body_that_does_not_decode_a_second_try(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["no number"]).await;
    let mut stream = chan
        .consume::<u32>(&queue)
        .on_decode_error(Retry::requeue())
        .await
        .unwrap();
    for attempt in ["the first item", "the second item"] {
        let item = crate::within(attempt, stream.next()).await;
        let err = item.unwrap().unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Decode, "{attempt}");
    }
    drop(stream);
    let kept = chan.get::<String>(&queue).timeout(crate::expect::LIMIT);
    assert_eq!(kept.await.unwrap().ack().await.unwrap(), "no number");
}

#[scenario]
async fn reject_takes_a_body_that_does_not_decode_out_of_the_queue(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["no number"]).await;
    let stream = chan.consume::<u32>(&queue);
    let policy = Retry::never().then_reject();
    let mut stream = stream.on_decode_error(policy).await.unwrap();
    let item = crate::within("the item", stream.next()).await;
    assert_eq!(item.unwrap().unwrap_err().kind(), ErrorKind::Decode);
    conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(ready_in(&chan, &queue).await, 0);
}

#[scenario]
async fn a_stream_of_raw_bytes_takes_any_body(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["json"]).await;
    let mut stream = chan.consume::<Bytes>(&queue).codec(RawBytes).await.unwrap();
    let item = crate::within("the item", stream.next()).await;
    assert_eq!(item.unwrap().unwrap().msg, "\"json\"");
}

#[scenario]
async fn a_stream_ends_with_an_error_when_its_queue_is_deleted(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let mut stream = chan.consume::<String>(&queue).await.unwrap();
    let (_conn, other) = fixture.channel().await;
    other.delete_queue(&queue).await.unwrap();
    let last = crate::within("the last item", stream.next()).await;
    let err = last.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConsumerCancelled);
    assert!(err.to_string().contains(&queue), "{err}");
    assert!(stream.next().await.is_none());
    chan.declare_queue(&queue)
        .await
        .expect("the channel goes on");
}

#[scenario]
async fn a_stream_ends_with_the_reason_when_the_broker_closes_its_channel(fixture: Fixture) {
    let (_conn, chan) = fixture.channel_without_recovery().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let mut stream = chan.consume::<String>(&queue).await.unwrap();
    let missing = fixture.name("missing");
    let cause = chan.publish(&missing, "lost").await.unwrap_err();
    let last = crate::within("the last item", stream.next()).await;
    let err = last.unwrap().unwrap_err();
    assert_eq!(err.reason(), cause.reason());
    assert!(stream.next().await.is_none());
}

#[scenario]
async fn a_stream_ends_without_an_error_when_its_channel_is_closed_from_this_side(
    fixture: Fixture,
) {
    let (conn, chan) = fixture.channel().await;
    let other = conn.create_channel().await.unwrap();
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let mut stream = chan.consume::<String>(&queue).await.unwrap();
    let mut second = other.consume::<String>(&queue).await.unwrap();
    chan.close().await.unwrap();
    assert!(crate::within("the end", stream.next()).await.is_none());
    conn.close().await.unwrap();
    assert!(crate::within("the end", second.next()).await.is_none());
}

#[scenario]
async fn consuming_a_missing_queue_fails(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("missing");
    let err = chan.consume::<String>(&queue).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::QueueNotFound);
    let text = format!("NOT_FOUND - no queue '{queue}' in vhost '/'");
    crate::expect_reason(&err, 404, (60, 20), &text);
}

#[scenario]
async fn an_exclusive_consumer_shuts_others_out(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let mut stream = chan
        .consume::<String>(&queue)
        .exclusive_consumer()
        .await
        .unwrap();
    let other = conn.create_channel().await.unwrap();
    let err = other.consume::<String>(&queue).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AccessRefused);
    let text = format!("ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use");
    crate::expect_reason(&err, 403, (60, 20), &text);
    put(&chan, &queue, "body").await;
    assert_eq!(next(&mut stream).await.msg, "body");
}

async fn next(stream: &mut Deliveries<String>) -> Delivery<String> {
    let item = crate::within("the stream's next item", stream.next()).await;
    item.expect("the stream goes on").expect("a delivery")
}

#[scenario]
async fn a_stream_has_the_tag_that_it_was_given(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let [queue, tag] = ["queue", "tag"].map(|name| fixture.name(name));
    chan.declare_queue(&queue).await.unwrap();
    let stream = chan.consume::<String>(&queue).tag(&tag).await.unwrap();
    assert_eq!(*stream.tag(), tag.as_str());
    let again = chan.consume::<String>(&queue).tag(&tag).await;
    let err = again.expect_err("the tag is in use");
    assert!(err.to_string().contains(&tag), "{err}");
    let long = chan.consume::<String>(&queue).tag("x".repeat(256)).await;
    assert_eq!(long.unwrap_err().kind(), ErrorKind::InvalidName);
}
