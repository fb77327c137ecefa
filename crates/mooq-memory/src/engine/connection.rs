//! A connection: a logged-in client, and what goes with it.

use std::collections::VecDeque;
use std::sync::Arc;

use mooq_core::ShortString;

use super::arena::Key;
use super::channel::Channel;
use super::command::{Capabilities, Command};
use super::permissions::Permissions;
use super::queue::Queue;
use super::vhost::VirtualHost;

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) vhost: Key<VirtualHost>,
    /// How many were opened before it, and it.
    pub(crate) number: u64,
    pub(crate) username: String,
    /// What the client calls it.
    pub(crate) name: Option<ShortString>,
    /// What the user may do; none if that has been taken away since the login.
    pub(crate) permissions: Option<Arc<Permissions>>,
    pub(crate) capabilities: Capabilities,
    /// Its queues that no other connection may use.
    pub(crate) exclusive_queues: Vec<Key<Queue>>,
    /// What it has sent since the broker stopped reading from it; none while the broker reads.
    pub(crate) unread: Option<VecDeque<Command>>,
    /// The broker does not read because of an alarm.
    pub(crate) blocked: bool,
    /// Its channels by their numbers.
    channels: Vec<Option<Key<Channel>>>,
    open_channels: u16,
}

impl Connection {
    pub(crate) fn new(
        vhost: Key<VirtualHost>,
        username: String,
        name: Option<ShortString>,
        permissions: Arc<Permissions>,
        capabilities: Capabilities,
    ) -> Self {
        Self {
            vhost,
            number: 0,
            username,
            name,
            permissions: Some(permissions),
            capabilities,
            exclusive_queues: Vec::new(),
            unread: None,
            blocked: false,
            channels: Vec::new(),
            open_channels: 0,
        }
    }

    pub(crate) fn channel(&self, number: u16) -> Option<Key<Channel>> {
        *self.channels.get(usize::from(number))?
    }

    pub(crate) fn channels(&self) -> impl Iterator<Item = Key<Channel>> + '_ {
        self.channels.iter().copied().flatten()
    }

    /// How many channels are open.
    pub(crate) fn open_channels(&self) -> u16 {
        self.open_channels
    }

    /// Enters a channel under a number that is free.
    pub(crate) fn add_channel(&mut self, number: u16, channel: Key<Channel>) {
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
