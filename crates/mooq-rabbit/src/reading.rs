//! Which queues a connection reads from, and how often in a row that was its end.
//!
//! amqprs gives up a connection without a word when it is sent something that it cannot read: a
//! header whose text is not UTF-8, which RabbitMQ lets anyone publish. The message then goes back
//! to its queue, and is the first to be delivered to whoever connects next. Nothing tells such an
//! end from that of a socket, but it comes again and again, soon after the reading has begun.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mooq_core::QueueName;

/// An end this long after the reading began has most likely nothing to do with the queue.
const SOON: Duration = Duration::from_secs(60);

/// Ends further apart than this are not in a row.
const ROW: Duration = Duration::from_secs(600);

/// From so many in a row on it is said.
const SUSPICIOUS: u32 = 3;

/// What one connection reads from.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The broker and the virtual host.
    place: String,
    queues: Mutex<Queues>,
    ends: &'static Ends,
}

#[derive(Debug, Default)]
struct Queues {
    /// Since when, by number.
    reads: BTreeMap<u64, (QueueName, Instant)>,
    next: u64,
}

/// The broker may be sending from a queue, for as long as this is there.
#[derive(Debug)]
pub(crate) struct Read {
    reading: Arc<Reading>,
    number: u64,
}

impl Reading {
    pub(crate) fn new(place: String) -> Self {
        /// Of the process and not of a transport: services that connect again may do it with
        /// another one.
        static ENDS: LazyLock<Ends> = LazyLock::new(Ends::default);
        Self {
            place,
            queues: Mutex::default(),
            ends: &ENDS,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on the broker may send from `queue`.
    pub(crate) fn begin(self: &Arc<Self>, queue: QueueName) -> Read {
        self.begin_at(queue, Instant::now())
    }

    fn begin_at(self: &Arc<Self>, queue: QueueName, now: Instant) -> Read {
        let mut queues = self.lock();
        let number = queues.next;
        queues.next += 1;
        queues.reads.insert(number, (queue, now));
        Read {
            reading: Arc::clone(self),
            number,
        }
    }

    /// The connection has ended, and nothing says why. Says what is suspicious about that.
    pub(crate) fn connection_lost(&self, now: Instant) -> Option<String> {
        let queues = self.lock();
        let soon = queues.reads.values();
        // Without a name it is the queue that the channel declared last.
        let soon = soon.filter(|(queue, since)| {
            !queue.is_empty() && now.saturating_duration_since(*since) < SOON
        });
        let names: BTreeSet<&QueueName> = soon.map(|(queue, _)| queue).collect();
        let times = self.ends.count(&self.place, &names, now);
        let often: Vec<String> = times
            .into_iter()
            .filter(|(_, times)| *times >= SUSPICIOUS)
            .map(|(queue, times)| format!("'{queue}' ({times} times)"))
            .collect();
        if often.is_empty() {
            return None;
        }
        Some(format!(
            "connections are lost again and again soon after they begin to read from {}: a message \
             there may have a header that amqprs cannot read, as text that is not UTF-8",
            often.join(", ")
        ))
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        self.reading.lock().reads.remove(&self.number);
    }
}

/// How often in a row connections ended while they read from a queue, and when the last one did.
#[derive(Debug, Default)]
struct Ends(Mutex<HashMap<(String, QueueName), (u32, Instant)>>);

impl Ends {
    /// Counts one more for each of `queues`, and says how many there are.
    fn count<'a>(
        &self,
        place: &str,
        queues: &BTreeSet<&'a QueueName>,
        now: Instant,
    ) -> Vec<(&'a QueueName, u32)> {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What is not in a row is forgotten, so that this does not grow with the process's age.
        ends.retain(|_, (_, last)| now.saturating_duration_since(*last) < ROW);
        let count = |queue: &'a QueueName| {
            let key = (place.to_owned(), queue.clone());
            let (times, last) = ends.entry(key).or_insert((0, now));
            *times = times.saturating_add(1);
            *last = now;
            (queue, *times)
        };
        queues.iter().copied().map(count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading() -> Arc<Reading> {
        Arc::new(Reading {
            ends: Box::leak(Box::default()),
            ..Reading::new("rabbit:5672/".into())
        })
    }

    fn queue(name: &str) -> QueueName {
        name.try_into().unwrap()
    }

    #[test]
    fn the_third_end_in_a_row_is_suspicious() {
        let reading = reading();
        let _read = reading.begin(queue("poisoned"));
        drop(reading.begin(queue("was fine")));
        let now = Instant::now();
        assert_eq!(reading.connection_lost(now), None);
        assert_eq!(reading.connection_lost(now), None);
        let said = reading.connection_lost(now).unwrap();
        assert!(said.contains("'poisoned' (3 times)"), "{said}");
        assert!(!said.contains("fine"), "{said}");
    }

    #[test]
    fn late_ends_and_rare_ends_are_not() {
        let reading = reading();
        let _read = reading.begin(queue("q"));
        let now = Instant::now();
        for _ in 0..5 {
            assert_eq!(reading.connection_lost(now + SOON), None, "late");
        }
        for times in 1..5 {
            let now = now + ROW * times;
            let _read = reading.begin_at(queue("rare"), now);
            assert_eq!(reading.connection_lost(now), None, "rare");
        }
    }
}
