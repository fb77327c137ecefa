//! Saying for how long to run callbacks.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use mooq_core::Result;

use super::runner::{Mode, Runner};
use crate::connection::ConnectionShared;

/// Runs callbacks: made by [`Connection::process_events`](crate::Connection::process_events),
/// begun by awaiting it.
///
/// # Examples
/// ```
/// use mooq::Delivery;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::{ConnectInMemory, InMemoryBroker};
/// # let broker = InMemoryBroker::start();
/// # let conn = broker.connect().await?;
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
#[must_use = "nothing is processed until it is awaited"]
pub struct ProcessEvents {
    connection: Arc<ConnectionShared>,
    mode: Mode,
    shutdown: Option<BoxFuture<'static, ()>>,
}

impl ProcessEvents {
    pub(crate) fn new(connection: Arc<ConnectionShared>) -> Self {
        Self {
            connection,
            mode: Mode::Forever,
            shutdown: None,
        }
    }

    /// Ends after `n` cycles. A cycle starts at most one callback for each consumer with a
    /// message waiting, in the order of registration (if none has one, it waits up to 100 ms for
    /// the first), and ends when those have finished.
    pub fn cycles(mut self, n: usize) -> Self {
        self.mode = Mode::Cycles(n);
        self
    }

    /// Ends when no callback is running and no message has arrived for 100 ms.
    pub fn until_idle(mut self) -> Self {
        self.mode = Mode::UntilIdle;
        self
    }

    /// When `signal` is ready, starts no more callbacks, lets those that run finish, and ends.
    /// Messages that were not begun stay with the consumer; closing the connection gives them
    /// back to their queues.
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
