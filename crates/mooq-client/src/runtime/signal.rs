//! A future that is checked often, and polled only after it was woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use futures_util::future::BoxFuture;
use futures_util::task::AtomicWaker;

/// The shutdown signal: a future of the user's. The runner checks it before each callback, and
/// polling it that often would be too expensive.
pub(super) struct Signal {
    signal: BoxFuture<'static, ()>,
    bell: Arc<Bell>,
    /// Rings the bell.
    waker: Waker,
}

/// Target of the signal's waker.
struct Bell {
    has_rung: AtomicBool,
    runner: AtomicWaker,
}

impl Signal {
    pub(super) fn new(signal: BoxFuture<'static, ()>) -> Self {
        let bell = Arc::new(Bell {
            // The signal has to be polled once before it wakes the bell.
            has_rung: AtomicBool::new(true),
            runner: AtomicWaker::new(),
        });
        Self {
            signal,
            waker: Arc::clone(&bell).into(),
            bell,
        }
    }

    /// Wakes `runner` when it is to check again.
    pub(super) fn wakes(&self, runner: &Waker) {
        self.bell.runner.register(runner);
    }

    /// Returns true if the signal has come. It must not be called again after that.
    pub(super) fn has_come(&mut self) -> bool {
        // Checks first, since the check fails most of the time and costs less.
        if !self.bell.has_rung.load(Ordering::Relaxed) {
            return false;
        }
        // Cleared before the poll, so that no later ring is missed.
        self.bell.has_rung.swap(false, Ordering::AcqRel);
        let mut cx = Context::from_waker(&self.waker);
        self.signal.as_mut().poll(&mut cx).is_ready()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        self.runner.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;
    use std::task::Poll;

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn it_is_polled_when_it_was_woken_and_not_otherwise() {
        let (tell, mut told) = oneshot::channel();
        let polls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&polls);
        let come = poll_fn(move |cx| {
            counter.fetch_add(1, Ordering::Relaxed);
            told.poll_unpin(cx).map(drop)
        });
        let mut signal = Signal::new(Box::pin(come));
        for _ in 0..3 {
            assert!(!signal.has_come());
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        tell.send(()).unwrap();
        assert!(signal.has_come());
    }

    #[test]
    fn its_runner_is_woken_with_it() {
        let (tell, told) = oneshot::channel::<()>();
        let mut signal = Signal::new(Box::pin(told.map(drop)));
        let mut runner = Box::pin(poll_fn(move |cx| {
            signal.wakes(cx.waker());
            match signal.has_come() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }));
        let woken = Arc::new(Bell {
            has_rung: AtomicBool::new(false),
            runner: AtomicWaker::new(),
        });
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        assert!(runner.poll_unpin(&mut cx).is_pending());
        tell.send(()).unwrap();
        assert!(woken.has_rung.load(Ordering::Relaxed));
        assert!(runner.poll_unpin(&mut cx).is_ready());
    }
}
