//! Waiting until nothing is under way.
//!
//! Everything that is under way is counted, in the engine or in what clients have in hand. What it
//! gives rise to is counted before it is not any more: a callback has published and acknowledged
//! before its delivery is let go. And whatever comes anew comes under the broker's lock. So when
//! that is held and the count is nothing, then nothing is under way, and nothing will be until
//! somebody begins something from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mooq_core::in_flight::InFlightCount;
use tokio::sync::Notify;

use super::InMemoryBroker;
use crate::engine::Activity;

/// Those who wait for it.
#[derive(Debug, Default)]
pub(super) struct Idle {
    awaited: AtomicUsize,
    told: Notify,
}

impl Idle {
    /// A count that tells when it falls to nothing.
    pub(super) fn count(idle: &Arc<Self>) -> InFlightCount {
        let idle = Arc::clone(idle);
        InFlightCount::new(move || {
            if idle.is_awaited() {
                idle.tell();
            }
        })
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::SeqCst) > 0
    }

    /// Has those who wait look again.
    pub(super) fn tell(&self) {
        self.told.notify_waiters();
    }
}

/// Somebody who waits.
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
    /// Waits until nothing is under way: by exact count, without a timer and without polling.
    ///
    /// Then
    /// - no message is ready that a consumer could take;
    /// - no delivery is unsettled, and none waits at its client or is in a callback, also if it was
    ///   acknowledged before, automatically or by hand;
    /// - every confirm, return, cancellation and close has been handled by the client it is for;
    /// - nothing is due: what was to expire by now has.
    ///
    /// Messages without a consumer that could take them stay where they are, and those that wait
    /// for a time to come do: neither is under way.
    ///
    /// What nobody finishes keeps it waiting: a consumer on a connection without `process_events`, a
    /// delivery that a test holds, a message that goes back to its queue for ever. So does what an
    /// alarm or a fault holds up. [`Self::activity`] says what it is, and a limit is set as for any
    /// future, by `tokio::time::timeout`.
    ///
    /// It knows nothing of tasks that hold no delivery: one that publishes by itself is to be
    /// awaited, before this is. Neither does it wait for a client that waits to connect again.
    ///
    /// # Cancel safety
    /// Safe to drop at any point.
    ///
    /// # Examples
    /// ```
    /// use mooq::{ConnectInMemory, Delivery, InMemoryBroker};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// let broker = InMemoryBroker::start();
    /// // A service that counts down, each number in a message of its own.
    /// let service = broker.connect().await?;
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
            // Before the look, so that no change after it is missed.
            let told = idle.told.notified();
            if self.activity().is_idle() {
                return;
            }
            told.await;
        }
    }

    /// What is under way now, which [`Self::wait_idle`] waits for. What is due by now has happened
    /// before.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use mooq::{ConnectInMemory, InMemoryBroker};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let broker = InMemoryBroker::start();
    /// let chan = broker.connect().await?.create_channel().await?;
    /// chan.declare_queue("orders").await?;
    /// chan.publish("", "three pencils").routing_key("orders").await?;
    /// let held = chan.get::<String>("orders").await?;
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
