//! State that all handles of a channel share, over all its generations.

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
use super::generation::Generation;
use super::ledger::{Kept, Ledger};
use crate::connection::Core;
use crate::frame::check_properties;
use crate::lock::lock;
use crate::presence::{Presence, Present, Usable, not_connected};
use crate::reasons::is_local_close;

/// A channel: its current generation, its messages in flight, and the state that is restored with
/// the next generation.
pub(crate) struct ChannelShared {
    core: Arc<Core>,
    id: u64,
    present: Present<Generation>,
    outgoing: Mutex<Outgoing>,
    consumers: Consumers,
    /// The driver's inlet.
    inlet: Arc<Inlet>,
    /// `basic.qos` applies to later consumers, so no other call may come between it and the
    /// `basic.consume` that it is for.
    pub(super) subscribing: tokio::sync::Mutex<()>,
    tags: AtomicU64,
    /// The channel's failure has been reported.
    told: AtomicBool,
    /// Channels that consumers of this channel own, and that end with it.
    own_channels: Mutex<Vec<Weak<ChannelShared>>>,
    /// True if the channel is owned by a consumer.
    own: AtomicBool,
    /// A [`Claim`](super::Claim) to the channel exists.
    pub(super) claimed: AtomicBool,
}

/// Publishes and their generation, under one lock: so the transport's order and the ledger's agree.
#[derive(Debug, Default)]
struct Outgoing {
    ledger: Ledger,
    /// None while publishes wait.
    generation: Option<Arc<Generation>>,
    /// The generation whose sequence numbers the ledger knows.
    numbered: Weak<Generation>,
}

/// Terms of a publish.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Time that the outcome may take.
    pub(crate) limit: Duration,
    /// The publish is sent again if the connection is lost.
    pub(crate) resend: bool,
}

