//! Waiting until nothing is in flight.
//!
//! Everything in flight is counted, in the engine or among the work that clients hold. Each thing
//! is counted until its consequences are counted: a callback has published and acknowledged before
//! its delivery is released. Everything new enters under the broker's lock. So when the lock is
//! held and the count is zero, nothing is in flight, and nothing will be until new work comes from
//! outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mooq_core::in_flight::InFlightCount;
use tokio::sync::Notify;

use super::InMemoryBroker;
use mooq_engine::Activity;

/// The tasks that wait for an idle broker.
#[derive(Debug, Default)]
pub(super) struct Idle {
    awaited: AtomicUsize,
    notified: Notify,
}

impl Idle {
    /// A count that notifies the waiting tasks when it falls to zero.
    pub(super) fn count(idle: &Arc<Self>) -> InFlightCount {
        let idle = Arc::clone(idle);
        InFlightCount::new(move || {
            if idle.is_awaited() {
                idle.notify();
            }
        })
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::SeqCst) > 0
    }

    /// Wakes the waiting tasks to check again.
    pub(super) fn notify(&self) {
        self.notified.notify_waiters();
    }
}

/// A task that waits.
struct Waiting<'a>(&'a Idle);

impl<'a> Waiting<'a> {
    fn new(idle: &'a Idle) -> Self {
        idle.awaited.fetch_add(1, Ordering::SeqCst);
        Self(idle)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.awaited.fetch_sub(1, Ordering::SeqCst);
    }
}

impl InMemoryBroker {
    /// Waits until nothing is in flight: by exact count, without a timer and without polling.
    ///
    /// When the broker is idle,
    /// - no message is ready that a consumer could take;
    /// - no delivery is unsettled, and none waits at its client or is in a callback, even if it was
    ///   acknowledged before, automatically or by hand;
    /// - every confirm, return, cancellation and close has been handled by its client;
    /// - nothing is due: everything that was to expire by now has expired.
    ///
    /// Messages without a consumer that could take them stay in their queues, and so do messages
    /// that wait for a point in time. So do dead letters that a quorum queue keeps until they have
    /// a route ([`QueueInfo::kept_dead_letters`](crate::QueueInfo::kept_dead_letters)). None of
    /// these is in flight.
    ///
    /// Unfinished work keeps this method waiting: a consumer on a connection without
    /// `process_events`, a delivery that a test holds, a message that is requeued for ever. So do
    /// dead letters that circle between queues, and work that an alarm or a fault holds up. [`Self::activity`] names the unfinished work, and a
    /// limit is set as for any future, by `tokio::time::timeout`.
    ///
    /// This method does not know of tasks that hold no delivery: await a task that publishes by
    /// itself before you call this method. It waits for a client that was just lost to reconnect,
    /// but not for one whose first attempt has failed.
    ///
    /// # Cancel safety
    /// Safe to drop at any point.
    ///
    /// # Examples
    /// ```
    /// use mooq::memory::InMemoryBroker;
    /// use mooq::Delivery;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// let broker = InMemoryBroker::start();
    /// // A service that counts down, each number in a message of its own.
    /// let service = mooq::connect(&broker).await?;
    /// let chan = service.create_channel().await?;
    /// let out = chan.clone();
    /// chan.register_consumer("numbers", "fanout")
    ///     .callback(move |number: Delivery<u32>| {
    ///         let out = out.clone();
    ///         async move {
    ///             match number.msg {
    ///                 0 => Ok(()),
    ///                 n => out.publish("numbers", &(n - 1)).await,
    ///             }
    ///         }
    ///     })
    ///     .await?;
    /// tokio::spawn(async move { service.process_events().await });
    ///
    /// let recording = broker.record(100);
    /// chan.publish("numbers", &3).await?;
    /// broker.wait_idle().await;
    /// recording.publishes().assert_json_in_order(&[3, 2, 1, 0]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait_idle(&self) {
        let idle = &self.shared.idle;
        let _waiting = Waiting::new(idle);
        loop {
            // Registered before the check, so that no change after the check is missed.
            let notified = idle.notified.notified();
            if self.activity().is_idle() {
                return;
            }
            notified.await;
        }
    }

    /// Number of things in flight now, by kind, which [`Self::wait_idle`] waits for. Everything due
    /// by now has happened before.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use mooq::memory::InMemoryBroker;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let broker = InMemoryBroker::start();
    /// let chan = mooq::connect(&broker).await?.create_channel().await?;
    /// chan.declare_queue("orders").await?;
    /// chan.publish("", "three pencils").routing_key("orders").await?;
    /// let held = chan.get_one::<String>("orders").await?;
    ///
    /// let idle = tokio::time::timeout(Duration::from_secs(5), broker.wait_idle()).await;
    /// assert!(idle.is_err(), "there is a delivery that is not settled");
    /// let activity = broker.activity();
    /// assert_eq!(activity.unsettled, 1);
    /// assert!(activity.to_string().contains("1 unsettled deliveries"));
    ///
    /// held.ack().await?;
    /// broker.wait_idle().await;
    /// # Ok::<(), mooq::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn activity(&self) -> Activity {
        self.shared.activity()
    }
}
