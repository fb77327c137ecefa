//! Queues that go.

use super::Scope;
use super::scope::Involved;
use crate::engine::Engine;
use crate::engine::time::Time;

impl Engine {
    /// Deletes queues under their consumers, which are told. Says how many.
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
        self.finish_dead_letters();
        fitting.len()
    }
}
