//! Names that belong to a topology beyond those in it.

use mooq_core::{BindingDestination, ExchangeName, QueueName};

use crate::broker::observed::Inventory;
use crate::names::{holding, is_aid_of};
use crate::resource::Resource;
use crate::topology::Topology;
use crate::value::binding::Binding;

/// Prefixes of names that belong to a topology.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Scope {
    pub(crate) prefixes: Vec<String>,
}

impl Scope {
    fn holds(&self, name: &str) -> bool {
        let prefixes = &mut self.prefixes.iter();
        prefixes.any(|prefix| name.starts_with(prefix.as_str()))
    }

    /// Everything that a broker has, that belongs to a topology, and that is not in it: bindings to
    /// its queues and exchanges; and what has a name with one of the prefixes.
    pub(crate) fn unexpected(&self, topology: &Topology, inventory: &Inventory) -> Vec<Resource> {
        let mut unexpected = Vec::new();
        for name in inventory.exchanges.keys() {
            if self.owns_exchange(topology, name) {
                unexpected.push(Resource::Exchange(name.clone()));
            }
        }
        for (name, found) in &inventory.queues {
            // An exclusive queue goes with its connection.
            if self.owns_queue(topology, name) && !found.exclusive {
                unexpected.push(Resource::Queue(name.clone()));
            }
        }
        for binding in &inventory.bindings {
            if self.owns_binding(topology, binding) {
                unexpected.push(Resource::Binding(binding.clone()));
            }
        }
        for name in inventory.policies.keys() {
            let is_in = topology.policies().iter().any(|one| one.name() == name);
            if !is_in && self.holds(name) {
                unexpected.push(Resource::Policy(name.clone()));
            }
        }
        unexpected
    }

    /// Parts that an interrupted plan has left belong to the topology too.
    fn owns_exchange(&self, topology: &Topology, name: &ExchangeName) -> bool {
        let is_in = topology.exchanges().iter().any(|one| one.name() == name);
        let ours = self.holds(name) || is_aid_of(topology, name);
        !is_in && ours && !name.starts_with("amq.")
    }

    fn owns_queue(&self, topology: &Topology, name: &QueueName) -> bool {
        let is_in = topology.queues().iter().any(|one| one.name() == name);
        let queues = &mut topology.queues().iter();
        let is_holding = queues.any(|queue| holding(queue.name()).is_ok_and(|aid| aid == *name));
        !is_in && (self.holds(name) || is_holding)
    }

    fn owns_binding(&self, topology: &Topology, binding: &Binding) -> bool {
        if topology.bindings().contains(binding) {
            return false;
        }
        match binding.destination() {
            BindingDestination::Queue(name) => {
                topology.queues().iter().any(|one| one.name() == name)
                    || self.owns_queue(topology, name)
            }
            BindingDestination::Exchange(name) => {
                topology.exchanges().iter().any(|one| one.name() == name)
                    || self.owns_exchange(topology, name)
            }
        }
    }
}
