//! Retries in delay queues, and what becomes of a message that has failed for good.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mooq::topology::Overflow;
use mooq::{
    Channel, Connection, Consumer, Delivery, ErrorKind, Event, Events, Fate, FieldTable,
    FieldValue, Json, NoCallback, Outcome, Processing, RegisterConsumer, Result, Retry,
};
use mooq_memory::ApplyTo;

use super::recovery::Victim;
use crate::expect::{INTENDED, LIMIT};
use crate::raw::table;
use crate::scenario;
use crate::steps::{Calls, drain, fill, processing, put, ready_in, record};
use crate::{Fixture, within};

const MS: Duration = Duration::from_millis(1);

/// A delay that outlasts every scenario.
const HOUR: Duration = Duration::from_secs(3_600);

/// A consumer whose callbacks run in the background, and their recorded calls.
struct Service {
    conn: Connection,
    chan: Channel,
    exchange: String,
    queue: String,
    consumer: Consumer,
    calls: Calls<String>,
    times: Times,
    events: Events,
    processing: Processing,
}

/// The times at which a callback was called.
#[derive(Debug, Default, Clone)]
struct Times(Arc<Mutex<Vec<Instant>>>);

impl Times {
    fn note(&self) {
        self.0.lock().unwrap().push(Instant::now());
    }

    /// Asserts that the calls were at least this far apart, in milliseconds.
    fn are_apart<const N: usize>(&self, delays: [u32; N]) {
        let times = self.0.lock().unwrap();
        for (pair, delay) in times.windows(2).zip(delays) {
            // RabbitMQ counts whole milliseconds.
            let apart = pair[1] - pair[0] + MS;
            assert!(apart >= delay * MS, "{apart:?} and not {delay} ms");
        }
    }
}

type Register = RegisterConsumer<Json, NoCallback>;

/// Returns a consumer of a queue that is bound with the key `new`. Its callback fails for the first
/// `fails` attempts, except for the message "next".
async fn service(fixture: &Fixture, fails: u32, set: impl FnOnce(Register) -> Register) -> Service {
    let (conn, chan) = fixture.channel().await;
    serve(fixture, conn, chan, fails, set).await
}

async fn serve(
    fixture: &Fixture,
    conn: Connection,
    chan: Channel,
    fails: u32,
    set: impl FnOnce(Register) -> Register,
) -> Service {
    let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
    let (recorder, calls) = record::<String>();
    let times = Times::default();
    let noted = times.clone();
    let register = chan.register_consumer(&exchange, "direct");
    let register = set(register.queue(&queue).routing_key("new"));
    let consumer = register
        .callback(move |msg: Delivery<String>| {
            noted.note();
            let attempt = msg.attempt;
            let fails = attempt <= fails && msg.msg != "next";
            recorder.note(msg);
            async move {
                match fails {
                    true => Err(format!("attempt {attempt} failed")),
                    false => Ok(()),
                }
            }
        })
        .await
        .unwrap();
    Service {
        events: conn.events(),
        processing: conn.process_events().spawn(),
        conn,
        chan,
        exchange,
        queue,
        consumer,
        calls,
        times,
    }
}

impl Service {
    async fn publish(&self, body: &str) {
        let publish = self.chan.publish(&self.exchange, body).routing_key("new");
        publish.message_id("order-7").await.unwrap();
    }

    async fn call(&mut self) -> Delivery<String> {
        within("a callback", self.calls.noted()).await
    }

    /// Returns the next `n` calls.
    async fn calls(&mut self, n: usize) -> Vec<Delivery<String>> {
        let mut calls = Vec::new();
        while calls.len() < n {
            calls.push(self.call().await);
        }
        calls
    }

    /// Returns the next message of another queue.
    async fn arrives(&self, queue: &str) -> Delivery<String> {
        let get = self.chan.get_one::<String>(queue);
        get.timeout(LIMIT).await.unwrap()
    }

