//! Running callbacks: `process_events` and its end conditions.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use mooq_core::Result;

use super::connection::Connection;
use crate::runtime::ConnectionRef;
use crate::runtime::callbacks::{Mode, Runner};

/// Runs callbacks: made by [`Connection::process_events`], started by awaiting it.
///
/// # Examples
/// ```
/// use mooq::Delivery;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let conn = mooq::connect(&broker).await?;
/// # let chan = conn.create_channel().await?;
/// chan.register_consumer("log", "fanout")
///     .callback(|line: Delivery<String>| async move { println!("{}", line.msg) })
///     .await?;
/// chan.publish("log", "one").await?;
/// chan.publish("log", "two").await?;
///
/// // In a test: as many callbacks as it wants to see.
/// conn.process_events().cycles(1).await?; // one
///
/// // In a tool: whatever is there.
/// conn.process_events().until_idle().await?; // two
///
/// // In a service: until it is told to stop, here by dropping `stop`.
/// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// drop(stop);
/// conn.process_events()
///     .with_graceful_shutdown(async { stopped.await.unwrap_or(()) })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "no callback runs until it is awaited or spawned"]
pub struct ProcessEvents {
    connection: Arc<ConnectionRef>,
    mode: Mode,
    shutdown: Option<BoxFuture<'static, ()>>,
}

impl Connection {
    /// Runs the callbacks of all consumers on this connection, until the connection is closed: see
    /// [`ProcessEvents`] for earlier ends. Callbacks run only while this is awaited, inside the
    /// awaiting task. Only one call of `process_events` can run at a time.
    ///
    /// A connection that is lost and reopened does not end the processing. The processing ends with
    /// `Ok` when the connection is closed from this side, and with an error when the connection is
    /// lost for good. In both cases it ends at once, and running callbacks are dropped.
    ///
    /// The processing also ends with an error when a consumer ends by itself, because its queue was
    /// deleted or it could not be registered again: then no more callbacks are started, and the
    /// running ones finish. The error is returned once for each channel or queue; called again,
    /// `process_events` goes on with the other consumers.
    ///
    /// # Cancel safety
    /// If the future is dropped, running callbacks are dropped with it, and their deliveries are
    /// requeued. To let them finish, use
    /// [`with_graceful_shutdown`](ProcessEvents::with_graceful_shutdown).
    pub fn process_events(&self) -> ProcessEvents {
        ProcessEvents::new(Arc::clone(self.shared()))
    }
}

impl ProcessEvents {
    pub(crate) fn new(connection: Arc<ConnectionRef>) -> Self {
        Self {
            connection,
            mode: Mode::Forever,
            shutdown: None,
        }
    }

    /// Ends after `n` cycles. A cycle starts at most one callback for each consumer with a message
    /// waiting, in the order of registration, and ends when those callbacks have finished. If no
    /// consumer has a message, the cycle waits up to 100 ms for the first one.
    pub fn cycles(mut self, n: usize) -> Self {
        self.mode = Mode::Cycles(n);
        self
    }

    /// Ends when no callback is running and no message has arrived for 100 ms.
    pub fn until_idle(mut self) -> Self {
        self.mode = Mode::UntilIdle;
        self
    }

    /// Starts no more callbacks once `signal` is ready, waits for the running ones, and ends.
    /// Messages whose callback has not started stay with the consumer; closing the connection
    /// requeues them.
    pub fn with_graceful_shutdown(
        mut self,
        signal: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.shutdown = Some(Box::pin(signal));
        self
    }
}

impl IntoFuture for ProcessEvents {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            if let Mode::Cycles(0) = self.mode {
                return Ok(());
            }
            Runner::begin(self.connection, self.mode, self.shutdown)?.await
        })
    }
}

impl fmt::Debug for ProcessEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessEvents")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
