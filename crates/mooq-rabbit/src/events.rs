//! A mailbox's sending end that closes for good with its last event.

use std::sync::{Mutex, PoisonError};

use mooq_core::mailbox::Sender;

/// Sends events up to the last one.
#[derive(Debug)]
pub(crate) struct Events<T>(Mutex<Option<Sender<T>>>);

impl<T> Events<T> {
    pub(crate) fn new(sender: Sender<T>) -> Self {
        Self(Mutex::new(Some(sender)))
    }

    /// Sends `event`, unless the last one has been sent.
    pub(crate) fn send(&self, event: T) {
        self.send_all([event]);
    }

    /// Sends `events` one after another, with nothing in between.
    pub(crate) fn send_all(&self, events: impl IntoIterator<Item = T>) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut receiver = None;
        if let Some(sender) = &*sender {
            for event in events {
                receiver = sender.push(event).or(receiver);
            }
        }
        drop(sender);
        if let Some(receiver) = receiver {
            receiver.wake();
        }
    }

    /// Sends the last event. Later calls are ignored.
    pub(crate) fn send_last(&self, event: T) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            sender.send(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_the_last_event() {
        let (sender, mut receiver) = mooq_core::mailbox::mailbox();
        let events = Events::new(sender);
        events.send(1);
        events.send_last(2);
        events.send(3);
        events.send_last(4);
        let got: Vec<_> = std::iter::from_fn(|| receiver.try_recv()).collect();
        assert_eq!(got, [1, 2]);
    }
}
