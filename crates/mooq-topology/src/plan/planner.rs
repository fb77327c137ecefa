//! What a plan has to do, decided without I/O.

use mooq_core::{BindingDestination, ExchangeName, QueueName};

use super::Blocked;
use super::step::Step;
use crate::broker::observed::{Inventory, Observed, Status};
use crate::diff::{Difference, policy_changes};
use crate::names::{holding, is_aid_of, returning};
use crate::resource::Resource;
use crate::scope::Scope;
use crate::topology::Topology;
use crate::value::binding::Binding;

/// What a plan may do beyond adding.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) migrate: bool,
    pub(crate) prune: bool,
    pub(crate) allow_message_loss: bool,
    pub(crate) scope: Scope,
}

/// A plan in the making.
pub(crate) struct Planner<'a> {
    pub(super) topology: &'a Topology,
    pub(super) observed: &'a Observed,
    pub(super) options: &'a Options,
    /// The bindings that the broker has after the steps so far.
    pub(super) present: Vec<Binding>,
    /// Parts to remove.
    unexpected: Vec<Resource>,
    pub(super) steps: Vec<Step>,
    blocked: Vec<Blocked>,
}

impl<'a> Planner<'a> {
    pub(crate) fn of(topology: &'a Topology, observed: &'a Observed, options: &'a Options) -> Self {
        let inventory = observed.inventory.as_ref();
        let unexpected = inventory.filter(|_| options.prune).map(|inventory| {
            let unexpected = options.scope.unexpected(topology, inventory);
            unexpected.into_iter()
        });
        let present = inventory.map(|inventory| inventory.bindings.clone());
        Self {
            topology,
            observed,
            options,
            present: present.unwrap_or_default(),
            unexpected: unexpected.into_iter().flatten().collect(),
            steps: Vec::new(),
            blocked: Vec::new(),
        }
    }

    /// The steps, and what they leave as it is.
    pub(crate) fn planned(mut self) -> (Vec<Step>, Vec<Blocked>) {
        self.set_policies();
        for exchange in self.topology.exchanges() {
            self.exchange(exchange);
        }
        // All queues are there before any is bound: one may be the dead-letter target of another.
        for queue in self.topology.queues() {
            if *self.observed.queue(queue.name()) == Status::Missing && !self.is_held(queue.name())
            {
                self.steps.push(Step::DeclareQueue(queue.clone()));
            }
        }
        self.bind();
        for queue in self.topology.queues() {
            if self.is_replaced(queue.name()) {
                self.replace_queue(queue);
            } else {
                self.let_go_of_return(queue.name());
            }
        }
        self.remove();
        (self.steps, self.blocked)
    }

