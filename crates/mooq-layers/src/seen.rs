//! Where the ids of handled messages are kept.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use mooq_client::CallbackError;
use tokio::time::Instant;

/// A store of the ids of handled messages, for [`Deduplicate`](crate::Deduplicate): in memory
/// ([`SeenInMemory`]), or in a database, so that all instances of a service share it and a restart
/// forgets nothing.
///
/// An id is the name of the queue, a slash, and the message's `message_id`.
pub trait Seen: Send + Sync + 'static {
    /// Returns true if a message with this id was handled.
    ///
    /// # Errors
    /// Any: the delivery then fails, and is retried by its consumer's policy.
    fn contains(&self, id: &str) -> impl Future<Output = Result<bool, CallbackError>> + Send;

    /// Records that a message with this id was handled. It may be recorded already.
    ///
    /// # Errors
    /// As [`contains`](Self::contains).
    fn insert(&self, id: &str) -> impl Future<Output = Result<(), CallbackError>> + Send;
}

/// The ids of handled messages in this process: the latest ones, up to a number and an age. Clones
/// share them.
#[derive(Debug, Clone)]
pub struct SeenInMemory(Arc<Ids>);

#[derive(Debug)]
struct Ids {
    capacity: usize,
    age: Duration,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    ids: HashSet<Arc<str>, RandomState>,
    /// In the order in which they were handled.
    by_age: VecDeque<(Instant, Arc<str>)>,
}

impl SeenInMemory {
    /// Keeps at most `capacity` ids, at least one, each for at most `age`. An id takes its own
    /// length and about 100 bytes.
    #[must_use]
    pub fn new(capacity: usize, age: Duration) -> Self {
        Self(Arc::new(Ids {
            capacity: capacity.max(1),
            age,
            kept: Mutex::default(),
        }))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Kept) -> T) -> T {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_old = |since: Instant| now.saturating_duration_since(since) > self.0.age;
        while kept.by_age.front().is_some_and(|(since, _)| is_old(*since)) {
            kept.forget_oldest();
        }
        f(&mut kept)
    }
}

impl Kept {
    fn forget_oldest(&mut self) {
        if let Some((_, id)) = self.by_age.pop_front() {
            self.ids.remove(&id);
        }
    }
}

impl Seen for SeenInMemory {
    async fn contains(&self, id: &str) -> Result<bool, CallbackError> {
        Ok(self.with(|kept| kept.ids.contains(id)))
    }

    async fn insert(&self, id: &str) -> Result<(), CallbackError> {
        self.with(|kept| {
            let id = Arc::from(id);
            if kept.ids.insert(Arc::clone(&id)) {
                kept.by_age.push_back((Instant::now(), id));
            }
            while kept.by_age.len() > self.0.capacity {
                kept.forget_oldest();
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ids_are_kept_up_to_a_number_and_an_age() -> Result<(), CallbackError> {
        let seen = SeenInMemory::new(2, Duration::from_secs(60));
        for id in ["a", "b", "b", "c"] {
            seen.insert(id).await?;
        }
        assert!(!seen.contains("a").await?, "the oldest of three");
        assert!(seen.contains("b").await? && seen.contains("c").await?);

        tokio::time::advance(Duration::from_secs(59)).await;
        seen.insert("d").await?;
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!seen.contains("c").await?, "61 s old");
        assert!(seen.clone().contains("d").await?);
        Ok(())
    }
}
