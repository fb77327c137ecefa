//! Faults that delete queues.

use super::Scope;
use super::scope::Involved;
use crate::Engine;
use crate::time::Time;

impl Engine {
    /// Deletes queues, even those with consumers, and notifies the consumers. Returns the number of
    /// deleted queues.
    pub fn delete_queues(&mut self, now: Time, scope: &Scope) -> usize {
        self.advance(now);
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
}
