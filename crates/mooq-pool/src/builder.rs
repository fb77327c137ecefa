//! The builder of a pool.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::future::{BoxFuture, try_join, try_join_all};
use mooq_client::{ConnectOptions, Connection};
use mooq_core::{Error, ErrorKind, Result, Transport};

use crate::member::{Opener, Role};
use crate::pool::Pool;

/// The most connections of a kind: a pool is no substitute for channels.
const MOST: usize = 1000;

/// Opens a pool of connections: made by `mooq::pool`, started by awaiting it.
#[must_use = "no connection is opened until it is awaited"]
pub struct PoolBuilder {
    target: Result<(Arc<dyn Transport>, ConnectOptions)>,
    opened: Vec<fn(&Connection)>,
    publishers: usize,
    consumers: usize,
}

impl PoolBuilder {
    /// A pool whose connections are opened over `transport`, all with the same options. The name of
    /// each connection, if the options have one, gets a suffix: `billing/publisher-1`.
    pub fn over(transport: Arc<dyn Transport>, options: ConnectOptions) -> Self {
        Self::to(Ok((transport, options)))
    }

    /// A pool of connections to this target, or to none: the error is returned by awaiting.
    pub fn to(target: Result<(Arc<dyn Transport>, ConnectOptions)>) -> Self {
        Self {
            target,
            opened: Vec::new(),
            publishers: 1,
            consumers: 1,
        }
    }

    /// Calls these functions with each connection once it is open.
    pub fn once_open(mut self, then: Vec<fn(&Connection)>) -> Self {
        self.opened = then;
        self
    }

    /// Number of connections for publishing, 1 to 1000; 1 by default.
    ///
    /// Messages on several connections may overtake one another: a pool keeps their order only with
    /// one.
    pub fn publishers(mut self, n: usize) -> Self {
        self.publishers = n;
        self
    }

    /// Number of connections for consuming, 0 to 1000; 1 by default.
    pub fn consumers(mut self, n: usize) -> Self {
        self.consumers = n;
        self
    }

    fn check(&self) -> Result<()> {
        let wrong = |what: &str, n: usize, least: usize| {
            let message = format!("a pool of {n} {what}: expected {least} to {MOST}");
            Err(Error::new(ErrorKind::InvalidArgument, message))
        };
        match (self.publishers, self.consumers) {
            (n, _) if !(1..=MOST).contains(&n) => wrong("publishers", n, 1),
            (_, n) if n > MOST => wrong("consumers", n, 0),
            _ => Ok(()),
        }
    }
}

impl IntoFuture for PoolBuilder {
    type Output = Result<Pool>;
    type IntoFuture = BoxFuture<'static, Result<Pool>>;

    /// # Errors
    /// As connecting; `InvalidArgument` for a number of connections that is out of range.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, no connection stays open.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.check()?;
            let (transport, options) = self.target?;
            let openers = |role: Role, n: usize| {
                let openers =
                    (1..=n).map(|n| Opener::new(&transport, &options, &self.opened, role, n));
                openers.collect::<Result<Vec<_>>>()
            };
            let publishers = openers(Role::Publisher, self.publishers)?;
            let consumers = openers(Role::Consumer, self.consumers)?;
            let (publishers, consumers) = try_join(
                try_join_all(publishers.into_iter().map(Opener::member)),
                try_join_all(consumers.into_iter().map(Opener::member)),
            )
            .await?;
            Ok(Pool::new(publishers, consumers, &options))
        })
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("publishers", &self.publishers)
            .field("consumers", &self.consumers)
            .finish_non_exhaustive()
    }
}
