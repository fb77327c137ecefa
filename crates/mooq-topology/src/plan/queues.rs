//! Queues of a plan that are replaced.

use mooq_core::{BindingDestination, ExchangeKind, ExchangeName, QueueName};

use super::planner::{Planner, counted};
use super::step::Step;
use crate::broker::observed::{FoundQueue, Inventory, Status};
use crate::names::{holding, leaving, returning};
use crate::resource::Resource;
use crate::value::binding::Binding;
use crate::value::exchange::Exchange;
use crate::value::queue::Queue;

/// The queue that holds messages meanwhile, and the exchanges through which they come and go.
struct Aids {
    holding: QueueName,
    leaving: ExchangeName,
    returning: ExchangeName,
}

impl Aids {
    fn of(queue: &QueueName) -> Option<Self> {
        Some(Self {
            holding: holding(queue).ok()?,
            leaving: leaving(queue).ok()?,
            returning: returning(queue).ok()?,
        })
    }
}

/// Number of returns after which a quorum queue drops a message of a migration. RabbitMQ's own
/// default is 20.
const RETURNS: i64 = 1_000_000;

impl Planner<'_> {
    /// Moves a queue's messages to another queue, deletes it, declares it again, and moves them back.
    /// If a plan was interrupted after the delete, only the rest.
    pub(super) fn replace_queue(&mut self, wanted: &Queue) {
        let name = wanted.name();
        let what = Resource::Queue(name.clone());
        let Some(inventory) = self.may_replace(&what) else {
            return;
        };
        let Some(aids) = Aids::of(name) else {
            let why = "its name leaves no room for '.migrating'";
            self.block(what, why, "replace it by hand");
            return;
        };
        if let Some((why, remedy)) = self.hindrance(wanted, inventory, &aids) {
            self.block(what, &why, remedy);
            return;
        }
        let is_different = matches!(self.observed.queue(name), Status::Different(_));
        let bindings = self.bindings_after(name, &aids);
        let kind = self.holding_kind(wanted, inventory, &aids);
        if is_different {
            self.hold(name, inventory, &aids, &bindings, kind);
        }
        if *self.observed.queue(name) != Status::Same {
            self.steps.push(Step::DeclareQueue(wanted.clone()));
        }
        self.give_back(wanted, &aids, bindings, kind);
    }

    /// The reason for which a queue cannot be replaced, and what to do about it.
    fn hindrance(
        &self,
        wanted: &Queue,
        inventory: &Inventory,
        aids: &Aids,
    ) -> Option<(String, &'static str)> {
        let held = inventory.queues.get(&aids.holding);
        let mut messages = held.map_or(0, |held| held.counts.ready);
        let mut bytes = held.map_or(0, |held| held.bytes);
        let found = inventory.queues.get(wanted.name());
        if let Some(found) = found
            && matches!(self.observed.queue(wanted.name()), Status::Different(_))
        {
            if let Some(hindrance) = unmovable(wanted, found) {
                return Some(hindrance);
            }
            messages += found.counts.ready;
            bytes += found.bytes;
        }
        let limits = [("x-max-length", messages), ("x-max-length-bytes", bytes)];
        for (limit, has) in limits {
            let most = wanted.number(limit);
            if let Some(most) = most
                && has > most
                && !self.options.allow_message_loss
            {
                let what = if limit == "x-max-length" {
                    "message"
                } else {
                    "byte"
                };
                let has = counted(has, what);
                let why = format!("it has {has}, and would drop all beyond {most}");
                return Some((why, "consume them first, or call `allow_message_loss`"));
            }
        }
        None
    }

    /// The bindings that the queue has in the end: those of the topology, and unless they are pruned,
    /// those that it has now, or that the other queue has kept.
    fn bindings_after(&self, name: &QueueName, aids: &Aids) -> Vec<Binding> {
        let is_wanted = |one: &&Binding| one.queue() == Some(name);
        let wanted = self.topology.bindings().iter().filter(is_wanted);
        let mut bindings: Vec<_> = wanted.cloned().collect();
        let own = self.own_bindings(name, aids).into_iter();
        let kept = self.held_bindings(aids).into_iter();
        let kept = kept.map(|one| one.to(BindingDestination::Queue(name.clone())));
        for binding in own.chain(kept) {
            if !bindings.contains(&binding) && !self.is_pruned(&binding) {
                bindings.push(binding);
            }
        }
        bindings
    }

    fn own_bindings(&self, name: &QueueName, aids: &Aids) -> Vec<Binding> {
        let own = self.present.iter();
        let own = own.filter(|one| one.queue() == Some(name) && *one.source() != aids.returning);
        own.cloned().collect()
    }

    fn held_bindings(&self, aids: &Aids) -> Vec<Binding> {
        let held = self
            .present
            .iter()
            .filter(|one| one.queue() == Some(&aids.holding) && *one.source() != aids.leaving);
        held.cloned().collect()
    }

    /// The type of the queue that holds messages meanwhile: replicated if one of the others is.
    fn holding_kind(&self, wanted: &Queue, inventory: &Inventory, aids: &Aids) -> &'static str {
        let is_quorum = |name| {
            let found = inventory.queues.get(name);
            found.is_some_and(|found| found.kind == QUORUM)
        };
        if inventory.queues.contains_key(&aids.holding) {
            return if is_quorum(&aids.holding) {
                QUORUM
            } else {
                CLASSIC
            };
        }
        if wanted.kind() == Some(QUORUM) || is_quorum(wanted.name()) {
            QUORUM
        } else {
            CLASSIC
        }
    }

    fn hold(
        &mut self,
        name: &QueueName,
        inventory: &Inventory,
        aids: &Aids,
        bindings: &[Binding],
        kind: &'static str,
    ) {
        if !inventory.queues.contains_key(&aids.holding) {
            let holding = Queue::new(&aids.holding).argument("x-queue-type", kind);
            let holding = match kind {
                QUORUM => holding.argument("x-delivery-limit", RETURNS),
                _ => holding,
            };
            self.steps.push(Step::DeclareQueue(holding));
        }
        self.open_way(&aids.leaving, &aids.holding);
        // First here, then not there: so each message reaches one of the two at least.
        let holding = BindingDestination::Queue(aids.holding.clone());
        for binding in bindings {
            self.add_binding(binding.to(holding.clone()));
        }
        for binding in self.own_bindings(name, aids) {
            self.remove_binding(&binding);
        }
        self.steps.push(Step::MoveMessages {
            from: name.clone(),
            to: aids.holding.clone(),
            through: aids.leaving.clone(),
            limit: None,
        });
        let found = inventory.queues.get(name);
        let found = found
            .map_or(CLASSIC, |found| found.kind.as_str())
            .to_owned();
        self.delete_emptied(name, &found);
    }

    fn give_back(
        &mut self,
        wanted: &Queue,
        aids: &Aids,
        bindings: Vec<Binding>,
        kind: &'static str,
    ) {
        let name = wanted.name();
        self.open_way(&aids.returning, name);
        for binding in bindings {
            self.add_binding(binding);
        }
        for binding in self.held_bindings(aids) {
            self.remove_binding(&binding);
        }
        let limit = wanted.number("x-max-length");
        self.steps.push(Step::MoveMessages {
            from: aids.holding.clone(),
            to: name.clone(),
            through: aids.returning.clone(),
            limit: limit.filter(|_| !self.options.allow_message_loss),
        });
        self.delete_emptied(&aids.holding, kind);
        // The exchange is deleted with its last binding.
        self.remove_binding(&Binding::of_queue(name, &aids.returning, ""));
    }

    /// Declares an exchange that leads to a queue alone. Whatever keys and headers a message has, it
    /// goes nowhere else.
    fn open_way(&mut self, exchange: &ExchangeName, queue: &QueueName) {
        let way = Exchange::new(exchange, ExchangeKind::Fanout).auto_delete();
        self.steps.push(Step::DeclareExchange(way));
        self.add_binding(Binding::of_queue(queue, exchange, ""));
    }

    fn delete_emptied(&mut self, name: &QueueName, kind: &str) {
        self.steps.push(Step::DeleteQueue {
            name: name.clone(),
            kind: kind.to_owned(),
            with_messages: false,
        });
        self.present.retain(|one| one.queue() != Some(name));
    }
}

const CLASSIC: &str = "classic";
const QUORUM: &str = "quorum";

/// The reason for which a queue's messages cannot be moved, and what to do about it.
fn unmovable(wanted: &Queue, found: &FoundQueue) -> Option<(String, &'static str)> {
    if found.exclusive {
        let why = "it belongs to one connection";
        return Some((why.into(), "wait until that connection closes"));
    }
    if found.kind == "stream" || wanted.kind() == Some("stream") {
        let why = "the messages of a stream cannot be moved";
        return Some((why.into(), "replace it by hand"));
    }
    let single_active = found.queue.arguments().get("x-single-active-consumer");
    if found.kind == QUORUM && single_active == Some(&true.into()) {
        let why = "RabbitMQ gives messages of a quorum queue with a single active consumer to \
                   consumers alone";
        return Some((why.into(), "consume them, delete the queue, and plan again"));
    }
    let consumers = found.counts.consumers;
    if consumers > 0 {
        let why = format!("it has {}", counted(consumers, "consumer"));
        return Some((why, "stop them first"));
    }
    None
}
