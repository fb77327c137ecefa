//! Making a plan.

use std::collections::BTreeSet;
use std::future::IntoFuture;

use futures_util::future::BoxFuture;
use mooq_client::Connection;
use mooq_core::{QueueName, Result};

use super::Plan;
use super::planner::{Options, Planner};
use crate::broker::management::Management;
use crate::broker::observed::{FoundQueue, Observed, Status};
use crate::broker::probe::{counts, observe};
use crate::names::holding;
use crate::resource::Resource;
use crate::topology::Topology;

impl Topology {
    /// Compares the topology with a broker, and plans the steps that bring the broker to it. Nothing
    /// is changed before [`Plan::apply`].
    ///
    /// A plan only adds, and sets policies, unless it is told more: see
    /// [`migrate`](PlanTopology::migrate), [`prune`](PlanTopology::prune) and
    /// [`allow_message_loss`](PlanTopology::allow_message_loss). What it may not do is
    /// [blocked](Plan::blocked), with the reason and the remedy. Applied, and planned again, it is
    /// empty.
    ///
    /// # Examples
    /// ```
    /// use mooq::topology::Topology;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// let topology = Topology::new()
    ///     .exchange("orders", "topic")
    ///     .queue("billing")
    ///     .bind_queue("billing", "orders", "order.*");
    /// let plan = topology.plan(&conn).await?;
    /// assert_eq!(plan.steps()[2].to_string(), "bind queue 'billing' to exchange 'orders' by 'order.*'");
    /// print!("{plan}"); // A dry run.
    ///
    /// plan.apply(&conn).await?;
    /// assert!(topology.plan(&conn).await?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn plan(&self, conn: &Connection) -> PlanTopology {
        PlanTopology {
            topology: self.clone(),
            conn: conn.clone(),
            management: None,
            options: Options::default(),
        }
    }
}

/// A plan to make: by [`Topology::plan`], made by awaiting it.
#[derive(Debug)]
#[must_use = "nothing is planned until this is awaited"]
pub struct PlanTopology {
    topology: Topology,
    conn: Connection,
    management: Option<Management>,
    options: Options,
}

impl PlanTopology {
    /// Compares by the broker's management API, which sees bindings and policies too, and sets
    /// policies by it. A URL such as `http://rabbit.example:15672`, or a [`Management`]. Everything
    /// but declaring and binding what is missing needs it.
    #[cfg(feature = "management-client")]
    pub fn management(mut self, api: impl Into<Management>) -> Self {
        self.management = Some(api.into());
        self
    }

    /// Plans to replace queues and exchanges that have other options than the topology's, since
    /// RabbitMQ cannot change them.
    ///
    /// A queue's messages wait in another queue, `NAME.migrating`, while the queue is deleted and
    /// declared again, and new messages are routed to it meanwhile. Each message is acknowledged only
    /// once the broker has confirmed its copy, so none is lost, no matter where the plan is cut off;
    /// planned and applied again, it goes on from there. Messages that arrive while a binding moves,
    /// and those in flight when it is cut off, may come twice, and the queue's order is not kept.
    /// Queues with consumers are blocked: their service has to stop first.
    ///
    /// **Publish to such a queue through an exchange.** A message that is published to the default
    /// exchange, with the queue's name as its key, between the delete and the declare finds no queue,
    /// and the broker drops it, unless it is mandatory. A delivery that a client without a consumer
    /// holds unacked, from [`get`](mooq_client::Channel::get), counts as seen by the management API,
    /// which RabbitMQ tells up to 5 s late.
    ///
    /// An exchange that has bindings is replaced only with
    /// [`allow_message_loss`](Self::allow_message_loss).
    pub fn migrate(mut self) -> Self {
        self.options.migrate = true;
        self
    }

    /// Plans to remove what belongs to the topology and is not in it: bindings to its queues and
    /// exchanges; and of what is [owned](Self::owned), exchanges without bindings, queues without
    /// messages and consumers, and policies.
    pub fn prune(mut self) -> Self {
        self.options.prune = true;
        self
    }

    /// States that all exchanges, queues and policies whose names begin with `prefix` belong to the
    /// topology, for [`prune`](Self::prune). The empty prefix is all of the virtual host.
    pub fn owned(mut self, prefix: impl Into<String>) -> Self {
        self.options.scope.prefixes.push(prefix.into());
        self
    }

    /// Allows the plan to lose messages: to delete queues that are pruned with their messages; to
    /// replace exchanges, whose messages are dropped while they have no bindings; and to put back
    /// more messages than the new `max_length` holds.
    pub fn allow_message_loss(mut self) -> Self {
        self.options.allow_message_loss = true;
        self
    }

    async fn run(self) -> Result<Plan> {
        let Self {
            topology,
            conn,
            management,
            options,
        } = self;
        let mut observed = observe(&topology, &conn, management.as_ref()).await?;
        count(&topology, &mut observed, &options, &conn).await?;
        let planner = Planner::of(&topology, &observed, &options);
        let (steps, blocked) = planner.planned();
        Ok(Plan {
            steps,
            blocked,
            is_complete: observed.inventory.is_some(),
            management,
        })
    }
}

/// Counts the messages and consumers of the queues that a plan may delete. The management API tells
/// them late.
async fn count(
    topology: &Topology,
    observed: &mut Observed,
    options: &Options,
    conn: &Connection,
) -> Result<()> {
    let names = counted_names(topology, observed, options);
    let Some(inventory) = &mut observed.inventory else {
        return Ok(());
    };
    let is_counted =
        |found: &&mut FoundQueue| names.contains(found.queue.name()) && !found.exclusive;
    let queues: Vec<_> = inventory.queues.values_mut().filter(is_counted).collect();
    if queues.is_empty() {
        return Ok(());
    }
    let chan = conn.create_channel().await?;
    for found in queues {
        let counts = counts(&chan, found.queue.name()).await?;
        found.counts = counts.unwrap_or_default();
    }
    chan.close().await
}

/// The names of the queues that a plan may delete.
fn counted_names(
    topology: &Topology,
    observed: &Observed,
    options: &Options,
) -> BTreeSet<QueueName> {
    let mut names = BTreeSet::new();
    for queue in topology.queues() {
        if let Status::Different(_) = observed.queue(queue.name()) {
            names.insert(queue.name().clone());
        }
        names.extend(holding(queue.name()));
    }
    if let Some(inventory) = &observed.inventory
        && options.prune
    {
        for one in options.scope.unexpected(topology, inventory) {
            if let Resource::Queue(name) = one {
                names.insert(name);
            }
        }
    }
    names
}

impl IntoFuture for PlanTopology {
    type Output = Result<Plan>;
    type IntoFuture = BoxFuture<'static, Result<Plan>>;

    /// # Errors
    /// As of a [`DiffTopology`](crate::DiffTopology).
    ///
    /// # Cancel safety
    /// Safe to drop at any point.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
