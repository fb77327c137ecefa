//! The queues that an operation touches. They decide which operations can wait for the end of an
//! alarm together: RabbitMQ's processes then handle all of these concurrently.

use std::collections::BTreeSet;

use mooq_core::{FieldValue, Publish, QueueDeclare, Settlement};

use super::{Call, Known, is_quorum};
use crate::differential::operation::{Action, QUEUES, REPLY_TO, SERVER_NAMED};

/// The queues that an operation without an answer may touch.
#[derive(Debug)]
pub(in super::super) struct Footprint {
    channel: usize,
    sort: Sort,
    /// Queues that the operation goes to.
    direct: BTreeSet<String>,
    /// Queues that get dead letters of these.
    indirect: BTreeSet<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Sort {
    Publish,
    Ack,
    /// Any other operation, and any that may close the channel.
    Other,
}

impl Footprint {
    /// Returns true if the two have one outcome when RabbitMQ reads them at once, this one first if
    /// they are on one channel.
    pub(in super::super) fn goes_with(&self, other: &Self) -> bool {
        let indirect: BTreeSet<_> = self.indirect.union(&other.indirect).collect();
        let direct: BTreeSet<_> = self.direct.union(&other.direct).collect();
        let apart = self.direct.is_disjoint(&other.direct)
            && self.indirect.is_disjoint(&other.indirect)
            && indirect.is_disjoint(&direct);
        if apart {
            return true;
        }
        if self.channel != other.channel || self.sort != other.sort {
            return false;
        }
        match self.sort {
            // Messages reach a queue in order, and so do their dead letters from that queue.
            // Messages that reach a queue in two ways come in any order.
            Sort::Publish => {
                direct.len() == 1
                    || indirect.is_disjoint(&direct) && self.indirect.is_disjoint(&other.indirect)
            }
            // A classic queue handles acks before anything else in its mailbox.
            Sort::Ack => true,
            Sort::Other => false,
        }
    }
}

impl Known {
    /// The queues that an operation without an answer may touch.
    pub(in super::super) fn footprint(&self, call: &Call) -> Footprint {
        let operation = &call.operation;
        let channel = operation.channel;
        let (sort, direct) = match &operation.action {
            // The operation may close the channel, which requeues all of its deliveries.
            _ if operation.daring => (Sort::Other, everything()),
            Action::Publish(publish) => self.reached(publish),
            Action::Settle {
                multiple,
                settlement,
                ..
            } => {
                let sort = if *settlement == Settlement::Ack {
                    Sort::Ack
                } else {
                    Sort::Other
                };
                let tag = call.settles[0];
                let is_touched =
                    |other: u64| other == tag || *multiple && (tag == 0 || other < tag);
                let outstanding = self.channels[channel].outstanding.iter();
                let touched = outstanding.filter(|(other, _)| is_touched(**other));
                (sort, touched.map(|(_, queue)| queue.clone()).collect())
            }
            _ => (Sort::Other, everything()),
        };
        Footprint {
            channel,
            sort,
            indirect: self.dead_letter_queues(&direct),
            direct,
        }
    }

    /// The queues that a message may be routed to: any that its exchange is bound to.
    fn reached(&self, publish: &Publish) -> (Sort, BTreeSet<String>) {
        let message = &publish.message;
        let headers = &message.properties.headers;
        let has_copies = ["CC", "BCC"].iter().any(|key| headers.get(key).is_some());
        if may_be_refused(publish) {
            return (Sort::Other, everything());
        }
        let queues = if message.exchange.is_empty() && !has_copies {
            BTreeSet::from([message.routing_key.to_string()])
        } else {
            everything()
        };
        // A full quorum queue takes messages until the channels know that it is full.
        let refuses_late = queues.iter().any(|queue| {
            let declare = self.declares.get(queue);
            declare.is_some_and(is_quorum) && self.settings(queue, "overflow").next().is_some()
        });
        let sort = if refuses_late {
            Sort::Other
        } else {
            Sort::Publish
        };
        (sort, queues)
    }

    /// All queues that dead letters of these queues may reach.
    fn dead_letter_queues(&self, direct: &BTreeSet<String>) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut from: Vec<String> = direct.iter().cloned().collect();
        while let Some(queue) = from.pop() {
            let to: BTreeSet<String> = self
                .settings(&queue, "dead-letter-exchange")
                .flat_map(|exchange| {
                    let keys = self.settings(&queue, "dead-letter-routing-key");
                    let keys: BTreeSet<_> = keys
                        .filter_map(FieldValue::as_str)
                        .map(str::to_owned)
                        .collect();
                    if exchange.as_str() == Some("") && !keys.is_empty() {
                        keys
                    } else {
                        everything()
                    }
                })
                .collect();
            from.extend(to.difference(&all).cloned());
            all.extend(to);
        }
        all
    }

    /// The values of a setting in a queue's arguments and policies.
    fn settings(&self, queue: &str, key: &str) -> impl Iterator<Item = &FieldValue> {
        let argument = self
            .declares
            .get(queue)
            .map(|declare: &QueueDeclare| &declare.arguments);
        let argument = argument.and_then(|arguments| arguments.get(&format!("x-{key}")));
        let of_queue = |policy: &&super::SetPolicy| policy.queue.as_str() == queue;
        let policies = self.policies.values().filter(of_queue);
        let set: Vec<_> = policies
            .filter_map(|policy| policy.definition.get(key))
            .collect();
        argument.into_iter().chain(set)
    }
}

/// Returns true if something is wrong with the message itself, which closes the channel. RabbitMQ
/// then takes the messages before it without a confirm: it refuses this message before the queues
/// of the others answer.
fn may_be_refused(publish: &Publish) -> bool {
    let properties = &publish.message.properties;
    let is_wrong = |expiration: &str| {
        let digits = expiration.trim_start_matches('+');
        digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let copies = ["CC", "BCC"].map(|key| properties.headers.get(key));
    let mut copies = copies.into_iter().flatten();
    properties.expiration.as_deref().is_some_and(is_wrong)
        || copies.any(|copies| !matches!(copies, FieldValue::Array(_)))
}

/// Every queue of a sequence.
fn everything() -> BTreeSet<String> {
    let queues = QUEUES.iter().chain(&SERVER_NAMED).chain([&REPLY_TO]);
    queues.map(|queue| (*queue).to_owned()).collect()
}
