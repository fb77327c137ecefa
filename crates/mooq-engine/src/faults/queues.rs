//! Faults that delete queues, or make them accept nothing.

use super::scope::Involved;
use super::{Fault, Scope};
use crate::Engine;
use crate::ids::QueueId;
use crate::message::Accepted;
use crate::time::Time;

impl Engine {
    /// Deletes queues, even those with consumers, and notifies the consumers. Returns the number of
    /// deleted queues.
    pub fn delete_queues(&mut self, now: Time, scope: &Scope) -> usize {
        self.advance(now);
        self.note_fault("deletes queues", scope);
        let fits = |name: &str| {
            scope.fits(Involved {
                queues: &[name],
                ..Involved::default()
            })
        };
        let all = self.queues.iter();
        let fitting: Vec<_> = all
            .filter(|(_, queue)| fits(&queue.name))
            .map(|(key, _)| key)
            .collect();
        for queue in &fitting {
            self.delete_queue(*queue);
        }
        self.finish();
        fitting.len()
    }

    /// Lets a fault strike a message that arrives in a queue. Returns true if one did: the queue
    /// then accepts nothing, as if it were full.
    pub(crate) fn strike_arrival(&mut self, queue: QueueId, accepted: &Accepted) -> bool {
        if self.faults.is_empty() {
            return false;
        }
        let Some(queue) = self.queues.get(queue) else {
            return false;
        };
        let filled = |fault: &Fault| matches!(fault, Fault::FillQueues).then_some(());
        let what = Involved {
            connection: None,
            exchange: Some(&accepted.message.exchange),
            queues: &[&queue.name],
        };
        self.faults.strike(what, filled).is_some()
    }
}
