//! A channel's permission cache.
//!
//! A channel of RabbitMQ checks a permission once, and keeps the answer until the channel has been
//! idle for a while and hibernates. Until then, the channel keeps a permission that the user has
//! lost.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

use super::Engine;
use super::ids::ChannelId;
use super::permissions::{Access, Kind};
use super::time::Time;

/// RabbitMQ's `HIBERNATE_AFTER_MIN`, in milliseconds: the idle time after which a channel
/// hibernates for the first time. Later hibernations may take longer to begin.
const AWAKE: u64 = 1000;

/// RabbitMQ's `MAX_PERMISSION_CACHE_SIZE`.
const REMEMBERED: usize = 12;

/// Permissions that a channel has because they were granted to it before.
#[derive(Debug, Default)]
pub(crate) struct PermissionCache {
    /// Time of the channel's last activity.
    active: Time,
    /// Permissions for queues and exchanges.
    pub(crate) resources: Recent,
    /// Permissions for routing keys of topic exchanges.
    pub(crate) topics: Recent,
}

impl PermissionCache {
    /// Forgets all permissions if the channel has hibernated.
    #[inline]
    pub(crate) fn touch(&mut self, now: Time) {
        if now >= self.active.plus_millis(AWAKE) {
            self.resources = Recent::default();
            self.topics = Recent::default();
        }
        self.active = now;
    }
}

/// Subject of a permission, as a hash that is never zero. The hash is compared for every message.
/// The chance of a hash collision is 1 in 10^18 messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant(u64);

impl Grant {
    #[inline]
    fn of(what: impl Hash) -> Self {
        Self(FixedState::default().hash_one(what) | 1)
    }

    #[inline]
    pub(crate) fn resource(access: Access, kind: Kind, name: &str) -> Self {
        Self::of((access as u8, kind as u8, name))
    }

    #[inline]
    pub(crate) fn topic(access: Access, exchange: &str, routing_key: &str) -> Self {
        Self::of((access as u8, exchange, routing_key))
    }
}

/// The latest permissions of one kind. A permission that is used again does not become newer.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Hashes of the permissions, and zeros for free entries.
    entries: [u64; REMEMBERED],
    /// Index of the oldest entry, or of the first free one.
    next: usize,
}

impl Recent {
    /// Returns true if the permission is remembered.
    #[inline]
    pub(crate) fn has(&self, grant: Grant) -> bool {
        self.entries.contains(&grant.0)
    }

    /// Adds a permission that is not remembered yet.
    #[inline]
    pub(crate) fn enter(&mut self, grant: Grant) {
        if let Some(entry) = self.entries.get_mut(self.next) {
            *entry = grant.0;
        }
        self.next = (self.next + 1) % REMEMBERED;
    }
}

impl Engine {
    /// Records activity on a channel. Returns true if the channel is closing: the client's close-ok
    /// is outstanding.
    #[inline]
    pub(super) fn touch_channel(&mut self, channel: ChannelId) -> bool {
        let now = self.stamp();
        let Some(channel) = self.channels.get_mut(channel) else {
            return false;
        };
        channel.permission_cache.touch(now);
        channel.has_ended()
    }
}
