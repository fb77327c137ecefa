//! Time that moves on command: everything that waits, waits by tokio's clock.

use std::time::Duration;

use futures_util::FutureExt;
use mooq::memory::{Alarm, DeadLetterReason, InMemoryBroker, Options, Profile, RecordedDelivery};
use mooq::{Channel, Delivery, ErrorKind, Event, Outcome};
use tokio::time::{Instant, advance, sleep};

use crate::{publish, set_up};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Declares a queue whose messages go on to another one after some time.
async fn declare_wait(chan: &Channel, queue: &str, wait: Duration, next: &str) {
    chan.declare_queue(queue)
        .argument("x-message-ttl", i64::try_from(wait.as_millis()).unwrap())
        .argument("x-dead-letter-exchange", "")
        .argument("x-dead-letter-routing-key", next)
        .await
        .unwrap();
}

/// Moves the clock, and gives no other task a turn: the broker's own has not noticed yet.
fn move_clock(step: Duration) {
    let rest = advance(step).now_or_never();
    assert!(
        rest.is_none(),
        "the clock has moved, and other tasks would come next"
    );
}

/// Times between deliveries.
fn between(deliveries: &[RecordedDelivery]) -> Vec<Duration> {
    let pairs = deliveries.windows(2);
    pairs.map(|pair| pair[1].at - pair[0].at).collect()
}

#[tokio::test(start_paused = true)]
async fn retries_of_a_day_happen_each_at_its_time() {
    let (broker, conn, chan) = set_up().await;
    let recording = broker.record(100);
    let waits = [SECOND, 60 * SECOND, 3600 * SECOND, 36_000 * SECOND];
    for (tries, wait) in (1..).zip(waits) {
        declare_wait(&chan, &format!("wait-{tries}"), wait, "jobs").await;
    }
    let out = chan.clone();
    chan.register_consumer("jobs", "direct")
        .queue("jobs")
        .callback(move |tries: Delivery<usize>| {
            let out = out.clone();
            async move {
                let tries = tries.msg + 1;
                let next = out.publish("", &tries).routing_key(format!("wait-{tries}"));
                next.await
            }
        })
        .await
        .unwrap();
    tokio::spawn(async move { conn.process_events().await });
    publish(&chan, "jobs", 0).await;

    let began = Instant::now();
    sleep(DAY).await;
    assert_eq!(began.elapsed(), DAY);
    let tries = recording.deliveries().queue("jobs");
    tries.assert_json_in_order(&[0, 1, 2, 3, 4]);
    assert_eq!(between(&tries.list()), waits);
    recording
        .dead_letters()
        .reason(DeadLetterReason::Expired)
        .routed_to("jobs")
        .assert_times(4);
}

#[tokio::test(start_paused = true)]
async fn a_ladder_without_consumers_keeps_its_times_when_the_clock_leaps() {
    let (broker, _conn, chan) = set_up().await;
    let recording = broker.record(100);
    declare_wait(&chan, "first", SECOND, "second").await;
    declare_wait(&chan, "second", 3600 * SECOND, "third").await;
    declare_wait(&chan, "third", DAY, "end").await;
    chan.declare_queue("end").await.unwrap();
    publish(&chan, "first", "tea").await;

    advance(DAY).await;
    broker.wait_idle().await;
    let third = broker.ready_messages("third");
    assert_eq!(third[0].expires_in, Some(3601 * SECOND));

    advance(3601 * SECOND).await;
    broker.wait_idle().await;
    assert_eq!(broker.queues("end")[0].ready, 1);
    let published = recording.publishes().list()[0].at;
    let deaths = recording.dead_letters().list();
    let ages: Vec<_> = deaths.iter().map(|death| death.at - published).collect();
    assert_eq!(ages, [SECOND, 3601 * SECOND, 3601 * SECOND + DAY]);
}

