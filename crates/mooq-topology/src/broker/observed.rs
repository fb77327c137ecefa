//! A broker's exchanges, queues, bindings and policies as they were found, without I/O.

use std::collections::BTreeMap;

use mooq_core::{ExchangeName, QueueName};

use super::changes::{Change, exchange_changes, queue_changes};
use crate::topology::Topology;
use crate::value::binding::Binding;
use crate::value::exchange::Exchange;
use crate::value::policy::Policy;
use crate::value::queue::Queue;

/// An exchange or a queue of a topology, on a broker.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Status {
    Missing,
    Same,
    Different(Vec<Change>),
}

impl Status {
    fn of(changes: Vec<Change>) -> Self {
        if changes.is_empty() {
            Self::Same
        } else {
            Self::Different(changes)
        }
    }
}

/// What was found of a topology, and all of the broker's if the management API was asked.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) exchanges: BTreeMap<ExchangeName, Status>,
    pub(crate) queues: BTreeMap<QueueName, Status>,
    pub(crate) inventory: Option<Inventory>,
}

impl Observed {
    /// Compares a topology with everything that a broker has.
    pub(crate) fn of(topology: &Topology, inventory: Inventory) -> Self {
        let exchange = |wanted: &Exchange| {
            let found = inventory.exchanges.get(wanted.name());
            let status = found.map_or(Status::Missing, |found| {
                Status::of(exchange_changes(wanted, found))
            });
            (wanted.name().clone(), status)
        };
        let queue = |wanted: &Queue| {
            let found = inventory.queues.get(wanted.name());
            let status = found.map_or(Status::Missing, |found| {
                Status::of(queue_changes(wanted, found))
            });
            (wanted.name().clone(), status)
        };
        Self {
            exchanges: topology.exchanges().iter().map(exchange).collect(),
            queues: topology.queues().iter().map(queue).collect(),
            inventory: Some(inventory),
        }
    }

    pub(crate) fn exchange(&self, name: &ExchangeName) -> &Status {
        self.exchanges.get(name).unwrap_or(&Status::Missing)
    }

    pub(crate) fn queue(&self, name: &QueueName) -> &Status {
        self.queues.get(name).unwrap_or(&Status::Missing)
    }
}

/// Everything of a virtual host.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) exchanges: BTreeMap<ExchangeName, Exchange>,
    pub(crate) queues: BTreeMap<QueueName, FoundQueue>,
    /// Without the default exchange's bindings, which nothing changes.
    pub(crate) bindings: Vec<Binding>,
    pub(crate) policies: BTreeMap<String, Policy>,
}

/// A queue, with what a topology's queue has not.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(feature = "management-client"),
    allow(dead_code, reason = "only the management API finds them")
)]
pub(crate) struct FoundQueue {
    pub(crate) queue: Queue,
    /// The queue belongs to one connection.
    pub(crate) exclusive: bool,
    /// `classic`, `quorum` or `stream`.
    pub(crate) kind: String,
    /// Bytes of the bodies of its messages, which the management API tells late.
    pub(crate) bytes: u64,
    /// Ready messages and consumers, where they were asked for.
    pub(crate) counts: Counts,
}

/// The counts of a queue, by a passive declare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) ready: u64,
    pub(crate) consumers: u64,
}
