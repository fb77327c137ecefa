//! Comparing a topology with a broker.

use std::future::IntoFuture;

use futures_util::future::BoxFuture;
use mooq_client::Connection;
use mooq_core::{Error, ErrorKind, Result};

use crate::broker::management::Management;
use crate::broker::probe::observe;
use crate::diff::Diff;
use crate::scope::Scope;
use crate::topology::Topology;

impl Topology {
    /// Compares the topology with a broker.
    ///
    /// With its [management API](DiffTopology::management), the broker's exchanges, queues, bindings
    /// and policies are all seen. By AMQP alone, only the topology's exchanges and queues are: each
    /// is declared passively, and if it is there, declared once more, which changes nothing and is
    /// refused if it has other options. The refusal names the first of them.
    ///
    /// # Examples
    /// ```
    /// use mooq::topology::{Queue, Topology};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// Topology::new().queue("clicks").apply(&conn).await?;
    ///
    /// let topology = Topology::new()
    ///     .exchange("orders", "topic")
    ///     .queue(Queue::new("clicks").max_length(1_000));
    /// let diff = topology.diff(&conn).await?;
    /// assert_eq!(
    ///     diff.to_string(),
    ///     "exchange 'orders' is missing\n\
    ///      queue 'clicks' is different: x-max-length is none and not 1000"
    /// );
    /// # Ok(())
    /// # }
    /// ```
    pub fn diff(&self, conn: &Connection) -> DiffTopology {
        DiffTopology {
            topology: self.clone(),
            conn: conn.clone(),
            management: None,
            scope: Scope::default(),
        }
    }

    /// Fails unless the broker has all of the topology, as [`diff`](Self::diff) compares them. What
    /// the broker has beyond it is no error. Nothing is changed.
    ///
    /// # Examples
    /// ```
    /// use std::error::Error;
    ///
    /// use mooq::ErrorKind;
    /// use mooq::topology::{Diff, Topology};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// let topology = Topology::new().queue("billing").queue("shipping");
    /// let err = topology.check(&conn).await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::PreconditionFailed);
    /// let diff: Option<&Diff> = err.source().and_then(|source| source.downcast_ref());
    /// assert_eq!(diff.unwrap().differences().len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn check(&self, conn: &Connection) -> CheckTopology {
        CheckTopology(self.diff(conn))
    }
}

/// A comparison of a topology with a broker: made by [`Topology::diff`], carried out by awaiting it.
#[derive(Debug)]
#[must_use = "nothing is compared until this is awaited"]
pub struct DiffTopology {
    topology: Topology,
    conn: Connection,
    management: Option<Management>,
    scope: Scope,
}

impl DiffTopology {
    /// Compares by the broker's management API, which sees bindings and policies, and what is not in
    /// the topology. A URL such as `http://rabbit.example:15672`, or a [`Management`].
    #[cfg(feature = "management-client")]
    pub fn management(mut self, api: impl Into<Management>) -> Self {
        self.management = Some(api.into());
        self
    }

    /// States that all exchanges, queues and policies whose names begin with `prefix` belong to the
    /// topology: those that are not in it are differences. The empty prefix is all of the virtual
    /// host. Needs the management API.
    #[cfg(feature = "management-client")]
    pub fn owned(mut self, prefix: impl Into<String>) -> Self {
        self.scope.prefixes.push(prefix.into());
        self
    }

    async fn run(self) -> Result<Diff> {
        let observed = observe(&self.topology, &self.conn, self.management.as_ref()).await?;
        Ok(Diff::of(&self.topology, &observed, &self.scope))
    }
}

impl IntoFuture for DiffTopology {
    type Output = Result<Diff>;
    type IntoFuture = BoxFuture<'static, Result<Diff>>;

    /// # Errors
    /// Those of [`Topology::validate`]; those of a declare, but for the differences; by the
    /// management API, `ConnectFailed` if it does not answer within 60 s, `InvalidUrl`,
    /// `UnsupportedScheme`, `AuthenticationFailed`, `AccessRefused`.
    ///
    /// # Cancel safety
    /// Safe to drop at any point.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// A check of a broker: made by [`Topology::check`], carried out by awaiting it.
#[derive(Debug)]
#[must_use = "nothing is checked until this is awaited"]
pub struct CheckTopology(DiffTopology);

impl CheckTopology {
    /// Checks by the broker's management API, which sees bindings and policies too.
    #[cfg(feature = "management-client")]
    pub fn management(self, api: impl Into<Management>) -> Self {
        Self(self.0.management(api))
    }
}

impl IntoFuture for CheckTopology {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    /// # Errors
    /// `PreconditionFailed` if something is missing or different, with the [`Diff`] as source; those
    /// of a [`DiffTopology`].
    ///
    /// # Cancel safety
    /// Safe to drop at any point.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let diff = self.0.run().await?.without_unexpected();
            if diff.is_empty() {
                return Ok(());
            }
            let message = format!("the broker does not have the topology: {diff}");
            Err(Error::new(ErrorKind::PreconditionFailed, message).with_source(diff))
        })
    }
}
