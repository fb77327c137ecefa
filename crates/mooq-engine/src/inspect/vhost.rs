//! Inspection of virtual hosts.

use mooq_core::VirtualHost;

use crate::Engine;
use crate::vhost::{self, VirtualHostMetadata};

/// Snapshot of a virtual host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VirtualHostInfo {
    /// Name of the virtual host.
    pub name: VirtualHost,
    /// Description and tags.
    pub metadata: VirtualHostMetadata,
    /// Number of messages in its queues that are ready for delivery.
    pub ready: u64,
    /// Number of messages from its queues that are unacked.
    pub unacked: u64,
}

impl Engine {
    /// Returns all virtual hosts, sorted by name.
    #[must_use]
    pub fn vhosts(&self) -> Vec<VirtualHostInfo> {
        let vhosts = self.sorted_vhosts().into_iter();
        vhosts
            .map(|vhost| {
                let queues = vhost
                    .queues
                    .values()
                    .filter_map(|key| self.queues.get(*key));
                let counts = queues.map(|queue| (queue.ready.len() as u64, queue.unacked));
                let (ready, unacked) = counts.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
                VirtualHostInfo {
                    name: vhost.name.clone(),
                    metadata: vhost.metadata.clone(),
                    ready,
                    unacked,
                }
            })
            .collect()
    }

    pub(super) fn sorted_vhosts(&self) -> Vec<&vhost::VirtualHost> {
        let mut vhosts: Vec<_> = self.vhosts.values().collect();
        vhosts.sort_by(|a, b| a.name.cmp(&b.name));
        vhosts
    }
}
