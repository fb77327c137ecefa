//! Publishers and consumers at work during faults.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mooq::{Channel, ConnectOptions, Connection, Delivery, Error, ErrorKind, OnLoss};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::journal::Journal;
use super::record::{Counts, Record};
use super::timing::Timing;
use super::verdict::Verdict;
use mooq_conformance::expect::LIMIT;
use mooq_conformance::within;

/// Interval between a publisher's messages.
const PACE: Duration = Duration::from_millis(5);

/// Interval between other calls.
const ASKING_PACE: Duration = Duration::from_millis(50);

/// Maximum number of one publisher's messages in flight.
const WINDOW: usize = 64;

/// Number of messages that prove a workload to flow.
const MANY: u64 = 100;

const PREFETCH: u16 = 32;

/// Time limit for all confirmed messages to come in the end. Only lost messages reach it.
const ARRIVING: Duration = LIMIT;

/// Parameters of a workload.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Prefix of the workload's names.
    pub name: String,
    /// Options to connect, with the deadline of calls.
    pub options: ConnectOptions,
    /// Deadline of calls.
    pub deadline: Duration,
    /// True for quorum queues.
    pub quorum: bool,
}

/// Three publishers, a consumer with a callback, one with a stream, and a task that makes all sorts
/// of calls. Every call is measured, every message recorded.
#[derive(Debug)]
pub struct Workload {
    publishing: Connection,
    consuming: Connection,
    /// The publishers' channels.
    channels: Vec<Channel>,
    shared: Shared,
    publishers: JoinSet<()>,
    consumers: JoinSet<()>,
    /// Stops the publishers first, and the consumers when all messages have come.
    stop: watch::Sender<Stop>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    Nobody,
    Publishers,
    Everybody,
}

#[derive(Debug, Clone)]
struct Shared {
    plan: Arc<Plan>,
    record: Arc<Record>,
    timing: Timing,
    journal: Journal,
}

/// Pace of a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// One message at a time.
    OneByOne,
    /// Many messages at once.
    Pipelined,
    /// Many messages at once, each resent if its confirm does not come before a loss.
    Resending,
}

impl Plan {
    /// Parameters of a workload with this prefix of names, on the broker of `options`.
    #[must_use]
    pub fn new(name: &str, options: ConnectOptions, deadline: Duration) -> Self {
        Self {
            name: name.into(),
            options: options.timeout(deadline),
            deadline,
            quorum: false,
        }
    }

    /// The name of one of its queues, or of its exchange.
    fn named(&self, what: &str) -> String {
        format!("{}/{what}", self.name)
    }
}

impl Workload {
    /// Connects, declares, and starts publishing and consuming.
    ///
    /// # Panics
    /// If the workload cannot begin.
    pub async fn begin(plan: Plan) -> Self {
        let beginning = async {
            loop {
                match Self::try_begin(plan.clone()).await {
                    // The machine is busy. The next attempt finds the declared queues.
                    Err(err) if err.kind() == ErrorKind::TimedOut => {}
                    begun => return begun.expect("the workload begins"),
                }
            }
        };
        within("a workload's begin", beginning).await
    }

    async fn try_begin(plan: Plan) -> mooq::Result<Self> {
        let shared = Shared {
            plan: Arc::new(plan),
            record: Arc::default(),
            timing: Timing::begin(),
            journal: Journal::default(),
        };
        let publishing = shared.connect("publishing").await?;
        let consuming = shared.connect("consuming").await?;
        let mut workload = Self {
            publishing,
            consuming,
            channels: Vec::new(),
            shared,
            publishers: JoinSet::new(),
            consumers: JoinSet::new(),
            stop: watch::Sender::new(Stop::Nobody),
        };
        workload.consume_by_callback().await?;
        workload.consume_by_stream().await?;
        for manner in [Manner::OneByOne, Manner::Pipelined, Manner::Resending] {
            workload.publish(manner).await?;
        }
        workload.ask().await?;
        Ok(workload)
    }

