//! The barrier that keeps frames off a channel that the broker has closed.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// Open until the broker closes the channel.
///
/// amqprs still takes publishes, acks and requests for a channel that the broker has closed, and
/// returns Ok, and then the broker closes the whole connection with 504. amqprs sends only inside a
/// poll of one of its futures. So every such poll happens with this lock held, and amqprs' close
/// callback takes the lock before it returns, which is before amqprs answers close-ok: all earlier
/// frames arrive before close-ok, where the broker ignores them, and no frame follows.
#[derive(Debug, Default)]
pub(crate) struct SendBarrier {
    shut: Mutex<bool>,
}

impl SendBarrier {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.shut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls `operation`, or returns `None` if the barrier is shut: then `operation` must not be
    /// polled again.
    pub(crate) fn poll<F: Future + ?Sized>(
        &self,
        operation: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<F::Output>> {
        let shut = self.lock();
        if *shut {
            return Poll::Ready(None);
        }
        operation.poll(cx).map(Some)
    }

    /// Returns once no poll is under way, and lets no further poll begin.
    pub(crate) fn shut(&self) {
        *self.lock() = true;
    }

    pub(crate) fn is_shut(&self) -> bool {
        *self.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    #[test]
    fn nothing_is_polled_once_it_is_shut() {
        let barrier = SendBarrier::default();
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(
            barrier.poll(pin!(async { 1 }), &mut cx),
            Poll::Ready(Some(1))
        );
        barrier.shut();
        let polled = pin!(async { unreachable!("polled behind a shut barrier") });
        let outcome: Poll<Option<()>> = barrier.poll(polled, &mut cx);
        assert_eq!(outcome, Poll::Ready(None));
    }
}
