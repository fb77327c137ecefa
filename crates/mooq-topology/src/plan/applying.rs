//! Applying a plan, or a topology.

use std::fmt;
use std::future::IntoFuture;

use futures_util::future::BoxFuture;
use mooq_client::Connection;
use mooq_core::{Error, ErrorKind, Result};

use super::Plan;
use super::executing::Broker;
use super::step::Step;
use crate::broker::api::Api;
use crate::broker::declare::about;
use crate::broker::management::Management;
use crate::topology::Topology;

impl Plan {
    /// Carries the plan out, one step after the other. A plan with [blocked](Self::blocked) parts
    /// fails before its first step.
    ///
    /// A step that fails ends it. What was done stays, and no message is lost: plan again, and apply
    /// that.
    pub fn apply(&self, conn: &Connection) -> ApplyPlan {
        ApplyPlan {
            plan: self.clone(),
            conn: conn.clone(),
            first: usize::MAX,
            on_step: None,
        }
    }
}

type OnStep = Box<dyn FnMut(usize, &Step) + Send>;

/// A plan to carry out: by [`Plan::apply`], carried out by awaiting it.
#[must_use = "nothing is changed until this is awaited"]
pub struct ApplyPlan {
    plan: Plan,
    conn: Connection,
    first: usize,
    on_step: Option<OnStep>,
}

impl ApplyPlan {
    /// Carries out only the first `n` steps, to look at the broker before the others: plan again for
    /// the rest.
    pub fn first(mut self, n: usize) -> Self {
        self.first = n;
        self
    }

    /// Calls `tell` before each step, with its number, from 1 on.
    pub fn on_step(mut self, tell: impl FnMut(usize, &Step) + Send + 'static) -> Self {
        self.on_step = Some(Box::new(tell));
        self
    }

    async fn run(mut self) -> Result<()> {
        if !self.plan.blocked.is_empty() {
            let blocked = self.plan.blocked.iter().map(ToString::to_string);
            let blocked = blocked.collect::<Vec<_>>().join("\n");
            let message = format!("the plan is blocked, and nothing was changed: {blocked}");
            return Err(Error::new(ErrorKind::PreconditionFailed, message));
        }
        let broker = Broker {
            conn: &self.conn,
            chan: self.conn.create_channel().await?,
            api: Api::of(self.plan.management.as_ref(), &self.conn)?,
        };
        let mut before = None;
        for (n, step) in (1..).zip(&self.plan.steps).take(self.first) {
            if let Some(tell) = &mut self.on_step {
                tell(n, step);
            }
            let done = broker.carry_out(step, before).await;
            about(done, || format!("step {n}, {step}"))?;
            before = Some(step);
        }
        broker.chan.close().await
    }
}

impl fmt::Debug for ApplyPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplyPlan")
            .field("plan", &self.plan)
            .field("first", &self.first)
            .finish_non_exhaustive()
    }
}

impl IntoFuture for ApplyPlan {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    /// # Errors
    /// `PreconditionFailed` if the plan is blocked, or a queue to delete has messages or consumers;
    /// those of the steps, which name the step.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, some of the steps are done. No message is lost.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl Topology {
    /// Sets the policies, and declares all exchanges, queues and bindings, in this order. What is
    /// there already stays as it is, so that every instance of a service may do this at its start.
    ///
    /// Policies need the management API: see [`management`](ApplyTopology::management).
    ///
    /// # Examples
    /// ```
    /// use mooq::ErrorKind;
    /// use mooq::topology::{Queue, Topology};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// let topology = Topology::new().queue("clicks");
    /// topology.apply(&conn).await?;
    /// topology.apply(&conn).await?; // It is there: nothing changes.
    ///
    /// let other = Topology::new().queue(Queue::new("clicks").max_length(1_000));
    /// let err = other.apply(&conn).await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::PreconditionFailed);
    /// # Ok(())
    /// # }
    /// ```
    pub fn apply(&self, conn: &Connection) -> ApplyTopology {
        ApplyTopology {
            topology: self.clone(),
            conn: conn.clone(),
            management: None,
        }
    }
}

/// A topology to apply: by [`Topology::apply`], applied by awaiting it.
#[derive(Debug)]
#[must_use = "nothing is declared until this is awaited"]
pub struct ApplyTopology {
    topology: Topology,
    conn: Connection,
    management: Option<Management>,
}

impl ApplyTopology {
    /// Sets policies by the broker's management API: a URL such as `http://rabbit.example:15672`, or
    /// a [`Management`].
    #[cfg(feature = "management-client")]
    pub fn management(mut self, api: impl Into<Management>) -> Self {
        self.management = Some(api.into());
        self
    }

    async fn run(self) -> Result<()> {
        let topology = self.topology;
        topology.validate()?;
        let api = Api::of(self.management.as_ref(), &self.conn)?;
        if !topology.policies().is_empty() && api.is_none() {
            let message = format!(
                "the topology has {} policies, which AMQP cannot set: give the management API",
                topology.policies().len()
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let broker = Broker {
            conn: &self.conn,
            chan: self.conn.create_channel().await?,
            api,
        };
        let policies = topology.policies().iter().cloned().map(Step::SetPolicy);
        let exchanges = topology.exchanges().iter().cloned();
        let exchanges = exchanges.map(Step::DeclareExchange);
        let queues = topology.queues().iter().cloned().map(Step::DeclareQueue);
        let bindings = topology.bindings().iter().cloned().map(Step::Bind);
        for step in policies.chain(exchanges).chain(queues).chain(bindings) {
            about(broker.carry_out(&step, None).await, || step.to_string())?;
        }
        broker.chan.close().await
    }
}

impl IntoFuture for ApplyTopology {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    /// # Errors
    /// The first error, which names the part: that of [`Topology::validate`]; `InvalidArgument` for
    /// policies without the management API; `ExchangeMismatch` and `PreconditionFailed` for what is
    /// there with other options; otherwise as of declaring and binding. What came before it is
    /// declared.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, some of the topology is declared.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
