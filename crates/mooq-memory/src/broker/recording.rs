//! Recordings of the messages that pass through a broker.

use std::fmt;
use std::sync::Arc;

use super::InMemoryBroker;
use super::shared::Shared;
use mooq_engine::{Log, RecordingId};

/// A recording of a broker, which lasts until it is dropped: publishes, deliveries with their
/// outcomes, and dead letters.
///
/// A recording has a limit, and keeps the first records. Later records are dropped, but
/// [counted](Self::missed), and assertions that depend on them fail and say so. A recording keeps
/// messages with their bodies in memory, and covers everything from [`InMemoryBroker::record`] on,
/// through restarts too. Several recordings may run at once.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use mooq::memory::InMemoryBroker;
///
/// let broker = InMemoryBroker::start();
/// let recording = broker.record(2);
///
/// let chan = mooq::connect(&broker).await?.create_channel().await?;
/// chan.declare_exchange("numbers", "fanout").await?;
/// for number in [1, 2, 3] {
///     chan.publish("numbers", &number).await?;
/// }
/// assert_eq!(recording.publishes().count(), 2);
/// assert_eq!(recording.missed(), 1);
/// # Ok::<(), mooq::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "nothing is recorded any more when this is dropped"]
pub struct Recording {
    broker: Arc<Shared>,
    id: RecordingId,
}

impl InMemoryBroker {
    /// Records publishes, deliveries and dead letters from now on, up to `limit` records in all, in
    /// every virtual host. Without a recording there is no overhead.
    ///
    /// See [`Selection`](crate::Selection) for queries and assertions.
    pub fn record(&self, limit: usize) -> Recording {
        let start = |engine: &mut mooq_engine::Engine, _| engine.start_recording(limit);
        Recording {
            broker: Arc::clone(&self.shared),
            id: self.shared.admin(start),
        }
    }
}

impl Recording {
    /// Number of publishes, deliveries and dead letters that were dropped because the recording was
    /// full.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.with_log(Log::missed)
    }

    /// Calls `f` with the log so far, which includes everything that is due by now.
    pub(crate) fn with_log<T>(&self, f: impl FnOnce(&Log) -> T) -> T {
        self.broker
            .with_state_now(|state, _| match state.engine.recording(self.id) {
                Some(log) => f(log),
                // Unreachable: the recording lasts until this handle is dropped.
                None => f(&Log::default()),
            })
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.broker
            .admin(|engine, _| engine.stop_recording(self.id));
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_log(|log| {
            f.debug_struct("Recording")
                .field("publishes", &log.publishes().len())
                .field("deliveries", &log.deliveries().len())
                .field("dead_letters", &log.dead_letters().len())
                .field("limit", &log.limit())
                .field("missed", &log.missed())
                .finish()
        })
    }
}
