//! Names of the queues and exchanges that exist while something is replaced.

use mooq_core::{ExchangeName, QueueName, Result};

use crate::topology::Topology;

/// The queue that holds a queue's messages while the queue is replaced.
pub(crate) fn holding(queue: &QueueName) -> Result<QueueName> {
    format!("{queue}.migrating").try_into()
}

/// The exchange through which messages reach that queue.
pub(crate) fn leaving(queue: &QueueName) -> Result<ExchangeName> {
    format!("{queue}.migrating").try_into()
}

/// The exchange through which messages return.
pub(crate) fn returning(queue: &QueueName) -> Result<ExchangeName> {
    format!("{queue}.returning").try_into()
}

/// The exchange that keeps an exchange's bindings while the exchange is replaced.
pub(crate) fn keeping(exchange: &ExchangeName) -> Result<ExchangeName> {
    format!("{exchange}.replacing").try_into()
}

/// Returns true for an exchange that exists while a part of the topology is replaced.
pub(crate) fn is_aid_of(topology: &Topology, name: &ExchangeName) -> bool {
    let is = |aid: Result<ExchangeName>| aid.is_ok_and(|aid| aid == *name);
    let queues = &mut topology.queues().iter();
    let exchanges = &mut topology.exchanges().iter();
    queues.any(|queue| is(leaving(queue.name())) || is(returning(queue.name())))
        || exchanges.any(|exchange| is(keeping(exchange.name())))
}
