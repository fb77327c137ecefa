//! Recordings: their contents, and the things that are not recorded.

use std::time::Duration;

use mooq::memory::{DeadLetterReason, InMemoryBroker, PublishOutcome, Settled};
use mooq::{Delivery, Outcome, Retry};

use crate::{publish, set_up};

#[tokio::test]
async fn a_publish_tells_where_it_went_and_what_became_of_it() {
    let (broker, _conn, chan) = set_up().await;
    let recording = broker.record(100);
    chan.declare_exchange("events", "topic").await.unwrap();
    for queue in ["all", "full"] {
        chan.declare_queue(queue)
            .argument("x-max-length", i32::from(queue == "all") * 10)
            .argument("x-overflow", "reject-publish")
            .await
            .unwrap();
        chan.bind_queue(queue, "events", queue).await.unwrap();
    }
    chan.bind_queue("all", "events", "full").await.unwrap();

    chan.publish("events", &1).routing_key("all").await.unwrap();
    let refused = chan.publish("events", &2).routing_key("full").await;
    assert_eq!(refused.unwrap_err().kind(), mooq::ErrorKind::Nacked);
    chan.publish("events", &3).await.unwrap();
    chan.publish("events", &4).mandatory().await.unwrap_err();
    let failed = chan.publish("no-such-exchange", &5).await;
    failed.unwrap_err();

    let seen: Vec<_> = recording
        .publishes()
        .list()
        .into_iter()
        .map(|publish| (publish.queues, publish.outcome))
        .collect();
    let all = || vec!["all".try_into().unwrap()];
    assert_eq!(
        seen,
        [
            (all(), PublishOutcome::Routed),
            (all(), PublishOutcome::Refused),
            (vec![], PublishOutcome::Unroutable),
            (vec![], PublishOutcome::Returned),
        ]
    );
}

#[tokio::test]
async fn a_delivery_tells_how_it_was_settled() {
    let (broker, conn, chan) = set_up().await;
    let recording = broker.record(100);
    chan.register_consumer("jobs", "direct")
        .queue("jobs")
        .callback(|job: Delivery<u32>| async move {
            match (job.msg, job.redelivered) {
                (1, _) | (2, true) => Outcome::Ack,
                (2, false) => Outcome::Requeue,
                _ => Outcome::Reject,
            }
        })
        .await
        .unwrap();
    for job in 1..=3 {
        publish(&chan, "jobs", job).await;
    }
    conn.process_events().until_idle().await.unwrap();
    let jobs = || recording.deliveries().queue("jobs");
    jobs().json(&1).settled(Settled::Acked).assert_once();
    jobs().json(&2).settled(Settled::Requeued).assert_once();
    let again = jobs().json(&2).redelivered(true);
    again.settled(Settled::Acked).assert_once();
    jobs().json(&3).settled(Settled::Rejected).assert_once();
    jobs().assert_times(4);

    // A rejected message without a dead-letter exchange is dropped.
    let dropped = &recording.dead_letters().list()[0];
    assert_eq!(dropped.reason, DeadLetterReason::Rejected);
    assert_eq!(
        (dropped.exchange.clone(), &*dropped.message.body),
        (None, &b"3"[..])
    );
}

#[tokio::test]
async fn unacked_deliveries_of_an_ended_channel_or_connection_are_recorded_as_returned() {
    let (broker, conn, chan) = set_up().await;
    let recording = broker.record(100);
    chan.declare_queue("jobs").await.unwrap();
    publish(&chan, "jobs", 1).await;
    let jobs = || recording.deliveries().queue("jobs");

    let held = chan.get_one::<i32>("jobs").await.unwrap();
    jobs().unsettled().assert_once();
    chan.close().await.unwrap();
    jobs().settled(Settled::ChannelClosed).assert_once();

    let chan = conn.create_channel().await.unwrap();
    let held_too = chan.get_one::<i32>("jobs").await.unwrap();
    broker.close();
    jobs().settled(Settled::ConnectionClosed).assert_once();
    drop((held, held_too));

    broker.run();
    let chan = mooq::connect(&broker)
        .await
        .unwrap()
        .create_channel()
        .await
        .unwrap();
    chan.get_one::<i32>("jobs").auto_ack().await.unwrap();
    jobs().settled(Settled::AutoAcked).assert_once();
    jobs().unsettled().assert_never();
}

