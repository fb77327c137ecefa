//! Differences between a topology and a broker.

use std::error::Error as StdError;
use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::broker::changes::{Change, table_changes};
use crate::broker::observed::{Inventory, Observed, Status};
use crate::resource::Resource;
use crate::scope::Scope;
use crate::topology::Topology;
use crate::value::policy::Policy;

/// One difference between a topology and a broker.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Difference {
    /// The broker does not have it.
    Missing(Resource),
    /// The broker has it with other options or arguments.
    Different(Resource, Vec<Change>),
    /// The broker has it and the topology does not.
    Unexpected(Resource),
}

impl Difference {
    /// The exchange, queue, binding or policy.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        match self {
            Self::Missing(what) | Self::Different(what, _) | Self::Unexpected(what) => what,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => write!(f, "{what} is missing"),
            Self::Different(what, changes) => {
                write!(f, "{what} is different:")?;
                for (n, change) in changes.iter().enumerate() {
                    let gap = if n == 0 { "" } else { "," };
                    write!(f, "{gap} {change}")?;
                }
                Ok(())
            }
            Self::Unexpected(what) => write!(f, "{what} is not in the topology"),
        }
    }
}

impl Serialize for Difference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let (is, changes) = match self {
            Self::Missing(_) => ("missing", None),
            Self::Different(_, changes) => ("different", Some(changes)),
            Self::Unexpected(_) => ("unexpected", None),
        };
        map.serialize_entry("is", is)?;
        match self.resource() {
            Resource::Exchange(name) => map.serialize_entry("exchange", name.as_str())?,
            Resource::Queue(name) => map.serialize_entry("queue", name.as_str())?,
            Resource::Binding(binding) => {
                map.serialize_entry("binding", &crate::objects::of_binding(binding))?;
            }
            Resource::Policy(name) => map.serialize_entry("policy", name)?,
        }
        if let Some(changes) = changes {
            map.serialize_entry("changes", changes)?;
        }
        map.end()
    }
}

/// All differences between a topology and a broker: made by [`Topology::diff`]. Its text has a line
/// for each, and its JSON, by serde, an object for each.
///
/// It is the source of the error of [`Topology::check`].
#[derive(Debug, Clone, PartialEq)]
pub struct Diff {
    differences: Vec<Difference>,
    is_complete: bool,
}

impl Diff {
    pub(crate) fn of(topology: &Topology, observed: &Observed, scope: &Scope) -> Self {
        let mut diff = Self {
            differences: Vec::new(),
            is_complete: observed.inventory.is_some(),
        };
        for exchange in topology.exchanges() {
            let status = observed.exchange(exchange.name());
            diff.note(Resource::Exchange(exchange.name().clone()), status);
        }
        for queue in topology.queues() {
            let status = observed.queue(queue.name());
            diff.note(Resource::Queue(queue.name().clone()), status);
        }
        if let Some(inventory) = &observed.inventory {
            diff.note_rest(topology, inventory, scope);
        }
        diff
    }

    fn note(&mut self, what: Resource, status: &Status) {
        match status {
            Status::Same => {}
            Status::Missing => self.differences.push(Difference::Missing(what)),
            Status::Different(changes) => {
                let different = Difference::Different(what, changes.clone());
                self.differences.push(different);
            }
        }
    }

    fn note_rest(&mut self, topology: &Topology, inventory: &Inventory, scope: &Scope) {
        let differences = &mut self.differences;
        for binding in topology.bindings() {
            if !inventory.bindings.contains(binding) {
                let what = Resource::Binding(binding.clone());
                differences.push(Difference::Missing(what));
            }
        }
        for policy in topology.policies() {
            let what = Resource::Policy(policy.name().to_owned());
            match inventory.policies.get(policy.name()) {
                None => differences.push(Difference::Missing(what)),
                Some(found) => {
                    let changes = policy_changes(policy, found);
                    if !changes.is_empty() {
                        differences.push(Difference::Different(what, changes));
                    }
                }
            }
        }
        let unexpected = scope.unexpected(topology, inventory);
        differences.extend(unexpected.into_iter().map(Difference::Unexpected));
    }

    /// The same without what is not in the topology.
    pub(crate) fn without_unexpected(mut self) -> Self {
        self.differences
            .retain(|one| !matches!(one, Difference::Unexpected(_)));
        self
    }

    /// Returns true if there is no difference.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }

    /// Returns false if only exchanges and queues were compared, and of each only the first
    /// difference is told: without the management API nothing else can be seen.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The differences: of exchanges, queues, bindings and policies, in this order, and last what is
    /// not in the topology.
    #[must_use]
    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }
}

/// The differences of a policy.
pub(crate) fn policy_changes(wanted: &Policy, found: &Policy) -> Vec<Change> {
    let mut changes = Vec::new();
    if wanted.pattern() != found.pattern() {
        changes.push(Change::new("pattern", wanted.pattern(), found.pattern()));
    }
    if wanted.target() != found.target() {
        let [wanted, found] = [wanted, found].map(|policy| policy.target().as_str());
        changes.push(Change::new("apply-to", wanted, found));
    }
    if wanted.rank() != found.rank() {
        changes.push(Change::new("priority", wanted.rank(), found.rank()));
    }
    table_changes(wanted.definition(), found.definition(), &[], &mut changes);
    changes
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.differences.iter().map(ToString::to_string);
        f.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}

impl Serialize for Diff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.differences)
    }
}

impl StdError for Diff {}
