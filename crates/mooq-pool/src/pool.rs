//! The pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use mooq_client::{Channel, ConnectOptions, Connection, ConnectionState, Publish, hooks};
use mooq_codecs::{Encode, Json};
use mooq_core::{Error, ErrorKind, ErrorScope, ExchangeName, IntoChecked, Result};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::member::{Member, Open, Role};
use crate::process_events::ProcessPoolEvents;

/// A pool of connections, of which some publish and others consume. Cloning a pool is cheap; all
/// clones are the same pool.
///
/// A lost connection is reopened by itself, as any other. One that is closed for good, because its
/// recovery gave up or is [off](mooq_client::Recovery::off), is replaced by another. The channels and
/// consumers on it have ended, and are not replaced.
///
/// The pool closes when its last handle is dropped. Handles are its clones and
/// [`ProcessPoolEvents`]; channels of the pool keep their own connections open.
///
/// # Examples
/// ```
/// use mooq::Delivery;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # let broker = mooq::memory::InMemoryBroker::new("localhost", 5672);
/// # broker.run();
/// let pool = mooq::pool("memory://localhost").publishers(1).consumers(2).await?;
/// let chan = pool.create_channel().await?;
/// chan.register_consumer("orders", "direct")
///     .queue("orders")
///     .callback(|order: Delivery<u32>| async move { println!("order {}", order.msg) })
///     .await?;
///
/// pool.publish("orders", &7).await?;
///
/// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// drop(stop);
/// pool.process_events()
///     .with_graceful_shutdown(async { stopped.await.unwrap_or(()) })
///     .await?;
/// pool.shutdown(std::time::Duration::from_secs(20)).await
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

/// State that the handles of a pool share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) publishers: Vec<Member>,
    pub(crate) consumers: Vec<Member>,
    is_closed: AtomicBool,
    /// Notified when a connection has been replaced, and when the pool is closed.
    changed: Notify,
    /// Time that a call may wait for a connection.
    timeout: Duration,
}

impl Pool {
    pub(crate) fn new(
        publishers: Vec<Member>,
        consumers: Vec<Member>,
        options: &ConnectOptions,
    ) -> Self {
        let shared = Arc::new(Shared {
            publishers,
            consumers,
            is_closed: AtomicBool::new(false),
            changed: Notify::new(),
            timeout: hooks::timeout_of(options),
        });
        for role in [Role::Publisher, Role::Consumer] {
            for index in 0..shared.members(role).len() {
                tokio::spawn(keep(Arc::downgrade(&shared), role, index));
            }
        }
        Self { shared }
    }

    /// Publishes `msg`, as JSON, on the publishing connection that has the fewest messages in flight:
    /// see [`Channel::publish`].
    ///
    /// The publishes of a connection share a channel. If the broker closes it because of one of
    /// them, such as one to an exchange that does not exist, the others in flight on it fail with the
    /// same reason, and the channel is reopened. A publisher that should not share its channel takes
    /// [one of its own](Self::create_publisher_channel).
    pub fn publish<T: Serialize + ?Sized>(
        &self,
        exchange: impl IntoChecked<ExchangeName>,
        msg: &T,
    ) -> Publish<'_> {
        self.publish_with(exchange, msg, Json)
    }

    /// Publishes `msg` as [`publish`](Self::publish) does, with a codec other than JSON: see
    /// [`Channel::publish_with`].
    #[allow(
        clippy::needless_pass_by_value,
        reason = "codecs are given by value everywhere"
    )]
    pub fn publish_with<T: ?Sized>(
        &self,
        exchange: impl IntoChecked<ExchangeName>,
        msg: &T,
        codec: impl Encode<T>,
    ) -> Publish<'_> {
        hooks::publish(&self.shared.publisher(), exchange, msg, &codec)
    }

    /// Opens a channel on the consuming connection that has the fewest channels, for consumers,
    /// declarations and fetches.
    ///
    /// A callback that publishes should publish by the pool: a publish on a channel of its own
    /// connection makes that a connection that publishes, which an alarm stops.
    ///
    /// # Errors
    /// As [`Connection::create_channel`]. `NotAllowed` if the pool has no consuming connections;
    /// `ConnectionClosed` if it is closed; `TimedOut` if all of its consuming connections are closed,
    /// and none is replaced within the connection's timeout.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, no channel stays open.
    pub async fn create_channel(&self) -> Result<Channel> {
        self.shared.create_channel(Role::Consumer).await
    }

    /// Opens a channel on the publishing connection that has the fewest channels, for publishers that
    /// need one of their own, and for requests.
    ///
    /// # Errors
    /// As [`create_channel`](Self::create_channel).
    ///
    /// # Cancel safety
    /// If the future is dropped midway, no channel stays open.
    pub async fn create_publisher_channel(&self) -> Result<Channel> {
        self.shared.create_channel(Role::Publisher).await
    }

    /// Runs the callbacks of all consuming connections, until the pool is closed: see
    /// [`ProcessPoolEvents`], and [`Connection::process_events`].
    pub fn process_events(&self) -> ProcessPoolEvents {
        ProcessPoolEvents::new(Arc::clone(&self.shared))
    }

    /// Returns true if the pool is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Shuts the pool down gracefully: first the consuming connections, whose callbacks may still
    /// publish, and then the publishing ones, as [`Connection::shutdown`] does. All of it but the
    /// closing takes at most `limit`.
    ///
    /// A running [`process_events`](Self::process_events) has to keep running; it ends with `Ok`.
    ///
    /// # Errors
    /// The first error of [`Connection::shutdown`]. In all cases the pool opens no more channels, and
    /// its connections are closed, except for that of a callback that awaits the shutdown, which is
    /// `NotAllowed`: the callback should spawn it instead.
    ///
    /// # Cancel safety
    /// Once polled, the pool is closed, and the shutdown of the consuming connections continues even
    /// if the future is dropped.
    pub async fn shutdown(&self, limit: Duration) -> Result<()> {
        self.shared.end();
        let began = Instant::now();
        let consumers = self.shared.connections(Role::Consumer);
        let consumers = join_all(consumers.iter().map(|conn| conn.shutdown(limit))).await;
        let left = limit.saturating_sub(began.elapsed());
        let publishers = self.shared.connections(Role::Publisher);
        let publishers = join_all(publishers.iter().map(|conn| conn.shutdown(left))).await;
        consumers.into_iter().chain(publishers).collect()
    }

    /// Closes all connections at once, as [`Connection::close`] does. Closing a pool twice is no
    /// error.
    ///
    /// # Errors
    /// The first error of [`Connection::close`]. In all cases the pool is closed.
    ///
    /// # Cancel safety
    /// Once polled, the pool is closed even if the future is dropped.
    pub async fn close(&self) -> Result<()> {
        self.shared.end();
        let mut connections = self.shared.connections(Role::Consumer);
        connections.extend(self.shared.connections(Role::Publisher));
        let closed = join_all(connections.iter().map(Connection::close)).await;
        closed.into_iter().collect()
    }
}

