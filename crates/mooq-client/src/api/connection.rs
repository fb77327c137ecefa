//! Connections.

use std::sync::Arc;
use std::time::Duration;

use mooq_core::{Endpoint, Error, IntoChecked, Result, Transport};
use mooq_session::ConnectionState;
use tokio::sync::watch;

use super::channel::Channel;
use super::events::Events;
use super::layers::Layers;
use super::options::ConnectOptions;
use crate::runtime::{self, ConnectionRef};

/// A connection to a broker. Cloning a connection is cheap; all clones are the same connection.
///
/// The connection closes when its last handle is dropped. Handles are its clones, its channels with
/// their streams and unsettled deliveries, and [`ProcessEvents`](crate::ProcessEvents). A callback
/// that owns a handle keeps the connection open as well: then only [`close`](Self::close) ends it.
///
/// A lost connection is reopened, with everything that was declared over it, unless
/// [`recovery`](crate::ConnectOptions::recovery) says otherwise: see [`Recovery`](crate::Recovery).
/// Calls wait for the connection, up to their timeout.
///
/// The connection lives on the tokio runtime that it was opened on: when that runtime ends, the
/// connection is lost.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # let broker = mooq::memory::InMemoryBroker::new("localhost", 5672);
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
    shared: Arc<ConnectionRef>,
    layers: Arc<Layers>,
}

impl Connection {
    /// Connects over `transport` to the first host of `options` that answers. Services use
    /// `mooq::connect`, which chooses the transport by the URL.
    ///
    /// # Errors
    /// `ConnectFailed`, `TlsFailed`, `AuthenticationFailed`, `VirtualHostNotFound`, of the
    /// last host and naming its host and port; `InvalidUrl`, `UnsupportedScheme`,
    /// `InvalidArgument`.
    ///
    /// # Panics
    /// Panics outside a tokio runtime with its timer enabled, as tokio does.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, no connection stays open.
    pub async fn open(
        transport: Arc<dyn Transport>,
        options: impl IntoChecked<ConnectOptions>,
    ) -> Result<Self> {
        let options = options.into_checked()?;
        let inner = runtime::open(transport, &options).await?;
        Ok(Self {
            shared: Arc::new(ConnectionRef::new(inner)),
            layers: options.layers,
        })
    }

    pub(crate) fn shared(&self) -> &Arc<ConnectionRef> {
        &self.shared
    }

    /// Opens a channel, waiting for the connection if it is lost.
    ///
    /// # Errors
    /// The connection's close, if it is closed for good; `NotAllowed` if it has as many channels
    /// as the broker allows; `ConnectionLost` if it is lost meanwhile; `TimedOut`.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, no channel stays open.
    pub async fn create_channel(&self) -> Result<Channel> {
        Channel::open(&self.shared, &self.layers).await
    }

    /// Shuts the connection down gracefully: cancels its consumers, waits for the running callbacks
    /// and settles their deliveries, waits until the broker has answered every publish, and closes.
    /// All steps but the closing take at most `limit`; after that, callbacks that still run are
    /// dropped and their deliveries are requeued.
    ///
    /// A running [`process_events`](Self::process_events) has to keep running, since callbacks run
    /// only there; it ends with `Ok`. Streams end once they have yielded the deliveries that they
    /// hold.
    ///
    /// # Errors
    /// `TimedOut` if `limit` was too short, saying what was cut off; otherwise as
    /// [`close`](Self::close). In both cases the connection is closed. `NotAllowed` if a callback
    /// of this connection awaits the shutdown, which would wait for that callback: the call fails
    /// at once, the connection stays open, and the callback should spawn the shutdown instead.
    ///
    /// # Cancel safety
    /// Once polled, the shutdown continues even if the future is dropped.
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
        runtime::shutdown(Arc::clone(&self.shared), limit).await
    }

    /// Closes the connection and its channels. Unacked deliveries are requeued, exclusive queues
    /// are deleted, and running callbacks are dropped: to let callbacks finish, use
    /// [`shutdown`](Self::shutdown). A lost connection just ends. Closing a connection twice is no
    /// error.
    ///
    /// # Errors
    /// `ConnectionLost` if the broker went away before it answered; `TimedOut`. In both cases the
    /// connection is closed.
    ///
    /// # Cancel safety
    /// Once polled, the connection is closed even if the future is dropped.
    pub async fn close(&self) -> Result<()> {
        runtime::close(&self.shared).await
    }

    /// Waits until the connection is closed for good, and returns the reason: `ConnectionClosed` if
    /// it was closed from this side.
    ///
    /// # Cancel safety
    /// Safe to drop at any point.
    pub async fn closed(&self) -> Error {
        self.shared.closed().await
    }

    /// Returns true if the connection is open, as far as this side knows. A connection that is not
    /// open may be reopened: see [`state`](Self::state).
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.state().borrow().is_connected()
    }

    /// Returns the connection's state, to be read or waited on.
    ///
    /// # Examples
    /// ```
    /// use mooq::ConnectionState;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
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

    /// Returns the connection's events from now on.
    ///
    /// # Examples
    /// ```
    /// use mooq::Event;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// let mut events = conn.events();
    /// conn.close().await?;
    /// assert!(matches!(events.next().await, Some(Event::Closed(_))));
    /// assert!(events.next().await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(&self) -> Events {
        // Subscribes first, so that no event is missed in between.
        let receiver = self.shared.events();
        let closed = match &*self.shared.state().borrow() {
            ConnectionState::Closed(reason) => Some(reason.clone()),
            _ => None,
        };
        Events::new(receiver, closed)
    }

    /// Returns the endpoint that the connection is open to, or was open to last.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.shared.endpoint()
    }
}
