//! What connections said of themselves, with the time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mooq::{Connection, Event};
use tokio::sync::watch;
use tokio::time::Instant;

/// The events of some connections, from when each was added. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    entries: Arc<Mutex<Vec<Entry>>>,
    /// How many there are.
    length: watch::Sender<usize>,
}

/// One event.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When it was told.
    pub at: Instant,
    /// Which connection told it.
    pub of: &'static str,
    /// What happened.
    pub event: Event,
}

impl Journal {
    /// Writes down what happens to `conn` from now on, until that is closed.
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

    /// How much is in it: what is written later comes after this.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.entries().len()
    }

    /// What was written after `mark`.
    #[must_use]
    pub fn since(&self, mark: usize) -> Vec<Entry> {
        self.entries().get(mark..).unwrap_or_default().to_vec()
    }

    /// The first entry after `mark` that is wanted, once it is there. None if it does not come
    /// within `limit`.
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
                // The sender is in this very struct.
                let _ = length.changed().await;
            }
        };
        tokio::time::timeout(limit, search).await.ok()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
