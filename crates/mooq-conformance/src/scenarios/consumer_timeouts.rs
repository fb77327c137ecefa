//! Deliveries that are not acknowledged in time, where channels see to it: before RabbitMQ 4.3.

use mooq::{Delivery, ErrorKind};
use mooq_core::{ErrorScope, FieldValue, QueueDeclare};
use mooq_memory::ApplyTo;

use crate::control::CONSUMER_TIMEOUT;
use crate::expect::expect_reason;
use crate::raw::{Raw, body, queue, quorum_queue, table};
use crate::scenario;
use crate::{Fixture, within};

/// A timeout that outlasts every scenario, in milliseconds.
const DAY: i32 = 86_400_000;

impl Raw {
    /// Asserts that the next event is the close of channel `number` over a delivery that was
    /// unacked for `millis` milliseconds.
    async fn times_out(&mut self, number: u16, millis: u64) {
        let text = format!(
            "PRECONDITION_FAILED - delivery acknowledgement on channel {number} timed out. Timeout \
             value used: {millis} ms. This timeout value can be configured, see consumers doc guide \
             to learn more"
        );
        self.times_out_saying(&text).await;
    }

    /// Asserts that the next event is the close of the channel over an overdue delivery, with this
    /// text. Opens no new channel: RabbitMQ sends a second `channel.close` if the first has no
    /// answer at the next tick, and that costs amqprs the connection.
    async fn times_out_saying(&mut self, text: &str) {
        let err = self.closed().await;
        assert_eq!(err.scope(), ErrorScope::Channel, "{err}");
        expect_reason(&err, 406, (0, 0), text);
    }

    /// The `count` messages left in a queue, each with its redelivered flag.
    ///
    /// Waits for them: a channel may close before what it fetched is ready again.
    async fn left(&self, queue: &str, count: u32) -> Vec<(String, bool)> {
        self.until_counts(queue, (count, 0)).await;
        let mut left = Vec::new();
        while let Some(fetched) = self.get(queue).await {
            left.push((body(&fetched.message).to_owned(), fetched.redelivered));
        }
        left
    }
}

fn with_timeout(name: &str, timeout: FieldValue) -> QueueDeclare {
    QueueDeclare {
        arguments: table([("x-consumer-timeout", timeout)]),
        ..queue(name)
    }
}

fn messages<const N: usize>(expected: [(&str, bool); N]) -> Vec<(String, bool)> {
    expected.map(|(body, again)| (body.into(), again)).into()
}

#[scenario(before = V4_3, alone, short_timeouts)]
async fn a_delivery_that_is_overdue_closes_its_channel(fixture: Fixture) {
    let _hurried = fixture.control().hurry_channels().await;
    let mut publisher = fixture.publisher().await;
    let (classic, quorum) = (fixture.name("classic"), fixture.name("quorum"));
    publisher.declare(&classic).await;
    publisher.declare_with(quorum_queue(&quorum)).await;
    for q in [&classic, &quorum] {
        publisher.fill(q, &["1", "2", "3", "4"]).await;
        let mut raw = fixture.raw().await;
        raw.prefetch(2).await;
        raw.consume(q).await;
        assert_eq!(raw.delivered(2).await, ["1", "2"]);
        raw.ack(1);
        assert_eq!(raw.delivered(1).await, ["3"]);
        raw.times_out(1, CONSUMER_TIMEOUT).await;
        // The requeued messages are in order, and marked as redelivered.
        let expected = messages([("2", true), ("3", true), ("4", false)]);
        assert_eq!(publisher.left(q, 3).await, expected);
        publisher.reopen().await;
        publisher.confirm_select().await;
    }
}

#[scenario(before = V4_3, alone, short_timeouts)]
async fn fetched_message_may_be_overdue_too(fixture: Fixture) {
    let _hurried = fixture.control().hurry_channels().await;
    let mut publisher = fixture.publisher().await;
    let q = fixture.name("q");
    publisher.declare(&q).await;
    publisher.fill(&q, &["1", "2"]).await;
    let first = fixture.raw().await;
    let mut second = first.sibling().await;
    assert_eq!(body(&second.fetch(&q).await.message), "1");
    second.times_out(2, CONSUMER_TIMEOUT).await;
    let expected = messages([("1", true), ("2", false)]);
    assert_eq!(publisher.left(&q, 2).await, expected);
    // The connection and its other channels go on.
    first.settled().await;
}

#[scenario(before = V4_3, alone, short_timeouts)]
async fn a_channel_without_unacked_deliveries_stays(fixture: Fixture) {
    let _hurried = fixture.control().hurry_channels().await;
    let mut publisher = fixture.publisher().await;
    let q = fixture.name("q");
    publisher.declare(&q).await;
    publisher.fill(&q, &["1", "2", "3"]).await;
    let mut idle = fixture.raw().await;
    idle.prefetch(1).await;
    idle.consume(&q).await;
    assert_eq!(idle.delivered(1).await, ["1"]);
    idle.ack(1);
    assert_eq!(idle.delivered(1).await, ["2"]);
    idle.ack(2);
    assert_eq!(idle.delivered(1).await, ["3"]);
    idle.ack(3);
    idle.settled().await;
    // A later delivery on another channel outlasts its timeout.
    publisher.fill(&q, &["4"]).await;
    assert_eq!(idle.delivered(1).await, ["4"]);
    idle.ack(4);
    let busy = fixture.name("busy");
    publisher.declare(&busy).await;
    publisher.fill(&busy, &["5"]).await;
    let mut late = fixture.raw().await;
    late.consume(&busy).await;
    assert_eq!(late.delivered(1).await, ["5"]);
    late.times_out(1, CONSUMER_TIMEOUT).await;
    idle.nothing_from(&q).await;
}

