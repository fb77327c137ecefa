//! Steps that scenarios share.

use std::future::{Future, Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use mooq::{Channel, Connection, Delivery, ErrorKind, Retry};
use tokio::sync::Barrier;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::Fixture;
use crate::expect::within;

/// Processes the connection's events until `event` comes.
pub async fn processing<T>(conn: &Connection, what: &str, event: impl Future<Output = T>) -> T {
    let both = async {
        tokio::select! {
            biased;
            end = conn.process_events() => panic!("processing ended before {what}: {end:?}"),
            event = event => event,
        }
    };
    within(what, both).await
}

/// A policy that retries at once.
pub fn quickly() -> Retry {
    Retry::exponential(Duration::from_millis(1), Duration::from_secs(60)).in_place()
}

/// Declares a durable queue and publishes `bodies` to it through the default exchange, each
/// confirmed.
pub async fn fill(chan: &Channel, queue: &str, bodies: &[&str]) {
    chan.declare_queue(queue).await.unwrap();
    for body in bodies {
        put(chan, queue, body).await;
    }
}

/// Publishes `body` to a queue through the default exchange.
pub async fn put(chan: &Channel, queue: &str, body: &str) {
    chan.publish("", body).routing_key(queue).await.unwrap();
}

/// Returns the number of messages that are ready in a queue.
///
/// RabbitMQ's queues answer this before they handle earlier methods without an answer (unconfirmed
/// publishes, settlements): wait for an effect of those first, or [`drain`].
pub async fn ready_in(chan: &Channel, queue: &str) -> u32 {
    let declared = chan.declare_queue(queue).passive().await;
    declared.expect("the queue exists").message_count
}

/// Fetches all messages that are ready in a queue, and returns their bodies in order. Unlike the
/// count, this sees everything that the channel published and settled before.
pub async fn drain(chan: &Channel, queue: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    let next = async || chan.get::<String>(queue).await.expect("the queue is there");
    while let Some(got) = next().await {
        bodies.push(got.ack().await.unwrap());
    }
    bodies
}

/// Waits until the exclusive queue of a closed channel or connection is deleted.
///
/// RabbitMQ deletes the queue after the client knows of the close, and may nack messages that reach
/// it meanwhile, through an exchange too.
pub async fn until_gone(fixture: &Fixture, queue: &str) {
    let (conn, chan) = fixture.channel().await;
    let gone = async {
        loop {
            let declared = chan.declare_queue(queue).passive().await;
            match declared
                .expect_err("the exclusive queue is locked to this connection")
                .kind()
            {
                ErrorKind::QueueNotFound => break,
                kind => assert_eq!(kind, ErrorKind::ResourceLocked),
            }
        }
    };
    within("the queue's end", gone).await;
    conn.close().await.unwrap();
}

/// Records the calls of a callback.
#[derive(Debug)]
pub struct Recorder<T>(UnboundedSender<Delivery<T>>);

/// The deliveries that a callback was called with, in order.
#[derive(Debug)]
pub struct Calls<T>(UnboundedReceiver<Delivery<T>>);

/// A recorder, and its calls.
#[must_use]
pub fn record<T>() -> (Recorder<T>, Calls<T>) {
    let (noted, calls) = mpsc::unbounded_channel();
    (Recorder(noted), Calls(calls))
}

impl<T: Send + 'static> Recorder<T> {
    /// Records one call.
    pub fn note(&self, delivery: Delivery<T>) {
        // The scenario may have ended already.
        let _ = self.0.send(delivery);
    }

    /// A callback that records its calls and always succeeds.
    pub fn callback(self) -> impl Fn(Delivery<T>) -> Ready<()> + Send + Sync + 'static {
        move |delivery| {
            self.note(delivery);
            ready(())
        }
    }
}

impl<T> Clone for Recorder<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Calls<T> {
    /// Returns the next call, and processes the connection's events meanwhile.
    pub async fn next(&mut self, conn: &Connection) -> Delivery<T> {
        processing(conn, "a callback", self.noted()).await
    }

    /// Returns the next `n` calls, and processes the connection's events meanwhile.
    pub async fn take(&mut self, conn: &Connection, n: usize) -> Vec<Delivery<T>> {
        let all = async {
            let mut calls = Vec::new();
            while calls.len() < n {
                calls.push(self.noted().await);
            }
            calls
        };
        processing(conn, "the callbacks", all).await
    }

    /// Returns the next call, while another task processes the events.
    pub async fn noted(&mut self) -> Delivery<T> {
        self.0
            .recv()
            .await
            .expect("the consumer still has its callback")
    }

    /// Returns the calls that were recorded and not read yet.
    pub fn so_far(&mut self) -> Vec<Delivery<T>> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

/// A callback that ends once `n` of its calls run at once, and the numbers of those that ran when each
/// began.
pub fn running_together(
    n: usize,
) -> (
    impl Fn(Delivery<String>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    UnboundedReceiver<usize>,
) {
    let running = Arc::new(AtomicUsize::new(0));
    let barrier = Arc::new(Barrier::new(n));
    let (ended, ends) = mpsc::unbounded_channel();
    let callback = move |_| -> BoxFuture<'static, ()> {
        let (running, barrier) = (Arc::clone(&running), Arc::clone(&barrier));
        let ended = ended.clone();
        Box::pin(async move {
            let at_once = running.fetch_add(1, Ordering::SeqCst) + 1;
            barrier.wait().await;
            running.fetch_sub(1, Ordering::SeqCst);
            ended.send(at_once).unwrap();
        })
    };
    (callback, ends)
}

/// The bodies of deliveries.
#[must_use]
pub fn bodies<T>(deliveries: Vec<Delivery<T>>) -> Vec<T> {
    deliveries.into_iter().map(|d| d.msg).collect()
}
