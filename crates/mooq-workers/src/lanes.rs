//! Turns of the deliveries with the same key.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The deliveries under way, by key: of each key one has its turn, and the others wait behind it.
pub struct Lanes<K: Key>(Arc<Mutex<Waiting<K>>>);

/// What a key may be.
pub trait Key: Hash + Eq + Clone + Send + Sync + 'static {}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> Key for K {}

/// Those that wait behind each turn.
type Waiting<K> = HashMap<K, VecDeque<oneshot::Sender<Turn<K>>>>;

/// The turn of a delivery. The next one with its key has its turn when this is dropped.
pub struct Turn<K: Key> {
    /// None for one that was passed on.
    key: Option<K>,
    waiting: Arc<Mutex<Waiting<K>>>,
}

impl<K: Key> fmt::Debug for Turn<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn")
    }
}

impl<K: Key> fmt::Debug for Lanes<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lanes")
    }
}

impl<K: Key> Default for Lanes<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Key> Lanes<K> {
    /// Waits for the turn of a delivery with this key. The order is that of the first polls.
    pub async fn turn(&self, key: K) -> Turn<K> {
        let receiver = {
            let mut waiting = lock(&self.0);
            match waiting.get_mut(&key) {
                Some(behind) => {
                    let (sender, receiver) = oneshot::channel();
                    behind.push_back(sender);
                    Some(receiver)
                }
                None => {
                    waiting.insert(key.clone(), VecDeque::new());
                    None
                }
            }
        };
        let passed_on = match receiver {
            Some(receiver) => receiver.await.ok(),
            None => None,
        };
        // The one before passes its turn on: a sender is dropped only after it has sent.
        passed_on.unwrap_or_else(|| Turn {
            key: Some(key),
            waiting: Arc::clone(&self.0),
        })
    }
}

impl<K: Key> Drop for Turn<K> {
    fn drop(&mut self) {
        let Some(mut key) = self.key.take() else {
            return;
        };
        loop {
            let next = {
                let mut waiting = lock(&self.waiting);
                let Some(next) = waiting.get_mut(&key).and_then(VecDeque::pop_front) else {
                    waiting.remove(&key);
                    return;
                };
                next
            };
            let turn = Self {
                key: Some(key),
                waiting: Arc::clone(&self.waiting),
            };
            // One that no longer waits gives the turn back.
            match next.send(turn) {
                Ok(()) => return,
                Err(mut back) => match back.key.take() {
                    Some(own) => key = own,
                    None => return,
                },
            }
        }
    }
}

/// Locks the lanes. A panic of a key's `Hash` or `Eq` leaves them as they were.
fn lock<K: Key>(lanes: &Mutex<Waiting<K>>) -> MutexGuard<'_, Waiting<K>> {
    lanes.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn one_of_a_key_has_its_turn_and_other_keys_do_not_wait() {
        let lanes = Lanes::default();
        let Poll::Ready(first) = poll(pin!(lanes.turn("a"))) else {
            panic!("nobody is before it");
        };
        let mut second = pin!(lanes.turn("a"));
        let mut third = pin!(lanes.turn("a"));
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending());
        assert!(poll(pin!(lanes.turn("b"))).is_ready());

        drop(first);
        assert!(poll(third.as_mut()).is_pending());
        let Poll::Ready(turn) = poll(second.as_mut()) else {
            panic!("it is next");
        };
        drop(turn);
        assert!(poll(third.as_mut()).is_ready());
        assert!(lock(&lanes.0).is_empty());
    }

    #[test]
    fn one_that_no_longer_waits_is_passed_over() {
        let lanes = Lanes::default();
        let Poll::Ready(first) = poll(pin!(lanes.turn(1))) else {
            panic!("nobody is before it");
        };
        let mut gone = Box::pin(lanes.turn(1));
        assert!(poll(gone.as_mut()).is_pending());
        let mut last = pin!(lanes.turn(1));
        assert!(poll(last.as_mut()).is_pending());

        drop(gone);
        drop(first);
        assert!(poll(last.as_mut()).is_ready());
        assert!(lock(&lanes.0).is_empty());
    }

    #[test]
    fn a_turn_that_came_and_was_not_taken_goes_on() {
        let lanes = Lanes::default();
        let Poll::Ready(first) = poll(pin!(lanes.turn(1))) else {
            panic!("nobody is before it");
        };
        let mut second = Box::pin(lanes.turn(1));
        assert!(poll(second.as_mut()).is_pending());
        drop(first);
        drop(second);
        assert!(poll(pin!(lanes.turn(1))).is_ready());
        assert!(lock(&lanes.0).is_empty());
    }
}
