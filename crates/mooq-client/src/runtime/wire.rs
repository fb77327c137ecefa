//! Connections and channels of the transport, work on them, and deliveries that are not settled.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use mooq_core::mailbox::Sender;
use mooq_core::{
    Error, ErrorKind, ErrorScope, Handoff, Publish, Result, Settle, Settlement, TransportChannel,
    TransportConnection,
};
use mooq_session::reasons::{is_local_close, without_reason};
use mooq_session::{Handed, Link, Request, RequestId, Wire};

/// Work for the driver.
pub(super) enum Work {
    /// Opens a connection to the host of this number.
    Connect(RequestId, usize),
    /// Opens a channel of the transport.
    OpenWire(RequestId, LinkRef),
    /// Closes a connection.
    CloseLink(RequestId, LinkRef),
    /// Makes a request on a wire.
    Ask(RequestId, WireRef, Request),
    /// Drops a request.
    Abort(RequestId),
    /// Forgets the wire of this id, which is gone.
    Forget(u64),
    /// There is an earlier time to keep.
    Timer,
}

/// A connection of the transport.
#[derive(Debug, Clone)]
pub(crate) struct LinkRef(pub(crate) Arc<dyn TransportConnection>);

impl Link for LinkRef {
    fn closed(&self) -> Option<Error> {
        self.0.closed()
    }

    fn frame_max(&self) -> u32 {
        self.0.frame_max()
    }

    fn announces_blocked(&self) -> bool {
        self.0.announces_blocked()
    }
}

/// A channel of the transport, and its state on this side. It closes with the last reference.
#[derive(Clone)]
pub(crate) struct WireRef(Arc<WireInner>);

pub(super) struct WireInner {
    id: u64,
    transport: Arc<dyn TransportChannel>,
    /// True if the channel is reopened with another wire when this one is lost.
    recovers: bool,
    /// True if the wire was lost and another one takes its place.
    lost: AtomicBool,
    /// Number of deliveries that were handed out and are not settled.
    unsettled: AtomicUsize,
    work: Sender<Work>,
}

impl WireRef {
    pub(super) fn new(
        transport: Arc<dyn TransportChannel>,
        recovers: bool,
        work: Sender<Work>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(Arc::new(WireInner {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            transport,
            recovers,
            lost: AtomicBool::new(false),
            unsettled: AtomicUsize::new(0),
            work,
        }))
    }

    pub(super) fn transport(&self) -> &Arc<dyn TransportChannel> {
        &self.0.transport
    }

    pub(super) fn inner(&self) -> &Arc<WireInner> {
        &self.0
    }

    pub(super) fn from_inner(inner: Arc<WireInner>) -> Self {
        Self(inner)
    }

    /// Requeues a delivery. RabbitMQ 4.3 counts `basic.reject` towards a delivery limit and
    /// `basic.nack` not, so that one says that the processing has failed and the other that it was
    /// not tried. If the wire is lost, the broker has requeued the delivery already.
    pub(crate) fn give_back(&self, delivery_tag: u64, failed: bool) {
        let settlement = if failed {
            Settlement::Reject { requeue: true }
        } else {
            Settlement::Nack { requeue: true }
        };
        let settle = Settle {
            delivery_tag,
            multiple: false,
            settlement,
        };
        if let Err(err) = self.0.transport.settle(settle) {
            tracing::debug!(%err, delivery_tag, "the broker has the delivery back already");
        }
    }

    /// Settles a delivery.
    ///
    /// # Errors
    /// `StaleDelivery` if the wire is lost; the channel's close, if it was closed from this side or
    /// recovery is off.
    fn settle(&self, settle: Settle) -> Result<()> {
        if self.is_lost() && self.0.recovers {
            // It may still be open: one that was prepared in vain is being closed.
            return Err(stale(self.closed().unwrap_or_else(without_reason)));
        }
        self.0.transport.settle(settle).map_err(|err| {
            let ended = err.scope() != ErrorScope::Operation;
            if self.0.recovers && ended && !is_local_close(&err) {
                stale(err)
            } else {
                err
            }
        })
    }
}

impl Wire for WireRef {
    fn closed(&self) -> Option<Error> {
        self.0.transport.closed()
    }

    fn publish(&self, publish: Publish) -> Result<Handoff> {
        self.0.transport.publish(publish)
    }

    fn set_lost(&self) {
        self.0.lost.store(true, Ordering::Release);
    }

    fn is_lost(&self) -> bool {
        self.0.lost.load(Ordering::Acquire)
    }

    fn id(&self) -> u64 {
        self.0.id
    }

    fn hand_out(&self) {
        self.0.unsettled.fetch_add(1, Ordering::Relaxed);
    }

    fn take_back(&self) {
        self.0.unsettled.fetch_sub(1, Ordering::Relaxed);
    }

    fn has_unsettled(&self) -> bool {
        self.0.unsettled.load(Ordering::Relaxed) > 0
    }
}

impl PartialEq for WireRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for WireRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireRef")
            .field("id", &self.0.id)
            .field("closed", &self.closed())
            .finish_non_exhaustive()
    }
}

impl Drop for WireInner {
    fn drop(&mut self) {
        self.work.send(Work::Forget(self.id));
    }
}

fn stale(reason: Error) -> Error {
    let message = format!(
        "the delivery is from before the channel was opened again, and the broker has taken it \
         back: {reason}"
    );
    Error::new(ErrorKind::StaleDelivery, message).with_source(reason)
}

/// A delivery that is not settled yet. If it is dropped unsettled, it is requeued.
#[derive(Debug)]
pub(crate) struct Unsettled {
    /// None once settled.
    wire: Option<WireRef>,
    delivery_tag: u64,
    /// Guard that a crate above keeps until the delivery is settled.
    pub(crate) kept: Option<Box<dyn Any + Send + Sync>>,
}

impl Unsettled {
    /// The delivery that was handed out. None if the broker has settled it.
    pub(crate) fn of(handed: &mut Handed<WireRef>) -> Option<Self> {
        Some(Self {
            wire: Some(handed.wire.take()?),
            delivery_tag: handed.deliver.delivery_tag,
            kept: handed.kept.take(),
        })
    }

    /// Puts the delivery back into what was handed out, to be handed out again.
    pub(crate) fn put_back(mut self, handed: &mut Handed<WireRef>) {
        handed.wire = self.wire.take();
        handed.kept = self.kept.take();
    }

    /// Returns true if the delivery's wire was lost after it arrived, so that the broker has
    /// requeued it.
    pub(crate) fn is_stale(&self) -> bool {
        self.wire.as_ref().is_some_and(Wire::is_lost)
    }

    /// Leaves the delivery to be requeued at the end of its channel.
    pub(crate) fn forget(mut self) {
        if let Some(wire) = self.wire.take() {
            wire.take_back();
        }
    }

    pub(crate) fn settle(mut self, settlement: Settlement) -> Result<()> {
        let Some(wire) = self.wire.take() else {
            return Ok(());
        };
        wire.take_back();
        wire.settle(Settle {
            delivery_tag: self.delivery_tag,
            multiple: false,
            settlement,
        })
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        if let Some(wire) = self.wire.take() {
            tracing::debug!(
                delivery_tag = self.delivery_tag,
                "dropped before it was settled: back to its queue"
            );
            wire.take_back();
            wire.give_back(self.delivery_tag, false);
        }
    }
}
