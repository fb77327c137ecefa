//! State of a thread while it polls callbacks: their connection, and how long a poll takes.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::ptr;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::dispatch::Dispatch;

/// Time from which a poll is reported as slow: it blocks its thread, and everything else that runs
/// there.
const SLOW: Duration = Duration::from_secs(1);

thread_local! {
    /// The dispatch whose callbacks are polled.
    static POLLING: Cell<*const Dispatch> = const { Cell::new(ptr::null()) };
    /// End of the latest poll: so one look at the clock for each poll is enough.
    static LATEST: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Marks that the callbacks of a connection are polled on this thread, until it is dropped.
pub(super) struct Polling(*const Dispatch);

impl Polling {
    pub(super) fn begin(dispatch: &Dispatch) -> Self {
        LATEST.set(Some(Instant::now()));
        Self(POLLING.replace(ptr::from_ref(dispatch)))
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        POLLING.set(self.0);
    }
}

/// Returns true if a callback of the connection of `dispatch` makes this call.
pub(crate) fn in_callback(dispatch: &Dispatch) -> bool {
    ptr::eq(POLLING.get(), dispatch)
}

/// Runs `callback`, and calls `slow` for each of its polls that blocks its thread. The callback is
/// polled while there is a [`Polling`].
pub(super) async fn watched<T>(callback: impl Future<Output = T>, slow: impl Fn(Duration)) -> T {
    let mut callback = pin!(callback);
    poll_fn(|cx| {
        let before = LATEST.get();
        let polled: Poll<T> = callback.as_mut().poll(cx);
        let now = Instant::now();
        LATEST.set(Some(now));
        let took = before.map(|before| now.saturating_duration_since(before));
        if let Some(took) = took.filter(|took| *took >= SLOW) {
            slow(took);
        }
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_is_known_while_it_is_polled_and_not_afterwards() {
        let (one, other) = (Dispatch::default(), Dispatch::default());
        assert!(!in_callback(&one));
        let polling = Polling::begin(&one);
        let within = Polling::begin(&other);
        assert!(in_callback(&other) && !in_callback(&one));
        drop(within);
        assert!(in_callback(&one));
        drop(polling);
        assert!(!in_callback(&one));
    }

    #[tokio::test]
    async fn a_poll_that_blocks_its_thread_is_told_and_a_wait_is_not() {
        let dispatch = Dispatch::default();
        let _polling = Polling::begin(&dispatch);
        let told = Cell::new(0);
        let count = |_| told.set(told.get() + 1);
        watched(async { tokio::task::yield_now().await }, count).await;
        assert_eq!(told.get(), 0);
        // As if the latest poll had ended long ago, and this one had begun then.
        LATEST.set(Instant::now().checked_sub(SLOW));
        watched(async {}, count).await;
        assert_eq!(told.get(), 1);
    }
}
