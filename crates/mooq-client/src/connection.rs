//! Connections.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use mooq_core::mailbox::Receiver;
use mooq_core::{
    ConnectionEvent, Endpoint, Error, ErrorKind, IntoChecked, OpenedConnection, Result, Transport,
    TransportConnection,
};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::channel::Channel;
use crate::consumer::{Dispatch, ProcessEvents};
use crate::deadline::within;
use crate::options::ConnectOptions;

/// A connection to a broker. Cloning it is cheap; all clones are the same connection, which
/// closes when the last of them, of its channels with their streams and unsettled deliveries, and
/// of [`ProcessEvents`] is dropped. A callback that owns one of these counts as well, and then
/// only [`close`](Self::close) ends it.
///
/// It lives on the tokio runtime that it was opened on: when that ends, the connection is lost.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # let broker = mooq::InMemoryBroker::new("localhost", 5672);
/// # broker.run();
/// let conn = mooq::connect("memory://localhost:5672").await?;
/// let chan = conn.create_channel().await?;
/// chan.declare_queue("orders").await?;
///
/// conn.close().await?;
///
/// let err = chan.declare_queue("orders").await.unwrap_err();
/// assert_eq!(err.kind(), mooq::ErrorKind::ConnectionClosed);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<ConnectionShared>,
}

pub(crate) struct ConnectionShared {
    transport: Arc<dyn TransportConnection>,
    endpoint: Endpoint,
    deadline: Duration,
    dispatch: Arc<Dispatch>,
    /// Why the connection is closed, once it is.
    closed: watch::Receiver<Option<Error>>,
    /// Where calls go on whose futures were dropped, and where drops can spawn.
    runtime: Handle,
}

impl Connection {
    /// Connects over `transport`. Services use `mooq::connect`, which chooses it by the URL.
    ///
    /// # Errors
    /// `BrokerConnectionError`, `AuthenticationFailed`, `VirtualHostNotFound`, each naming host
    /// and port; `InvalidUrl`, `UnsupportedScheme`.
    ///
    /// # Panics
    /// Outside a tokio runtime with its timer enabled, as tokio does.
    ///
    /// # Cancel safety
    /// Dropped midway, no connection stays open.
    pub async fn open(
        transport: &dyn Transport,
        options: impl IntoChecked<ConnectOptions>,
    ) -> Result<Self> {
        let options = options.into_checked()?;
        let endpoint = options.endpoint()?;
        let OpenedConnection { connection, events } = transport.open(&endpoint).await?;
        let dispatch = Arc::new(Dispatch::default());
        let (close, closed) = watch::channel(None);
        let runtime = Handle::current();
        // Made here, for a runtime that ends may never have polled the driver.
        let closing = CloseOnDrop {
            dispatch: Arc::clone(&dispatch),
            close,
        };
        runtime.spawn(drive(events, closing));
        Ok(Self {
            shared: Arc::new(ConnectionShared {
                transport: connection,
                endpoint,
                deadline: options.call_deadline(),
                dispatch,
                closed,
                runtime,
            }),
        })
    }

    /// Opens a channel.
    ///
    /// # Errors
    /// The connection's close, if it is closed; `NotAllowed` if it has as many channels as the
    /// broker allows; `DeadlineExceeded`.
    ///
    /// # Cancel safety
    /// Dropped midway, no channel stays open.
    pub async fn create_channel(&self) -> Result<Channel> {
        self.shared.check_open()?;
        Channel::open(&self.shared).await
    }

    /// Runs the callbacks of all consumers on this connection, until it is closed: see
    /// [`ProcessEvents`] for ends that come sooner. Callbacks run only while this does, inside
    /// the task that awaits it, and one call at a time.
    ///
    /// Ends with `Ok` when the connection is closed from this side, and with an error when it is
    /// lost: at once in both cases, and callbacks that run are dropped. Ends with an error as well
    /// when consumers end since the broker closed their channel or deleted their queue: then it
    /// starts no more callbacks, and lets those that run finish. The error is given once for each
    /// channel or queue; called again, this goes on with the other consumers.
    ///
    /// # Cancel safety
    /// Callbacks that run are dropped with it, and their deliveries go back to their queues. To
    /// let them finish, use
    /// [`with_graceful_shutdown`](ProcessEvents::with_graceful_shutdown).
    pub fn process_events(&self) -> ProcessEvents {
        ProcessEvents::new(Arc::clone(&self.shared))
    }

