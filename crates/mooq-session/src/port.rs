//! The port of a channel: the state of the channel, and its publishes.
//!
//! The port is the one place that says whether a channel is open. It is separate so that a publish
//! needs nothing else of the session, and the shell can guard it with a lock of its own.

use std::task::{Context, Poll, Waker};
use std::time::Instant;

use mooq_core::{
    ChannelEvent, Error, ErrorKind, ErrorScope, Handoff, Message, Publish, Result, Returned,
};

use crate::confirms::{Confirms, Permit, PublishTerms, Retained, set_expiration};
use crate::ids::PublishId;
use crate::phase::{Phase, not_connected};
use crate::shell::Wire;

/// A channel's state, and its publishes in flight. Publishes enter here, and so are sent in the
/// order in which they are numbered.
#[derive(Debug)]
pub struct Port<W> {
    phase: Phase<W>,
    confirms: Confirms,
    /// The wire whose sequence numbers the confirms count.
    numbered: Option<W>,
    /// Publishes wait while the channel is reopened, instead of failing.
    waits: bool,
    /// Wakers of the tasks that wait until no publish is in flight.
    drained: Vec<Waker>,
}

/// A publish that was taken.
#[derive(Debug)]
pub struct Taken {
    /// Its id.
    pub id: PublishId,
    /// The state of the transport after the publish: it can take more messages, or it is full.
    pub handoff: Handoff,
    /// Its deadline, if that is the earliest: pass it to
    /// [`Session::arm_publishes`](crate::Session::arm_publishes).
    pub earliest: Option<Instant>,
}

impl<W: Wire> Port<W> {
    /// A port of a channel that is not open yet. Publishes wait for it if `waits`.
    #[must_use]
    pub fn new(waits: bool) -> Self {
        let opening = Error::new(ErrorKind::ChannelClosed, "the channel is not open yet");
        Self {
            phase: Phase::Reopening(opening),
            confirms: Confirms::default(),
            numbered: None,
            waits,
            drained: Vec::new(),
        }
    }

    /// Returns the channel's state.
    pub fn phase(&self) -> &Phase<W> {
        &self.phase
    }

    /// Sends a message, or buffers it until the channel is open; a buffered message reserves space
    /// through `room`.
    ///
    /// # Errors
    /// The reason why the channel is closed; `ConnectionLost` if the channel is lost and publishes
    /// do not wait; the transport's refusal; an error of `room`.
    pub fn publish(
        &mut self,
        publish: Publish,
        terms: PublishTerms,
        now: Instant,
        room: impl FnOnce(&Message) -> Result<Permit>,
    ) -> Result<Taken> {
        let reason = match &self.phase {
            Phase::Open(wire) => match wire.closed() {
                None => return self.send(publish, terms, now),
                Some(reason) => reason,
            },
            Phase::Reopening(reason) => reason.clone(),
            Phase::Closed(reason) => return Err(reason.clone()),
        };
        if !self.waits {
            return Err(not_connected(&reason));
        }
        let permit = room(&publish.message)?;
        let retained = Retained::waiting(publish, terms, permit);
        let (id, earliest) = self.confirms.open(terms.limit, now, Some(retained));
        Ok(Taken {
            id,
            handoff: Handoff::Done,
            earliest,
        })
    }

    fn send(&mut self, mut publish: Publish, terms: PublishTerms, now: Instant) -> Result<Taken> {
        let Phase::Open(wire) = &self.phase else {
            return Err(Error::new(
                ErrorKind::ChannelClosed,
                "the channel is not open",
            ));
        };
        if terms.expires {
            set_expiration(&mut publish, terms.limit);
        }
        let keep = publish.mandatory || terms.resend;
        let retained = keep.then(|| Retained::sent(publish.clone(), terms));
        let (id, earliest) = self.confirms.open(terms.limit, now, retained);
        let handoff = match wire.publish(publish) {
            Ok(handoff) => handoff,
            // The wire is lost at this moment, with everything in flight: its end is an event.
            Err(err) if err.scope() != ErrorScope::Operation => Handoff::Done,
            Err(err) => {
                self.confirms.take_back();
                return Err(err);
            }
        };
        Ok(Taken {
            id,
            handoff,
            earliest,
        })
    }

    /// Returns the outcome of a publish, once there is one.
    pub fn poll(&mut self, id: PublishId, cx: &Context<'_>) -> Poll<Result<()>> {
        self.poll_on(id, cx).map(|outcome| outcome.map(drop))
    }

    /// Returns the outcome of a publish, once there is one, with the id of the wire that confirmed
    /// it.
    pub fn poll_on(&mut self, id: PublishId, cx: &Context<'_>) -> Poll<Result<u64>> {
        self.confirms.poll(id, cx)
    }

