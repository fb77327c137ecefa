//! Timelines: the last events of a broker, for a test that fails.

use std::fmt;
use std::sync::Arc;
use std::thread;

use super::InMemoryBroker;
use super::shared::Shared;
use crate::timeline::{Heading, mermaid, text};
use mooq_engine::{TimelineEntry, TimelineId};

/// The last events of a broker, as text and as a sequence diagram: publishes with the queues that
/// they are routed to, confirms, returns, deliveries with their outcomes, dead letters, requests,
/// connections and channels that end, alarms and faults.
///
/// A timeline lasts until it is dropped. It has a limit, and drops its oldest events for later ones.
/// Of a message it keeps the exchange, the routing key, the message id, and the first 64 bytes of
/// the body. Several timelines may run at once, beside [recordings](crate::Recording), which keep
/// whole messages for assertions.
///
/// `#[mooq::test]` and `mooq::testing::TestBroker` print a timeline when a test fails. This type is
/// for a broker that a test starts by itself.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> mooq::Result<()> {
/// use std::time::Duration;
///
/// use mooq::memory::InMemoryBroker;
///
/// let broker = InMemoryBroker::start();
/// // Before the connections, so that it outlives them. Prints if the test panics.
/// let timeline = broker.timeline(1_000).print_on_panic();
///
/// let chan = mooq::connect(&broker).await?.create_channel().await?;
/// chan.declare_queue("offers").message_ttl(Duration::from_secs(60)).await?;
/// chan.publish("", "half price").routing_key("offers").await?;
/// tokio::time::sleep(Duration::from_secs(60)).await;
/// broker.wait_idle().await;
///
/// assert_eq!(timeline.text(3), r#"
/// timeline of the in-memory RabbitMQ 4.0: the last 3 of 6 events
///   00:00:00.000000  client#1 ch 1  publishes #1 to "", key "offers": "half price" -> "offers"
///   00:00:00.000000  client#1 ch 1  is confirmed #1
///   00:01:00.000000  broker         "offers" drops (expired): "half price"
/// "#.trim_start());
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is kept any more when this is dropped"]
pub struct Timeline {
    broker: Arc<Shared>,
    id: TimelineId,
    prints_on_panic: bool,
}

impl InMemoryBroker {
    /// Keeps the last `limit` events from now on, in every virtual host and through restarts: see
    /// [`Timeline`]. Without a timeline there is no overhead. With one, each event costs a reading of
    /// the clock and a copy of the names and of the beginning of the body, and each event that is
    /// kept about 0.5 kB of memory.
    pub fn timeline(&self, limit: usize) -> Timeline {
        Timeline {
            broker: Arc::clone(&self.shared),
            id: self.shared.admin(|engine, _| engine.start_timeline(limit)),
            prints_on_panic: false,
        }
    }
}

impl Timeline {
    /// Number of events that [`print_on_panic`](Self::print_on_panic) prints at most.
    const PRINTED: usize = 100;

    /// Prints the last 100 events to standard error if the timeline is dropped while its thread
    /// panics, as the locals of a failing test are. A test that fails by returning an error does not
    /// panic: it prints the timeline by itself, as text.
    pub fn print_on_panic(mut self) -> Self {
        self.prints_on_panic = true;
        self
    }

    /// Stops the timeline: it keeps its events and takes no more, so that what follows the failure
    /// of a test does not push out what led to it.
    pub fn stop(&self) {
        self.broker.admin(|engine, _| engine.stop_timeline(self.id));
    }

    /// The last events, at most `last` of them, one a line, after a line with the broker's version,
    /// its seed and the number of events.
    ///
    /// A line has the time since the broker was started, by tokio's clock, then the client and its
    /// channel, then the event. Events of clients are in the order in which the broker handles them.
    /// A connection is shown by its name and its number, or as `client` if it has no name.
    #[must_use]
    pub fn text(&self, last: usize) -> String {
        self.read(last, text)
    }

    /// The last events, at most `last` of them, as a [Mermaid] sequence diagram: messages between
    /// connections, exchanges and queues, and notes about connections, channels, alarms and faults.
    /// Declarations, bindings and other requests are left out. The diagram is shorter than 40,000
    /// bytes, of Mermaid's default limit of 50,000: earlier events give way.
    ///
    /// [Mermaid]: https://mermaid.js.org/syntax/sequenceDiagram.html
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// use mooq::memory::InMemoryBroker;
    ///
    /// let broker = InMemoryBroker::start();
    /// let timeline = broker.timeline(1_000);
    /// let chan = mooq::connect(&broker).await?.create_channel().await?;
    /// chan.declare_queue("orders").await?;
    /// chan.publish("", "a pencil").routing_key("orders").await?;
    /// chan.get_one::<String>("orders").await?.ack().await?;
    ///
    /// assert_eq!(timeline.mermaid(100), r#"
    /// sequenceDiagram
    ///     participant c1 as client#35;1
    ///     participant q1 as queue orders
    ///     Note over c1: connects as guest
    ///     c1->>q1: publish #35;1: "a pencil"
    ///     Note over c1: is confirmed #35;1
    ///     q1->>c1: get 1: "a pencil"
    ///     c1-->>q1: ack 1
    /// "#.trim_start());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn mermaid(&self, last: usize) -> String {
        self.read(last, |_, entries| mermaid(entries))
    }

    /// True if there was no event yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.broker.with_engine(|engine| {
            let timeline = engine.timeline(self.id);
            timeline.is_none_or(|timeline| timeline.entries().is_empty())
        })
    }

    /// Calls `render` with the last entries. Does not let time pass: outside of a runtime, a paused
    /// clock cannot be read.
    fn read<T: Default>(
        &self,
        last: usize,
        render: impl FnOnce(&Heading, &[&TimelineEntry]) -> T,
    ) -> T {
        self.broker.with_engine(|engine| {
            let Some(timeline) = engine.timeline(self.id) else {
                return T::default(); // Unreachable: the timeline lasts until this is dropped.
            };
            let entries = timeline.entries();
            let shown = entries.iter().skip(entries.len().saturating_sub(last));
            let shown: Vec<_> = shown.collect();
            let heading = Heading {
                profile: engine.options().profile,
                seed: engine.options().seed,
                events: timeline.left_out() + entries.len() as u64,
            };
            render(&heading, &shown)
        })
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        if self.prints_on_panic && thread::panicking() {
            eprint!("{}", self.text(Self::PRINTED));
        }
        self.broker
            .admin(|engine, _| engine.remove_timeline(self.id));
    }
}

/// All events, as [`text`](Timeline::text).
impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(usize::MAX))
    }
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.read(usize::MAX, |_, entries| entries.len());
        let mut debug = f.debug_struct("Timeline");
        debug.field("events", &kept);
        debug.field("prints_on_panic", &self.prints_on_panic);
        debug.finish()
    }
}