    /// Closes the connection and its channels. What was not acknowledged goes back to the
    /// queues, exclusive queues go, and callbacks that run are dropped: to let them finish, end
    /// [`process_events`](Self::process_events) first. Closing it twice is no error.
    ///
    /// # Errors
    /// `ConnectionLost` if the broker went away before it answered; `DeadlineExceeded`.
    ///
    /// # Cancel safety
    /// Once polled, the closing goes on when this is dropped.
    pub async fn close(&self) -> Result<()> {
        let transport = Arc::clone(&self.shared.transport);
        let mut closed = self.shared.closed.clone();
        self.shared
            .run_to_end("closing the connection", async move {
                transport.close().await?;
                // Nobody finds it open after this. An error means that nobody could tell.
                let _ = closed.wait_for(Option::is_some).await;
                Ok(())
            })
            .await
    }

    /// Waits until the connection is closed, and says why: `ConnectionClosed` if from this side.
    ///
    /// # Cancel safety
    /// Safe to drop at any point.
    pub async fn closed(&self) -> Error {
        let mut closed = self.shared.closed.clone();
        let reason = closed.wait_for(Option::is_some).await;
        match reason.as_deref() {
            Ok(Some(err)) => err.clone(),
            _ => ended_without_reason(),
        }
    }

    /// Whether the connection is open, as far as is known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.closed.borrow().is_none()
    }

    /// Where it is connected to.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }
}

impl ConnectionShared {
    pub(crate) fn transport(&self) -> &dyn TransportConnection {
        &*self.transport
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(crate) fn dispatch(&self) -> &Arc<Dispatch> {
        &self.dispatch
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    fn check_open(&self) -> Result<()> {
        self.closed.borrow().clone().map_or(Ok(()), Err)
    }

    /// `call` within the deadline, in a task of its own: it goes on when this is dropped.
    pub(crate) async fn run_to_end<T: Send + 'static>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let task = self.runtime.spawn(call);
        within(self.deadline, what, async {
            match task.await {
                Ok(result) => result,
                Err(err) => {
                    let message = format!("{what} did not come to its end: {err}");
                    Err(Error::new(ErrorKind::ConnectionLost, message).with_source(err))
                }
            }
        })
        .await
    }
}

impl fmt::Debug for ConnectionShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionShared")
            .field("endpoint", &self.endpoint)
            .field("closed", &*self.closed.borrow())
            .finish_non_exhaustive()
    }
}

impl Drop for ConnectionShared {
    fn drop(&mut self) {
        self.dispatch.abandon();
    }
}

/// Reads the connection's events until it is closed. Holds nothing that would keep it open.
async fn drive(mut events: Receiver<ConnectionEvent>, closing: CloseOnDrop) {
    let reason = loop {
        match events.next().await {
            Some(ConnectionEvent::Blocked(reason)) => {
                tracing::warn!(reason, "the broker has blocked the connection");
            }
            Some(ConnectionEvent::Unblocked) => {
                tracing::info!("the broker has unblocked the connection");
            }
            Some(ConnectionEvent::Closed(err)) => break err,
            None => break ended_without_reason(),
        }
    };
    closing.close(reason);
}

/// Tells those who wait that the connection is closed, also if its driver is dropped, as it is
/// when its runtime ends.
struct CloseOnDrop {
    dispatch: Arc<Dispatch>,
    close: watch::Sender<Option<Error>>,
}

impl CloseOnDrop {
    /// Only the first reason counts.
    fn close(&self, reason: Error) {
        self.dispatch.close(match reason.kind() {
            ErrorKind::ConnectionClosed => Ok(()),
            _ => Err(reason.clone()),
        });
        self.close.send_if_modified(|closed| {
            let first = closed.is_none();
            closed.get_or_insert(reason);
            first
        });
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.close(Error::connection(
            ErrorKind::ConnectionLost,
            "the runtime that the connection was opened on has ended",
        ));
    }
}

fn ended_without_reason() -> Error {
    Error::connection(
        ErrorKind::ConnectionLost,
        "the connection ended without a reason",
    )
}