    /// Drops the outcome of a publish that is no longer awaited.
    pub fn abandon(&mut self, id: PublishId) {
        self.confirms.abandon(id);
    }

    /// Number of publishes that the broker has not answered yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.confirms.in_flight()
    }

    /// Ready once the broker has answered every publish.
    pub fn poll_drained(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.in_flight() == 0 {
            return Poll::Ready(());
        }
        if !self.drained.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.drained.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Takes the broker's answer to publishes of `wire`, and returns the wakers of the tasks that
    /// waited for it. Returns a returned message whose publish is not awaited.
    ///
    /// A wire that was given up may still send answers, to publishes that were sent again since:
    /// these are passed over.
    pub fn answer(
        &mut self,
        wire: &W,
        event: ChannelEvent,
        woken: &mut Vec<Waker>,
    ) -> Option<Returned> {
        if self.numbered.as_ref() != Some(wire) {
            return None;
        }
        match event {
            ChannelEvent::Confirm { sequence, multiple } => {
                self.confirms.settle(sequence, multiple, &Ok(()), woken);
            }
            ChannelEvent::Nack { sequence, multiple } => {
                let err = Error::new(ErrorKind::Nacked, "the broker refused the message");
                self.confirms.settle(sequence, multiple, &Err(err), woken);
            }
            ChannelEvent::Return(returned) => {
                if !self.confirms.returned(returned.clone()) {
                    return Some(returned);
                }
            }
            ChannelEvent::Deliver(_)
            | ChannelEvent::ConsumerCancelled(_)
            | ChannelEvent::Closed(_) => {}
        }
        self.tell_drained(woken);
        None
    }

    /// Opens the port with `wire`, after the publishes that waited for it.
    ///
    /// # Errors
    /// The reason why the wire cannot be used. The port stays as it is.
    pub(crate) fn open(&mut self, wire: &W, now: Instant, woken: &mut Vec<Waker>) -> Result<()> {
        if let Some(reason) = wire.closed() {
            return Err(reason);
        }
        // Waiting publishes are bounded by their buffer, so the transport's bound can be ignored.
        let mut hand_over = |publish: &mut Publish| match wire.closed() {
            Some(reason) => Err(reason),
            None => wire.publish(publish.clone()).map(drop),
        };
        self.numbered = Some(wire.clone());
        if let Err(err) = self.confirms.replay(wire.id(), now, &mut hand_over) {
            let over = err.scope() != ErrorScope::Connection;
            self.confirms.lose(&err, now, over, woken);
            self.tell_drained(woken);
            return Err(err);
        }
        self.phase = Phase::Open(wire.clone());
        Ok(())
    }

    /// Closes the port until there is another wire. Publishes in flight fail, or are sent again if
    /// they ask for it and only the connection is lost. Returns the wire that was open.
    pub(crate) fn lose(
        &mut self,
        reason: &Error,
        now: Instant,
        woken: &mut Vec<Waker>,
    ) -> Option<W> {
        let wire = self.phase.open().cloned()?;
        self.phase = Phase::Reopening(reason.clone());
        let over = reason.scope() != ErrorScope::Connection;
        self.confirms.lose(reason, now, over, woken);
        self.tell_drained(woken);
        Some(wire)
    }

    /// Closes the port for good. Only the first reason counts. Returns the wire that was open.
    pub(crate) fn close(&mut self, reason: &Error, woken: &mut Vec<Waker>) -> Option<W> {
        if self.phase.closed().is_some() {
            return None;
        }
        let old = std::mem::replace(&mut self.phase, Phase::Closed(reason.clone()));
        self.confirms.fail_all(reason, woken);
        self.numbered = None;
        self.tell_drained(woken);
        match old {
            Phase::Open(wire) => Some(wire),
            Phase::Reopening(_) | Phase::Closed(_) => None,
        }
    }

    /// The deadline of the publish that is the next to be overdue.
    pub(crate) fn armed(&self) -> Option<Instant> {
        self.confirms.armed()
    }

    /// Ends the publishes that are overdue. `note` is the known cause of the broker's silence.
    pub(crate) fn expire(&mut self, now: Instant, note: &str, woken: &mut Vec<Waker>) {
        self.confirms.expire(now, note, woken);
        self.tell_drained(woken);
    }

    fn tell_drained(&mut self, woken: &mut Vec<Waker>) {
        if !self.drained.is_empty() && self.in_flight() == 0 {
            woken.append(&mut self.drained);
        }
    }
}

#[cfg(test)]
mod tests;
