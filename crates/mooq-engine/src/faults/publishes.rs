//! Faults of publishes.

use super::Fault;
use super::scope::Involved;
use crate::ids::QueueId;
use crate::message::Accepted;
use crate::recording::TimelineEvent;
use crate::{Caller, Engine};

/// Effect of a fault on a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublishFault {
    /// The publish is not accepted, and is nacked.
    Nacked,
    /// The publish is not accepted, and the connection is lost.
    Lost,
    /// The publish is accepted, and the connection is lost before the confirm.
    Unconfirmed,
}

impl Engine {
    /// Returns a fault's effect on a publish that would go to these queues, if there is one.
    pub(crate) fn publish_fault(
        &mut self,
        caller: Caller,
        accepted: &Accepted,
        queues: &[QueueId],
        confirms: bool,
    ) -> Option<PublishFault> {
        if self.faults.is_empty() {
            return None;
        }
        let effect = |fault: &Fault| match fault {
            Fault::NackPublishes(_) if confirms => Some(PublishFault::Nacked),
            Fault::LosePublishes(_) => Some(PublishFault::Lost),
            Fault::LoseConfirms(_) if confirms => Some(PublishFault::Unconfirmed),
            _ => None,
        };
        let queues = queues.iter().filter_map(|key| self.queues.get(*key));
        let queues: Vec<_> = queues.map(|queue| queue.name.as_str()).collect();
        let connection = self.connections.get(caller.connection);
        let what = Involved {
            exchange: Some(&accepted.message.exchange),
            queues: &queues,
            ..Involved::connection(connection.and_then(|open| open.name.as_deref()))
        };
        let fault = self.faults.strike(what, effect)?;
        self.note(caller.connection, caller.number, || {
            TimelineEvent::FaultStruck {
                effect: match fault {
                    PublishFault::Nacked => "refuses the publish",
                    PublishFault::Lost => "loses the publish with its connection",
                    PublishFault::Unconfirmed => "loses the confirm with its connection",
                },
            }
        });
        Some(fault)
    }
}
