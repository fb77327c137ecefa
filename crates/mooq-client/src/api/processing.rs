//! Callbacks that run in a task of their own.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use mooq_core::{Error, ErrorKind, Result};
use tokio::task::JoinHandle;

use super::process_events::ProcessEvents;

impl ProcessEvents {
    /// Runs the callbacks in a task of its own, on the current runtime. If it ends with an error,
    /// the error is logged, even if the returned [`Processing`] is not awaited.
    ///
    /// # Panics
    /// Panics outside a tokio runtime, as tokio does.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use mooq::Delivery;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// # let chan = conn.create_channel().await?;
    /// chan.register_consumer("orders", "fanout")
    ///     .callback(|order: Delivery<String>| async move { println!("{}", order.msg) })
    ///     .await?;
    /// let processing = conn.process_events().spawn();
    ///
    /// // When the process is told to stop:
    /// conn.shutdown(Duration::from_secs(20)).await?;
    /// processing.await
    /// # }
    /// ```
    pub fn spawn(self) -> Processing {
        let processing = self.into_future();
        Processing(tokio::spawn(async move {
            let ended = processing.await;
            if let Err(err) = &ended {
                tracing::error!(%err, "the processing of events has ended: callbacks run no more");
            }
            ended
        }))
    }
}

/// Callbacks that run in a task of their own: made by [`ProcessEvents::spawn`]. Awaiting it returns
/// the same as awaiting [`ProcessEvents`].
///
/// Dropping it stops nothing: the callbacks run on, and keep the connection open, until
/// [`close`](crate::Connection::close) or [`shutdown`](crate::Connection::shutdown) ends the
/// connection, or until the connection is lost for good. After such a drop only the log says how
/// the processing ended.
#[derive(Debug)]
#[must_use = "await it to learn how processing ended"]
pub struct Processing(JoinHandle<Result<()>>);

impl Future for Processing {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let ended = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(ended.unwrap_or_else(|err| {
            let message = format!("the processing of events did not come to its end: {err}");
            Err(Error::connection(ErrorKind::ConnectionLost, message).with_source(err))
        }))
    }
}
