//! Record of each message: published, confirmed, received.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mooq::{Error, ErrorKind};
use tokio::sync::watch;
use tokio::time::Instant;

/// Record of all messages of a workload, by their numbers from 0.
#[derive(Debug)]
pub struct Record {
    messages: Mutex<Messages>,
    counts: watch::Sender<Counts>,
}

/// Counts of messages by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Handed to the client.
    pub published: u64,
    /// Confirmed by the broker.
    pub confirmed: u64,
    /// Unknown: connection or channel was lost, or the deadline passed, before the confirm.
    pub unknown: u64,
    /// Refused: nacked, or not sent at all.
    pub refused: u64,
    /// Received at least once.
    pub received: u64,
    /// Confirmed and received.
    pub arrived: u64,
}

/// Copies of messages beyond the first, by explanation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// Marked as redelivered: the acknowledgement of the first was lost.
    pub redelivered: u64,
    /// Resent by the client, as its options ask.
    pub resent: u64,
    /// Without an explanation.
    pub unexplained: u64,
}

#[derive(Debug, Default)]
struct Messages {
    all: Vec<Message>,
    /// Times of confirms, in order; pruned by [`Record::prune`].
    confirms: Vec<Instant>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Message {
    confirmed: bool,
    /// True if the client may have sent the message twice.
    may_be_resent: bool,
    copies: u32,
    /// Copies that were not marked as redelivered.
    unmarked: u32,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            messages: Mutex::default(),
            counts: watch::Sender::new(Counts::default()),
        }
    }
}

impl Record {
    /// Returns a number for a message that is about to be published.
    pub fn publishing(&self, may_be_resent: bool) -> u64 {
        let mut messages = self.messages();
        let number = messages.all.len() as u64;
        messages.all.push(Message {
            may_be_resent,
            ..Message::default()
        });
        drop(messages);
        self.count(|counts| counts.published += 1);
        number
    }

    /// Records the outcome of a message's publish.
    pub fn published(&self, number: u64, outcome: &Result<(), Error>) {
        let mut messages = self.messages();
        let mut arrived = false;
        if outcome.is_ok() {
            messages.confirms.push(Instant::now());
            if let Some(message) = messages.all.get_mut(number as usize) {
                message.confirmed = true;
                arrived = message.copies > 0;
            }
        }
        drop(messages);
        self.count(|counts| match outcome {
            Ok(()) => {
                counts.confirmed += 1;
                counts.arrived += u64::from(arrived);
            }
            Err(err) if may_have_arrived(err) => counts.unknown += 1,
            Err(_) => counts.refused += 1,
        });
    }

    /// Records a copy of a message.
    pub fn received(&self, number: u64, redelivered: bool) {
        let mut messages = self.messages();
        let Some(message) = messages.all.get_mut(number as usize) else {
            return;
        };
        message.copies += 1;
        message.unmarked += u32::from(!redelivered);
        let (first, confirmed) = (message.copies == 1, message.confirmed);
        drop(messages);
        if first {
            self.count(|counts| {
                counts.received += 1;
                counts.arrived += u64::from(confirmed);
            });
        }
    }

    /// The numbers of confirmed messages that did not come.
    #[must_use]
    pub fn missing(&self) -> Vec<u64> {
        let messages = self.messages();
        let numbered = messages.all.iter().zip(0..);
        numbered
            .filter(|(message, _)| message.confirmed && message.copies == 0)
            .map(|(_, number)| number)
            .collect()
    }

    /// The copies beyond the first.
    #[must_use]
    pub fn duplicates(&self) -> Duplicates {
        let mut duplicates = Duplicates::default();
        for message in &self.messages().all {
            let extra = message.copies.saturating_sub(1);
            let unmarked = message.unmarked.saturating_sub(1);
            duplicates.redelivered += u64::from(extra - unmarked.min(extra));
            // The client resends a message at most once for each loss.
            match message.may_be_resent {
                true => duplicates.resent += u64::from(unmarked),
                false => duplicates.unexplained += u64::from(unmarked),
            }
        }
        duplicates
    }