#[tokio::test]
async fn a_delivery_that_was_on_its_way_is_returned_by_its_connection() {
    for seed in 0..50 {
        let broker = InMemoryBroker::start_seeded(seed);
        let recording = broker.record(100);
        let conn = mooq::connect(&broker).await.unwrap();
        let chan = conn.create_channel().await.unwrap();
        chan.declare_queue("jobs").await.unwrap();
        let jobs = chan.consume::<i32>("jobs").await.unwrap();
        for n in 0..5 {
            let publish = chan.publish("", &n).routing_key("jobs");
            publish.unconfirmed().await.unwrap();
        }
        broker.close();
        recording
            .deliveries()
            .settled(Settled::ChannelClosed)
            .assert_never();
        drop(jobs);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_tells_its_way_and_when() {
    let (broker, conn, chan) = set_up().await;
    let recording = broker.record(100);
    chan.declare_queue("late").await.unwrap();
    chan.declare_exchange("dlx", "fanout").await.unwrap();
    chan.bind_queue("late", "dlx", "").await.unwrap();
    chan.declare_queue("wait")
        .argument("x-dead-letter-exchange", "dlx")
        .argument("x-message-ttl", 5_000)
        .await
        .unwrap();
    publish(&chan, "wait", "tea").await;
    tokio::time::advance(Duration::from_secs(5)).await;
    chan.get_one::<String>("late")
        .await
        .unwrap()
        .ack()
        .await
        .unwrap();

    let dead = &recording.dead_letters().list()[0];
    assert_eq!(
        (&*dead.queue, dead.reason),
        ("wait", DeadLetterReason::Expired)
    );
    assert_eq!(dead.exchange.as_deref(), Some("dlx"));
    assert_eq!(dead.queues, ["late"]);
    let published = recording.publishes().list()[0].at;
    assert_eq!(dead.at - published, Duration::from_secs(5));

    // Dead letters are published by the broker, and not among what clients publish.
    recording.publishes().assert_once();
    conn.close().await.unwrap();
}

#[tokio::test]
async fn direct_replies_are_recorded_with_the_pseudo_queue() {
    let (broker, conn, chan) = set_up().await;
    let recording = broker.record(100);
    let server = chan.clone();
    chan.register_consumer("squares", "direct")
        .queue("squares")
        .callback(move |number: Delivery<i32>| {
            let server = server.clone();
            async move {
                let to = number.properties.reply_to.clone().unwrap_or_default();
                let reply = number.msg * number.msg;
                server.publish("", &reply).routing_key(&*to).await
            }
        })
        .retry(Retry::never().then_reject())
        .await
        .unwrap();
    let replies = chan.consume::<i32>("amq.rabbitmq.reply-to").auto_ack();
    let mut replies = replies.await.unwrap();
    chan.publish("", &7)
        .routing_key("squares")
        .reply_to("amq.rabbitmq.reply-to")
        .await
        .unwrap();
    conn.process_events().until_idle().await.unwrap();
    assert_eq!(replies.next().await.unwrap().unwrap().msg, 49);

    let reply = recording.publishes().json(&49);
    assert_eq!(reply.list()[0].outcome, PublishOutcome::Routed);
    let delivered = recording.deliveries().queue("amq.rabbitmq.reply-to");
    delivered
        .json(&49)
        .settled(Settled::AutoAcked)
        .assert_once();
}

#[tokio::test]
async fn a_recording_begins_and_ends_and_does_not_know_of_others() {
    let (broker, _conn, chan) = set_up().await;
    chan.declare_queue("jobs").await.unwrap();
    publish(&chan, "jobs", 1).await;
    let first = broker.record(100);
    publish(&chan, "jobs", 2).await;
    let second = broker.record(1);
    publish(&chan, "jobs", 3).await;
    publish(&chan, "jobs", 4).await;
    first.publishes().assert_json_in_order(&[2, 3, 4]);
    assert_eq!((first.missed(), second.missed()), (0, 1));
    drop(first);
    publish(&chan, "jobs", 5).await;
    assert_eq!((second.publishes().count(), second.missed()), (1, 2));
}
