//! State of a thread while it polls callbacks: their connection, and how long a poll takes.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Time from which a poll is reported as slow: it blocks its thread, and everything else that runs
/// there.
const SLOW: Duration = Duration::from_secs(1);

thread_local! {
    /// The connection whose callbacks are polled.
    static POLLING: Cell<Option<ConnectionId>> = const { Cell::new(None) };
    /// End of the latest poll: so one look at the clock for each poll is enough.
    static LATEST: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Tells the connections of this process apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionId(u64);

impl ConnectionId {
    /// An id that no other connection has.
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Marks that the callbacks of a connection are polled on this thread, until it is dropped.
pub(super) struct Polling(Option<ConnectionId>);

impl Polling {
    pub(super) fn begin(connection: ConnectionId) -> Self {
        LATEST.set(Some(Instant::now()));
        Self(POLLING.replace(Some(connection)))
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        POLLING.set(self.0);
    }
}

/// Returns true if a callback of `connection` makes this call.
pub(crate) fn in_callback(connection: ConnectionId) -> bool {
    POLLING.get() == Some(connection)
}

/// Makes `future` a part of the callback that this is called in, on whatever thread it is polled.
pub fn in_same_callback<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let connection = POLLING.get();
    async move {
        let mut future = pin!(future);
        poll_fn(|cx| {
            let _polling = connection.map(Polling::begin);
            future.as_mut().poll(cx)
        })
        .await
    }
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

    #[tokio::test]
    async fn a_part_of_a_callback_is_known_on_another_thread() {
        let connection = ConnectionId::new();
        let polling = Polling::begin(connection);
        let part = in_same_callback(async move { in_callback(connection) });
        drop(polling);
        assert!(!in_callback(connection));
        assert!(part.await);
    }

    #[test]
    fn a_callback_is_known_while_it_is_polled_and_not_afterwards() {
        let (one, other) = (ConnectionId::new(), ConnectionId::new());
        assert!(!in_callback(one));
        let polling = Polling::begin(one);
        let within = Polling::begin(other);
        assert!(in_callback(other) && !in_callback(one));
        drop(within);
        assert!(in_callback(one));
        drop(polling);
        assert!(!in_callback(one));
    }

    #[tokio::test]
    async fn a_poll_that_blocks_its_thread_is_told_and_a_wait_is_not() {
        let _polling = Polling::begin(ConnectionId::new());
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
