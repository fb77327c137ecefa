//! Consumers: turns, priorities, prefetch, tags, and how consumers come and go.

use mooq_core::{ChannelEvent, Consume, ErrorScope, FieldValue};

use crate::Fixture;
use crate::expect::method::BASIC_CONSUME;
use crate::raw::{consumer, queue, table, text};
use crate::scenario;

fn prioritized(queue: &str, priority: impl Into<FieldValue>) -> Consume {
    Consume {
        arguments: table([("x-priority", priority.into())]),
        ..consumer(queue)
    }
}

#[scenario]
async fn consumers_take_turns(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut first = fixture.raw().await;
    let mut second = fixture.raw().await;
    let mut third = fixture.raw().await;
    let q = fixture.name("q");
    publisher.declare(&q).await;
    for raw in [&first, &second, &third] {
        raw.consume(&q).await;
    }
    publisher.fill(&q, &["1", "2", "3", "4", "5", "6"]).await;
    assert_eq!(first.delivered(2).await, ["1", "4"]);
    assert_eq!(second.delivered(2).await, ["2", "5"]);
    assert_eq!(third.delivered(2).await, ["3", "6"]);
}

#[scenario]
async fn a_consumer_without_room_loses_its_turn(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut narrow = fixture.raw().await;
    let mut wide = fixture.raw().await;
    let q = fixture.name("q");
    publisher.declare(&q).await;
    narrow.prefetch(1).await;
    narrow.consume(&q).await;
    wide.consume(&q).await;
    publisher.fill(&q, &["1", "2", "3", "4"]).await;
    assert_eq!(wide.delivered(3).await, ["2", "3", "4"]);
    let held = narrow.delivery().await;
    assert_eq!(text(&held), "1");
    narrow.nothing_from(&q).await;
}

#[scenario]
async fn consumer_of_higher_priority_gets_everything_until_it_is_full(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut low = fixture.raw().await;
    let mut usual = fixture.raw().await;
    let mut high = fixture.raw().await;
    let q = fixture.name("q");
    publisher.declare(&q).await;
    low.consume_with(prioritized(&q, -1)).await;
    usual.prefetch(1).await;
    usual.consume(&q).await;
    high.prefetch(2).await;
    high.consume_with(prioritized(&q, 10)).await;
    publisher.fill(&q, &["1", "2", "3", "4", "5"]).await;
    let held = high.delivery().await;
    assert_eq!(text(&held), "1");
    assert_eq!(high.delivered(1).await, ["2"]);
    assert_eq!(usual.delivered(1).await, ["3"]);
    assert_eq!(low.delivered(2).await, ["4", "5"]);

    high.ack(held.delivery_tag);
    // The queue has the ack once it has answered a get from the same channel.
    assert!(high.get(&q).await.is_none());
    publisher.fill(&q, &["6", "7"]).await;
    assert_eq!(high.delivered(1).await, ["6"]);
    assert_eq!(low.delivered(1).await, ["7"]);
}

#[scenario]
async fn consumer_priority_must_be_an_integer(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    let outcome = raw.channel.consume(prioritized(&q, "high")).await;
    let text = format!(
        "PRECONDITION_FAILED - invalid arg 'x-priority' for queue '{q}' in vhost '/': \
         \"expected integer, got longstr\""
    );
    raw.refused(outcome, 406, BASIC_CONSUME, &text).await;
}

#[scenario]
async fn prefetch_holds_for_each_consumer(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let (q, other) = (fixture.name("q"), fixture.name("other"));
    raw.declare(&q).await;
    raw.declare(&other).await;
    publisher.fill(&q, &["1", "2", "3", "4"]).await;
    publisher.fill(&other, &["a", "b", "c"]).await;
    raw.prefetch(2).await;
    raw.consume(&q).await;
    assert_eq!(raw.delivered(2).await, ["1", "2"]);
    raw.nothing_from(&q).await;
    raw.consume(&other).await;
    assert_eq!(raw.delivered(2).await, ["a", "b"]);
    raw.nothing_from(&other).await;
    raw.ack(1);
    assert_eq!(raw.delivered(1).await, ["3"]);
    raw.ack_up_to(5);
    let mut rest = raw.delivered(2).await;
    rest.sort();
    assert_eq!(rest, ["4", "c"]);
}

