//! A look at connections and their channels.

use mooq_core::{ShortString, VirtualHost};

use super::{matches, unsettled};
use crate::engine::Engine;
use crate::engine::channel::{Channel, PublishingMode};

/// A connection as it is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// What its client calls it; empty if that gave it no name.
    pub name: ShortString,
    /// Connections are counted from 1 as they are opened.
    pub number: u64,
    /// Who has logged in.
    pub user: String,
    /// Where to.
    pub vhost: VirtualHost,
    /// The broker has stopped reading from it, because of an alarm.
    pub blocked: bool,
    /// Its open channels, by number.
    pub channels: Vec<ChannelInfo>,
}

/// A channel as it is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// Its number on its connection.
    pub number: u16,
    /// How many consumers it has.
    pub consumers: usize,
    /// How many deliveries it has not settled.
    pub unacked: usize,
    /// The prefetch of its next consumer; 0 for no limit.
    pub prefetch: u16,
    /// Its publishes are confirmed.
    pub confirms: bool,
    /// Its publishes and settlements wait for a commit.
    pub transactional: bool,
}

impl Engine {
    /// The connections whose names match, in the order in which they were opened. Those without
    /// a name match the glob `*`.
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
        Self {
            number: channel.number,
            consumers: channel.consumers.len() + reply_consumer,
            unacked: unsettled(channel).count(),
            prefetch: channel.prefetch,
            confirms: matches!(channel.publishing, PublishingMode::Confirm { .. }),
            transactional: matches!(channel.publishing, PublishingMode::Transaction(_)),
        }
    }
}