    /// Waits until a message has failed for good, and returns what became of it.
    async fn gave_up(&mut self) -> (u32, String, Fate) {
        let giving_up = async {
            loop {
                if let Some(Event::GaveUp {
                    attempts,
                    error,
                    fate,
                    ..
                }) = self.events.next().await
                {
                    return (attempts, error, fate);
                }
            }
        };
        within("the event", giving_up).await
    }

    /// Waits until a message could not be moved.
    async fn is_not_moved(&mut self) {
        let events = &mut self.events;
        let not_moved =
            async { while !matches!(events.next().await, Some(Event::NotMoved { .. })) {} };
        within("the event", not_moved).await;
    }

    async fn close(self) {
        self.conn.close().await.unwrap();
        within("the end", self.processing).await.unwrap();
    }
}

fn text<'a>(headers: &'a FieldTable, key: &str) -> Option<&'a str> {
    headers.get(key).and_then(FieldValue::as_str)
}

/// Asserts that the queue is empty once the service has ended: it ends in order, since a copy may
/// be back before the confirm of its move is, and its first delivery is acked only then.
async fn expect_empty(fixture: &Fixture, service: Service) {
    let queue = service.queue.clone();
    service.conn.shutdown(LIMIT).await.unwrap();
    within("the end", service.processing).await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(ready_in(&chan, &queue).await, 0);
}

#[scenario]
async fn retried_message_tells_its_attempt_and_the_last_error(fixture: Fixture) {
    let policy = Retry::after([10 * MS, 20 * MS]);
    let mut service = service(&fixture, 2, |register| register.retry(policy)).await;
    service.publish("order").await;
    let calls = service.calls(3).await;
    let attempts = calls.iter().map(|call| call.attempt);
    assert_eq!(attempts.collect::<Vec<_>>(), [1, 2, 3]);
    let errors = calls.iter().map(|call| call.last_error.as_deref());
    let failed = [None, Some("attempt 1 failed"), Some("attempt 2 failed")];
    assert_eq!(errors.collect::<Vec<_>>(), failed);
    let headers = &calls[2].properties.headers;
    assert_eq!(headers.get("mooq-attempts"), Some(&FieldValue::I64(2)));
    assert_eq!(text(headers, "mooq-error"), Some("attempt 2 failed"));
    for call in &calls {
        assert_eq!(call.msg, "order");
        // As published, although the broker has routed it back by another exchange.
        assert_eq!(
            (&*call.exchange, &*call.routing_key),
            (&*service.exchange, "new")
        );
        assert_eq!(call.properties.message_id.as_deref(), Some("order-7"));
        assert!(!call.redelivered);
    }
    expect_empty(&fixture, service).await;
}

#[scenario]
async fn delays_last_as_long_as_they_say(fixture: Fixture) {
    let policy = Retry::after([100 * MS, 300 * MS]);
    let mut service = service(&fixture, 2, |register| register.retry(policy)).await;
    service.publish("order").await;
    service.calls(3).await;
    service.times.are_apart([100, 300]);
}

#[scenario]
async fn delay_of_zero_puts_a_message_at_the_end_of_its_queue(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    fill(&chan, &fixture.name("queue"), &["fails", "next"]).await;
    let policy = Retry::after([Duration::ZERO]);
    let set = |register: Register| register.retry(policy).concurrency(1);
    let mut service = service(&fixture, 1, set).await;
    let calls = service.calls(3).await;
    let calls = calls.iter().map(|call| (call.msg.as_str(), call.attempt));
    assert_eq!(
        calls.collect::<Vec<_>>(),
        [("fails", 1), ("next", 1), ("fails", 2)]
    );
}

#[scenario]
async fn retried_message_holds_no_other_up(fixture: Fixture) {
    let policy = Retry::every(HOUR);
    let set = |register: Register| register.retry(policy).prefetch(1);
    let mut service = service(&fixture, 1, set).await;
    service.publish("fails").await;
    service.publish("next").await;
    let calls = service.calls(2).await;
    assert_eq!(calls[1].msg, "next");
    let waiting = format!("{}.retry.1h", service.queue);
    assert_eq!(ready_in(&service.chan, &waiting).await, 1);
    expect_empty(&fixture, service).await;
}