    /// The record of the messages.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.shared.record
    }

    /// The events of the connections.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// The measurements of calls.
    #[must_use]
    pub fn timing(&self) -> &Timing {
        &self.shared.timing
    }

    /// The channels that the workload publishes on.
    #[must_use]
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// The connection that the workload publishes over.
    #[must_use]
    pub fn publishing(&self) -> &Connection {
        &self.publishing
    }

    /// Waits until many more messages have been confirmed and received.
    ///
    /// # Errors
    /// The counts, if they do not grow.
    pub async fn flows(&self) -> Result<(), String> {
        let before = self.record().counts();
        let more = |now: &Counts| {
            now.confirmed >= before.confirmed + MANY && now.received >= before.received + MANY
        };
        match self.record().until(ARRIVING, more).await {
            Ok(_) => Ok(()),
            Err(now) => Err(format!(
                "the workload does not flow: {before:?}, and {now:?} {ARRIVING:?} later; {:?}",
                self.journal().since(0)
            )),
        }
    }

    /// Makes a call with the workload's deadline, and measures it.
    pub async fn call<T>(&self, what: &'static str, call: impl IntoFuture<Output = T>) -> T {
        self.shared.of(what, call).await
    }

    /// One of the consumed queues.
    #[must_use]
    pub fn queue(&self) -> String {
        self.shared.plan.named("stream")
    }

    /// Both queues that are published to and consumed.
    #[must_use]
    pub fn queues(&self) -> [String; 2] {
        ["callback", "stream"].map(|what| self.shared.plan.named(what))
    }

    /// The queue that is only declared passively.
    #[must_use]
    pub fn idle_queue(&self) -> String {
        self.shared.plan.named("idle")
    }

    /// Stops publishing, waits for all confirmed messages, stops, and returns the verdict.
    pub async fn finish(mut self) -> Verdict {
        let mut failures = Vec::new();
        self.stop.send_replace(Stop::Publishers);
        join(&mut self.publishers, &mut failures).await;
        let lost = self.shared.record.all_arrived(ARRIVING).await;
        self.stop.send_replace(Stop::Everybody);
        join(&mut self.consumers, &mut failures).await;
        for conn in [&self.publishing, &self.consuming] {
            let closing = self.shared.of("Connection::close", conn.close());
            if let Err(err) = closing.await {
                failures.push(format!("closing: {err}"));
            }
        }
        Verdict {
            counts: self.shared.record.counts(),
            duplicates: self.shared.record.duplicates(),
            lost,
            timing: self.shared.timing,
            failures,
        }
    }

    async fn consume_by_callback(&mut self) -> mooq::Result<()> {
        let (shared, conn) = (self.shared.clone(), self.consuming.clone());
        let chan = shared.channel(&conn).await?;
        let record = Arc::clone(&shared.record);
        let mut register = chan
            .register_consumer(shared.plan.named("exchange"), "direct")
            .queue(shared.plan.named("callback"))
            .routing_key("callback")
            .prefetch(PREFETCH);
        if shared.plan.quorum {
            register = register.queue_argument("x-queue-type", "quorum");
        }
        let consumer = register.callback(move |delivery: Delivery<u64>| {
            record.received(delivery.msg, delivery.redelivered);
            async {}
        });
        shared.of("RegisterConsumer", consumer).await?;
        let mut stop = self.stop.subscribe();
        self.consumers.spawn(async move {
            let _chan = chan;
            let stopped = async move {
                let _ = stop.wait_for(|stop| *stop == Stop::Everybody).await;
            };
            let processing = conn.process_events().with_graceful_shutdown(stopped);
            processing.await.expect("no consumer ends by itself");
        });
        Ok(())
    }

    async fn consume_by_stream(&mut self) -> mooq::Result<()> {
        let (shared, conn) = (self.shared.clone(), self.consuming.clone());
        let chan = shared.channel(&conn).await?;
        let (exchange, queue) = (shared.plan.named("exchange"), shared.plan.named("stream"));
        shared.declare(&chan, &queue).await?;
        chan.bind_queue(&queue, &exchange, "stream").await?;
        let consume = chan.consume::<u64>(&queue).prefetch(PREFETCH);
        let mut deliveries = shared.of("ConsumeQueue", consume).await?;
        let mut stop = self.stop.subscribe();
        self.consumers.spawn(async move {
            loop {
                let next = tokio::select! {
                    next = deliveries.next() => next,
                    _ = stop.wait_for(|stop| *stop == Stop::Everybody) => break,
                };
                let delivery = next.expect("the stream goes on");
                let delivery = delivery.expect("the consumer does not end");
                shared.record.received(delivery.msg, delivery.redelivered);
                let settled = shared.timing.of("ack", Duration::ZERO, delivery.ack());
                if let Err(err) = settled.await {
                    // The message comes again, and counts as a duplicate.
                    let stale = [ErrorKind::StaleDelivery, ErrorKind::ConnectionLost];
                    assert!(stale.contains(&err.kind()), "ack: {err}");
                }
            }
            let cancelled = shared.of("Deliveries::cancel", deliveries.cancel());
            cancelled.await.expect("the consumer is cancelled");
        });
        Ok(())
    }

    async fn publish(&mut self, manner: Manner) -> mooq::Result<()> {
        let chan = self.shared.channel(&self.publishing).await?;
        self.channels.push(chan.clone());
        let (shared, mut stop) = (self.shared.clone(), self.stop.subscribe());
        self.publishers.spawn(async move {
            let mut pace = interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut on_their_way = FuturesUnordered::new();
            let mut turn = 0_u64;
            loop {
                let room = if manner == Manner::OneByOne {
                    1
                } else {
                    WINDOW
                };
                tokio::select! {
                    _ = pace.tick(), if on_their_way.len() < room => {
                        turn += 1;
                        on_their_way.push(shared.publish_one(&chan, manner, turn));
                    }
                    Some(()) = on_their_way.next() => {}
                    _ = stop.wait_for(|stop| *stop >= Stop::Publishers) => break,
                }
            }
            while on_their_way.next().await.is_some() {}
        });
        Ok(())
    }

    /// Makes calls of all sorts. They may fail with the connection, but not hang.
    async fn ask(&mut self) -> mooq::Result<()> {
        let (shared, conn) = (self.shared.clone(), self.publishing.clone());
        let chan = shared.channel(&conn).await?;
        let idle = self.idle_queue();
        shared.declare(&chan, &idle).await?;
        let mut stop = self.stop.subscribe();
        self.publishers.spawn(async move {
            let mut pace = interval(ASKING_PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while *stop.borrow_and_update() < Stop::Publishers {
                pace.tick().await;
                // One after the other, so that each call meets every stage of a loss.
                let declared = shared.of("DeclareQueue", chan.declare_queue(&idle).passive());
                tolerate("DeclareQueue", declared.await);
                tolerate("Get", shared.of("Get", chan.get::<u64>(&idle)).await);
                if let Some(numbers) = tolerate(
                    "ConsumeQueue",
                    shared.of("ConsumeQueue", chan.consume::<u64>(&idle)).await,
                ) {
                    let cancelling = shared.of("Deliveries::cancel", numbers.cancel());
                    tolerate("Deliveries::cancel", cancelling.await);
                }
                let other = shared.of("create_channel", conn.create_channel()).await;
                if let Some(other) = tolerate("create_channel", other) {
                    let closing = shared.of("Channel::close", other.close());
                    tolerate("Channel::close", closing.await);
                }
            }
        });
        Ok(())
    }
}