    pub(super) fn inventory(&self) -> Option<&'a Inventory> {
        self.observed.inventory.as_ref()
    }

    pub(super) fn block(&mut self, what: Resource, why: &str, remedy: &str) {
        let status = match &what {
            Resource::Exchange(name) => self.observed.exchange(name),
            Resource::Queue(name) => self.observed.queue(name),
            _ => &Status::Missing,
        };
        let what = match status {
            Status::Different(changes) => Difference::Different(what, changes.clone()).to_string(),
            _ => what.to_string(),
        };
        self.blocked.push(Blocked {
            what,
            why: why.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    /// Blocks the replacement of a part unless the plan may replace.
    pub(super) fn may_replace(&mut self, what: &Resource) -> Option<&'a Inventory> {
        let why = "RabbitMQ cannot change it, so it has to be replaced";
        let Some(inventory) = self.inventory() else {
            let remedy = "give the management API, and call `migrate`";
            self.block(what.clone(), why, remedy);
            return None;
        };
        if !self.options.migrate {
            self.block(what.clone(), why, "call `migrate`");
            return None;
        }
        Some(inventory)
    }

    /// Returns true if the binding is to be removed.
    pub(super) fn is_pruned(&self, binding: &Binding) -> bool {
        let is = |one: &Resource| matches!(one, Resource::Binding(other) if other == binding);
        self.unexpected.iter().any(is)
    }

    pub(super) fn add_binding(&mut self, binding: Binding) {
        if !self.present.contains(&binding) {
            self.steps.push(Step::Bind(binding.clone()));
            self.present.push(binding);
        }
    }

    pub(super) fn remove_binding(&mut self, binding: &Binding) {
        if self.present.contains(binding) {
            self.steps.push(Step::Unbind(binding.clone()));
            self.present.retain(|one| one != binding);
        }
    }

    /// Returns true if an interrupted plan has left messages of the queue elsewhere.
    pub(super) fn is_held(&self, queue: &QueueName) -> bool {
        let inventory = self.inventory();
        let held = inventory.zip(holding(queue).ok());
        held.is_some_and(|(inventory, aid)| inventory.queues.contains_key(&aid))
    }

    fn is_replaced(&self, queue: &QueueName) -> bool {
        matches!(self.observed.queue(queue), Status::Different(_)) || self.is_held(queue)
    }

    fn set_policies(&mut self) {
        let Some(inventory) = self.inventory() else {
            return;
        };
        for policy in self.topology.policies() {
            let found = inventory.policies.get(policy.name());
            if found.is_none_or(|found| !policy_changes(policy, found).is_empty()) {
                self.steps.push(Step::SetPolicy(policy.clone()));
            }
        }
    }

    /// Binds what is not bound. The bindings of a queue that is replaced come with it.
    fn bind(&mut self) {
        for binding in self.topology.bindings() {
            if binding.queue().is_some_and(|queue| self.is_replaced(queue)) {
                continue;
            }
            if self.inventory().is_some() || self.touches_missing(binding) {
                self.add_binding(binding.clone());
            }
        }
    }

    /// Returns true if one of a binding's ends is not there, so that the binding is not either.
    fn touches_missing(&self, binding: &Binding) -> bool {
        let exchange = |name: &ExchangeName| self.observed.exchanges.get(name);
        let to = match binding.destination() {
            BindingDestination::Queue(name) => self.observed.queues.get(name),
            BindingDestination::Exchange(name) => exchange(name),
        };
        [to, exchange(binding.source())].contains(&Some(&Status::Missing))
    }

    /// Removes the last trace of a plan that was interrupted.
    fn let_go_of_return(&mut self, queue: &QueueName) {
        if let Ok(aid) = returning(queue)
            && self.options.migrate
        {
            let binding = Binding::of_queue(queue, aid, "");
            self.remove_binding(&binding);
        }
    }

    fn remove(&mut self) {
        let unexpected = self.unexpected.clone();
        for one in &unexpected {
            if let Resource::Binding(binding) = one {
                self.remove_binding(binding);
            }
        }
        for one in unexpected {
            match one {
                Resource::Exchange(name) => self.remove_exchange(&name),
                Resource::Queue(name) => self.remove_queue(&name),
                Resource::Policy(name) => self.steps.push(Step::ClearPolicy(name)),
                Resource::Binding(_) => {}
            }
        }
    }

    fn remove_exchange(&mut self, name: &ExchangeName) {
        if is_aid_of(self.topology, name) {
            return; // It goes with the end of its migration.
        }
        if self.present.iter().any(|one| one.source() == name) {
            let what = Resource::Exchange(name.clone());
            let why = "queues or exchanges that are not the topology's are bound to it";
            self.block(what, why, "remove these bindings first");
            return;
        }
        self.steps.push(Step::DeleteExchange {
            name: name.clone(),
            with_bindings: false,
        });
    }

    fn remove_queue(&mut self, name: &QueueName) {
        let queues = &mut self.topology.queues().iter();
        let is_holding = queues.any(|queue| holding(queue.name()).is_ok_and(|aid| aid == *name));
        let inventory = self.inventory();
        let Some(found) = inventory.and_then(|inventory| inventory.queues.get(name)) else {
            return;
        };
        if is_holding {
            return; // It goes with the end of its migration.
        }
        let what = Resource::Queue(name.clone());
        let (ready, consumers) = (found.counts.ready, found.counts.consumers);
        if consumers > 0 {
            let consumers = counted(consumers, "consumer");
            let why = format!("it is to be deleted, and has {consumers}");
            self.block(what, &why, "stop them first");
            return;
        }
        let with_messages = self.options.allow_message_loss;
        if ready > 0 && !with_messages {
            let why = format!("it is to be deleted, and has {}", counted(ready, "message"));
            self.block(
                what,
                &why,
                "consume them first, or call `allow_message_loss`",
            );
            return;
        }
        self.steps.push(Step::DeleteQueue {
            name: name.clone(),
            kind: found.kind.clone(),
            with_messages,
        });
    }
}

/// A number of things, in words.
pub(super) fn counted(n: u64, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {what}{s}")
}