#[scenario]
async fn message_that_failed_for_good_is_parked_with_the_reason(fixture: Fixture) {
    let parked = fixture.name("parked");
    let policy = Retry::after([10 * MS]).then_park(&parked);
    let mut service = service(&fixture, 9, |register| register.retry(policy)).await;
    service.publish("order").await;
    let (attempts, error, fate) = service.gave_up().await;
    assert_eq!((attempts, error.as_str()), (2, "attempt 2 failed"));
    assert_eq!(fate, Fate::Parked(parked.as_str().try_into().unwrap()));
    let letter = service.arrives(&parked).await;
    let headers = &letter.properties.headers;
    assert_eq!(headers.get("mooq-attempts"), Some(&FieldValue::I64(2)));
    for (key, value) in [
        ("mooq-error", "attempt 2 failed"),
        ("mooq-parked", "attempts"),
        ("mooq-queue", &service.queue),
        ("mooq-exchange", &service.exchange),
        ("mooq-routing-key", "new"),
    ] {
        assert_eq!(text(headers, key), Some(value));
    }
    assert_eq!(letter.properties.message_id.as_deref(), Some("order-7"));
    assert_eq!(letter.ack().await.unwrap(), "order");
    expect_empty(&fixture, service).await;
}

#[scenario]
async fn parked_message_that_is_moved_back_starts_over(fixture: Fixture) {
    let parked = fixture.name("parked");
    let policy = Retry::after([10 * MS]).then_park(&parked);
    let mut service = service(&fixture, 2, |register| register.retry(policy)).await;
    service.publish("order").await;
    service.calls(2).await;
    let letter = service.arrives(&parked).await;
    let back = service
        .chan
        .forward("", &letter)
        .routing_key(&service.queue);
    back.await.unwrap();
    letter.ack().await.unwrap();
    let replayed = service.call().await;
    assert_eq!((replayed.attempt, replayed.last_error), (1, None));
    assert_eq!(
        (&*replayed.exchange, &*replayed.routing_key),
        (&*service.exchange, "new")
    );
}

#[scenario]
async fn queue_to_park_in_may_exist_with_other_options(fixture: Fixture) {
    let parked = fixture.name("parked");
    let (_conn, chan) = fixture.channel().await;
    chan.declare_queue(&parked).max_length(7).await.unwrap();
    let policy = Retry::never().then_park(&parked);
    let service = service(&fixture, 1, |register| register.retry(policy)).await;
    service.publish("order").await;
    assert_eq!(service.arrives(&parked).await.ack().await.unwrap(), "order");
}

/// The broker has nacked the copy: without one, the message must not be acked.
#[scenario]
async fn message_that_cannot_be_moved_is_kept(fixture: Fixture) {
    let parked = fixture.name("parked");
    let (_conn, chan) = fixture.channel().await;
    let full = chan.declare_queue(&parked).max_length(1);
    full.overflow(Overflow::RejectPublish).await.unwrap();
    put(&chan, &parked, "filler").await;
    let policy = Retry::never().then_park(&parked);
    let mut service = service(&fixture, 9, |register| register.retry(policy)).await;
    service.publish("order").await;
    service.is_not_moved().await;
    let queue = service.queue.clone();
    service.close().await;
    assert_eq!(drain(&chan, &queue).await, ["order"]);
}

/// Its own routing key decides where the dead letter goes, as if it had never been retried.
#[scenario]
async fn message_is_rejected_in_the_end_with_its_first_routing_key(fixture: Fixture) {
    let (dead, letters) = (fixture.name("dead"), fixture.name("letters"));
    let (_conn, chan) = fixture.channel().await;
    chan.declare_exchange(&dead, "direct").await.unwrap();
    chan.declare_queue(&letters).await.unwrap();
    chan.bind_queue(&letters, &dead, "new").await.unwrap();
    let policy = Retry::after([10 * MS]).then_reject();
    let set = |register: Register| register.dead_letter_exchange(&dead).retry(policy);
    let mut service = service(&fixture, 9, set).await;
    service.publish("order").await;
    assert_eq!(service.gave_up().await.2, Fate::Rejected);
    let letter = service.arrives(&letters).await;
    assert_eq!(
        (&*letter.routing_key, letter.death_count(&service.queue)),
        ("new", 1)
    );
    assert_eq!(letter.ack().await.unwrap(), "order");
    expect_empty(&fixture, service).await;
}

