//! Inspection of connections and their channels.

use std::time::Duration;

use mooq_core::{ShortString, VirtualHost};

use super::{matches, unsettled};
use crate::Engine;
use crate::channel::{Channel, PublishingMode};
use crate::client::ClientDetails;

/// Snapshot of a connection.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The client's name for the connection; empty if the client gave it none.
    pub name: ShortString,
    /// Number of the connection, counted from 1 in the order of opening.
    pub number: u64,
    /// The user who has logged in.
    pub user: String,
    /// The virtual host of the connection.
    pub vhost: VirtualHost,
    /// True if the broker has stopped reading from the connection because of an alarm.
    pub blocked: bool,
    /// Time at which the connection was opened, since the Unix epoch.
    pub opened: Duration,
    /// The largest number of open channels that client and broker agreed on.
    pub channel_max: u16,
    /// Details of the client.
    pub client: ClientDetails,
    /// Open channels, by number.
    pub channels: Vec<ChannelInfo>,
}

/// Snapshot of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// Number of the channel on its connection.
    pub number: u16,
    /// Number of consumers.
    pub consumers: usize,
    /// Number of unacked deliveries.
    pub unacked: usize,
    /// Prefetch of the channel's next consumer; 0 for no limit.
    pub prefetch: u16,
    /// Prefetch of all consumers of the channel together; 0 for no limit.
    pub global_prefetch: u16,
    /// True if publishes are confirmed.
    pub confirms: bool,
    /// True if publishes and settlements wait for a commit.
    pub transactional: bool,
    /// Number of publishes that wait for a commit.
    pub uncommitted_publishes: usize,
    /// Number of settled deliveries that wait for a commit.
    pub uncommitted_settlements: usize,
}

impl Engine {
    /// Returns the connections whose names match, in the order in which they were opened.
    /// Connections without a name match the glob `*`.
    #[must_use]
    pub fn connections(&self, name: &str) -> Vec<ConnectionInfo> {
        let mut found: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| matches(name, connection.name.as_deref().unwrap_or_default()))
            .filter_map(|(_, connection)| {
                let channels = connection.channels();
                let channels = channels.filter_map(|key| self.channels.get(key));
                Some(ConnectionInfo {
                    name: connection.name.clone().unwrap_or_default(),
                    number: connection.number,
                    user: connection.username.clone(),
                    vhost: self.vhosts.get(connection.vhost)?.name.clone(),
                    blocked: connection.blocked,
                    opened: self.options.started + connection.opened.since_start(),
                    channel_max: connection.channel_max,
                    client: connection.client.clone(),
                    channels: channels.map(ChannelInfo::of).collect(),
                })
            })
            .collect();
        found.sort_by_key(|connection| connection.number);
        found
    }
}

impl ChannelInfo {
    fn of(channel: &Channel) -> Self {
        let reply_consumer = usize::from(channel.reply_consumer.is_some());
        let (uncommitted_publishes, uncommitted_settlements) = match &channel.publishing {
            PublishingMode::Transaction(transaction) => {
                let settlements = transaction.settlements.iter();
                let settled = settlements.map(|(_, unacked)| unacked.len()).sum();
                (transaction.publishes.len(), settled)
            }
            _ => (0, 0),
        };
        Self {
            number: channel.number,
            consumers: channel.consumers.len() + reply_consumer,
            unacked: unsettled(channel).count(),
            prefetch: channel.prefetch,
            global_prefetch: channel.limiter.prefetch(),
            confirms: matches!(channel.publishing, PublishingMode::Confirm { .. }),
            transactional: matches!(channel.publishing, PublishingMode::Transaction(_)),
            uncommitted_publishes,
            uncommitted_settlements,
        }
    }
}
