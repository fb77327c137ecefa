//! What all handles of a channel share, over all its generations.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::Waker;
use std::time::Duration;

use mooq_core::{
    ChannelEvent, ConsumerTag, Error, ErrorKind, ErrorScope, Handoff, Publish, Result,
};
use tokio::time::Instant;

use super::consumers::Consumers;
use super::driver::{Inlet, drive};
use super::generation::{Generation, closed_here};
use super::ledger::{Kept, Ledger};
use crate::connection::Core;
use crate::frame::check_properties;
use crate::lock::lock;
use crate::presence::{Presence, Present, Usable, not_connected};

/// A channel: its present generation, what is in flight on it, and what comes back with the next.
pub(crate) struct ChannelShared {
    core: Arc<Core>,
    id: u64,
    present: Present<Generation>,
    outgoing: Mutex<Outgoing>,
    consumers: Consumers,
    /// The driver's end.
    inlet: Arc<Inlet>,
    /// `basic.qos` holds for the consumers that come later, so that it and the `basic.consume`
    /// that it is for must not be parted.
    pub(super) subscribing: tokio::sync::Mutex<()>,
    tags: AtomicU64,
    /// Somebody was told that the channel failed.
    told: AtomicBool,
    /// There is a [`Claim`](super::Claim) to it.
    pub(super) claimed: AtomicBool,
}

/// Publishes and where they go, under one lock: the transport's order and the ledger's agree.
#[derive(Debug, Default)]
struct Outgoing {
    ledger: Ledger,
    /// None while publishes wait.
    generation: Option<Arc<Generation>>,
    /// The generation whose sequence numbers the ledger knows.
    numbered: Weak<Generation>,
}

/// How a publish is treated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// How long its outcome may take.
    pub(crate) limit: Duration,
    /// It is sent again if the connection is lost.
    pub(crate) resend: bool,
}

impl ChannelShared {
    /// A channel that has no generation yet, and its driver.
    pub(super) fn new(core: &Arc<Core>) -> Arc<Self> {
        let opening = Error::new(ErrorKind::ChannelClosed, "the channel is not open yet");
        let inlet = Arc::<Inlet>::default();
        let shared = Arc::new(Self {
            core: Arc::clone(core),
            id: core.new_channel_id(),
            present: Present::new(Presence::Away(opening)),
            outgoing: Mutex::default(),
            consumers: Consumers::default(),
            inlet: Arc::clone(&inlet),
            subscribing: tokio::sync::Mutex::default(),
            tags: AtomicU64::new(0),
            told: AtomicBool::new(false),
            claimed: AtomicBool::new(false),
        });
        core.runtime().spawn(drive(Arc::downgrade(&shared), inlet));
        shared
    }