#[scenario]
async fn message_is_dropped_aloud(fixture: Fixture) {
    let policy = Retry::never().then_drop();
    let mut service = service(&fixture, 9, |register| register.retry(policy)).await;
    service.publish("order").await;
    let given_up = service.gave_up().await;
    assert_eq!(given_up, (1, "attempt 1 failed".into(), Fate::Dropped));
    expect_empty(&fixture, service).await;
}

#[derive(Debug)]
struct BadAddress;

impl std::fmt::Display for BadAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("there is no such address")
    }
}

impl std::error::Error for BadAddress {}

#[scenario]
async fn predicate_decides_which_errors_are_retried(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (queue, parked) = (fixture.name("queue"), fixture.name("parked"));
    let policy = Retry::every(HOUR).then_park(&parked);
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .retry(policy.retry_if(|err| !err.is::<BadAddress>()))
        .callback(|_: Delivery<String>| async { Err::<(), _>(BadAddress) })
        .await
        .unwrap();
    put(&chan, &queue, "mail").await;
    let parking = async { chan.get_one::<String>(&parked).timeout(LIMIT).await };
    let letter = processing(&conn, "the parked message", parking)
        .await
        .unwrap();
    assert_eq!(
        text(&letter.properties.headers, "mooq-parked"),
        Some("error")
    );
    letter.ack().await.unwrap();
}

#[scenario]
async fn panics_are_retried_and_undecodable_bodies_parked_at_once(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (queue, parked) = (fixture.name("queue"), fixture.name("parked"));
    let (recorder, mut calls) = record::<u32>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .retry(Retry::every(10 * MS).then_park(&parked))
        .callback(move |number: Delivery<u32>| {
            let panics = number.attempt == 1;
            recorder.note(number);
            async move { assert!(!panics, "{INTENDED}") }
        })
        .await
        .unwrap();
    chan.publish("", &7).routing_key(&queue).await.unwrap();
    let _processing = conn.process_events().spawn();
    within("a callback", calls.noted()).await;
    let second = within("a callback", calls.noted()).await;
    let error = format!("it panicked: {INTENDED}");
    assert_eq!(second.last_error.as_ref(), Some(&error));
    put(&chan, &queue, "no number").await;
    let letter = chan
        .get_one::<String>(&parked)
        .timeout(LIMIT)
        .await
        .unwrap();
    let headers = &letter.properties.headers;
    assert_eq!(text(headers, "mooq-parked"), Some("undecodable"));
    assert_eq!(letter.ack().await.unwrap(), "no number");
}

