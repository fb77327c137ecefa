//! Quorum queues: the consumers that they serve and count.

use mooq_core::{Consume, FieldValue};

use super::time_to_live::GROWING;
use crate::Fixture;
use crate::expect::method::{BASIC_CONSUME, QUEUE_DECLARE};
use crate::raw::{Raw, consumer, quorum_queue, table, text};
use crate::scenario;

fn tagged(queue: &str, tag: &str) -> Consume {
    Consume {
        tag: tag.try_into().unwrap(),
        ..consumer(queue)
    }
}

/// A channel that consumes with a prefetch count.
async fn consuming(fixture: &Fixture, queue: &str, prefetch: u16) -> Raw {
    let raw = fixture.raw().await;
    raw.prefetch(prefetch).await;
    raw.consume(queue).await;
    raw
}

#[scenario(before = V4_3)]
async fn global_qos_is_not_supported(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    raw.channel.qos(10, true).await.unwrap();
    let outcome = raw.channel.consume(consumer(&q)).await;
    let text = format!("NOT_IMPLEMENTED - queue '{q}' in vhost '/' does not support global qos");
    outcome.expect_err(&text);
    raw.closes_connection(540, BASIC_CONSUME, &text).await;
}

#[scenario]
async fn exclusive_consumers_of_a_quorum_queue_are_not_alone(fixture: Fixture) {
    let raw = fixture.publisher().await;
    let mut other = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    let exclusive = Consume {
        exclusive: true,
        ..consumer(&q)
    };
    for channel in [&raw, &other] {
        channel.prefetch(1).await;
        channel.consume_with(exclusive.clone()).await;
    }
    other.consume(&q).await;
    assert_eq!(raw.counts(&q).await, (0, 3));
    raw.publish("", &q, "1");
    raw.publish("", &q, "2");
    assert_eq!(other.delivered(1).await, ["2"]);
}

#[scenario]
async fn arguments_of_consumers_are_checked(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    for (arguments, problem) in [
        (
            table([("x-priority", "high".into())]),
            "invalid arg 'x-priority' for queue '{q}' in vhost '/': \"expected integer, got longstr\"",
        ),
        (
            table([("x-stream-offset", "first".into())]),
            "invalid arg 'x-stream-offset' for queue '{q}' in vhost '/' of queue type \
             rabbit_quorum_queue",
        ),
    ] {
        let consume = Consume {
            arguments,
            ..consumer(&q)
        };
        let outcome = raw.channel.consume(consume).await;
        let text = format!("PRECONDITION_FAILED - {}", problem.replace("{q}", &q));
        raw.refused(outcome, 406, BASIC_CONSUME, &text).await;
    }
}

#[scenario(since = V4_3)]
async fn a_consumers_timeout_is_no_negative_number(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (q, classic) = (fixture.name("q"), fixture.name("classic"));
    raw.declare_with(quorum_queue(&q)).await;
    raw.declare(&classic).await;
    let foreign = "of queue type rabbit_classic_queue";
    for (queue, value, why) in [
        (&q, FieldValue::from(-1), ": {value_negative,-1}"),
        (&q, "5".into(), ": \"expected integer, got longstr\""),
        (&classic, (-1).into(), &format!(" {foreign}")),
        (&classic, 5.into(), &format!(" {foreign}")),
    ] {
        let consume = Consume {
            arguments: table([("x-consumer-timeout", value)]),
            ..consumer(queue)
        };
        let outcome = raw.channel.consume(consume).await;
        let text = format!(
            "PRECONDITION_FAILED - invalid arg 'x-consumer-timeout' for queue '{queue}' in vhost \
             '/'{why}"
        );
        raw.refused(outcome, 406, BASIC_CONSUME, &text).await;
    }
}

#[scenario]
async fn consumers_take_turns_and_one_that_was_full_is_last(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    let mut a = consuming(&fixture, &q, 1).await;
    let mut b = consuming(&fixture, &q, 2).await;
    raw.fill(&q, &["1", "2"]).await;
    assert_eq!(a.delivered(1).await, ["1"]);
    assert_eq!(b.delivered(1).await, ["2"]);
    // Consumer a is full: b has been in the row since its turn, and a queues up behind b.
    a.ack(1);
    raw.nothing_from(&q).await;
    a.settled().await;
    raw.until_counts(&q, (0, 2)).await;
    raw.fill(&q, &["3", "4"]).await;
    assert_eq!(b.delivered(1).await, ["3"]);
    assert_eq!(a.delivered(1).await, ["4"]);
}