/// Waits until all of `tasks` have ended, and notes those that panic or never end.
async fn join(tasks: &mut JoinSet<()>, failures: &mut Vec<String>) {
    // Longer than any deadline.
    let limit = Instant::now() + ARRIVING;
    while let Ok(Some(ended)) = tokio::time::timeout_at(limit, tasks.join_next()).await {
        if let Err(err) = ended {
            failures.push(err.to_string());
        }
    }
    if !tasks.is_empty() {
        failures.push(format!("{} tasks never end", tasks.len()));
        tasks.abort_all();
    }
}

/// Returns the value of a call, or none for an error that is usual while a broker is away.
fn tolerate<T>(what: &str, outcome: Result<T, Error>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(err) => {
            let usual = [
                ErrorKind::ConnectionLost,
                ErrorKind::TimedOut,
                // RabbitMQ's answer to `basic.get` while the queue's leader is being killed: it
                // closes the connection.
                ErrorKind::BrokerInternalError,
            ];
            assert!(usual.contains(&err.kind()), "{what}: {err:?}");
            None
        }
    }
}

impl Shared {
    async fn connect(&self, of: &'static str) -> mooq::Result<Connection> {
        let options = self.plan.options.clone().name(of);
        let conn = mooq::connect(options).await?;
        self.journal.keep(of, &conn);
        Ok(conn)
    }

    async fn channel(&self, conn: &Connection) -> mooq::Result<Channel> {
        self.of("create_channel", conn.create_channel()).await
    }

    async fn declare(&self, chan: &Channel, queue: &str) -> mooq::Result<()> {
        let mut declare = chan.declare_queue(queue);
        if self.plan.quorum {
            declare = declare.argument("x-queue-type", "quorum");
        }
        declare.await.map(drop)
    }

    /// Measures a call that has the workload's deadline.
    async fn of<T>(&self, what: &'static str, call: impl IntoFuture<Output = T>) -> T {
        self.timing.of(what, self.plan.deadline, call).await
    }

    async fn publish_one(&self, chan: &Channel, manner: Manner, turn: u64) {
        let resend = manner == Manner::Resending;
        let number = self.record.publishing(resend);
        let key = ["callback", "stream"][(turn % 2) as usize];
        let exchange = self.plan.named("exchange");
        let publish = chan
            .publish(exchange.as_str(), &number)
            .routing_key(key)
            .timeout(self.plan.deadline);
        let outcome = match manner {
            Manner::OneByOne => self.of("Publish", publish).await,
            Manner::Pipelined => {
                self.of("Publish::send", async { publish.send().await?.await })
                    .await
            }
            Manner::Resending => {
                let publish = publish.on_loss(OnLoss::Resend);
                self.of("Publish, resent", async { publish.send().await?.await })
                    .await
            }
        };
        self.record.published(number, &outcome);
    }
}
