//! Detection of poison messages: the queues that a connection reads from, and the number of times
//! in a row that each has ended it.
//!
//! amqprs drops a connection without an error when it receives something that it cannot read: a
//! header or a routing key that is not UTF-8, which RabbitMQ lets anyone publish. The message is
//! then requeued, and is the first to be delivered to the next connection. Such an end looks like
//! that of a socket, but it happens again and again, as soon as the reading has begun and before
//! anything is delivered. In that case a queue is read from only once others have been for a while,
//! so that its message ends the connection while no other queue can be the cause; and after that,
//! it is not read from at all for a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mooq_core::{Error, ErrorKind, QueueName};

/// If the connection ends this long after the reading began, the queue is most likely not the
/// cause.
const SOON: Duration = Duration::from_secs(60);

/// If the connection ends within this time, with nothing delivered before, the first message is the
/// cause.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(2);

/// Ends that are further apart than this are not in a row.
const ROW: Duration = Duration::from_secs(600);

/// Number of ends in a row from which they are reported, and queues are read from one after the
/// other.
const SUSPICIOUS: u32 = 3;

/// Number of ends in a row, and number of them without another suspect, from which the queue is not
/// read from.
const ENOUGH: u32 = 5;
const ALONE: u32 = 3;

/// Queues that one connection reads from.
#[derive(Debug)]
pub(crate) struct PoisonWatch {
    /// The broker and the virtual host.
    place: String,
    queues: Mutex<Queues>,
    /// Held from the beginning of a read of a suspicious queue until other reads may begin.
    turn: Arc<tokio::sync::Mutex<()>>,
    ends: &'static Ends,
}

#[derive(Debug, Default)]
struct Queues {
    /// Reads, by number.
    reads: BTreeMap<u64, Begun>,
    next: u64,
}

#[derive(Debug)]
struct Begun {
    queue: QueueName,
    since: Instant,
    delivered: Arc<AtomicBool>,
}

/// A read of a queue. The broker may send from the queue until this is dropped.
#[derive(Debug)]
pub(crate) struct ReadGuard {
    watch: Arc<PoisonWatch>,
    number: u64,
    delivered: Arc<AtomicBool>,
}

impl ReadGuard {
    /// Records that a message from the queue was read.
    pub(crate) fn delivers(&self) {
        self.delivered.store(true, Ordering::Relaxed);
    }
}

impl PoisonWatch {
    pub(crate) fn new(place: String) -> Self {
        /// Shared by the process and not by a transport: services may reconnect with another
        /// transport.
        static ENDS: LazyLock<Ends> = LazyLock::new(Ends::default);
        Self {
            place,
            queues: Mutex::default(),
            turn: Arc::default(),
            ends: &ENDS,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a read: from here on the broker may send from `queue`. Waits for its turn if the
    /// queue is suspicious.
    ///
    /// # Errors
    /// `ConsumerCancelled` if the queue has ended connections too often.
    pub(crate) async fn begin(self: &Arc<Self>, queue: QueueName) -> Result<ReadGuard, Error> {
        match self.ends.of(&self.place, &queue, Instant::now()) {
            Suspicion::None => {}
            Suspicion::Some => {
                let turn = Arc::clone(&self.turn).lock_owned().await;
                tokio::spawn(async move {
                    tokio::time::sleep(AT_ONCE).await;
                    drop(turn);
                });
            }
            Suspicion::Certain(times) => return Err(unreadable(&queue, times)),
        }
        Ok(self.begin_at(queue, Instant::now()))
    }

    fn begin_at(self: &Arc<Self>, queue: QueueName, since: Instant) -> ReadGuard {
        let delivered = Arc::new(AtomicBool::new(false));
        let mut queues = self.lock();
        let number = queues.next;
        queues.next += 1;
        let begun = Begun {
            queue,
            since,
            delivered: Arc::clone(&delivered),
        };
        queues.reads.insert(number, begun);
        ReadGuard {
            watch: Arc::clone(self),
            number,
            delivered,
        }
    }

    /// Counts a connection that ended without a known reason. Returns a description of the
    /// suspicion, if there is one.
    pub(crate) fn connection_lost(&self, now: Instant) -> Option<String> {
        let queues = self.lock();
        // A read without a name is of the queue that the channel declared last.
        let named = queues.reads.values().filter(|read| !read.queue.is_empty());
        let mut soon = BTreeSet::new();
        let mut at_once = BTreeSet::new();
        let mut innocent = BTreeSet::new();
        for Begun {
            queue,
            since,
            delivered,
        } in named
        {
            let after = now.saturating_duration_since(*since);
            if after < SOON {
                soon.insert(queue);
            }
            if after < AT_ONCE && !delivered.load(Ordering::Relaxed) {
                at_once.insert(queue);
            } else {
                innocent.insert(queue);
            }
        }
        let times = self.ends.count(&self.place, &soon, now);
        let mut suspects = at_once.difference(&innocent);
        if let (Some(only), None) = (suspects.next(), suspects.next()) {
            self.ends.alone(&self.place, only);
        }
        for queue in innocent {
            self.ends.acquit(&self.place, queue);
        }
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
             there may have a header or a routing key that amqprs cannot read, as text that is not \
             UTF-8",
            often.join(", ")
        ))
    }
}