#[scenario]
async fn consumer_of_higher_priority_is_served_first_while_it_takes_more(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    let mut low = consuming(&fixture, &q, 2).await;
    let mut high = fixture.raw().await;
    high.prefetch(2).await;
    high.consume_with(Consume {
        arguments: table([("x-priority", 1.into())]),
        ..consumer(&q)
    })
    .await;
    raw.fill(&q, &["1", "2", "3", "4", "5"]).await;
    assert_eq!(high.delivered(2).await, ["1", "2"]);
    assert_eq!(low.delivered(2).await, ["3", "4"]);
    high.ack(2);
    assert_eq!(high.delivered(1).await, ["5"]);
}

#[scenario]
async fn consumer_without_a_prefetch_has_at_most_2000_deliveries(fixture: Fixture) {
    let raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    let mut eager = fixture.raw().await;
    eager.consume(&q).await;
    for number in 1..=2001 {
        raw.publish("", &q, &number.to_string());
    }
    let delivered = eager.delivered(2000).await;
    assert_eq!(delivered.last().map(String::as_str), Some("2000"));
    raw.until_counts(&q, (1, 1)).await;
    eager.nothing_from(&q).await;
    eager.ack(7);
    assert_eq!(eager.delivered(1).await, ["2001"]);
}

#[scenario]
async fn channel_that_fetched_counts_as_a_consumer_until_it_settles(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    raw.fill(&q, &["1", "2", "3"]).await;
    raw.fetch(&q).await;
    raw.fetch(&q).await;
    assert_eq!(raw.counts(&q).await, (1, 2));
    raw.ack(1);
    raw.until_counts(&q, (1, 1)).await;
    raw.settle(2, mooq_core::Settlement::Reject { requeue: false });
    raw.until_counts(&q, (1, 0)).await;
    assert_eq!(raw.drain(&q).await, ["3"]);
    assert_eq!(raw.counts(&q).await, (0, 0));
}

#[scenario]
async fn a_cancelled_consumer_counts_until_it_has_settled_all(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(&q, [("x-delivery-limit", 20.into())])
        .await;
    let mut cancelled = fixture.raw().await;
    cancelled.prefetch(2).await;
    let tag = cancelled.consume(&q).await;
    raw.fill(&q, &["1", "2", "3"]).await;
    assert_eq!(cancelled.delivered(2).await, ["1", "2"]);
    cancelled.cancel(&tag).await;
    raw.until_counts(&q, (1, 1)).await;
    cancelled.ack(1);
    cancelled.settled().await;
    assert_eq!(raw.counts(&q).await, (1, 1));
    cancelled.requeue(2);
    raw.until_counts(&q, (2, 0)).await;
    cancelled.nothing_from(&q).await;
    assert_eq!(raw.drain(&q).await, ["2", "3"]);
}

#[scenario(since = V4_0)]
async fn consumer_tag_taken_again_answers_for_what_it_had_before(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    let mut again = fixture.raw().await;
    again.prefetch(2).await;
    let tag = again.consume_with(tagged(&q, "t")).await;
    raw.fill(&q, &["1", "2", "3", "4"]).await;
    assert_eq!(again.delivered(2).await, ["1", "2"]);
    again.cancel(&tag).await;
    again.consume_with(tagged(&q, "t")).await;
    again.nothing_from(&q).await;
    raw.until_counts(&q, (2, 1)).await;
    again.ack(1);
    assert_eq!(again.delivered(1).await, ["3"]);
    again.ack(2);
    assert_eq!(again.delivered(1).await, ["4"]);
}

#[scenario]
async fn no_ack_deliveries_are_gone(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    raw.fill(&q, &["1", "2", "3"]).await;
    let mut careless = fixture.raw().await;
    careless
        .consume_with(Consume {
            no_ack: true,
            ..consumer(&q)
        })
        .await;
    for expected in ["1", "2", "3"] {
        let delivery = careless.delivery().await;
        assert_eq!(text(&delivery), expected);
    }
    careless.connection.close().await.unwrap();
    raw.until_counts(&q, (0, 0)).await;
    assert!(raw.get(&q).await.is_none());
}

/// A channel with four deliveries, which the queue requeues in one step when the channel ends, and
/// a consumer without acknowledgement and with a prefetch count of 1.
async fn careless_of_four<const N: usize>(
    fixture: &Fixture,
    queue: &str,
    arguments: [(&str, FieldValue); N],
) -> (Raw, Raw) {
    let mut raw = fixture.publisher().await;
    raw.declare_quorum(queue, arguments).await;
    let mut first = fixture.raw().await;
    first.consume(queue).await;
    for body in ["1", "2", "3", "4"] {
        raw.fill(queue, &[body]).await;
        assert_eq!(text(&first.delivery().await), body);
    }
    let careless = fixture.raw().await;
    careless.prefetch(1).await;
    let no_ack = Consume {
        no_ack: true,
        ..consumer(queue)
    };
    careless.consume_with(no_ack).await;
    (first, careless)
}