/// Registers a callback with these outcomes for the first attempts.
async fn outcomes(
    chan: &Channel,
    fixture: &Fixture,
    policy: Retry,
    outcomes: Vec<Outcome>,
) -> (String, Calls<String>, Times) {
    let queue = fixture.name("queue");
    let times = Times::default();
    let noted = times.clone();
    let (recorder, calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .retry(policy)
        .callback(move |msg: Delivery<String>| {
            noted.note();
            let index = usize::try_from(msg.attempt).unwrap() - 1;
            let outcome = outcomes.get(index).copied().unwrap_or(Outcome::Ack);
            recorder.note(msg);
            async move { outcome }
        })
        .await
        .unwrap();
    (queue, calls, times)
}

#[scenario]
async fn callback_may_choose_the_delay(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let later = Outcome::RetryAfter(60 * MS);
    let policy = Retry::every(HOUR).attempts(3);
    let (queue, mut calls, times) = outcomes(&chan, &fixture, policy, vec![later]).await;
    put(&chan, &queue, "order").await;
    let _processing = conn.process_events().spawn();
    within("a callback", calls.noted()).await;
    let second = within("a callback", calls.noted()).await;
    times.are_apart([60]);
    assert_eq!(second.attempt, 2);
    assert_eq!(
        second.last_error.as_deref(),
        Some("it returned RetryAfter(60ms)")
    );
    // Rounded up to a step, so that the queues are few.
    let place = chan.declare_queue(format!("{queue}.retry.100ms"));
    place.passive().await.unwrap();
}

#[scenario]
async fn callback_may_park_its_message(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let policy = Retry::default();
    let (queue, _calls, _) = outcomes(&chan, &fixture, policy, vec![Outcome::Park]).await;
    put(&chan, &queue, "order").await;
    // Without a choice the queue is named after the first one, and declared when it is needed.
    let parked = format!("{queue}.parked");
    let mut events = conn.events();
    let parking = async { while !matches!(events.next().await, Some(Event::GaveUp { .. })) {} };
    processing(&conn, "the event", parking).await;
    let letter = chan.get_one::<String>(&parked).await.unwrap();
    assert_eq!(
        text(&letter.properties.headers, "mooq-parked"),
        Some("outcome")
    );
    assert_eq!(letter.ack().await.unwrap(), "order");
}

#[scenario]
async fn instances_share_their_delay_queues(fixture: Fixture) {
    let policy = || Retry::after([10 * MS, 20 * MS]);
    let mut first = service(&fixture, 9, |register| register.retry(policy())).await;
    let mut second = service(&fixture, 9, |register| register.retry(policy())).await;
    first.publish("order").await;
    // Both count the same attempts, whoever makes them.
    let (attempts, _, _) = tokio::select! {
        gave_up = first.gave_up() => gave_up,
        gave_up = second.gave_up() => gave_up,
    };
    assert_eq!(attempts, 3);
    let calls = first
        .calls
        .so_far()
        .into_iter()
        .chain(second.calls.so_far());
    let mut attempts: Vec<_> = calls.map(|call| call.attempt).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 2, 3]);
    let letter = first.arrives(&format!("{}.parked", first.queue)).await;
    assert_eq!(letter.ack().await.unwrap(), "order");
}

#[scenario]
async fn message_that_waits_outlives_the_loss_of_its_connection(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (conn, chan) = (victim.conn.clone(), victim.chan.clone());
    let policy = Retry::every(500 * MS);
    let mut service = serve(&fixture, conn, chan, 1, |register| register.retry(policy)).await;
    service.publish("order").await;
    service.call().await;
    victim.lose().await;
    // The loss may have come before the move: then the first attempt is repeated.
    let mut call = service.call().await;
    while call.attempt == 1 {
        call = service.call().await;
    }
    assert_eq!((call.msg.as_str(), call.attempt), ("order", 2));
}

#[scenario]
async fn delay_queues_come_back_with_the_connection(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (conn, chan) = (victim.conn.clone(), victim.chan.clone());
    let policy = Retry::every(HOUR);
    let service = serve(&fixture, conn, chan, 0, |register| register.retry(policy)).await;
    let waiting = format!("{}.retry.1h", service.queue);
    let (_conn, chan) = fixture.channel().await;
    chan.delete_queue(&waiting).await.unwrap();
    chan.delete_exchange(&waiting).await.unwrap();
    victim.lose().await;
    assert_eq!(ready_in(&chan, &waiting).await, 0);
    chan.declare_exchange(&waiting, "fanout")
        .passive()
        .await
        .unwrap();
}

