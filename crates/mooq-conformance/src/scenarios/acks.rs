//! Settling deliveries: acks, nacks and rejects, tags, requeueing, recover.

use mooq_core::Settlement;

use crate::Fixture;
use crate::expect::method::{BASIC_ACK, BASIC_NACK, BASIC_REJECT};
use crate::raw::{Raw, body, consumer, text};
use crate::scenario;

/// A queue with these bodies, and a channel that has them all, unacknowledged.
async fn deliver(fixture: &Fixture, bodies: &[&str]) -> (Raw, String) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    publisher.fill(&q, bodies).await;
    let tag = raw.consume(&q).await;
    assert_eq!(raw.delivered(bodies.len()).await, bodies);
    // Requeued messages stay in the queue, for the scenario to read.
    raw.cancel(&tag).await;
    (raw, q)
}

#[scenario]
async fn acked_message_does_not_come_back(fixture: Fixture) {
    let (mut raw, q) = deliver(&fixture, &["1", "2", "3"]).await;
    raw.ack(2);
    raw.channel.close().await.unwrap();
    raw.reopen().await;
    raw.receives(&q, &["1", "3"]).await;
}

#[scenario]
async fn acknowledging_up_to_a_tag_takes_all_before_it(fixture: Fixture) {
    let (mut raw, q) = deliver(&fixture, &["1", "2", "3", "4"]).await;
    raw.ack(1);
    raw.ack_up_to(3);
    raw.channel.close().await.unwrap();
    raw.reopen().await;
    raw.receives(&q, &["4"]).await;
}

#[scenario]
async fn ack_up_to_tag_0_means_all_even_if_there_are_none(fixture: Fixture) {
    let (mut raw, q) = deliver(&fixture, &["1", "2"]).await;
    raw.ack_up_to(0);
    raw.ack_up_to(0);
    raw.settle_up_to(0, Settlement::Nack { requeue: true });
    let mut publisher = fixture.publisher().await;
    publisher.fill(&q, &["3"]).await;
    assert_eq!(raw.fetch(&q).await.delivery_tag, 3);
    raw.channel.close().await.unwrap();
    raw.reopen().await;
    raw.receives(&q, &["3"]).await;
}

#[scenario]
async fn nacking_up_to_tag_0_sends_all_back(fixture: Fixture) {
    let (raw, q) = deliver(&fixture, &["1", "2", "3"]).await;
    raw.settle_up_to(0, Settlement::Nack { requeue: true });
    assert_eq!(raw.drain(&q).await, ["1", "2", "3"]);
}

#[scenario]
async fn nacking_up_to_a_tag_without_requeue_drops_them(fixture: Fixture) {
    let (mut raw, q) = deliver(&fixture, &["1", "2", "3"]).await;
    raw.settle_up_to(2, Settlement::Nack { requeue: false });
    raw.channel.close().await.unwrap();
    raw.reopen().await;
    raw.receives(&q, &["3"]).await;
}

#[scenario]
async fn a_reject_drops_or_requeues_one(fixture: Fixture) {
    let (mut raw, q) = deliver(&fixture, &["1", "2", "3"]).await;
    raw.settle(1, Settlement::Reject { requeue: false });
    raw.settle(2, Settlement::Reject { requeue: true });
    assert_eq!(raw.drain(&q).await, ["2"]);
    raw.channel.close().await.unwrap();
    raw.reopen().await;
    raw.receives(&q, &["3"]).await;
}

#[scenario]
async fn unknown_delivery_tag_closes_the_channel_by_every_method(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    for (settlement, method) in [
        (Settlement::Ack, BASIC_ACK),
        (Settlement::Nack { requeue: true }, BASIC_NACK),
        (Settlement::Nack { requeue: false }, BASIC_NACK),
        (Settlement::Reject { requeue: true }, BASIC_REJECT),
        (Settlement::Reject { requeue: false }, BASIC_REJECT),
    ] {
        for tag in [0, 1, 7] {
            raw.settle(tag, settlement);
            let text = format!("PRECONDITION_FAILED - unknown delivery tag {tag}");
            raw.closes(406, method, &text).await;
        }
    }
    for (settlement, method) in [
        (Settlement::Ack, BASIC_ACK),
        (Settlement::Nack { requeue: true }, BASIC_NACK),
    ] {
        raw.settle_up_to(1, settlement);
        let text = "PRECONDITION_FAILED - unknown delivery tag 1";
        raw.closes(406, method, text).await;
    }
}

