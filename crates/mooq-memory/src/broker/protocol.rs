//! A client's connection at the level of AMQP's methods, for servers of the protocol.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use mooq_core::mailbox::Receiver;
use mooq_core::{CloseReason, Credentials};

use super::InMemoryBroker;
use super::shared::{Refused, Shared};
use mooq_engine::{Command, ConnectionId, Effect, Login, Mechanism, Method, Options};

/// A logged-in client that sends methods and receives effects, all of them in one order. A server
/// writes the effects to its client's socket.
///
/// Dropping the connection closes it, as [`Method::ConnectionClose`] does.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::collections::VecDeque;
/// use std::future::poll_fn;
///
/// use mooq_memory::InMemoryBroker;
/// use mooq_engine::{Effect, Login, Method, Reply};
///
/// let broker = InMemoryBroker::start();
/// let mut connection = broker.open_protocol_connection(Login::default()).unwrap();
/// connection.send([(1, Method::ChannelOpen)]);
///
/// let mut effects = VecDeque::new();
/// poll_fn(|cx| connection.poll_effects(cx, &mut effects)).await;
/// assert!(matches!(effects[0], Effect::Reply { channel: 1, reply: Reply::Done, .. }));
/// # });
/// ```
pub struct ProtocolConnection {
    broker: Arc<Shared>,
    id: ConnectionId,
    effects: Receiver<Effect>,
}

/// The reason why a client could not log in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginRefused {
    /// The broker is not running.
    NotRunning,
    /// A fault refuses connections.
    ByFault,
    /// The broker closes the connection for this reason.
    Closed(CloseReason),
}

impl InMemoryBroker {
    /// The broker's options.
    #[must_use]
    pub fn options(&self) -> Options {
        self.shared.with_engine(|engine| engine.options().clone())
    }

    /// Waits until the broker is reachable for a client with this connection name: faults freeze
    /// the link or slow it down.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn reachable(&self, connection_name: Option<&str>) {
        if !self.shared.is_reached(connection_name) {
            self.shared.reached(connection_name).await;
        }
    }

    /// Waits until a client that has just connected can be greeted, and checks that the broker takes
    /// connections. Faults that are limited to connections by name do not count yet, because the
    /// client has yet to say its connection's name.
    ///
    /// # Errors
    /// The broker is not running, or a fault refuses connections: each such error is a strike of
    /// the fault.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn accept(&self) -> Result<(), LoginRefused> {
        self.shared.accept().await.map_err(LoginRefused::from)
    }

    /// Checks a client's name and password before it names a virtual host.
    ///
    /// # Errors
    /// The broker is not running, a fault refuses connections, or the login is refused.
    pub fn authenticate(
        &self,
        mechanism: Mechanism,
        credentials: &Credentials,
        connection_name: Option<&str>,
    ) -> Result<(), LoginRefused> {
        self.shared
            .authenticate(mechanism, credentials, connection_name)
            .map_err(LoginRefused::from)
    }

    /// Opens the connection of a client that [has been authenticated](Self::authenticate).
    ///
    /// # Errors
    /// The broker is not running, or the virtual host does not exist or is closed to the user.
    pub fn open_protocol_connection(
        &self,
        login: Login,
    ) -> Result<ProtocolConnection, LoginRefused> {
        let opened = self.shared.open_protocol_connection(login);
        let (id, effects) = opened.map_err(LoginRefused::from)?;
        Ok(ProtocolConnection {
            broker: Arc::clone(&self.shared),
            id,
            effects,
        })
    }
}

impl From<Refused> for LoginRefused {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotRunning => Self::NotRunning,
            Refused::ByFault => Self::ByFault,
            Refused::ByBroker(reason) => Self::Closed(reason),
        }
    }
}

/// The reason why a broker does not read from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hold {
    /// The client publishes while an alarm is on. The broker still sends to it.
    Alarm,
    /// The link is frozen: nothing passes in either direction.
    Frozen,
}

impl ProtocolConnection {
    /// The reason why the broker does not read from the client now; `None` if it reads. Methods
    /// that are sent meanwhile wait in memory, so a server stops reading from its client's socket.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        self.broker.with_engine(|engine| {
            if engine.is_frozen(self.id) {
                Some(Hold::Frozen)
            } else {
                engine.leaves_unread(self.id).then_some(Hold::Alarm)
            }
        })
    }

    /// Waits until the broker reads from the client.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn released(&self) -> impl Future<Output = ()> + Send + 'static {
        let (broker, id) = (Arc::clone(&self.broker), self.id);
        async move { broker.released(id).await }
    }

    /// Passes methods to the broker, each with the number of its channel. All of them have been
    /// carried out when this returns, unless the connection is blocked, frozen or slow.
    pub fn send(&self, methods: impl IntoIterator<Item = (u16, Method)>) {
        let connection = self.id;
        self.broker
            .send_all(methods.into_iter().map(|(channel, method)| Command {
                connection,
                channel,
                method,
            }));
    }

    /// Appends the broker's effects to `batch`, in order. Ready with `true` once there was an
    /// effect, and with `false` when the connection is closed and all effects have been taken.
    pub fn poll_effects(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut VecDeque<Effect>,
    ) -> Poll<bool> {
        self.effects.poll_batch(cx, batch)
    }
}

impl Drop for ProtocolConnection {
    fn drop(&mut self) {
        self.broker.drop_protocol_connection(self.id);
    }
}

impl fmt::Debug for ProtocolConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtocolConnection")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