#[scenario]
async fn delay_queues_that_are_missing_are_declared_when_they_are_needed(fixture: Fixture) {
    let policy = Retry::every(10 * MS);
    let mut service = service(&fixture, 1, |register| register.retry(policy)).await;
    let waiting = format!("{}.retry.10ms", service.queue);
    let (_conn, chan) = fixture.channel().await;
    // Without its queue, the exchange returns the message; without its exchange, nothing takes it.
    chan.delete_queue(&waiting).await.unwrap();
    service.publish("order").await;
    assert_eq!(service.calls(2).await[1].attempt, 2);
    chan.delete_exchange(&waiting).await.unwrap();
    service.publish("order").await;
    assert_eq!(service.calls(2).await[1].attempt, 2);
}

#[scenario]
async fn delay_queues_are_deleted_on_demand_unless_messages_wait(fixture: Fixture) {
    let policy = Retry::after([10 * MS, HOUR]);
    let keeping = policy.clone();
    let mut service = service(&fixture, 2, |register| register.retry(keeping)).await;
    service.publish("order").await;
    service.calls(2).await;
    let queue = &service.queue;
    let [short, long] = ["10ms", "1h"].map(|delay| format!("{queue}.retry.{delay}"));
    let moved = async {
        while ready_in(&service.chan, &long).await == 0 {
            tokio::task::yield_now().await;
        }
    };
    within("the move", moved).await;
    service.consumer.cancel().await.unwrap();
    let chan = &service.chan;
    assert_eq!(chan.delete_retry_queues(queue, &policy).await.unwrap(), 1);
    assert_eq!(ready_in(chan, &long).await, 1);
    let gone = async |name: &str| {
        let (_conn, chan) = fixture.channel().await;
        let declared = chan.declare_queue(name).passive().await;
        assert_eq!(declared.unwrap_err().kind(), ErrorKind::QueueNotFound);
    };
    gone(&short).await;
    chan.purge_queue(&long).await.unwrap();
    assert_eq!(chan.delete_retry_queues(queue, &policy).await.unwrap(), 0);
    gone(&long).await;
    let back = chan.declare_exchange(format!("{queue}.retry"), "fanout");
    let err = back.passive().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ExchangeNotFound);
}

/// Neither its expiration nor its user or further keys may act again while it waits.
#[scenario]
async fn properties_that_act_on_the_broker_do_not_act_again(fixture: Fixture) {
    let policy = Retry::every(10 * MS).attempts(2);
    let mut service = service(&fixture, 9, |register| register.retry(policy)).await;
    let copies = fixture.name("copies");
    service.chan.declare_queue(&copies).await.unwrap();
    let publish = service
        .chan
        .publish("", "order")
        .routing_key(&service.queue);
    let publish = publish.expiration(HOUR).user_id("guest").priority(3);
    let further = FieldValue::Array(vec![copies.as_str().into()]);
    publish.header("CC", further).await.unwrap();
    let calls = service.calls(2).await;
    let first = &calls[0].properties;
    assert_eq!(first.expiration.as_deref(), Some("3600000"));
    let second = &calls[1].properties;
    assert_eq!((&second.expiration, &second.user_id), (&None, &None));
    assert_eq!(second.priority, Some(3));
    assert_eq!(text(&second.headers, "mooq-expiration"), Some("3600000"));
    assert_eq!(text(&second.headers, "mooq-user-id"), Some("guest"));
    assert!(second.headers.get("CC").is_some());
    service.gave_up().await;
    let letter = service.arrives(&format!("{}.parked", service.queue)).await;
    assert!(letter.properties.headers.get("CC").is_none());
    letter.ack().await.unwrap();
    assert_eq!(drain(&service.chan, &copies).await, ["order"]);
}

#[scenario]
async fn quorum_queue_has_delay_queues_of_its_type(fixture: Fixture) {
    let policy = Retry::after([10 * MS]);
    let set = |register: Register| register.quorum().retry(policy);
    let mut service = service(&fixture, 1, set).await;
    service.publish("order").await;
    assert_eq!(service.calls(2).await[1].attempt, 2);
    let waiting = format!("{}.retry.10ms.quorum", service.queue);
    let declare = service.chan.declare_queue(&waiting);
    declare.passive().await.unwrap();
}

