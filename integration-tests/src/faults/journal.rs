//! Events of connections, with their times.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mooq::{Connection, Event};
use tokio::sync::watch;
use tokio::time::Instant;

/// The events of some connections, from when each connection was added. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    entries: Arc<Mutex<Vec<Entry>>>,
    /// Number of events.
    length: watch::Sender<usize>,
}

/// One event.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Time of the event.
    pub at: Instant,
    /// Connection with the event.
    pub of: &'static str,
    /// The event.
    pub event: Event,
}

impl Journal {
    /// Records the events of `conn` from now on, until the connection is closed.
    pub fn keep(&self, of: &'static str, conn: &Connection) {
        let (journal, mut events) = (self.clone(), conn.events());
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let at = Instant::now();
                journal.entries().push(Entry { at, of, event });
                journal.length.send_modify(|length| *length += 1);
            }
        });
    }

    /// A mark for [`Journal::since`]: the current number of events.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.entries().len()
    }

    /// Entries after `mark`.
    #[must_use]
    pub fn since(&self, mark: usize) -> Vec<Entry> {
        self.entries().get(mark..).unwrap_or_default().to_vec()
    }

    /// Waits for the first wanted entry after `mark`. None if it does not come within `limit`.
    pub async fn first(
        &self,
        mark: usize,
        limit: Duration,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Option<Entry> {
        let mut length = self.length.subscribe();
        let search = async {
            loop {
                length.borrow_and_update();
                if let Some(found) = self.since(mark).into_iter().find(|entry| wanted(entry)) {
                    return found;
                }
                // The sender is in this struct, so this cannot fail.
                let _ = length.changed().await;
            }
        };
        tokio::time::timeout(limit, search).await.ok()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
