//! Recordings of what goes through a broker.

use std::fmt;
use std::sync::Arc;

use super::InMemoryBroker;
use super::shared::Shared;
use crate::engine::{Log, RecordingId};

/// What a broker was asked to record, until this is dropped: publishes, deliveries with how they
/// were settled, and dead letters.
///
/// A recording has a limit, and keeps what comes first. What comes after that is not in it, but
/// [counted](Self::missed), and assertions that would have to know it fail and say so. It keeps
/// messages with their bodies in memory, and sees what happens from [`InMemoryBroker::record`]
/// on, through restarts too. Several may go on at once.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use mooq::{ConnectInMemory, InMemoryBroker};
///
/// let broker = InMemoryBroker::start();
/// let recording = broker.record(2);
///
/// let chan = broker.connect().await?.create_channel().await?;
/// chan.register_producer("numbers", "fanout").await?;
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
    /// Records what is published, delivered and dead-lettered from here on, up to `limit` of these
    /// in all, in every virtual host. Without a recording nothing is spent on it.
    ///
    /// What can be asked of it is at [`Selection`](crate::Selection).
    pub fn record(&self, limit: usize) -> Recording {
        let start = |engine: &mut crate::engine::Engine, _| engine.start_recording(limit);
        Recording {
            broker: Arc::clone(&self.shared),
            id: self.shared.administer(start),
        }
    }
}

impl Recording {
    /// How many publishes, deliveries and dead letters came when the recording was full.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.look(Log::missed)
    }

    /// Looks at what was recorded so far, and what is due by now is.
    pub(crate) fn look<T>(&self, f: impl FnOnce(&Log) -> T) -> T {
        self.broker
            .look_now(|state, _| match state.engine.recording(self.id) {
                Some(log) => f(log),
                // Never so: it goes on until this is dropped.
                None => f(&Log::default()),
            })
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.broker
            .administer(|engine, _| engine.stop_recording(self.id));
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.look(|log| {
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