#[scenario]
async fn retries_in_place_keep_the_order_of_a_single_active_consumer(fixture: Fixture) {
    let policy = Retry::after([MS, MS]).in_place().then_drop();
    let set = |register: Register| register.single_active_consumer().retry(policy);
    let mut service = service(&fixture, 3, set).await;
    service.publish("fails").await;
    service.publish("next").await;
    let calls = service.calls(4).await;
    let seen = calls.iter().map(|call| (call.msg.as_str(), call.attempt));
    let expected = [("fails", 1), ("fails", 2), ("fails", 3), ("next", 1)];
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    assert_eq!(calls[2].last_error.as_deref(), Some("attempt 2 failed"));
    assert_eq!(service.gave_up().await.2, Fate::Dropped);
    expect_empty(&fixture, service).await;
}

#[scenario(since = V4_3)]
async fn broker_may_hold_what_it_retries(fixture: Fixture) {
    let policy = Retry::by_broker(100 * MS, 200 * MS).attempts(3);
    let mut service = service(&fixture, 9, |register| register.retry(policy)).await;
    service.publish("order").await;
    let calls = service.calls(3).await;
    let attempts = calls.iter().map(|call| call.attempt);
    assert_eq!(attempts.collect::<Vec<_>>(), [1, 2, 3]);
    service.times.are_apart([100, 100]);
    service.gave_up().await;
    let letter = service.arrives(&format!("{}.parked", service.queue)).await;
    let attempts = letter.properties.headers.get("mooq-attempts");
    assert_eq!(attempts, Some(&FieldValue::I64(3)));
    assert_eq!(letter.ack().await.unwrap(), "order");
}

/// Without the client's end there is none: RabbitMQ's own delivery limit would lose the message.
#[scenario(since = V4_3)]
async fn broker_that_holds_messages_has_no_limit_of_its_own(fixture: Fixture) {
    let policy = Retry::by_broker(MS, MS);
    let mut service = service(&fixture, 25, |register| register.retry(policy)).await;
    service.publish("order").await;
    assert_eq!(service.calls(26).await[25].attempt, 26);
}

#[scenario(before = V4_3)]
async fn earlier_broker_refuses_to_hold_what_it_retries(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let register = chan.register_consumer(fixture.name("exchange"), "fanout");
    let err = register
        .queue(fixture.name("queue"))
        .retry(Retry::by_broker(MS, MS))
        .callback(|_: Delivery<String>| async {})
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotImplemented);
    assert!(err.to_string().contains("from 4.3 on"), "{err}");
    // Nothing was declared, and the channel still works.
    let declared = chan.declare_queue(fixture.name("queue")).await.unwrap();
    assert_eq!(declared.consumer_count, 0);
}

#[scenario]
async fn policy_that_cannot_hold_is_refused_when_its_consumer_is_registered(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let refused = async |set: fn(Register) -> Register, says: &str| {
        let register = chan.register_consumer(&exchange, "fanout");
        let register = set(register).callback(|_: Delivery<String>| async {});
        let err = register.await.unwrap_err();
        assert!(err.to_string().contains(says), "{err}");
        err.kind()
    };
    let empty = |register: Register| register.queue("q").retry(Retry::after([]));
    let kind = refused(empty, "needs a delay").await;
    assert_eq!(kind, ErrorKind::InvalidArgument);
    let unnamed = |register: Register| register.retry(Retry::every(MS));
    let kind = refused(unnamed, "give the queue one").await;
    assert_eq!(kind, ErrorKind::InvalidArgument);
    let auto_ack = |register: Register| register.queue("q").auto_ack().retry(Retry::every(MS));
    let kind = refused(auto_ack, "has settled a delivery before").await;
    assert_eq!(kind, ErrorKind::InvalidArgument);
    let stream = chan.consume::<String>("q").on_decode_error(Retry::never());
    let err = stream.await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidArgument, "{err}");
}