#[scenario(since = V4_0, before = V4_3, alone, short_timeouts)]
async fn consumer_timeout_is_the_shorter_of_argument_and_policy(fixture: Fixture) {
    let _hurried = fixture.control().hurry_channels().await;
    let mut publisher = fixture.publisher().await;
    for (name, argument, policy, millis) in [
        ("argument", Some(FieldValue::from(400)), None, 400),
        ("policy", None, Some(500), 500),
        ("longer policy", Some(600.into()), Some(DAY), 600),
        ("shorter policy", Some(DAY.into()), Some(700), 700),
        ("no number", Some("400".into()), Some(800), 800),
    ] {
        let q = fixture.name(name);
        if let Some(policy) = policy {
            let definition = table([("consumer-timeout", policy.into())]);
            let pattern = format!("^{q}$");
            let control = fixture.control();
            control
                .set_policy(&q, &pattern, ApplyTo::Queues, 0, &definition)
                .await;
        }
        let declare = argument.map_or_else(|| queue(&q), |argument| with_timeout(&q, argument));
        publisher.declare_with(declare).await;
        publisher.fill(&q, &["1"]).await;
        let mut raw = fixture.raw().await;
        raw.consume(&q).await;
        assert_eq!(raw.delivered(1).await, ["1"]);
        raw.times_out(1, millis).await;
    }
}

#[scenario(since = V4_0, before = V4_3, alone, short_timeouts)]
async fn consumer_timeout_may_be_negative(fixture: Fixture) {
    let _hurried = fixture.control().hurry_channels().await;
    let mut publisher = fixture.publisher().await;
    let q = fixture.name("q");
    publisher.declare_with(with_timeout(&q, (-5).into())).await;
    publisher.fill(&q, &["1"]).await;
    let mut raw = fixture.raw().await;
    raw.consume(&q).await;
    assert_eq!(raw.delivered(1).await, ["1"]);
    let text = "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout \
                value used: -5 ms. This timeout value can be configured, see consumers doc guide \
                to learn more";
    raw.times_out_saying(text).await;
}

#[scenario(since = V4_0, before = V4_3, alone, short_timeouts)]
async fn consumer_timeout_looks_at_the_oldest_delivery_of_a_channel_alone(fixture: Fixture) {
    let _hurried = fixture.control().hurry_channels().await;
    let mut publisher = fixture.publisher().await;
    let (patient, hasty) = (fixture.name("patient"), fixture.name("hasty"));
    // A text is no timeout, and it disables the broker's own.
    let never = "never".into();
    publisher.declare_with(with_timeout(&patient, never)).await;
    publisher
        .declare_with(with_timeout(&hasty, 300.into()))
        .await;
    publisher.fill(&patient, &["1"]).await;
    publisher.fill(&hasty, &["2", "3"]).await;
    let mut raw = fixture.raw().await;
    raw.fetch(&patient).await;
    raw.fetch(&hasty).await;
    // A later channel runs into its timeout.
    let mut later = fixture.raw().await;
    later.fetch(&hasty).await;
    later.times_out(1, 300).await;
    raw.nothing_from(&hasty).await;
    raw.ack(1);
    raw.times_out(1, 300).await;
}

#[scenario(before = V4_3, alone, short_timeouts)]
async fn a_callback_that_takes_too_long_sees_its_message_again(fixture: Fixture) {
    let _hurried = fixture.control().hurry_channels().await;
    let (conn, chan) = fixture.channel().await;
    let q = fixture.name("q");
    chan.declare_queue(&q).await.unwrap();
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let (settled, mut settles) = tokio::sync::mpsc::unbounded_channel();
    let (finish, finished) = tokio::sync::watch::channel(false);
    chan.register_callback(&q)
        .callback(move |msg: Delivery<String>| {
            let (begun, settled) = (begun.clone(), settled.clone());
            let mut finished = finished.clone();
            async move {
                begun.send((msg.msg.clone(), msg.redelivered)).unwrap();
                finished.wait_for(|finished| *finished).await.unwrap();
                settled.send((msg.redelivered, msg.ack().await)).unwrap();
            }
        })
        .await
        .unwrap();
    chan.publish("", "body").routing_key(&q).await.unwrap();
    let processing = conn.clone();
    let processing = tokio::spawn(async move { processing.process_events().await });
    for redelivered in [false, true] {
        let call = within("a call", begins.recv()).await;
        assert_eq!(call, Some(("body".into(), redelivered)));
    }
    // The first delivery is stale, and the second one acks the message.
    finish.send(true).unwrap();
    for _ in 0..2 {
        let (redelivered, outcome) = within("an outcome", settles.recv()).await.unwrap();
        let stale = outcome
            .err()
            .map(|err| err.kind() == ErrorKind::StaleDelivery);
        assert_eq!(stale, (!redelivered).then_some(true));
    }
    conn.close().await.unwrap();
    within("the end", processing).await.unwrap().unwrap();
    let raw = fixture.raw().await;
    raw.until_counts(&q, (0, 0)).await;
}
