//! A channel's publishes that the broker has yet to confirm.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The publishes of a channel in confirm mode, numbered from 1.
#[derive(Debug, Default)]
pub(crate) struct Confirms {
    /// True if the channel is in confirm mode.
    on: AtomicBool,
    published: AtomicU64,
    confirmed: Mutex<Confirmed>,
    /// Notified with every confirm.
    progress: Notify,
}

#[derive(Debug, Default)]
struct Confirmed {
    /// All publishes up to this one are confirmed.
    up_to: u64,
    /// Confirmed publishes beyond `up_to`: few, because RabbitMQ confirms nearly in order.
    beyond: BTreeSet<u64>,
}

impl Confirms {
    /// Enters confirm mode.
    pub(crate) fn begin(&self) {
        self.on.store(true, Ordering::Release);
    }

    /// Counts a publish that is about to be taken.
    pub(crate) fn publish(&self) {
        if self.on.load(Ordering::Acquire) {
            self.published.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Uncounts a publish that was not taken.
    pub(crate) fn take_back(&self) {
        if self.on.load(Ordering::Acquire) {
            self.published.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Records that the broker has confirmed, or refused, `sequence`; with `multiple`, all before
    /// it as well.
    pub(crate) fn confirm(&self, sequence: u64, multiple: bool) {
        let mut confirmed = self.lock();
        let Confirmed { up_to, beyond } = &mut *confirmed;
        if multiple {
            *up_to = sequence.max(*up_to);
            beyond.retain(|confirmed| confirmed > up_to);
        } else if sequence > *up_to {
            beyond.insert(sequence);
        }
        while let Some(next) = up_to.checked_add(1)
            && beyond.remove(&next)
        {
            *up_to = next;
        }
        drop(confirmed);
        self.progress.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Confirmed> {
        self.confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn are_all(&self) -> bool {
        self.lock().up_to >= self.published.load(Ordering::Acquire)
    }

    /// Waits until the broker has confirmed, or refused, every publish.
    pub(crate) async fn all(&self) {
        loop {
            let mut progress = pin!(self.progress.notified());
            // Registered before the check, or a notification in between would be missed.
            progress.as_mut().enable();
            if self.are_all() {
                return;
            }
            progress.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn published(count: u64) -> Confirms {
        let confirms = Confirms::default();
        confirms.begin();
        (0..count).for_each(|_| confirms.publish());
        confirms
    }

    #[test]
    fn all_are_confirmed_once_each_is_in_whatever_order() {
        let confirms = published(5);
        let mut all = pin!(confirms.all());
        for (sequence, multiple) in [(5, false), (2, false), (3, true), (3, false)] {
            confirms.confirm(sequence, multiple);
            assert!(all.as_mut().now_or_never().is_none(), "{sequence}");
        }
        confirms.confirm(4, false);
        assert!(all.now_or_never().is_some());
        assert!(confirms.lock().beyond.is_empty());
    }

    #[test]
    fn the_highest_number_there_is_is_one_too() {
        let confirms = published(1);
        for (sequence, multiple) in [(u64::MAX - 1, true), (u64::MAX, false), (u64::MAX, true)] {
            confirms.confirm(sequence, multiple);
        }
        assert!(confirms.all().now_or_never().is_some());
        assert!(confirms.lock().beyond.is_empty());
    }

    #[test]
    fn publish_that_was_not_taken_is_not_waited_for() {
        let confirms = published(1);
        confirms.take_back();
        assert!(confirms.all().now_or_never().is_some());
    }

    #[test]
    fn publishes_before_confirm_mode_are_never_confirmed() {
        let confirms = Confirms::default();
        confirms.publish();
        confirms.begin();
        assert!(confirms.all().now_or_never().is_some());
        confirms.publish();
        assert!(confirms.all().now_or_never().is_none());
    }
}
