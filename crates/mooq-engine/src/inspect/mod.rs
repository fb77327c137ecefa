//! Inspection of the broker's state, for tests that ask more than a client can: a file per noun.
//!
//! Objects are found by name; each method says by which name. A name is given literally or as a
//! [glob](https://docs.rs/glob-match), for example `orders-*`.

mod binding;
mod connection;
mod consumer;
mod exchange;
mod message;
mod policy;
mod queue;
mod user;
mod vhost;

use glob_match::glob_match;
use mooq_core::VirtualHost;

pub use binding::BindingInfo;
pub use connection::{ChannelInfo, ConnectionInfo};
pub use consumer::ConsumerInfo;
pub use exchange::ExchangeInfo;
pub use message::{ReadyMessage, UnackedMessage};
pub use policy::PolicyInfo;
pub use queue::{QueueDetails, QueueInfo};
pub use user::{PermissionsInfo, TopicPermissionsInfo, UserInfo};
pub use vhost::VirtualHostInfo;

use super::Engine;
use super::channel::{Channel, PublishingMode};
use super::exchange::Exchange;
use super::queue::Queue;
use crate::ids::QueueId;
use crate::message::{Timed, Unacked};

/// Returns true if a name is the requested one or matches the requested glob.
fn matches(name_or_glob: &str, name: &str) -> bool {
    name_or_glob == name || glob_match(name_or_glob, name)
}

impl Engine {
    /// Returns the queues that match, sorted by name.
    fn matching_queues(&self, vhost: &VirtualHost, glob: &str) -> Vec<(QueueId, &Queue)> {
        let vhost = self.vhost_named(vhost);
        let keys = vhost.into_iter().flat_map(|vhost| vhost.queues.values());
        let mut found: Vec<_> = keys
            .filter_map(|key| Some((*key, self.queues.get(*key)?)))
            .filter(|(_, queue)| matches(glob, &queue.name))
            .collect();
        found.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        found
    }

    /// Returns the exchanges that match, sorted by name.
    fn matching_exchanges(&self, vhost: &VirtualHost, glob: &str) -> Vec<&Exchange> {
        let vhost = self.vhost_named(vhost);
        let keys = vhost.into_iter().flat_map(|vhost| vhost.exchanges.values());
        let mut found: Vec<_> = keys
            .filter_map(|key| self.exchanges.get(*key))
            .filter(|exchange| matches(glob, &exchange.name))
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }
}

/// Returns the unacked deliveries of a channel, those whose settlement waits for a commit included.
/// Deliveries that their queue has requeued already are left out.
pub(super) fn unsettled(channel: &Channel) -> impl Iterator<Item = &Unacked> {
    let held_back = match &channel.publishing {
        PublishingMode::Transaction(transaction) => transaction.settlements.as_slice(),
        _ => &[],
    };
    let held_back = held_back.iter().flat_map(|(_, unacked)| unacked);
    let all = channel.unacked.iter().chain(held_back);
    all.filter(|unacked| unacked.timed != Timed::Out)
}