#[scenario]
async fn settling_twice_closes_the_channel_and_requeues_the_rest(fixture: Fixture) {
    let (mut raw, q) = deliver(&fixture, &["1", "2", "3"]).await;
    raw.ack(2);
    raw.ack(2);
    let text = "PRECONDITION_FAILED - unknown delivery tag 2";
    raw.closes(406, BASIC_ACK, text).await;
    raw.receives(&q, &["1", "3"]).await;
}

#[scenario]
async fn ack_up_to_a_settled_tag_closes_the_channel_and_settles_nothing(fixture: Fixture) {
    let (mut raw, q) = deliver(&fixture, &["1", "2", "3"]).await;
    raw.ack(2);
    raw.ack_up_to(2);
    let text = "PRECONDITION_FAILED - unknown delivery tag 2";
    raw.closes(406, BASIC_ACK, text).await;
    // Delivery 1 was not acknowledged.
    raw.receives(&q, &["1", "3"]).await;
}

#[scenario]
async fn ack_up_to_a_future_tag_closes_the_channel_and_settles_nothing(fixture: Fixture) {
    let (mut raw, q) = deliver(&fixture, &["1", "2"]).await;
    raw.ack_up_to(3);
    let text = "PRECONDITION_FAILED - unknown delivery tag 3";
    raw.closes(406, BASIC_ACK, text).await;
    raw.receives(&q, &["1", "2"]).await;
}

#[scenario]
async fn delivery_tags_belong_to_their_channel(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let first = fixture.raw().await;
    let mut second = first.sibling().await;
    let q = fixture.name("q");
    first.declare(&q).await;
    publisher.fill(&q, &["1", "2"]).await;
    assert_eq!(first.fetch(&q).await.delivery_tag, 1);
    assert_eq!(second.fetch(&q).await.delivery_tag, 1);

    second.ack(1);
    second.ack(1);
    let text = "PRECONDITION_FAILED - unknown delivery tag 1";
    second.closes(406, BASIC_ACK, text).await;
    first.requeue(1);
    assert_eq!(first.drain(&q).await, ["1"]);
}

#[scenario]
async fn gets_and_deliveries_count_tags_together(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let (q, other) = (fixture.name("q"), fixture.name("other"));
    raw.declare(&q).await;
    raw.declare(&other).await;
    publisher.fill(&other, &["1", "2", "3"]).await;
    assert_eq!(raw.fetch(&other).await.delivery_tag, 1);

    // Deliveries without acknowledgement count as tags too.
    let mut consume = consumer(&q);
    consume.no_ack = true;
    raw.consume_with(consume).await;
    publisher.put("", &q, "m").await;
    assert_eq!(raw.delivery().await.delivery_tag, 2);
    let name = || other.as_str().try_into().unwrap();
    let fetched = raw.channel.get(name(), true).await.unwrap();
    assert_eq!(fetched.expect("a message is ready").delivery_tag, 3);
    assert_eq!(raw.fetch(&other).await.delivery_tag, 4);
    assert!(raw.get(&other).await.is_none());
    publisher.put("", &q, "m").await;
    assert_eq!(
        raw.delivery().await.delivery_tag,
        5,
        "an empty get takes no delivery tag"
    );
}

#[scenario]
async fn no_ack_delivery_cannot_be_settled(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    publisher.put("", &q, "m").await;
    let mut consume = consumer(&q);
    consume.no_ack = true;
    let tag = raw.consume_with(consume).await;
    assert_eq!(raw.delivery().await.delivery_tag, 1);
    raw.cancel(&tag).await;
    publisher.put("", &q, "to be settled").await;
    raw.fetch(&q).await;
    raw.ack(1);
    let text = "PRECONDITION_FAILED - unknown delivery tag 1";
    raw.closes(406, BASIC_ACK, text).await;
    raw.receives(&q, &["to be settled"]).await;
}