/// A policy of the broker's limits the delay queue, so that it refuses the copy.
#[scenario]
async fn message_that_its_delay_queue_refuses_is_kept(fixture: Fixture) {
    let policy = Retry::every(HOUR);
    let mut service = service(&fixture, 9, |register| register.retry(policy)).await;
    let waiting = format!("{}.retry.1h", service.queue);
    // It is full already.
    let filler = service.chan.publish(&waiting, "filler");
    filler.await.unwrap();
    let definition = table([
        ("max-length", 1.into()),
        ("overflow", "reject-publish".into()),
    ]);
    let control = fixture.control();
    let pattern = format!("^{}$", waiting.replace('.', "\\."));
    control
        .set_policy(&waiting, &pattern, ApplyTo::Queues, 0, &definition)
        .await;
    service.publish("order").await;
    service.is_not_moved().await;
    let queue = service.queue.clone();
    service.close().await;
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(drain(&chan, &queue).await, ["order"]);
}

#[scenario]
async fn delayed_publish_arrives_after_its_delay(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let [exchange, queue] = ["exchange", "queue"].map(|name| fixture.name(name));
    chan.declare_exchange(&exchange, "direct").await.unwrap();
    chan.declare_queue(&queue).await.unwrap();
    chan.bind_queue(&queue, &exchange, "later").await.unwrap();
    let since = Instant::now();
    for (through, key) in [(exchange.as_str(), "later"), ("", queue.as_str())] {
        let publish = chan.publish(through, "reminder").routing_key(key);
        publish.message_id("order-7").delay(150 * MS).await.unwrap();
        let got = chan.get_one::<String>(&queue).timeout(LIMIT).await.unwrap();
        assert!(since.elapsed() >= 150 * MS);
        assert_eq!((&*got.exchange, &*got.routing_key), (through, key));
        assert_eq!(got.properties.message_id.as_deref(), Some("order-7"));
        assert_eq!(
            (got.attempt, got.ack().await.unwrap().as_str()),
            (1, "reminder")
        );
    }
    let place = chan.declare_queue(format!("{exchange}.delay.200ms"));
    place.passive().await.unwrap();
    assert_eq!(chan.delete_delay_queues(&exchange).await.unwrap(), 0);
    let place = chan.declare_queue(format!("{exchange}.delay.200ms"));
    let err = place.passive().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::QueueNotFound);
    // No delay is a publish.
    let publish = chan.publish("", "now").routing_key(&queue);
    publish.delay(Duration::ZERO).await.unwrap();
    assert_eq!(drain(&chan, &queue).await, ["now"]);
}

#[scenario]
async fn delayed_publish_refuses_what_it_cannot_keep(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    chan.declare_exchange(&exchange, "fanout").await.unwrap();
    let publish = || chan.publish(&exchange, "reminder");
    let kind = |result: Result<()>| result.unwrap_err().kind();
    let invalid = ErrorKind::InvalidArgument;
    assert_eq!(kind(publish().mandatory().delay(MS).await), invalid);
    assert_eq!(kind(publish().expiration(HOUR).delay(MS).await), invalid);
    let hidden = FieldValue::Array(Vec::new());
    assert_eq!(
        kind(publish().header("BCC", hidden).delay(MS).await),
        invalid
    );
    assert_eq!(kind(publish().delay(24 * 50 * HOUR).await), invalid);
    let missing = chan.publish(fixture.name("missing"), "reminder").delay(MS);
    assert_eq!(kind(missing.await), ErrorKind::ExchangeNotFound);
}

/// The end of a callback waits for the move of its message, and a shutdown for the callback's end.
#[scenario]
async fn shutdown_waits_for_messages_that_are_being_moved(fixture: Fixture) {
    let policy = Retry::every(HOUR);
    let mut service = service(&fixture, 9, |register| register.retry(policy)).await;
    service.publish("order").await;
    service.call().await;
    service.conn.shutdown(LIMIT).await.unwrap();
    within("the end", service.processing).await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    let waiting = format!("{}.retry.1h", service.queue);
    assert_eq!(ready_in(&chan, &waiting).await, 1);
    assert_eq!(ready_in(&chan, &service.queue).await, 0);
}