impl ChannelShared {
    /// Makes a channel that has no generation yet, and its driver.
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
            own_channels: Mutex::default(),
            own: AtomicBool::new(false),
            claimed: AtomicBool::new(false),
        });
        core.runtime().spawn(drive(Arc::downgrade(&shared), inlet));
        shared
    }

    /// Registers the channel to be reopened with its connection.
    pub(super) fn join_connection(self: &Arc<Self>) {
        self.core.add_channel(self.id, self);
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Returns the current generation, waiting for it as the connection's options say.
    pub(crate) async fn generation(&self) -> Result<Arc<Generation>> {
        self.present.get(self.core.waits()).await
    }

    /// Hands a message to the transport, or keeps it until there is a generation to hand it to.
    /// Returns its ticket.
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
                // Under the lock, since a generation that knows new names is admitted under it.
                self.core.use_current_names(&mut publish.message);
                let keep = publish.mandatory || terms.resend;
                let kept = keep.then(|| Kept::sent(publish.clone(), terms.resend));
                let (ticket, earliest) = ledger.open(terms.limit, kept);
                match generation.transport().publish(publish) {
                    Ok(handoff) => (ticket, earliest, handoff),
                    // The generation is lost at this moment, with everything in flight: the driver
                    // handles all of it.
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

    /// Makes the driver read the events of `generation` from now on.
    pub(crate) fn attach(
        &self,
        generation: &Arc<Generation>,
        events: mooq_core::mailbox::Receiver<ChannelEvent>,
    ) {
        self.inlet.attach(Arc::downgrade(generation), events);
    }

    /// Forgets a consumer, so that it is not registered again. Returns the generation in use, which
    /// the consumer is on. A generation that is not in use may or may not know the consumer, and is
    /// not admitted.
    pub(super) fn forget_consumer(&self, tag: &ConsumerTag) -> Option<Arc<Generation>> {
        let outgoing = self.outgoing();
        self.consumers.forget(tag);
        outgoing.generation.clone()
    }

    /// Waits until more consumers have been forgotten than `so_far`.
    pub(crate) async fn forgets(&self, so_far: u64) {
        self.consumers.forgets(so_far).await;
    }

    /// Admits `generation` for the users, after the publishes that waited for it. False if it is
    /// useless because more consumers than `forgotten` have been forgotten.
    ///
    /// # Errors
    /// The reason why the generation is useless otherwise.
    pub(crate) fn admit(&self, generation: &Arc<Generation>, forgotten: u64) -> Result<bool> {
        let mut outgoing = self.outgoing();
        if self.gone().is_some() {
            // The channel was closed meanwhile.
            drop(outgoing);
            self.discard(generation);
            return Ok(true);
        }
        if self.consumers.forgotten() != forgotten {
            return Ok(false);
        }
        // The driver, which may have read the generation's end already, checks under the same lock.
        if let Some(reason) = generation.transport().closed() {
            return Err(reason);
        }
        let mut hand_over = |publish: &mut Publish| match generation.transport().closed() {
            Some(reason) => Err(reason),
            None => {
                self.core.use_current_names(&mut publish.message);
                // Waiting publishes are bounded by their buffer, so the transport's bound can be
                // ignored.
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
        // The driver watches the deadlines of waiting publishes as before; it is notified of new
        // ones.
        Ok(true)
    }

    /// Discards a generation that is not to be admitted. Consumers and deliveries hold references
    /// to the generation, so it does not close itself.
    pub(crate) fn discard(&self, generation: &Arc<Generation>) {
        self.never_admitted(generation);
        let generation = Arc::clone(generation);
        let closing = async move { generation.transport().close().await };
        drop(self.core.runtime().spawn(closing));
    }

    /// Handles the end of a generation that was not in use yet, though its consumers may have been.
    fn never_admitted(&self, generation: &Arc<Generation>) {
        generation.set_lost();
        self.consumers.lose_from(generation);
    }

    /// Handles the end of a generation, whose last event the driver has read. True if there will be
    /// no other generation.
    pub(super) fn generation_ended(
        self: &Arc<Self>,
        generation: &Weak<Generation>,
        reason: &Error,
    ) -> bool {
        let replaces = self.core.replaces(reason);
        let replaced = is_local_close(reason)
            .then(|| self.core.lost_reason())
            .flatten();
        let outgoing = self.outgoing();
        // Under the lock until the end: another generation may be admitted as soon as this one is
        // given up.
        let admitted = outgoing.generation.as_ref().map(Arc::as_ptr);
        if !admitted.is_some_and(|admitted| std::ptr::eq(admitted, generation.as_ptr())) {
            drop(outgoing);
            // A generation that is not admitted belongs to the supervisor, which finds out by
            // itself, and its end is not the channel's.
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

    /// Handles the loss of the current generation, which another one is to follow.
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
        // Before the supervisor may begin: waiting deliveries must not be taken for the next
        // generation's.
        self.consumers.lose(reason);
        self.present.set(Presence::Away(reason.clone()));
        woken.into_iter().for_each(Waker::wake);
        self.inlet.nudge();
        self.core.report_broken(Arc::downgrade(self));
    }

    /// Closes the channel for good. Only the first reason counts. Returns the generation that was
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
        for own in self.own_channels() {
            own.end(&reason);
        }
        self.core.remove_channel(self.id);
        self.inlet.let_go();
        old
    }

    /// Closes the channel for good.
    ///
    /// # Errors
    /// As the transport's. In every case the channel is closed.
    pub(super) async fn close(&self) -> Result<()> {
        for own in self.own_channels() {
            // Boxed, since it may call this function in turn; it owns no channels itself.
            if let Err(err) = Box::pin(own.close()).await {
                tracing::debug!(%err, "a consumer's channel did not close");
            }
        }
        let consumers = self.consumers.all();
        let generation = self.outgoing().generation.clone();
        let mut closed = Ok(());
        if let Some(generation) = generation {
            closed = generation.transport().close().await;
            // Confirms may still be in flight.
            self.present.passed(&generation).await;
        }
        let another = self.end(&closed_by_user());
        if let Some(another) = another {
            // The broker closed the first generation by itself, and this one has taken its place.
            closed = another.transport().close().await;
        }
        for (_, inbox) in consumers {
            self.consumer_gone(&inbox.queue());
        }
        closed
    }

    /// Adds `own`, a channel that a consumer of this channel owns and that ends with this channel.
    pub(super) fn add_own_channel(&self, own: &Arc<Self>) {
        own.own.store(true, Ordering::Release);
        let mut channels = lock(&self.own_channels);
        channels.retain(|channel| channel.strong_count() > 0);
        channels.push(Arc::downgrade(own));
        drop(channels);
        // The channel may have ended in between.
        if let Some(reason) = self.gone() {
            own.end(&reason);
        }
    }

    fn own_channels(&self) -> Vec<Arc<Self>> {
        let channels = std::mem::take(&mut *lock(&self.own_channels));
        channels.iter().filter_map(Weak::upgrade).collect()
    }

    /// Returns true if a consumer owns the channel.
    pub(crate) fn is_own(&self) -> bool {
        self.own.load(Ordering::Acquire)
    }

    /// Ends the deliveries of a stream that owns this channel.
    pub(super) fn end_stream(&self) {
        drop(self.end(&closed_by_user()));
    }

    /// Ends the channel that a consumer owns, and so the consumer. When the channel closes, the
    /// broker requeues its unsettled deliveries before another consumer becomes active. Deliveries
    /// that were handed out can still be settled: the channel closes with the last of them.
    ///
    /// # Errors
    /// As the transport's `close`.
    pub(crate) async fn end_own(&self) -> Result<()> {
        let consumers = self.consumers.all();
        let generation = self.end(&closed_by_user());
        let mut given_out = false;
        for (_, inbox) in &consumers {
            given_out |= inbox.abandon();
        }
        let mut closed = Ok(());
        if let Some(generation) = generation.filter(|_| !given_out) {
            closed = generation.transport().close().await;
        }
        for (_, inbox) in consumers {
            self.consumer_gone(&inbox.queue());
        }
        closed
    }

    /// Returns the reason why the channel has no generation, if it is being reopened.
    pub(crate) fn away(&self) -> Option<Error> {
        match self.present.now() {
            Presence::Away(reason) => Some(reason),
            Presence::There(_) | Presence::Gone(_) => None,
        }
    }

    /// Returns the reason why the channel is closed for good, if it is.
    pub(crate) fn gone(&self) -> Option<Error> {
        match self.present.now() {
            Presence::Gone(reason) => Some(reason),
            Presence::There(_) | Presence::Away(_) => None,
        }
    }

    /// Waits until the channel is closed for good.
    pub(crate) async fn wait_gone(&self) {
        self.present.gone().await;
    }

    /// Waits until the current generation, if there is one, has ended.
    pub(crate) async fn left(&self) {
        self.present.left().await;
    }

    /// Returns true the first time only: one end of the channel is the end of all its consumers.
    pub(crate) fn first_to_tell(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
    }

    /// Settles publishes by the `events` of `generation`, under one lock, and hands out the wakers.
    pub(super) fn settle_publishes(
        &self,
        generation: &Weak<Generation>,
        events: &VecDeque<ChannelEvent>,
        woken: &mut Vec<Waker>,
    ) {
        let mut outgoing = self.outgoing();
        // A generation that was given up may still send events, about publishes that were sent
        // again since.
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

    /// Returns a number that no tag of this channel has yet.
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

    /// Returns the known cause of the broker's silence.
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

/// The close reason of a channel that its user has closed.
fn closed_by_user() -> Error {
    Error::channel(
        ErrorKind::ChannelClosed,
        "the channel was closed from this side",
    )
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