/// The error for a read of a queue that is suspended as poisoned.
fn unreadable(queue: &QueueName, times: u32) -> Error {
    Error::new(
        ErrorKind::ConsumerCancelled,
        format!(
            "queue '{queue}' is not read from: {times} connections in a row were lost as soon as it \
             was. Its first message most likely has a header or a routing key that is not UTF-8, which \
             amqprs cannot read: remove it by another client. {} minutes after the last loss the \
             queue can be read from again",
            ROW.as_secs() / 60
        ),
    )
}

impl Drop for ReadGuard {
    fn drop(&mut self) {
        self.watch.lock().reads.remove(&self.number);
    }
}

/// Suspicion against a queue.
#[derive(Debug, PartialEq, Eq)]
enum Suspicion {
    None,
    Some,
    /// The queue ended this many connections.
    Certain(u32),
}

/// Record of the connections that ended while they read from a queue.
#[derive(Debug)]
struct Record {
    /// Number of ends in a row.
    times: u32,
    /// Number of ends in a row that left no other suspect.
    alone: u32,
    last: Instant,
}

/// Records by place and queue.
#[derive(Debug, Default)]
struct Ends(Mutex<HashMap<(String, QueueName), Record>>);

impl Ends {
    fn lock(&self) -> MutexGuard<'_, HashMap<(String, QueueName), Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more end for each of `queues`, and returns the counts.
    fn count<'a>(
        &self,
        place: &str,
        queues: &BTreeSet<&'a QueueName>,
        now: Instant,
    ) -> Vec<(&'a QueueName, u32)> {
        let mut ends = self.lock();
        // Records that are not in a row are dropped, so that the map does not grow with the
        // process's age.
        ends.retain(|_, record| now.saturating_duration_since(record.last) < ROW);
        let count = |queue: &'a QueueName| {
            let key = (place.to_owned(), queue.clone());
            let record = ends.entry(key).or_insert(Record {
                times: 0,
                alone: 0,
                last: now,
            });
            record.times = record.times.saturating_add(1);
            record.last = now;
            (queue, record.times)
        };
        queues.iter().copied().map(count).collect()
    }

    /// Records that only `queue` can have caused the last end.
    fn alone(&self, place: &str, queue: &QueueName) {
        if let Some(record) = self.lock().get_mut(&(place.to_owned(), queue.clone())) {
            record.alone = record.alone.saturating_add(1);
        }
    }

    /// Records that the first message of `queue` did not cause the last end.
    fn acquit(&self, place: &str, queue: &QueueName) {
        if let Some(record) = self.lock().get_mut(&(place.to_owned(), queue.clone())) {
            record.alone = 0;
        }
    }

    fn of(&self, place: &str, queue: &QueueName, now: Instant) -> Suspicion {
        match self.lock().get(&(place.to_owned(), queue.clone())) {
            Some(record) if now.saturating_duration_since(record.last) >= ROW => Suspicion::None,
            Some(Record { times, alone, .. }) if *times >= ENOUGH && *alone >= ALONE => {
                Suspicion::Certain(*times)
            }
            Some(Record { times, .. }) if *times >= SUSPICIOUS => Suspicion::Some,
            _ => Suspicion::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Arc<PoisonWatch> {
        Arc::new(PoisonWatch {
            ends: Box::leak(Box::default()),
            ..PoisonWatch::new("rabbit:5672/".into())
        })
    }

    fn queue(name: &str) -> QueueName {
        name.try_into().unwrap()
    }

    #[test]
    fn the_third_end_in_a_row_is_suspicious() {
        let watch = watch();
        let _read = watch.begin_at(queue("poisoned"), Instant::now());
        drop(watch.begin_at(queue("was fine"), Instant::now()));
        let now = Instant::now();
        assert_eq!(watch.connection_lost(now), None);
        assert_eq!(watch.connection_lost(now), None);
        let said = watch.connection_lost(now).unwrap();
        assert!(said.contains("'poisoned' (3 times)"), "{said}");
        assert!(!said.contains("fine"), "{said}");
    }

    #[test]
    fn late_ends_and_rare_ends_are_not() {
        let watch = watch();
        let _read = watch.begin_at(queue("q"), Instant::now());
        let now = Instant::now();
        for _ in 0..5 {
            assert_eq!(watch.connection_lost(now + SOON), None, "late");
        }
        for times in 1..5 {
            let now = now + ROW * times;
            let _read = watch.begin_at(queue("rare"), now);
            assert_eq!(watch.connection_lost(now), None, "rare");
        }
    }

    fn suspicion(watch: &PoisonWatch, name: &str) -> Suspicion {
        let now = Instant::now();
        watch.ends.of(&watch.place, &queue(name), now)
    }

    #[test]
    fn a_queue_whose_first_message_ends_connections_is_found_among_others_and_left() {
        let watch = watch();
        let now = Instant::now();
        // All reads begin at once, so nothing shows which queue was the cause.
        for times in 1..=ENOUGH {
            let _poisoned = watch.begin_at(queue("poisoned"), now);
            let _fine = watch.begin_at(queue("fine"), now);
            watch.connection_lost(now);
            let expected = match times {
                ..SUSPICIOUS => Suspicion::None,
                _ => Suspicion::Some,
            };
            assert_eq!(suspicion(&watch, "fine"), expected, "{times}");
            assert_eq!(suspicion(&watch, "poisoned"), expected, "{times}");
        }
        // One after the other: the other queue has been read from for longer by now.
        for times in 1..=ALONE {
            let _fine = watch.begin_at(queue("fine"), now);
            let _poisoned = watch.begin_at(queue("poisoned"), now + AT_ONCE);
            watch.connection_lost(now + AT_ONCE);
            let certain = Suspicion::Certain(ENOUGH + times);
            let is_certain = suspicion(&watch, "poisoned") == certain;
            assert_eq!(is_certain, times == ALONE);
        }
        assert_eq!(suspicion(&watch, "fine"), Suspicion::Some);
        let later = now + AT_ONCE + ROW;
        let forgiven = watch.ends.of(&watch.place, &queue("poisoned"), later);
        assert_eq!(forgiven, Suspicion::None);
    }

    #[test]
    fn a_queue_that_delivers_is_never_left() {
        let watch = watch();
        let now = Instant::now();
        for _ in 0..10 * ENOUGH {
            let read = watch.begin_at(queue("busy"), now);
            read.delivers();
            watch.connection_lost(now);
        }
        assert_eq!(suspicion(&watch, "busy"), Suspicion::Some);
    }

    #[tokio::test(start_paused = true)]
    async fn suspicious_queues_are_read_from_one_after_the_other() {
        let watch = watch();
        for _ in 0..SUSPICIOUS {
            let _a = watch.begin_at(queue("a"), Instant::now());
            let _b = watch.begin_at(queue("b"), Instant::now());
            watch.connection_lost(Instant::now());
        }
        let began = tokio::time::Instant::now();
        let _a = watch.begin(queue("a")).await.unwrap();
        let _other = watch.begin(queue("other")).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        let _b = watch.begin(queue("b")).await.unwrap();
        assert!(began.elapsed() >= AT_ONCE);
    }
}