#[scenario]
async fn prefetch_holds_without_acknowledgement_as_well(fixture: Fixture) {
    let q = fixture.name("q");
    let (first, mut careless) = careless_of_four(&fixture, &q, []).await;
    let mut other = fixture.raw().await;
    other.consume(&q).await;
    first.channel.close().await.unwrap();
    assert_eq!(text(&careless.delivery().await), "1");
    for body in ["2", "3", "4"] {
        assert_eq!(text(&other.delivery().await), body);
    }
    // The consumer takes more by now, but comes last, since it was full.
    let mut raw = fixture.publisher().await;
    raw.fill(&q, &["5", "6"]).await;
    assert_eq!(text(&other.delivery().await), "5");
    assert_eq!(text(&careless.delivery().await), "6");
}

#[scenario]
async fn length_limit_strikes_before_a_no_ack_consumer_takes_more(fixture: Fixture) {
    let q = fixture.name("q");
    let limit = [("x-max-length", 0.into())];
    let (first, mut careless) = careless_of_four(&fixture, &q, limit).await;
    first.channel.close().await.unwrap();
    assert_eq!(text(&careless.delivery().await), "1");
    let mut raw = fixture.publisher().await;
    raw.fill(&q, &["5"]).await;
    assert_eq!(text(&careless.delivery().await), "5");
}

#[scenario]
async fn expiry_waits_while_a_queue_is_used_and_declaring_it_again_is_no_use(fixture: Fixture) {
    for millis in GROWING {
        let raw = &mut fixture.publisher().await;
        let q = fixture.name(&format!("q-{millis}"));
        let expires = [("x-expires", i64::from(millis).into())];
        raw.declare_quorum(&q, expires).await;
        raw.fill(&q, &["m"]).await;
        let Ok(Some(fetched)) = raw.channel.get(q.as_str().try_into().unwrap(), false).await else {
            continue;
        };
        raw.ack(fetched.delivery_tag);
        let gone = async {
            loop {
                let passive = crate::raw::passive_queue(&q);
                match raw.channel.declare_queue(passive).await {
                    Ok(_) => tokio::task::yield_now().await,
                    Err(gone) => return gone,
                }
            }
        };
        let gone = crate::within("the queue's expiry", gone).await;
        let text = format!("NOT_FOUND - no queue '{q}' in vhost '/'");
        crate::expect_reason(&gone, 404, QUEUE_DECLARE, &text);
        return;
    }
    panic!("queues expire before they are used: {GROWING:?}");
}

fn with_failover(queue: &str, value: FieldValue) -> Consume {
    Consume {
        arguments: table([("x-cancel-on-ha-failover", value)]),
        ..consumer(queue)
    }
}

#[scenario(before = V4_0)]
async fn a_failover_of_mirrors_is_for_classic_queues_alone(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (q, classic) = (fixture.name("q"), fixture.name("classic"));
    raw.declare_with(quorum_queue(&q)).await;
    raw.declare(&classic).await;
    raw.consume_with(with_failover(&classic, true.into())).await;
    let outcome = raw.channel.consume(with_failover(&q, true.into())).await;
    let text = format!(
        "PRECONDITION_FAILED - invalid arg 'x-cancel-on-ha-failover' for queue '{q}' in vhost '/' \
         of queue type rabbit_quorum_queue"
    );
    raw.refused(outcome, 406, BASIC_CONSUME, &text).await;
    let outcome = raw.channel.consume(with_failover(&classic, 1.into())).await;
    let text = format!(
        "PRECONDITION_FAILED - invalid arg 'x-cancel-on-ha-failover' for queue '{classic}' in \
         vhost '/': {{unacceptable_type,signedint}}"
    );
    raw.refused(outcome, 406, BASIC_CONSUME, &text).await;
}

#[scenario(since = V4_0)]
async fn a_failover_of_mirrors_is_nothing_to_queues_without(fixture: Fixture) {
    let raw = fixture.raw().await;
    let (q, classic) = (fixture.name("q"), fixture.name("classic"));
    raw.declare_with(quorum_queue(&q)).await;
    raw.declare(&classic).await;
    for queue in [&q, &classic] {
        for value in [true.into(), 1.into()] {
            raw.consume_with(with_failover(queue, value)).await;
        }
    }
}
