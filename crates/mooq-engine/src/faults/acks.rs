//! Faults of acknowledgements.

use mooq_core::{Settle, Settlement};

use super::Fault;
use super::scope::Involved;
use crate::recording::TimelineEvent;
use crate::{Caller, Engine};

/// Effect of a fault on an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckFault {
    /// The acknowledgement is lost, and so is the connection.
    Lost,
    /// The acknowledged deliveries are requeued.
    Undone,
}

impl Engine {
    /// Returns a fault's effect on a settlement, if that acknowledges something outstanding.
    pub(crate) fn ack_fault(&mut self, caller: Caller, settle: Settle) -> Option<AckFault> {
        if self.faults.is_empty() || settle.settlement != Settlement::Ack {
            return None;
        }
        let channel = self.channels.get(caller.channel)?;
        let Settle {
            delivery_tag,
            multiple,
            ..
        } = settle;
        // The broker refuses it, whether it means others as well or not.
        if delivery_tag != 0 && !channel.unacked.contains(delivery_tag) {
            return None;
        }
        let is_meant = |tag: u64| {
            tag == delivery_tag || (multiple && (tag < delivery_tag || delivery_tag == 0))
        };
        let meant = channel
            .unacked
            .iter()
            .filter(|unacked| is_meant(unacked.delivery_tag));
        let queues = meant.filter_map(|unacked| self.queues.get(unacked.queue));
        let queues: Vec<_> = queues.map(|queue| queue.name.as_str()).collect();
        if queues.is_empty() {
            return None;
        }
        let effect = |fault: &Fault| match fault {
            Fault::LoseAcks(_) => Some(AckFault::Lost),
            Fault::Redeliver(_) => Some(AckFault::Undone),
            _ => None,
        };
        let connection = self.connections.get(caller.connection);
        let what = Involved {
            queues: &queues,
            ..Involved::connection(connection.and_then(|open| open.name.as_deref()))
        };
        let fault = self.faults.strike(what, effect)?;
        self.note(caller.connection, caller.number, || {
            TimelineEvent::FaultStruck {
                effect: match fault {
                    AckFault::Lost => "loses the acknowledgement with its connection",
                    AckFault::Undone => "requeues what is acknowledged",
                },
            }
        });
        Some(fault)
    }
}