impl Shared {
    fn members(&self, role: Role) -> &[Member] {
        match role {
            Role::Publisher => &self.publishers,
            Role::Consumer => &self.consumers,
        }
    }

    fn connections(&self, role: Role) -> Vec<Connection> {
        let members = self.members(role).iter();
        members.map(|member| member.current().connection).collect()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Waits until the pool is closed.
    pub(crate) async fn closed(&self) {
        loop {
            // Registered before the check, so that no change is missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.is_closed() {
                return;
            }
            changed.await;
        }
    }

    /// Closes the pool to new calls.
    fn end(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// The connection of this kind that is used least, by `used`: one that is open, if there is one.
    /// `None` if all are closed for good.
    fn least_used(&self, role: Role, used: impl Fn(&Open) -> usize) -> Option<Open> {
        let members = self.members(role).iter().map(Member::current);
        let members = members.filter(|open| !open.is_closed());
        members.min_by_key(|open| (!open.connection.is_open(), used(open)))
    }

    /// The channel for a publish. While all connections are closed for good, it is one that says so.
    fn publisher(&self) -> Channel {
        let open = self.least_used(Role::Publisher, Open::unconfirmed);
        let open = open.unwrap_or_else(|| self.publishers[0].current());
        // Every publishing connection has one.
        open.publisher
            .unwrap_or_else(|| unreachable!("a publishing connection has a channel"))
    }

    async fn create_channel(&self, role: Role) -> Result<Channel> {
        if self.members(role).is_empty() {
            let message = format!("the pool has no {role} connections");
            return Err(Error::new(ErrorKind::NotAllowed, message));
        }
        loop {
            let open = self.open(role).await?;
            match open.create_channel().await {
                // Closed in between: another one takes its place.
                Err(err) if err.scope() == ErrorScope::Connection && open.is_closed() => {}
                created => return created,
            }
        }
    }

    /// Waits for a connection that is not closed for good, and returns the one with the fewest
    /// channels.
    async fn open(&self, role: Role) -> Result<Open> {
        let found = async {
            loop {
                // Registered before the check, so that no change is missed.
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                if self.is_closed() {
                    let message = "the pool was closed from this side";
                    return Err(Error::connection(ErrorKind::ConnectionClosed, message));
                }
                if let Some(open) = self.least_used(role, Open::channels_to_be) {
                    return Ok(open);
                }
                changed.await;
            }
        };
        let limit = self.timeout;
        timeout(limit, found).await.unwrap_or_else(|elapsed| {
            let message = format!(
                "all {role} connections of the pool are closed, and none was replaced within \
                 {limit:?}"
            );
            Err(Error::new(ErrorKind::TimedOut, message).with_source(elapsed))
        })
    }
}

/// Replaces a connection of the pool when it is closed for good, until the pool is closed or gone.
async fn keep(shared: std::sync::Weak<Shared>, role: Role, index: usize) {
    let goes_on = || shared.upgrade().is_some_and(|shared| !shared.is_closed());
    loop {
        let Some((mut state, opener)) = shared.upgrade().and_then(|shared| {
            let member = shared.members(role).get(index)?;
            Some((member.state(), member.opener().clone()))
        }) else {
            return;
        };
        match state.wait_for(ConnectionState::is_closed).await {
            Ok(closed) if goes_on() => opener.log_closed(&closed),
            _ => return,
        }
        // A receiver keeps the memory of its connection.
        drop(state);
        let Some(open) = opener.reopen(goes_on).await else {
            return;
        };
        let Some(pool) = shared.upgrade() else {
            return;
        };
        if let Some(member) = pool.members(role).get(index) {
            member.replace(open.clone());
            pool.changed.notify_waiters();
        }
        if pool.is_closed() {
            // Closed while this connection was opened: an error changes nothing.
            let _ = open.connection.close().await;
            return;
        }
    }
}
