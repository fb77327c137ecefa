//! A look at what there is, for tests that ask more than a client can: a file per noun.
//!
//! Things are found by their names, each method says which. A name is given as itself or as a
//! [glob](https://docs.rs/glob-match), for example `orders-*`.

mod binding;
mod connection;
mod consumer;
mod exchange;
mod message;
mod queue;

use glob_match::glob_match;
use mooq_core::VirtualHost;

pub use binding::BindingInfo;
pub use connection::{ChannelInfo, ConnectionInfo};
pub use consumer::ConsumerInfo;
pub use exchange::ExchangeInfo;
pub use message::{ReadyMessage, UnackedMessage};
pub use queue::QueueInfo;

use super::Engine;
use super::arena::Key;
use super::channel::{Channel, PublishingMode};
use super::exchange::Exchange;
use super::ledger::Unacked;
use super::queue::Queue;
use super::vhost;

/// Whether a name is the one that is asked for, or among those.
fn matches(name_or_glob: &str, name: &str) -> bool {
    name_or_glob == name || glob_match(name_or_glob, name)
}

impl Engine {
    fn vhost_named(&self, name: &VirtualHost) -> Option<&vhost::VirtualHost> {
        self.vhosts.get(*self.vhosts_by_name.get(name)?)
    }

    /// The queues that match, by name.
    fn matching_queues(&self, vhost: &VirtualHost, glob: &str) -> Vec<(Key<Queue>, &Queue)> {
        let vhost = self.vhost_named(vhost);
        let keys = vhost.into_iter().flat_map(|vhost| vhost.queues.values());
        let mut found: Vec<_> = keys
            .filter_map(|key| Some((*key, self.queues.get(*key)?)))
            .filter(|(_, queue)| matches(glob, &queue.name))
            .collect();
        found.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        found
    }

    /// The exchanges that match, by name.
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

/// Everything that was delivered on a channel and is not settled, what waits for a commit
/// included.
pub(super) fn unsettled(channel: &Channel) -> impl Iterator<Item = &Unacked> {
    let held_back = match &channel.publishing {
        PublishingMode::Transaction(transaction) => transaction.settlements.as_slice(),
        _ => &[],
    };
    let held_back = held_back.iter().flat_map(|(_, unacked)| unacked);
    channel.ledger.iter().chain(held_back)
}
