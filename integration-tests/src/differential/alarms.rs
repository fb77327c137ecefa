//! Random alarms in a random sequence.

use mooq_memory::Alarm;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::operation::{ALARMS, Action, BEYOND_CHANNEL, CONNECTIONS, Operation};

/// An alarm during a part of a sequence.
#[derive(Debug, Clone)]
struct Period {
    alarm: Alarm,
    /// Number of operations before the alarm.
    start: usize,
    /// Number of operations during the alarm, including those that are left out.
    length: usize,
    /// The connection that publishes during the alarm, while the other one makes calls with an
    /// answer. If none, each connection does anything, but makes no such call once it has
    /// published.
    publisher: Option<usize>,
    /// Gives the first message after the alarm's start no body: RabbitMQ takes such a message, and
    /// no other.
    starts_bodiless: bool,
}

/// The same sequences with alarms in them. The generator makes the sequences first, so that a seed
/// gives the same sequence with alarms and without.
pub(super) fn laid_over(
    sequences: impl Strategy<Value = Vec<Operation>>,
) -> impl Strategy<Value = Vec<Operation>> {
    let period = (
        select(&ALARMS[..]),
        8_usize..56,
        2_usize..24,
        option::weighted(0.8, 0..CONNECTIONS),
        prop::bool::weighted(0.4),
    )
        .prop_map(
            |(alarm, start, length, publisher, starts_bodiless)| Period {
                alarm,
                start,
                length,
                publisher,
                starts_bodiless,
            },
        );
    (sequences, vec(period, 1..5)).prop_map(|(mut sequence, mut periods)| {
        // From the last period on, or inserting would move the positions of the others.
        periods.sort_by_key(|period| std::cmp::Reverse(period.start));
        for period in periods {
            period.lay_over(&mut sequence);
        }
        sequence
    })
}

impl Period {
    /// Moves an operation to one of the connections of the first virtual host.
    fn divide(&self, operation: &mut Operation) {
        let Some(publisher) = self.publisher else {
            return;
        };
        let connection = match operation.action {
            // Settling stays on the channel that has the deliveries.
            Action::Settle { .. } => return,
            Action::Publish(_) => publisher,
            _ => CONNECTIONS - 1 - publisher,
        };
        if operation.channel < BEYOND_CHANNEL {
            operation.channel = 2 * connection + operation.channel % 2;
        }
    }

    fn lay_over(&self, sequence: &mut Vec<Operation>) {
        let by_administrator = |action| Operation {
            channel: 0,
            action,
            daring: false,
            defiant: false,
        };
        let start = self.start.min(sequence.len());
        let end = (start + self.length).min(sequence.len());
        for operation in &mut sequence[start..end] {
            self.divide(operation);
        }
        sequence.insert(end, by_administrator(Action::ClearAlarm(self.alarm)));
        sequence.insert(start, by_administrator(Action::RaiseAlarm(self.alarm)));
        if !self.starts_bodiless {
            return;
        }
        let mut publishes = sequence[start..].iter_mut();
        let first = publishes.find_map(|operation| match &mut operation.action {
            Action::Publish(publish) => Some(publish),
            _ => None,
        });
        // Requests need different bodies, and must not close the connection.
        if let Some(publish) = first
            && publish.message.properties.reply_to.is_none()
            && !publish.immediate
        {
            publish.message.body.clear();
        }
    }
}
