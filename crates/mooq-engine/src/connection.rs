//! A connection: the state of a logged-in client.

use std::collections::VecDeque;
use std::sync::Arc;

use super::client::ClientDetails;
use super::command::{Capabilities, Command};
use super::ids::{ChannelId, QueueId, VhostId};
use super::permissions::Permissions;
use super::time::Time;
use mooq_core::ShortString;

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) vhost: VhostId,
    /// Number of connections opened up to this one, itself included.
    pub(crate) number: u64,
    /// Time at which the connection was opened.
    pub(crate) opened: Time,
    pub(crate) username: String,
    /// The client's name for the connection.
    pub(crate) name: Option<ShortString>,
    /// The user's permissions.
    pub(crate) permissions: Arc<Permissions>,
    pub(crate) capabilities: Capabilities,
    pub(crate) client: ClientDetails,
    /// Queues of the connection that no other connection may use.
    pub(crate) exclusive_queues: Vec<QueueId>,
    /// Commands that the client has sent since the broker stopped reading from the connection; none
    /// while the broker reads.
    pub(crate) unread: Option<VecDeque<Command>>,
    /// True if the broker does not read from the connection because of an alarm.
    pub(crate) blocked: bool,
    /// The connection's channels, indexed by number.
    channels: Vec<Option<ChannelId>>,
    open_channels: u16,
    /// The largest number of open channels, as negotiated.
    pub(crate) channel_max: u16,
}

impl Connection {
    pub(crate) fn new(
        vhost: VhostId,
        username: String,
        name: Option<ShortString>,
        permissions: Arc<Permissions>,
        capabilities: Capabilities,
    ) -> Self {
        Self {
            vhost,
            number: 0,
            opened: Time::START,
            username,
            name,
            permissions,
            capabilities,
            client: ClientDetails::default(),
            exclusive_queues: Vec::new(),
            unread: None,
            blocked: false,
            channels: Vec::new(),
            open_channels: 0,
            channel_max: u16::MAX,
        }
    }

    pub(crate) fn channel(&self, number: u16) -> Option<ChannelId> {
        *self.channels.get(usize::from(number))?
    }

    pub(crate) fn channels(&self) -> impl Iterator<Item = ChannelId> + '_ {
        self.channels.iter().copied().flatten()
    }

    /// Returns the number of open channels.
    pub(crate) fn open_channels(&self) -> u16 {
        self.open_channels
    }

    /// Adds a channel under a number that is free.
    pub(crate) fn add_channel(&mut self, number: u16, channel: ChannelId) {
        let number = usize::from(number);
        if self.channels.len() <= number {
            self.channels.resize(number + 1, None);
        }
        if let Some(slot) = self.channels.get_mut(number) {
            *slot = Some(channel);
            self.open_channels += 1;
        }
    }

    pub(crate) fn remove_channel(&mut self, number: u16) {
        if let Some(slot) = self.channels.get_mut(usize::from(number))
            && slot.take().is_some()
        {
            self.open_channels -= 1;
        }
    }
}
