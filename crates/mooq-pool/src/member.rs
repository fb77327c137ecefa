//! One connection of a pool, and its replacement when it is closed for good.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use fastrand::Rng;
use mooq_client::{Channel, ConnectOptions, Connection, ConnectionState, Recovery, hooks};
use mooq_core::{Result, Transport};
use tokio::sync::watch;
use tokio::time::sleep;

/// The use of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Publisher,
    Consumer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publisher => "publisher",
            Self::Consumer => "consumer",
        })
    }
}

/// Opens a connection of a pool, again and again.
#[derive(Debug, Clone)]
pub(crate) struct Opener {
    transport: Arc<dyn Transport>,
    options: ConnectOptions,
    /// Called with each connection once it is open.
    opened: Vec<fn(&Connection)>,
    role: Role,
    number: usize,
    /// The seed of the jitter between attempts.
    seed: u64,
}

impl Opener {
    /// # Errors
    /// The first error of the options.
    pub(crate) fn new(
        transport: &Arc<dyn Transport>,
        options: &ConnectOptions,
        opened: &[fn(&Connection)],
        role: Role,
        number: usize,
    ) -> Result<Self> {
        let endpoint = options.endpoint()?;
        let mut options = options.clone();
        if let Some(name) = &endpoint.connection_name {
            // A name that leaves no room for a suffix stays as it is.
            let name = format!("{name}/{role}-{number}");
            if name.len() <= 255 {
                options = options.name(name);
            }
        }
        Ok(Self {
            transport: Arc::clone(transport),
            options,
            opened: opened.to_vec(),
            role,
            number,
            seed: endpoint.jitter_seed(),
        })
    }

    async fn open(&self) -> Result<Open> {
        let transport = Arc::clone(&self.transport);
        let connection = Connection::open(transport, self.options.clone()).await?;
        self.opened.iter().for_each(|then| then(&connection));
        let publisher = match self.role {
            Role::Publisher => Some(connection.create_channel().await?),
            Role::Consumer => None,
        };
        Ok(Open {
            connection,
            publisher,
            channels: Arc::default(),
            opening: Arc::default(),
        })
    }

    /// Opens the connection for the first time.
    pub(crate) async fn member(self) -> Result<Member> {
        let open = watch::Sender::new(self.open().await?);
        Ok(Member { opener: self, open })
    }
}

/// An open connection.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) connection: Connection,
    /// The channel for publishes of the pool, if the connection is for publishing.
    pub(crate) publisher: Option<Channel>,
    /// Number of channels that users have.
    channels: Arc<AtomicUsize>,
    /// Number of channels that are being opened for users.
    opening: Arc<AtomicUsize>,
}

impl Open {
    /// Returns true if the connection is closed for good.
    pub(crate) fn is_closed(&self) -> bool {
        self.connection.state().borrow().is_closed()
    }

    /// Number of channels that users have.
    pub(crate) fn channels(&self) -> usize {
        self.channels.load(Ordering::Relaxed)
    }

    /// Number of channels that users have or are about to have.
    pub(crate) fn channels_to_be(&self) -> usize {
        self.channels() + self.opening.load(Ordering::Relaxed)
    }

    /// Number of publishes of the pool that the broker has not confirmed yet.
    pub(crate) fn unconfirmed(&self) -> usize {
        let publisher = self.publisher.as_ref();
        publisher.map_or(0, Channel::unconfirmed_count)
    }

    /// Opens a channel, which is counted until its last handle is dropped.
    pub(crate) async fn create_channel(&self) -> Result<Channel> {
        // Counted before the wait, so that of many calls at once each sees the others.
        let _opening = Lease::new(&self.opening);
        let channel = self.connection.create_channel().await?;
        let leased = hooks::state::<Leased>(&channel);
        // A new channel has no other lease.
        let _ = leased.0.set(Lease::new(&self.channels));
        Ok(channel)
    }
}

/// The lease of a channel, which ends with it.
#[derive(Debug, Default)]
struct Leased(OnceLock<Lease>);

#[derive(Debug)]
struct Lease(Arc<AtomicUsize>);

impl Lease {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place in a pool, with the connection that is in it now.
#[derive(Debug)]
pub(crate) struct Member {
    opener: Opener,
    open: watch::Sender<Open>,
}

impl Member {
    pub(crate) fn current(&self) -> Open {
        self.open.borrow().clone()
    }

    /// The connections that come into this place.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Open> {
        self.open.subscribe()
    }

    pub(crate) fn opener(&self) -> &Opener {
        &self.opener
    }

    /// The state of the current connection, which the returned receiver does not keep open.
    pub(crate) fn state(&self) -> watch::Receiver<ConnectionState> {
        self.open.borrow().connection.state()
    }

    pub(crate) fn replace(&self, open: Open) {
        self.open.send_replace(open);
    }
}

impl Opener {
    /// Opens the connection in place of one that is closed for good, however long it takes. Returns
    /// `None` once `goes_on` returns false.
    pub(crate) async fn reopen(&self, goes_on: impl Fn() -> bool) -> Option<Open> {
        let policy = Recovery::new();
        let mut jitter = Rng::with_seed(self.seed);
        let (role, number) = (self.role, self.number);
        for attempt in 0.. {
            sleep(policy.jittered_delay(attempt, &mut jitter)).await;
            if !goes_on() {
                return None;
            }
            match self.open().await {
                Ok(open) => {
                    tracing::info!(%role, number, "a connection of the pool is replaced");
                    return Some(open);
                }
                Err(err) => {
                    tracing::debug!(%role, number, %err, "a connection of the pool cannot be replaced yet");
                }
            }
        }
        None
    }

    /// Logs that the connection is closed for good.
    pub(crate) fn log_closed(&self, state: &ConnectionState) {
        if let ConnectionState::Closed(err) = state {
            let (role, number) = (self.role, self.number);
            tracing::warn!(%role, number, %err, "a connection of the pool is closed, and is replaced");
        }
    }
}