#[scenario]
async fn prefetch_is_set_for_later_consumers(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let (before, after) = (fixture.name("before"), fixture.name("after"));
    raw.declare(&before).await;
    raw.declare(&after).await;
    raw.consume(&before).await;
    raw.prefetch(1).await;
    publisher.fill(&before, &["1", "2", "3"]).await;
    assert_eq!(raw.delivered(3).await, ["1", "2", "3"]);

    raw.consume(&after).await;
    raw.prefetch(0).await;
    publisher.fill(&after, &["a", "b"]).await;
    assert_eq!(raw.delivered(1).await, ["a"]);
    raw.nothing_from(&after).await;
}

#[scenario(before = V4_3)]
async fn a_global_prefetch_is_shared_by_the_channel(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let (q, other) = (fixture.name("q"), fixture.name("other"));
    raw.declare(&q).await;
    raw.declare(&other).await;
    raw.channel.qos(2, true).await.unwrap();
    raw.consume(&q).await;
    raw.consume(&other).await;
    publisher.fill(&q, &["1"]).await;
    assert_eq!(raw.delivered(1).await, ["1"]);
    publisher.fill(&other, &["a", "b"]).await;
    assert_eq!(raw.delivered(1).await, ["a"]);
    raw.nothing_from(&other).await;
    publisher.fill(&q, &["2"]).await;
    raw.nothing_from(&q).await;

    raw.ack(1);
    raw.ack(2);
    let mut rest = raw.delivered(2).await;
    rest.sort();
    assert_eq!(rest, ["2", "b"]);
}

#[scenario(since = V4_3)]
async fn a_global_prefetch_is_one_for_each_consumer(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let (q, other) = (fixture.name("q"), fixture.name("other"));
    raw.declare(&q).await;
    raw.declare(&other).await;
    raw.channel.qos(1, true).await.unwrap();
    raw.consume(&q).await;
    raw.consume(&other).await;
    publisher.fill(&q, &["1", "2"]).await;
    assert_eq!(raw.delivered(1).await, ["1"]);
    publisher.fill(&other, &["a", "b"]).await;
    assert_eq!(raw.delivered(1).await, ["a"]);
    raw.nothing_from(&q).await;
    raw.nothing_from(&other).await;
    raw.ack(1);
    assert_eq!(raw.delivered(1).await, ["2"]);
}

#[scenario]
async fn prefetch_limits_neither_gets_nor_what_needs_no_ack(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    publisher.fill(&q, &["1", "2", "3", "4", "5"]).await;
    raw.prefetch(1).await;
    raw.fetch(&q).await;
    raw.fetch(&q).await;
    raw.consume_with(Consume {
        no_ack: true,
        ..consumer(&q)
    })
    .await;
    assert_eq!(raw.delivered(3).await, ["3", "4", "5"]);
}

#[scenario]
async fn a_cancelled_consumer_keeps_what_it_has(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    let tag = raw.consume(&q).await;
    publisher.fill(&q, &["1", "2"]).await;
    raw.delivered(2).await;
    raw.cancel(&tag).await;
    publisher.fill(&q, &["3"]).await;
    raw.nothing_from(&q).await;
    assert_eq!(raw.drain(&q).await, ["3"], "1 and 2 stay unacknowledged");
    raw.ack(1);
    raw.requeue(2);
    assert_eq!(raw.drain(&q).await, ["2"]);
}

#[scenario]
async fn cancelling_an_unknown_tag_is_no_error(fixture: Fixture) {
    let raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    let tag = raw.consume(&q).await;
    raw.cancel(&"unknown".try_into().unwrap()).await;
    raw.cancel(&tag).await;
    raw.cancel(&tag).await;
    assert_eq!(raw.counts(&q).await, (0, 0));
}

#[scenario]
async fn the_broker_names_a_consumer_without_a_tag(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    let first = raw.consume(&q).await;
    assert!(first.starts_with("amq.ctag-"), "{first}");
    publisher.put("", &q, "m").await;
    assert_eq!(raw.delivery().await.consumer_tag, first);
    let second = raw.consume(&q).await;
    assert_ne!(first, second);
}

#[scenario]
async fn consumer_tag_may_be_used_on_another_channel_or_after_its_cancel(fixture: Fixture) {
    let raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    let tagged = Consume {
        tag: "mine".try_into().unwrap(),
        ..consumer(&q)
    };
    let tag = raw.consume_with(tagged.clone()).await;
    assert_eq!(tag, "mine");
    raw.sibling().await.consume_with(tagged.clone()).await;
    raw.cancel(&tag).await;
    raw.consume_with(tagged).await;
}