#[tokio::test(start_paused = true)]
async fn an_unused_queue_goes_when_its_time_has_come() {
    let (broker, _conn, chan) = set_up().await;
    let hour = 3_600_000;
    let unused = chan.declare_queue("unused").argument("x-expires", hour);
    unused.await.unwrap();
    advance(3599 * SECOND).await;
    broker.wait_idle().await;
    assert_eq!(broker.queues("unused").len(), 1);
    advance(SECOND).await;
    broker.wait_idle().await;
    assert_eq!(broker.queues("unused").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn deadlines_end_when_the_clock_says_so() {
    let (broker, conn, chan) = set_up().await;
    chan.declare_queue("jobs").await.unwrap();
    let began = Instant::now();

    let get = chan.get::<u32>("jobs").timeout(DAY).await;
    assert_eq!(get.unwrap_err().kind(), ErrorKind::ConsumeTimeout);
    assert_eq!(began.elapsed(), DAY);

    conn.process_events().until_idle().await.unwrap();
    assert_eq!(began.elapsed(), DAY + SECOND / 10);

    let _blocked = broker.raise_alarm(Alarm::Memory);
    let blocked = chan
        .publish("", &1)
        .routing_key("jobs")
        .timeout(60 * SECOND);
    assert_eq!(blocked.await.unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(began.elapsed(), DAY + SECOND / 10 + 60 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_death_tells_the_time_that_it_was() {
    let (_broker, _conn, chan) = set_up().await;
    declare_wait(&chan, "first", DAY, "second").await;
    declare_wait(&chan, "second", DAY, "end").await;
    chan.declare_queue("end").await.unwrap();
    publish(&chan, "first", "tea").await;
    advance(3 * DAY).await;

    let tea = chan.get_one::<String>("end").await.unwrap();
    let deaths = tea.properties.headers.get("x-death").cloned();
    let mooq::FieldValue::Array(deaths) = deaths.unwrap() else {
        panic!("a list of deaths")
    };
    let times: Vec<_> = deaths
        .iter()
        .map(|death| match death {
            mooq::FieldValue::Table(death) => match death.get("time") {
                Some(mooq::FieldValue::Timestamp(time)) => *time,
                other => panic!("a time, not {other:?}"),
            },
            other => panic!("a death, not {other:?}"),
        })
        .collect();
    assert_eq!(times[0] - times[1], DAY.as_secs(), "the latest comes first");
}

/// With the clock as it is, all of this takes its time. Nothing is waited for but the message.
#[tokio::test]
async fn without_a_paused_clock_time_is_real() {
    let (broker, conn, chan) = set_up().await;
    let recording = broker.record(100);
    declare_wait(&chan, "first", Duration::from_millis(3), "second").await;
    declare_wait(&chan, "second", Duration::from_millis(4), "end").await;
    chan.declare_queue("end").await.unwrap();
    let mut end = chan.consume::<String>("end").await.unwrap();
    let began = std::time::Instant::now();
    publish(&chan, "first", "tea").await;

    end.next().await.unwrap().unwrap().ack().await.unwrap();

    assert!(began.elapsed() >= Duration::from_millis(7));
    let deaths = recording.dead_letters().list();
    assert_eq!(deaths[1].at - deaths[0].at, Duration::from_millis(4));
    drop(conn);
}

#[tokio::test(start_paused = true)]
async fn callbacks_that_sleep_are_waited_for() {
    let (broker, conn, chan) = set_up().await;
    chan.register_consumer("jobs", "direct")
        .queue("jobs")
        .callback(|minutes: Delivery<u32>| async move {
            sleep(minutes.msg * MINUTE).await;
            Outcome::Ack
        })
        .await
        .unwrap();
    tokio::spawn(async move { conn.process_events().await });
    for minutes in [9, 3, 6] {
        publish(&chan, "jobs", minutes).await;
    }
    let began = Instant::now();
    broker.wait_idle().await;
    assert_eq!(began.elapsed(), 9 * MINUTE);
    assert_eq!(broker.queues("jobs")[0].tally.acked, 3);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_to_connect_again_waits_by_the_same_clock() {
    let (broker, _conn, chan) = set_up().await;
    chan.declare_queue("jobs").await.unwrap();
    broker.close();
    sleep(3600 * SECOND).await;
    broker.run();
    let began = Instant::now();
    publish(&chan, "jobs", 1).await; // Once it is connected.
    assert!(began.elapsed() <= SECOND, "{:?}", began.elapsed());
    broker.wait_idle().await;
    assert_eq!(broker.queues("jobs")[0].ready, 1);
}

#[tokio::test(start_paused = true)]
async fn due_events_have_happened_when_a_test_looks() {
    let (broker, _conn, chan) = set_up().await;
    declare_wait(&chan, "offers", DAY, "ended").await;
    chan.declare_queue("ended").await.unwrap();
    chan.declare_queue("temporary")
        .argument("x-expires", i64::try_from((2 * DAY).as_millis()).unwrap())
        .await
        .unwrap();
    publish(&chan, "offers", 1).await;
    let recording = broker.record(10);

    let ready = |queue| broker.queues(queue)[0].ready;
    move_clock(DAY - Duration::from_millis(1));
    assert_eq!((ready("offers"), ready("ended")), (1, 0));
    move_clock(Duration::from_millis(1));
    assert_eq!((ready("offers"), ready("ended")), (0, 1));
    assert_eq!(recording.dead_letters().count(), 1);
    move_clock(DAY);
    assert_eq!(broker.queues("temporary").len(), 0);
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_kept_for_half_an_hour_comes_again_in_order() {
    let (broker, conn, chan) = set_up().await;
    let mut events = conn.events();
    chan.declare_queue("jobs").await.unwrap();
    for n in 1..=3 {
        publish(&chan, "jobs", n).await;
    }
    let mut stream = chan.consume::<i32>("jobs").prefetch(2).await.unwrap();
    let (first, second) = (
        stream.next().await.unwrap().unwrap(),
        stream.next().await.unwrap().unwrap(),
    );
    move_clock(30 * MINUTE);
    assert_eq!(broker.queues("jobs")[0].unacked, 2);
    move_clock(MINUTE);
    assert_eq!(broker.queues("jobs")[0].unacked, 0);

    // The channel is opened again, and its consumer goes on.
    for (expected, redelivered) in [(1, true), (2, true)] {
        let again = stream.next().await.unwrap().unwrap();
        assert_eq!((again.msg, again.redelivered), (expected, redelivered));
        again.ack().await.unwrap();
    }
    let third = stream.next().await.unwrap().unwrap();
    assert_eq!((third.msg, third.redelivered), (3, false));
    third.ack().await.unwrap();
    for late in [first, second] {
        let err = late.ack().await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::StaleDelivery);
    }
    let Some(Event::ChannelReopened(reason)) = events.next().await else {
        panic!("the channel's end is told");
    };
    let reason = reason.reason().unwrap();
    assert_eq!(reason.code, 406);
    assert_eq!(
        reason.text,
        "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: \
         1800000 ms. This timeout value can be configured, see consumers doc guide to learn more"
    );
}

#[tokio::test(start_paused = true)]
async fn a_broker_without_a_consumer_timeout_waits_for_ever() {
    let options = Options::default().consumer_timeout(None);
    let broker = InMemoryBroker::start_with_options(options);
    let chan = mooq::connect(&broker)
        .await
        .unwrap()
        .create_channel()
        .await
        .unwrap();
    chan.declare_queue("jobs").await.unwrap();
    publish(&chan, "jobs", 1).await;
    let mut stream = chan.consume::<i32>("jobs").await.unwrap();
    let job = stream.next().await.unwrap().unwrap();
    sleep(2 * DAY).await;
    job.ack().await.unwrap();
    broker.wait_idle().await;
    assert_eq!(broker.queues("jobs")[0].tally.acked, 1);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_4_3_cancels_is_gone_from_its_queue() {
    let broker = InMemoryBroker::start_as(Profile::V4_3);
    let conn = mooq::connect(&broker).await.unwrap();
    let mut events = conn.events();
    let chan = conn.create_channel().await.unwrap();
    chan.declare_queue("jobs").quorum().await.unwrap();
    publish(&chan, "jobs", 1).await;
    let mut stream = chan.consume::<i32>("jobs").await.unwrap();
    let job = stream.next().await.unwrap().unwrap();
    sleep(30 * MINUTE).await;
    let err = stream.next().await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConsumerCancelled);
    let Some(Event::ConsumerEnded { queue, .. }) = events.next().await else {
        panic!("the consumer's end is told");
    };
    assert_eq!(queue.as_str(), "jobs");
    // The broker would deliver to it again, but that mooq has cancelled it as well.
    broker.wait_idle().await;
    job.ack().await.unwrap();
    broker.wait_idle().await;
    let jobs = &broker.queues("jobs")[0];
    assert_eq!((jobs.ready, jobs.unacked, jobs.consumers), (1, 0, 0));
}
