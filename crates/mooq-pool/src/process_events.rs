//! Running the callbacks of a pool.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, Either, pending};
use futures_util::stream::FuturesUnordered;
use mooq_core::Result;
use tokio::sync::watch;

use crate::pool::Shared;

/// Runs the callbacks of a pool: made by [`Pool::process_events`](crate::Pool::process_events),
/// started by awaiting it.
///
/// Callbacks run only while this is awaited, inside the awaiting task. Only one can run at a time. It
/// ends with `Ok` when the pool is closed, and at once if the pool has no consuming connections. It
/// ends with an error when a consumer ends by itself, or
/// when a connection with channels of the pool's users is closed for good: then no more callbacks are
/// started on any connection, and the running ones finish. Awaited again, it goes on with the other
/// consumers.
///
/// # Cancel safety
/// If the future is dropped, running callbacks are dropped with it, and their deliveries are
/// requeued. To let them finish, use [`with_graceful_shutdown`](Self::with_graceful_shutdown).
#[must_use = "no callback runs until it is awaited"]
pub struct ProcessPoolEvents {
    shared: Arc<Shared>,
    shutdown: Option<BoxFuture<'static, ()>>,
}

impl ProcessPoolEvents {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            shutdown: None,
        }
    }

    /// Starts no more callbacks once `signal` is ready, waits for the running ones, and ends.
    /// Messages whose callback has not started stay with their consumers; closing the pool requeues
    /// them.
    pub fn with_graceful_shutdown(
        mut self,
        signal: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.shutdown = Some(Box::pin(signal));
        self
    }
}

impl IntoFuture for ProcessPoolEvents {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(run(self.shared, self.shutdown))
    }
}

impl fmt::Debug for ProcessPoolEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolEvents").finish_non_exhaustive()
    }
}

async fn run(shared: Arc<Shared>, shutdown: Option<BoxFuture<'static, ()>>) -> Result<()> {
    let stop = watch::Sender::new(false);
    let members = 0..shared.consumers.len();
    let members = members.map(|index| run_member(Arc::clone(&shared), index, stop.subscribe()));
    let mut running: FuturesUnordered<_> = members.collect();
    let shutdown = match shutdown {
        Some(shutdown) => Either::Left(shutdown),
        None => Either::Right(pending()),
    };
    let mut shutdown = pin!(shutdown);
    let mut result = Ok(());
    loop {
        tokio::select! {
            biased;
            ended = running.next() => match ended {
                None => return result,
                Some(Ok(())) => {}
                Some(Err(err)) => {
                    stop.send_replace(true);
                    result = result.and(Err(err));
                }
            },
            () = &mut shutdown, if !*stop.borrow() => {
                stop.send_replace(true);
            }
        }
    }
}

/// Runs the callbacks on one connection after another, up to the first error that concerns a user.
async fn run_member(
    shared: Arc<Shared>,
    index: usize,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let mut member = shared.consumers[index].subscribe();
    loop {
        let open = member.borrow_and_update().clone();
        let mut stopped = stop.clone();
        let signal = async move {
            // An error means that the processing is dropped, and this with it.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let processing = open.connection.process_events();
        let ended = processing.with_graceful_shutdown(signal).await;
        let concerns_a_user = !open.is_closed() || open.channels() > 0;
        let is_stopped = *stop.borrow() || shared.is_closed();
        if ended.is_ok() || concerns_a_user || is_stopped {
            return ended;
        }
        // Nobody had a channel on it: the connection that replaces it will do as well.
        drop(open);
        tokio::select! {
            biased;
            replaced = member.changed() => match replaced {
                Ok(()) => {}
                Err(_) => return Ok(()),
            },
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            () = shared.closed() => return Ok(()),
        }
    }
}