#[scenario]
async fn requeued_message_goes_back_to_its_place(fixture: Fixture) {
    let (raw, q) = deliver(&fixture, &["1", "2", "3", "4", "5"]).await;
    for tag in [4, 1, 3] {
        raw.requeue(tag);
    }
    assert_eq!(raw.drain(&q).await, ["1", "3", "4"]);

    let mut publisher = fixture.publisher().await;
    publisher.fill(&q, &["6"]).await;
    raw.requeue(5);
    raw.requeue(2);
    assert_eq!(raw.drain(&q).await, ["2", "5", "6"]);
}

#[scenario]
async fn requeued_message_is_marked_as_redelivered(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    publisher.fill(&q, &["1", "2"]).await;
    raw.prefetch(1).await;
    raw.consume(&q).await;
    let first = raw.delivery().await;
    assert_eq!((text(&first), first.redelivered), ("1", false));
    raw.requeue(first.delivery_tag);
    let again = raw.delivery().await;
    assert_eq!((text(&again), again.redelivered), ("1", true));
    assert_ne!(again.delivery_tag, first.delivery_tag);
    raw.ack(again.delivery_tag);
    let second = raw.delivery().await;
    assert_eq!((text(&second), second.redelivered), ("2", false));
}

#[scenario]
async fn closing_the_channel_requeues_in_order(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    raw.prefetch(3).await;
    raw.consume(&q).await;
    publisher.fill(&q, &["1", "2", "3", "4"]).await;
    assert_eq!(raw.delivered(3).await, ["1", "2", "3"]);
    raw.channel.close().await.unwrap();
    raw.reopen().await;
    for (expected, redelivered) in [("1", true), ("2", true), ("3", true), ("4", false)] {
        let fetched = raw.fetch(&q).await;
        assert_eq!(body(&fetched.message), expected);
        assert_eq!(fetched.redelivered, redelivered, "{expected}");
    }
}

#[scenario]
async fn closing_the_connection_requeues(fixture: Fixture) {
    let (raw, q) = deliver(&fixture, &["1", "2"]).await;
    let mut other = fixture.raw().await;
    assert!(other.get(&q).await.is_none());
    raw.connection.close().await.unwrap();
    other.receives(&q, &["1", "2"]).await;
}

#[scenario]
async fn recover_requeues_all_of_the_channel(fixture: Fixture) {
    let (raw, q) = deliver(&fixture, &["1", "2", "3"]).await;
    let mut publisher = fixture.publisher().await;
    publisher.fill(&q, &["4"]).await;
    let elsewhere = fixture.raw().await;
    let kept = elsewhere.fetch(&q).await;
    assert_eq!(body(&kept.message), "4");

    raw.ack(2);
    raw.methods().recover(true).await.unwrap();
    for expected in ["1", "3"] {
        let fetched = raw.fetch(&q).await;
        assert_eq!(body(&fetched.message), expected);
        assert!(fetched.redelivered);
    }
    assert!(
        raw.get(&q).await.is_none(),
        "the other channel's delivery stays unacked"
    );
}

#[scenario]
async fn recover_delivers_again_to_the_same_consumer(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    raw.consume(&q).await;
    publisher.fill(&q, &["1", "2"]).await;
    raw.delivered(2).await;
    raw.methods().recover(true).await.unwrap();
    for (tag, expected) in [(3, "1"), (4, "2")] {
        let again = raw.delivery().await;
        assert_eq!(text(&again), expected);
        assert_eq!((again.delivery_tag, again.redelivered), (tag, true));
    }
}

#[scenario]
async fn a_get_tells_how_many_are_left(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    assert!(raw.get(&q).await.is_none());
    publisher.fill(&q, &["1", "2", "3"]).await;
    let mut left = Vec::new();
    while let Some(fetched) = raw.get(&q).await {
        assert!(!fetched.redelivered);
        left.push(fetched.message_count);
    }
    assert_eq!(left, [2, 1, 0]);
}

#[scenario]
async fn settling_after_the_queue_is_gone_is_no_error(fixture: Fixture) {
    let (mut raw, q) = deliver(&fixture, &["1", "2", "3", "4"]).await;
    raw.sibling().await.delete(&q).await;
    raw.ack(1);
    raw.requeue(2);
    raw.settle(3, Settlement::Reject { requeue: false });
    raw.nothing_more().await;

    // The deliveries count as settled nevertheless.
    raw.ack(1);
    let text = "PRECONDITION_FAILED - unknown delivery tag 1";
    raw.closes(406, BASIC_ACK, text).await;
}