#[scenario]
async fn consumer_tag_used_twice_closes_the_connection(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let mut other_channel = raw.sibling().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    let tagged = Consume {
        tag: "mine".try_into().unwrap(),
        ..consumer(&q)
    };
    raw.consume_with(tagged.clone()).await;
    let err = raw.channel.consume(tagged).await.unwrap_err();
    assert_eq!(err.scope(), ErrorScope::Connection, "{err}");
    let text = "NOT_ALLOWED - attempt to reuse consumer tag 'mine'";
    crate::expect_reason(&err, 530, BASIC_CONSUME, text);
    raw.closes_connection(530, BASIC_CONSUME, text).await;
    let err = other_channel.closed().await;
    crate::expect_reason(&err, 530, BASIC_CONSUME, text);
}

#[scenario]
async fn an_exclusive_consumer_is_alone(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    let exclusive = Consume {
        exclusive: true,
        ..consumer(&q)
    };
    let owner = fixture.raw().await;
    owner.declare(&q).await;
    let in_use = format!("ACCESS_REFUSED - queue '{q}' in vhost '/' in exclusive use");

    let shared = owner.consume(&q).await;
    let outcome = raw.channel.consume(exclusive.clone()).await;
    raw.refused(outcome, 403, BASIC_CONSUME, &in_use).await;
    owner.cancel(&shared).await;

    let alone = owner.consume_with(exclusive.clone()).await;
    for consume in [exclusive, consumer(&q)] {
        let outcome = raw.channel.consume(consume).await;
        raw.refused(outcome, 403, BASIC_CONSUME, &in_use).await;
    }
    assert!(raw.get(&q).await.is_none(), "a get is allowed");
    owner.cancel(&alone).await;
    raw.consume(&q).await;
}

#[scenario]
async fn deleting_a_queue_cancels_its_consumers(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let other = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    let tag = raw.consume(&q).await;
    other.delete(&q).await;
    assert_eq!(raw.cancelled().await, tag);
    // The tag is free, and the channel goes on.
    raw.declare(&q).await;
    let again = Consume {
        tag: tag.clone(),
        ..consumer(&q)
    };
    assert_eq!(raw.consume_with(again).await, tag);
}

#[scenario]
async fn deleting_a_queue_on_its_consumers_channel_cancels_as_well(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    let tag = raw.consume(&q).await;
    assert_eq!(raw.delete(&q).await, 0);
    assert_eq!(raw.cancelled().await, tag);
    raw.nothing_more().await;
}

#[scenario]
async fn closing_one_channel_leaves_the_others_consumers(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let sibling = raw.sibling().await;
    let elsewhere = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    let tagged = Consume {
        tag: "the same".try_into().unwrap(),
        ..consumer(&q)
    };
    for each in [&raw, &sibling, &elsewhere] {
        each.consume_with(tagged.clone()).await;
    }
    sibling.channel.close().await.unwrap();
    elsewhere.connection.close().await.unwrap();
    assert_eq!(publisher.counts(&q).await, (0, 1));
    publisher.fill(&q, &["1", "2"]).await;
    assert_eq!(raw.delivered(2).await, ["1", "2"]);
}

#[scenario]
async fn a_delivery_carries_all_that_was_published(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let q = raw.declare_with(queue("")).await;
    let key = fixture.name("key");
    raw.bind(&q, "amq.topic", &key).await;
    let tag = raw.consume(&q).await;
    let headers = table([("n", 1.into()), ("s", "text".into())]);
    let sent = crate::raw::message_with("amq.topic", &key, "body", headers);
    publisher
        .put_message(mooq_core::Publish::new(sent.clone()))
        .await;
    match raw.event().await {
        ChannelEvent::Deliver(deliver) => {
            assert_eq!(deliver.consumer_tag, tag);
            assert_eq!(deliver.delivery_tag, 1);
            assert!(!deliver.redelivered);
            assert_eq!(*deliver.message, sent);
        }
        other => panic!("expected a delivery, not {other:?}"),
    }
}

#[scenario]
async fn consumer_gets_waiting_messages_first(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    publisher.fill(&q, &["1", "2"]).await;
    raw.consume(&q).await;
    assert_eq!(raw.delivered(2).await, ["1", "2"]);
    publisher.fill(&q, &["3"]).await;
    assert_eq!(raw.delivered(1).await, ["3"]);
    assert_eq!(raw.counts(&q).await, (0, 1));
}
