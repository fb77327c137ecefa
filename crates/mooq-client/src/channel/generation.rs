//! One generation of a channel, from its opening to its loss.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mooq_core::{
    Error, ErrorKind, ErrorScope, QueueName, Result, Settle, Settlement, TransportChannel,
};

use crate::presence::Usable;
use crate::reasons::is_local_close;

/// A channel of the transport. A channel of the user's has one generation after another; deliveries
/// and answers of an earlier generation are stale.
pub(crate) struct Generation {
    transport: Arc<dyn TransportChannel>,
    /// True if the channel is reopened with another generation when this one is lost.
    recovers: bool,
    /// True if the generation was lost and another one takes its place.
    lost: AtomicBool,
}

impl Generation {
    pub(crate) fn new(transport: Arc<dyn TransportChannel>, recovers: bool) -> Self {
        Self {
            transport,
            recovers,
            lost: AtomicBool::new(false),
        }
    }

    /// Marks the generation as lost: another one takes its place.
    pub(super) fn set_lost(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// True if the generation was lost and another one takes its place.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    pub(crate) fn transport(&self) -> &dyn TransportChannel {
        &*self.transport
    }

    /// Settles a delivery of this generation.
    ///
    /// # Errors
    /// `StaleDelivery` if the generation is lost; the channel's close, if it was closed from this
    /// side or recovery is off.
    pub(crate) fn settle(&self, settle: Settle) -> Result<()> {
        self.transport.settle(settle).map_err(|err| {
            let ended = err.scope() != ErrorScope::Operation;
            let lost = self.lost.load(Ordering::Acquire) || !is_local_close(&err);
            if self.recovers && ended && lost {
                stale(err)
            } else {
                err
            }
        })
    }

    /// Requeues a delivery that was not tried, by `basic.nack`, which RabbitMQ 4.3 does not count
    /// towards a delivery limit. If the channel is lost, the broker has requeued the delivery
    /// already.
    pub(crate) fn give_back(&self, delivery_tag: u64) {
        let settle = Settle {
            delivery_tag,
            multiple: false,
            settlement: Settlement::Nack { requeue: true },
        };
        if let Err(err) = self.transport.settle(settle) {
            tracing::debug!(%err, delivery_tag, "the broker has the delivery back already");
        }
    }
}

impl Usable for Generation {
    fn is_usable(&self) -> bool {
        self.transport.closed().is_none()
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation")
            .field("closed", &self.transport.closed())
            .finish_non_exhaustive()
    }
}

/// Source of deliveries.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) generation: Arc<Generation>,
    /// The queue's name at that time.
    pub(crate) queue: QueueName,
}

fn stale(reason: Error) -> Error {
    let message = format!(
        "the delivery is from before the channel was opened again, and the broker has taken it \
         back: {reason}"
    );
    Error::new(ErrorKind::StaleDelivery, message).with_source(reason)
}
