//! Connections.

mod buffer;
mod core;
mod opening;
mod shutdown;
mod state;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use mooq_core::{Endpoint, Error, IntoChecked, Result, Transport};
use tokio::sync::watch;

use crate::channel::Channel;
use crate::consumer::ProcessEvents;
use crate::options::ConnectOptions;

#[cfg(test)]
pub(crate) use buffer::Buffer;
pub(crate) use buffer::Room;
pub(crate) use core::{Core, closed_here, without_reason};
pub use state::{ConnectionState, Event, Events};

/// A connection to a broker. Cloning it is cheap; all clones are the same connection, which
/// closes when the last of them, of its channels with their streams and unsettled deliveries, and
/// of [`ProcessEvents`] is dropped. A callback that owns one of these counts as well, and then
/// only [`close`](Self::close) ends it.
///
/// One that is lost is opened again, with all that was declared over it, unless
/// [`recovery`](crate::ConnectOptions::recovery) says otherwise: see [`Recovery`](crate::Recovery).
/// Calls wait for it, up to their deadline.
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

/// What keeps a connection open: dropped, it closes.
#[derive(Debug)]
pub(crate) struct ConnectionShared {
    core: Arc<Core>,
}

impl Connection {
    /// Connects over `transport`, to the first host of `options` that answers. Services use
    /// `mooq::connect`, which chooses the transport by the URL.
    ///
    /// # Errors
    /// `BrokerConnectionError`, `TlsFailed`, `AuthenticationFailed`, `VirtualHostNotFound`, each
    /// naming host and port, of the last host; `InvalidUrl`, `UnsupportedScheme`, `InvalidArgument`.
    ///
    /// # Panics
    /// Outside a tokio runtime with its timer enabled, as tokio does.
    ///
    /// # Cancel safety
    /// Dropped midway, no connection stays open.
    pub async fn open(
        transport: Arc<dyn Transport>,
        options: impl IntoChecked<ConnectOptions>,
    ) -> Result<Self> {
        let core = opening::open(transport, options.into_checked()?).await?;
        let shared = Arc::new(ConnectionShared { core });
        Ok(Self { shared })
    }

    /// Opens a channel, waiting for the connection if it is lost.
    ///
    /// # Errors
    /// The connection's close, if it is closed for good; `NotAllowed` if it has as many channels
    /// as the broker allows; `ConnectionLost` if it is lost meanwhile; `DeadlineExceeded`.
    ///
    /// # Cancel safety
    /// Dropped midway, no channel stays open.
    pub async fn create_channel(&self) -> Result<Channel> {
        Channel::open(&self.shared).await
    }

    /// Runs the callbacks of all consumers on this connection, until it is closed: see
    /// [`ProcessEvents`] for ends that come sooner. Callbacks run only while this does, inside
    /// the task that awaits it, and one call at a time.
    ///
    /// A connection that is lost and recovers does not end it. Ends with `Ok` when the connection
    /// is closed from this side, and with an error when it is lost for good: at once in both
    /// cases, and callbacks that run are dropped. Ends with an error as well when a consumer ends
    /// by itself, since its queue was deleted or it could not be registered again: then it starts
    /// no more callbacks, and lets those that run finish. The error is given once for each
    /// channel or queue; called again, this goes on with the other consumers.
    ///
    /// # Cancel safety
    /// Callbacks that run are dropped with it, and their deliveries go back to their queues. To
    /// let them finish, use
    /// [`with_graceful_shutdown`](ProcessEvents::with_graceful_shutdown).
    pub fn process_events(&self) -> ProcessEvents {
        ProcessEvents::new(Arc::clone(&self.shared))
    }

    /// Ends the connection in order: cancels its consumers, lets the callbacks that run finish and
    /// be settled, waits until the broker has answered every publish, and closes. All but the
    /// closing takes at most `limit`; then callbacks are dropped, and their deliveries go back.
    ///
    /// Whoever runs [`process_events`](Self::process_events) goes on doing so, since callbacks run
    /// only there; it ends with `Ok`. Streams end when they have given out what they hold.
    ///
    /// # Errors
    /// `DeadlineExceeded` if `limit` was too short, saying what was cut off; otherwise as
    /// [`close`](Self::close). The connection is closed all the same.
    ///
    /// # Cancel safety
    /// Once polled, it goes on when this is dropped.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use mooq::Delivery;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::{ConnectInMemory, InMemoryBroker};
    /// # let broker = InMemoryBroker::start();
    /// # let conn = broker.connect().await?;
    /// # let chan = conn.create_channel().await?;
    /// chan.register_consumer("orders", "fanout")
    ///     .callback(|order: Delivery<String>| async move { println!("{}", order.msg) })
    ///     .await?;
    /// let service = conn.clone();
    /// let service = tokio::spawn(async move { service.process_events().await });
    ///
    /// // When the process is told to stop:
    /// conn.shutdown(Duration::from_secs(20)).await?;
    /// assert!(service.await.is_ok_and(|ended| ended.is_ok()));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn shutdown(&self, limit: Duration) -> Result<()> {
        shutdown::shutdown(Arc::clone(&self.shared), limit).await
    }

    /// Closes the connection and its channels. What was not acknowledged goes back to the
    /// queues, exclusive queues go, and callbacks that run are dropped: to let them finish, use
    /// [`shutdown`](Self::shutdown). A connection that is lost just ends. Closing it twice is no
    /// error.
    ///
    /// # Errors
    /// `ConnectionLost` if the broker went away before it answered; `DeadlineExceeded`. The
    /// connection is closed all the same.
    ///
    /// # Cancel safety
    /// Once polled, the closing goes on when this is dropped.
    pub async fn close(&self) -> Result<()> {
        self.shared.begin_close();
        self.shared.wait_closed().await;
        self.shared.close_result()
    }

    /// Waits until the connection is closed for good, and says why: `ConnectionClosed` if from
    /// this side.
    ///
    /// # Cancel safety
    /// Safe to drop at any point.
    pub async fn closed(&self) -> Error {
        self.shared.wait_closed().await
    }

    /// Whether the connection is open at present, as far as is known. One that is not may come
    /// back: [`state`](Self::state) tells.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.state().borrow().is_connected()
    }

    /// Where the connection stands, to be read or waited on.
    ///
    /// # Examples
    /// ```
    /// use mooq::ConnectionState;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::{ConnectInMemory, InMemoryBroker};
    /// # let broker = InMemoryBroker::start();
    /// # let conn = broker.connect().await?;
    /// let mut state = conn.state();
    /// assert!(state.borrow().is_connected());
    ///
    /// conn.close().await?;
    /// let closed = state.wait_for(ConnectionState::is_closed).await;
    /// assert!(closed.is_ok());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.shared.state().subscribe()
    }

    /// What happens to the connection from now on.
    ///
    /// # Examples
    /// ```
    /// use mooq::Event;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::{ConnectInMemory, InMemoryBroker};
    /// # let broker = InMemoryBroker::start();
    /// # let conn = broker.connect().await?;
    /// let mut events = conn.events();
    /// conn.close().await?;
    /// assert!(matches!(events.next().await, Some(Event::Closed(_))));
    /// assert!(events.next().await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(&self) -> Events {
        // First the receiver, so that no event is missed in between.
        let receiver = self.shared.events();
        Events::new(receiver, self.shared.closed())
    }

    /// Where it is connected to, or was last.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.shared.endpoint()
    }
}

impl Deref for ConnectionShared {
    type Target = Arc<Core>;

    fn deref(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Drop for ConnectionShared {
    fn drop(&mut self) {
        self.core.abandon();
    }
}