    /// From here on the channel comes back with its connection.
    pub(super) fn join_connection(self: &Arc<Self>) {
        self.core.add_channel(self.id, self);
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The present generation, waiting for it as the connection's options say.
    pub(crate) async fn generation(&self) -> Result<Arc<Generation>> {
        self.present.get(self.core.waits()).await
    }

    /// Hands a message to the transport, or keeps it until there is a generation to hand it to.
    /// Gives its ticket.
    pub(crate) fn publish(&self, mut publish: Publish, terms: Terms) -> Result<(u64, Handoff)> {
        check_properties(&publish.message.properties, self.core.frame_max())?;
        let mut outgoing = self.outgoing();
        let Outgoing {
            ledger, generation, ..
        } = &mut *outgoing;
        let open = generation
            .as_ref()
            .filter(|generation| generation.is_usable());
        let (ticket, earliest, handoff) = match open {
            Some(generation) => {
                // Under the lock: a generation that knows new names is admitted under it.
                self.core.use_current_names(&mut publish.message);
                let keep = publish.mandatory || terms.resend;
                let kept = keep.then(|| Kept::sent(publish.clone(), terms.resend));
                let (ticket, earliest) = ledger.open(terms.limit, kept);
                match generation.transport().publish(publish) {
                    Ok(handoff) => (ticket, earliest, handoff),
                    // Lost in this moment, as what is in flight: the driver sees to all of it.
                    Err(err) if err.scope() != ErrorScope::Operation => {
                        (ticket, earliest, Handoff::Done)
                    }
                    Err(err) => {
                        ledger.take_back();
                        return Err(err);
                    }
                }
            }
            None => {
                match self.present.now() {
                    Presence::Gone(reason) => return Err(reason),
                    Presence::Away(reason) if !self.core.waits() => {
                        return Err(not_connected(&reason));
                    }
                    Presence::There(dead) if !self.core.waits() => {
                        if let Some(reason) = dead.transport().closed() {
                            return Err(not_connected(&reason));
                        }
                    }
                    _ => {}
                }
                let room = self.core.buffer().room_for(&publish.message)?;
                let kept = Kept::waiting(publish, terms.resend, room);
                let (ticket, earliest) = ledger.open(terms.limit, Some(kept));
                (ticket, earliest, Handoff::Done)
            }
        };
        drop(outgoing);
        if earliest {
            self.inlet.nudge();
        }
        Ok((ticket, handoff))
    }

    pub(crate) fn ledger<T>(&self, with: impl FnOnce(&mut Ledger) -> T) -> T {
        with(&mut self.outgoing().ledger)
    }

    /// The driver reads the events of `generation` from here on.
    pub(crate) fn attach(
        &self,
        generation: &Arc<Generation>,
        events: mooq_core::mailbox::Receiver<ChannelEvent>,
    ) {
        self.inlet.attach(Arc::downgrade(generation), events);
    }

    /// A consumer is not to come back. Gives the generation that it is on, if it is in use: one
    /// that is not may know the consumer or not, and is not admitted.
    pub(super) fn forget_consumer(&self, tag: &ConsumerTag) -> Option<Arc<Generation>> {
        let outgoing = self.outgoing();
        self.consumers.forget(tag);
        outgoing.generation.clone()
    }

    /// Waits until more consumers have been forgotten than `so_far`.
    pub(crate) async fn forgets(&self, so_far: u64) {
        self.consumers.forgets(so_far).await;
    }

    /// Lets the users have `generation`, after what waited for it. False if it is of no use since
    /// more consumers than `forgotten` have been forgotten.
    ///
    /// # Errors
    /// Why it is of no use otherwise.
    pub(crate) fn admit(&self, generation: &Arc<Generation>, forgotten: u64) -> Result<bool> {
        let mut outgoing = self.outgoing();
        if self.gone().is_some() {
            // Closed meanwhile.
            drop(outgoing);
            self.discard(generation);
            return Ok(true);
        }
        if self.consumers.forgotten() != forgotten {
            return Ok(false);
        }
        // The driver, which may have read its end already, looks under the same lock.
        if let Some(reason) = generation.transport().closed() {
            return Err(reason);
        }
        let mut hand_over = |publish: &mut Publish| match generation.transport().closed() {
            Some(reason) => Err(reason),
            None => {
                self.core.use_current_names(&mut publish.message);
                // What waits is bounded by its buffer: the transport's bound can be passed over.
                generation.transport().publish(publish.clone()).map(drop)
            }
        };
        outgoing.numbered = Arc::downgrade(generation);
        if let Err(err) = outgoing.ledger.replay(&mut hand_over) {
            let mut woken = Vec::new();
            let over = err.scope() != ErrorScope::Connection;
            outgoing.ledger.lose(&err, Instant::now(), over, &mut woken);
            drop(outgoing);
            woken.into_iter().for_each(Waker::wake);
            return Err(err);
        }
        outgoing.generation = Some(Arc::clone(generation));
        self.present.set(Presence::There(Arc::clone(generation)));
        drop(outgoing);
        // The deadlines of what waited are the driver's as before; new ones it is told of.
        Ok(true)
    }

    /// Does away with a generation that is not to be admitted. Consumers and deliveries hold
    /// references to it, so that it does not close itself.
    pub(crate) fn discard(&self, generation: &Arc<Generation>) {
        self.never_admitted(generation);
        let generation = Arc::clone(generation);
        let closing = async move { generation.transport().close().await };
        drop(self.core.runtime().spawn(closing));
    }

    /// A generation has ended that was not in use yet, though its consumers may have been.
    fn never_admitted(&self, generation: &Arc<Generation>) {
        generation.set_lost();
        self.consumers.lose_from(generation);
    }

    /// The driver has read the last event of a generation. True if there will be no other.
    pub(super) fn generation_ended(
        self: &Arc<Self>,
        generation: &Weak<Generation>,
        reason: &Error,
    ) -> bool {
        let replaces = self.core.replaces(reason);
        let replaced = closed_here(reason)
            .then(|| self.core.lost_reason())
            .flatten();
        let outgoing = self.outgoing();
        // Under the lock to the end: another one may be admitted as soon as this one is given up.
        let admitted = outgoing.generation.as_ref().map(Arc::as_ptr);
        if !admitted.is_some_and(|admitted| std::ptr::eq(admitted, generation.as_ptr())) {
            drop(outgoing);
            // That is the supervisor's, who finds out by itself, and no end of the channel.
            if let Some(generation) = generation.upgrade() {
                self.never_admitted(&generation);
            }
            return false;
        }
        if !replaces {
            self.end_with(outgoing, reason);
            return true;
        }
        self.lose_with(outgoing, replaced.as_ref().unwrap_or(reason));
        false
    }

    /// The present generation is lost, and wants to be followed by another.
    pub(crate) fn lose(self: &Arc<Self>, reason: &Error) {
        self.lose_with(self.outgoing(), reason);
    }

    fn lose_with(self: &Arc<Self>, mut outgoing: MutexGuard<'_, Outgoing>, reason: &Error) {
        let Some(old) = outgoing.generation.take() else {
            return;
        };
        old.set_lost();
        let mut woken = Vec::new();
        let over = reason.scope() != ErrorScope::Connection;
        let ledger = &mut outgoing.ledger;
        ledger.lose(reason, Instant::now(), over, &mut woken);
        drop(outgoing);
        drop(old);
        // Before the supervisor may begin: what waits must not be taken for the next one's.
        self.consumers.lose(reason);
        self.present.set(Presence::Away(reason.clone()));
        woken.into_iter().for_each(Waker::wake);
        self.inlet.nudge();
        self.core.report_broken(Arc::downgrade(self));
    }

    /// The channel is gone for good. Only the first reason counts. Gives the generation that was
    /// in use.
    pub(crate) fn end(&self, reason: &Error) -> Option<Arc<Generation>> {
        self.end_with(self.outgoing(), reason)
    }

    fn end_with(
        &self,
        mut outgoing: MutexGuard<'_, Outgoing>,
        reason: &Error,
    ) -> Option<Arc<Generation>> {
        let old = outgoing.generation.take();
        self.present.set(Presence::Gone(reason.clone()));
        let reason = match self.present.now() {
            Presence::Gone(first) => first,
            _ => reason.clone(),
        };
        let mut woken = Vec::new();
        outgoing.ledger.fail_all(&reason, &mut woken);
        drop(outgoing);
        woken.into_iter().for_each(Waker::wake);
        self.consumers.end(&reason);
        self.core.remove_channel(self.id);
        self.inlet.let_go();
        old
    }

    /// Closes the channel for good.
    ///
    /// # Errors
    /// As the transport's. The channel is closed all the same.
    pub(super) async fn close(&self) -> Result<()> {
        let consumers = self.consumers.all();
        let generation = self.outgoing().generation.clone();
        let mut closed = Ok(());
        if let Some(generation) = generation {
            closed = generation.transport().close().await;
            // Confirms may still be on their way.
            self.present.passed(&generation).await;
        }
        let another = self.end(&Error::channel(
            ErrorKind::ChannelClosed,
            "the channel was closed from this side",
        ));
        if let Some(another) = another {
            // The broker closed the first one by itself, and this one has taken its place.
            closed = another.transport().close().await;
        }
        for (_, inbox) in consumers {
            self.consumer_gone(&inbox.queue());
        }
        closed
    }

    /// Why the channel has no generation, if it is to get another one.
    pub(crate) fn away(&self) -> Option<Error> {
        match self.present.now() {
            Presence::Away(reason) => Some(reason),
            Presence::There(_) | Presence::Gone(_) => None,
        }
    }

    /// Why the channel is gone for good, if it is.
    pub(crate) fn gone(&self) -> Option<Error> {
        match self.present.now() {
            Presence::Gone(reason) => Some(reason),
            Presence::There(_) | Presence::Away(_) => None,
        }
    }

    /// Waits until the channel is gone for good.
    pub(crate) async fn wait_gone(&self) {
        self.present.gone().await;
    }

    /// Waits until the present generation, if there is one, has ended.
    pub(crate) async fn left(&self) {
        self.present.left().await;
    }

    /// True the first time only: one end of the channel is the end of all its consumers.
    pub(crate) fn first_to_tell(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
    }

    /// Takes what the `events` of `generation` say of publishes, in one go, and hands out whom to
    /// wake.
    pub(super) fn settle_publishes(
        &self,
        generation: &Weak<Generation>,
        events: &VecDeque<ChannelEvent>,
        woken: &mut Vec<Waker>,
    ) {
        let mut outgoing = self.outgoing();
        // One that was given up may go on talking, of publishes that were sent again since.
        if !outgoing.numbered.ptr_eq(generation) {
            return;
        }
        let ledger = &mut outgoing.ledger;
        let mut strays = Vec::new();
        for event in events {
            match event {
                ChannelEvent::Confirm { sequence, multiple } => {
                    ledger.settle(*sequence, *multiple, &Ok(()), woken);
                }
                ChannelEvent::Nack { sequence, multiple } => {
                    let err = Error::new(ErrorKind::Nacked, "the broker refused the message");
                    ledger.settle(*sequence, *multiple, &Err(err), woken);
                }
                ChannelEvent::Return(returned) => {
                    if !ledger.returned(returned.clone()) {
                        strays.push(&returned.message);
                    }
                }
                ChannelEvent::Deliver(_)
                | ChannelEvent::ConsumerCancelled(_)
                | ChannelEvent::Closed(_) => {}
            }
        }
        drop(outgoing);
        for stray in strays {
            let (exchange, key) = (&stray.exchange, &stray.routing_key);
            tracing::warn!(%exchange, routing_key = %key, "a message came back that nobody waits for");
        }
    }

    pub(super) fn inlet(&self) -> &Arc<Inlet> {
        &self.inlet
    }

    /// A number that no tag of this channel has yet.
    pub(super) fn next_tag(&self) -> u64 {
        self.tags.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn consumers(&self) -> &Consumers {
        &self.consumers
    }

    /// Waits until every publish has its outcome.
    pub(crate) async fn wait_for_confirms(&self) {
        self.inlet
            .until(|| self.ledger(|ledger| ledger.in_flight()) == 0)
            .await;
    }

    /// What is known of a broker that does not answer.
    pub(super) fn silence(&self) -> String {
        if let Some(reason) = self.core.blocked() {
            return format!("; the broker has blocked the connection: {reason}");
        }
        let link = self.core.link_now();
        if link.is_some_and(|link| !link.announces_blocked()) {
            return "; a broker that is low on memory or disk is as silent, since this client is \
                    not told of its alarms"
                .into();
        }
        String::new()
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        lock(&self.outgoing)
    }
}

impl fmt::Debug for ChannelShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelShared")
            .field("present", &self.present)
            .field("in_flight", &self.ledger(|ledger| ledger.in_flight()))
            .finish_non_exhaustive()
    }
}

impl Drop for ChannelShared {
    fn drop(&mut self) {
        self.core.remove_channel(self.id);
        self.inlet.let_go();
    }
}
