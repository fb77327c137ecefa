//! One life of a channel, from its opening to its loss.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mooq_core::{
    Error, ErrorKind, ErrorScope, QueueName, Result, Settle, Settlement, TransportChannel,
};

use crate::presence::Usable;

/// A channel of the transport. A channel of the user's has one after another, and what belongs to
/// an earlier one is stale.
pub(crate) struct Generation {
    transport: Arc<dyn TransportChannel>,
    /// There will be another one when this is lost.
    recovers: bool,
    /// It was lost, and another one takes its place.
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

    /// Another one takes its place.
    pub(super) fn set_lost(&self) {
        self.lost.store(true, Ordering::Release);
    }

    pub(crate) fn transport(&self) -> &dyn TransportChannel {
        &*self.transport
    }

    /// Settles a delivery that came on it.
    ///
    /// # Errors
    /// `StaleDelivery` if it is lost; the close, if it was closed from this side or nothing
    /// recovers.
    pub(crate) fn settle(&self, settle: Settle) -> Result<()> {
        self.transport.settle(settle).map_err(|err| {
            let ended = err.scope() != ErrorScope::Operation;
            let lost = self.lost.load(Ordering::Acquire) || !closed_here(&err);
            if self.recovers && ended && lost {
                stale(err)
            } else {
                err
            }
        })
    }

    /// Puts a delivery back into its queue. A channel that is lost has done so already.
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

/// Where deliveries come from.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) generation: Arc<Generation>,
    /// As it was called then.
    pub(crate) queue: QueueName,
}

/// Whether `err` is an end that the user wanted.
pub(crate) fn closed_here(err: &Error) -> bool {
    matches!(
        err.kind(),
        ErrorKind::ChannelClosed | ErrorKind::ConnectionClosed
    )
}

fn stale(reason: Error) -> Error {
    let message = format!(
        "the delivery is from before the channel was opened again, and the broker has taken it \
         back: {reason}"
    );
    Error::new(ErrorKind::StaleDelivery, message).with_source(reason)
}
