//! Sequences with alarms: operations on a connection that RabbitMQ does not read from, and those
//! that are left out while others wait for the end of the alarm.

use std::collections::BTreeMap;

use super::Lockstep;
use crate::differential::known::Call;
use crate::differential::observation::{Event, Source};
use crate::differential::operation::{
    Action, BEYOND_CHANNEL, CONNECTIONS, Operation, USERS_CONNECTION,
};

impl Lockstep<'_> {
    /// The alarm to raise or clear, or none if it is raised or cleared already.
    pub(super) fn resolve_alarm(&self, operation: &Operation) -> Option<Call> {
        let is_new = match operation.action {
            Action::RaiseAlarm(alarm) => !self.memory.has_alarm(alarm),
            Action::ClearAlarm(alarm) => self.memory.has_alarm(alarm),
            _ => false,
        };
        is_new.then(|| Call {
            operation: operation.clone(),
            settles: [0, 0],
        })
    }

    /// Returns true if the alarms permit to perform and compare an operation.
    pub(super) fn can_be_done_now(&self, call: &Call) -> bool {
        if !self.memory.has_alarms() {
            return true;
        }
        let operation = &call.operation;
        let [first, beyond] = &self.waiting;
        let nothing_waits = first.is_empty() && beyond.is_empty();
        match &operation.action {
            // Changing permissions opens the user's probes again.
            Action::SetPermissions(_) | Action::ClearPermissions => {
                nothing_waits && !self.memory.is_blocked(USERS_CONNECTION)
            }
            // Waiting operations would have another effect, or fail.
            Action::SetPolicy(_) | Action::ClearPolicy(_) => nothing_waits,
            // A closed channel has no event for the end of its connection.
            Action::DeleteVhost => !self.memory.is_closed(BEYOND_CHANNEL),
            action if action.is_by_administrator() => true,
            _ if self.memory.is_closed(operation.channel) => false,
            _ if self.memory.is_blocked(operation.connection()) => {
                operation.has_no_answer() && self.can_wait(call)
            }
            Action::Publish(publish) => publish.message.body.is_empty() || self.can_wait(call),
            Action::DeclareQueue(declare) => nothing_waits || declare.arguments.is_empty(),
            Action::DeleteExchange { .. } => nothing_waits,
            _ => true,
        }
    }

    fn can_wait(&self, call: &Call) -> bool {
        let operation = &call.operation;
        // RabbitMQ may drop cached permissions before the alarm ends.
        if operation.defiant && operation.connection() == USERS_CONNECTION {
            return false;
        }
        let beyond = usize::from(operation.is_beyond());
        let footprint = self.known[beyond].footprint(call);
        let mut waiting = self.waiting[beyond].iter();
        waiting.all(|other| other.goes_with(&footprint))
    }

    /// Notes an operation that waits for the end of the alarm.
    pub(super) fn note_waiting(&mut self, call: &Call) {
        let operation = &call.operation;
        let waits = self.memory.has_alarms()
            && match &operation.action {
                Action::Publish(publish) => {
                    self.memory.is_blocked(operation.connection())
                        || !publish.message.body.is_empty()
                }
                Action::Settle { .. } => self.memory.is_blocked(operation.connection()),
                _ => false,
            };
        if waits {
            let beyond = usize::from(operation.is_beyond());
            let footprint = self.known[beyond].footprint(call);
            self.waiting[beyond].push(footprint);
            self.tally.waited += 1;
        }
    }

    /// Returns true if a queue cannot be observed, because its only connection is blocked.
    pub(super) fn is_out_of_sight(&self, queue: &str, connection: usize) -> bool {
        let [first, _] = &self.known;
        self.memory.is_blocked(connection)
            && (connection == CONNECTIONS || first.is_exclusive(queue))
    }
}

/// Moves the confirms of each channel behind its other events, in the order of their numbers:
/// RabbitMQ leaves the order open if several messages are in flight.
pub(super) fn confirms_last(events: &mut BTreeMap<Source, Vec<Event>>) {
    for events in events.values_mut() {
        events.sort_by_key(|event| match event {
            Event::Confirm(sequence) | Event::Nack(sequence) => *sequence,
            _ => 0,
        });
    }
}

/// Returns true if the events of a source can still become the expected ones.
pub(super) fn is_begun(seen: &[Event], expected: &[Event]) -> bool {
    let is_confirm = |event: &&Event| matches!(event, Event::Confirm(_) | Event::Nack(_));
    let others = |events: &[Event]| -> Vec<Event> {
        let others = events.iter().filter(|event| !is_confirm(event));
        others.cloned().collect()
    };
    let mut confirms = seen.iter().filter(is_confirm);
    others(expected).starts_with(&others(seen)) && confirms.all(|event| expected.contains(event))
}