    /// Waits for the first confirm at or after `begin`, and returns its time. None if none comes
    /// within `limit`.
    pub async fn first_confirm(&self, begin: Instant, limit: Duration) -> Option<Instant> {
        let confirmed = |_: &Counts| self.confirm_since(begin).is_some();
        self.until(limit, confirmed).await.ok()?;
        self.confirm_since(begin)
    }

    fn confirm_since(&self, begin: Instant) -> Option<Instant> {
        let messages = self.messages();
        let first = messages.confirms.partition_point(|at| *at < begin);
        messages.confirms.get(first).copied()
    }

    /// Forgets the times of confirms, so that a long run does not fill the memory.
    pub fn prune(&self) {
        self.messages().confirms.clear();
    }

    /// The counts now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Waits up to `limit` until the counts meet the condition, and returns them.
    ///
    /// # Errors
    /// The counts at the end of `limit`.
    pub async fn until(
        &self,
        limit: Duration,
        are_so: impl FnMut(&Counts) -> bool,
    ) -> Result<Counts, Counts> {
        let mut counts = self.counts.subscribe();
        let waiting = counts.wait_for(are_so);
        match tokio::time::timeout(limit, waiting).await {
            Ok(Ok(counts)) => Ok(*counts),
            _ => Err(self.counts()),
        }
    }

    /// Waits until all confirmed messages have come. Returns those that have not after `limit`.
    pub async fn all_arrived(&self, limit: Duration) -> Vec<u64> {
        let _ = self
            .until(limit, |counts| counts.arrived == counts.confirmed)
            .await;
        self.missing()
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(change);
    }

    fn messages(&self) -> MutexGuard<'_, Messages> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns true if the broker may have the message of a publish with this error.
fn may_have_arrived(err: &Error) -> bool {
    !matches!(err.kind(), ErrorKind::Nacked | ErrorKind::BufferFull)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirmed_message_that_did_not_come_is_missing() {
        let record = Record::default();
        let numbers = [(); 4].map(|()| record.publishing(false));
        for number in &numbers[..3] {
            record.published(*number, &Ok(()));
        }
        let lost = Error::new(ErrorKind::ConnectionLost, "");
        record.published(numbers[3], &Err(lost));
        record.received(numbers[1], false);
        assert_eq!(record.missing(), [0, 2]);
        let counts = record.counts();
        assert_eq!((counts.published, counts.confirmed), (4, 3));
        assert_eq!((counts.unknown, counts.received, counts.arrived), (1, 1, 1));
    }

    #[test]
    fn copies_are_explained_by_the_mark_or_by_sending_again() {
        let record = Record::default();
        let (plain, resent, never) = (
            record.publishing(false),
            record.publishing(true),
            record.publishing(false),
        );
        for (number, redelivered) in [(plain, false), (plain, true), (resent, false)] {
            record.received(number, redelivered);
        }
        record.received(resent, false);
        record.received(never, false);
        assert_eq!(
            record.duplicates(),
            Duplicates {
                redelivered: 1,
                resent: 1,
                unexplained: 0
            }
        );
        record.received(never, false);
        assert_eq!(record.duplicates().unexplained, 1);
    }

    #[test]
    fn the_first_confirm_since_is_found() {
        let record = Record::default();
        let begin = Instant::now();
        assert_eq!(record.confirm_since(begin), None);
        let number = record.publishing(false);
        record.published(number, &Ok(()));
        let confirmed = record.confirm_since(begin).unwrap();
        assert!(begin <= confirmed);
        assert_eq!(record.confirm_since(confirmed), Some(confirmed));
        assert_eq!(
            record.confirm_since(confirmed + Duration::from_nanos(1)),
            None
        );
    }
}
