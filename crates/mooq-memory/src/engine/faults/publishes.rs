//! What goes wrong with a publish.

use super::Fault;
use super::scope::Involved;
use crate::engine::acceptance::Accepted;
use crate::engine::arena::Key;
use crate::engine::queue::Queue;
use crate::engine::{Caller, Engine};

/// What a fault makes of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Mishap {
    /// It is not taken, and nacked.
    Nacked,
    /// It is not taken, and the connection is lost.
    Lost,
    /// It is taken, and the connection is lost before the confirm.
    Unconfirmed,
}

impl Engine {
    /// What befalls a publish that would go to these queues, if anything does.
    pub(in crate::engine) fn mishap(
        &mut self,
        caller: Caller,
        accepted: &Accepted,
        queues: &[Key<Queue>],
        confirms: bool,
    ) -> Option<Mishap> {
        if self.faults.is_empty() {
            return None;
        }
        let mishap = |fault: &Fault| match fault {
            Fault::NackPublishes(_) if confirms => Some(Mishap::Nacked),
            Fault::LosePublishes(_) => Some(Mishap::Lost),
            Fault::LoseConfirms(_) if confirms => Some(Mishap::Unconfirmed),
            _ => None,
        };
        let queues = queues.iter().filter_map(|key| self.queues.get(*key));
        let queues: Vec<_> = queues.map(|queue| queue.name.as_str()).collect();
        let connection = self.connections.get(caller.connection.0);
        let what = Involved {
            exchange: Some(&accepted.message.exchange),
            queues: &queues,
            ..Involved::connection(connection.and_then(|open| open.name.as_deref()))
        };
        self.faults.strike(what, mishap)
    }

    /// Whether a queue takes nothing since it is as good as full. That strikes.
    pub(in crate::engine) fn is_filled(&mut self, queue: Key<Queue>, accepted: &Accepted) -> bool {
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
