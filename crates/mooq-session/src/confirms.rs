//! The publishes of a channel that wait for their confirms, or for the channel.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use mooq_core::{Error, ErrorKind, Message, Publish, Result, Returned};

use crate::ids::PublishId;
use crate::numbering::Numbering;
use crate::timers::later;

/// Room that a waiting publish takes in a buffer, given back when this is dropped.
pub struct Permit(
    #[expect(dead_code, reason = "it counts until it is dropped")] Box<dyn Any + Send + Sync>,
);

impl Permit {
    /// A permit that gives its room back by dropping `room`.
    pub fn new(room: impl Any + Send + Sync) -> Self {
        Self(Box::new(room))
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

/// Terms of a publish.
#[derive(Debug, Clone, Copy)]
pub struct PublishTerms {
    /// Time that the outcome may take.
    pub limit: Duration,
    /// The publish is sent again if the connection is lost.
    pub resend: bool,
    /// The message expires with the limit: its expiration is what is left of the limit when it is
    /// sent, however long it has waited for the channel.
    pub expires: bool,
}

/// One slot for each publish, by its id, without an allocation of its own. The broker's sequence
/// numbers start over with each wire.
///
/// Wakers are handed out and never woken here.
#[derive(Debug)]
pub(crate) struct Confirms {
    slots: VecDeque<Slot>,
    /// The id of the first slot.
    first: PublishId,
    numbering: Numbering,
    /// The id of the wire that answers.
    wire: u64,
    /// Sequence number before which every publish is answered: a `multiple` begins here.
    answered_to: u64,
    /// Number of publishes without the broker's answer.
    unanswered: usize,
    /// Time at which to look for overdue publishes next.
    armed: Option<Instant>,
}

#[derive(Debug)]
struct Slot {
    state: State,
    /// The broker has confirmed or refused the publish, or can no longer do so. Until then the slot
    /// stays, even if its publisher has given up: a late return belongs to this publish, not to the
    /// next one like it.
    answered: bool,
    deadline: Instant,
    limit: Duration,
    kept: Option<Box<Retained>>,
}

/// A message that is needed after the call that published it.
#[derive(Debug)]
pub(crate) struct Retained {
    /// Kept if the publish is mandatory: a return names no sequence number, so it is matched by its
    /// content.
    publish: Publish,
    /// The message is sent again if the connection is lost before its answer.
    resend: bool,
    /// The message expires at its publish's deadline.
    expires: bool,
    /// The current wire has not got the message yet.
    unsent: bool,
    /// An earlier wire has got the message, so the broker may have it.
    sent_before: bool,
    /// The message was returned by the current wire.
    returned: Option<Returned>,
    /// The buffer room that the message takes while it waits to be sent the first time.
    room: Option<Permit>,
}

impl Retained {
    /// A message in flight.
    pub(crate) fn sent(publish: Publish, terms: PublishTerms) -> Box<Self> {
        Box::new(Self {
            publish,
            resend: terms.resend,
            expires: terms.expires,
            unsent: false,
            sent_before: false,
            returned: None,
            room: None,
        })
    }

    /// A message that waits for the channel.
    pub(crate) fn waiting(publish: Publish, terms: PublishTerms, room: Permit) -> Box<Self> {
        let mut retained = Self::sent(publish, terms);
        retained.unsent = true;
        retained.room = Some(room);
        retained
    }
}

/// Outcome of a publish, as its publisher sees it.
#[derive(Debug)]
enum State {
    /// No outcome yet; a publisher may wait.
    Waiting(Option<Waker>),
    /// The outcome, not taken yet: the id of the wire that confirmed it, or an error.
    Settled(Result<u64>),
    /// The outcome was taken, or no publisher will take it.
    Gone,
}

impl Default for Confirms {
    fn default() -> Self {
        Self {
            slots: VecDeque::new(),
            first: 1,
            numbering: Numbering::default(),
            wire: 0,
            answered_to: 1,
            unanswered: 0,
            armed: None,
        }
    }
}

impl Confirms {
    /// Returns an id for the next publish, and its deadline if that is the earliest of all.
    pub(crate) fn open(
        &mut self,
        limit: Duration,
        now: Instant,
        kept: Option<Box<Retained>>,
    ) -> (PublishId, Option<Instant>) {
        let deadline = later(now, limit);
        self.unanswered += 1;
        self.slots.push_back(Slot {
            state: State::Waiting(None),
            answered: false,
            deadline,
            limit,
            kept,
        });
        let earliest = self.armed.is_none_or(|armed| deadline < armed);
        if earliest {
            self.armed = Some(deadline);
        }
        (self.end() - 1, earliest.then_some(deadline))
    }

    /// Removes the slot of the publish just opened, which the transport did not take.
    pub(crate) fn take_back(&mut self) {
        let Some(slot) = self.slots.pop_back() else {
            return;
        };
        self.unanswered -= 1;
        if self.armed == Some(slot.deadline) {
            // Nobody was told of this deadline.
            let waiting = self
                .slots
                .iter()
                .filter(|slot| matches!(slot.state, State::Waiting(_)));
            self.armed = waiting.map(|slot| slot.deadline).min();
        }
    }

    /// Returns the outcome of publish `id`, once there is one.
    pub(crate) fn poll(&mut self, id: u64, cx: &Context<'_>) -> Poll<Result<u64>> {
        let Some(slot) = self.slot(id) else {
            return Poll::Ready(Err(already_resolved()));
        };
        match std::mem::replace(&mut slot.state, State::Gone) {
            State::Settled(outcome) => {
                self.shrink();
                Poll::Ready(outcome)
            }
            State::Waiting(_) => {
                slot.state = State::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
            State::Gone => Poll::Ready(Err(already_resolved())),
        }
    }

    /// Drops the outcome of `id`, which is no longer awaited.
    pub(crate) fn abandon(&mut self, id: u64) {
        if let Some(slot) = self.slot(id) {
            slot.state = State::Gone;
            self.shrink();
        }
    }

    /// Records the broker's answer to one publish, or to all up to it.
    pub(crate) fn settle(
        &mut self,
        sequence: u64,
        multiple: bool,
        outcome: &Result<()>,
        woken: &mut Vec<Waker>,
    ) {
        let end = sequence
            .saturating_add(1)
            .min(self.numbering.end(self.end()));
        let begin = if multiple { self.answered_to } else { sequence };
        if begin <= self.answered_to {
            self.answered_to = self.answered_to.max(end);
        }
        let outcome = outcome.clone().map(|()| self.wire);
        for sequence in begin..end {
            let id = self.numbering.id(sequence);
            if let Some(slot) = id.and_then(|id| self.slot(id)) {
                let first = slot.answer(&outcome, woken);
                self.unanswered -= usize::from(first);
            }
        }
        self.shrink();
    }

    /// Records a returned message; its publish fails with the return when its confirm arrives.
    /// False if no publisher waits for a publish with this content.
    pub(crate) fn returned(&mut self, returned: Returned) -> bool {
        let message = &returned.message;
        // The headers may have changed on the way, but among several publishes that are equal
        // otherwise, the right one has all of them.
        let found = self
            .matching(|sent| alike(sent, message) && equal_properties(sent, message))
            .or_else(|| self.matching(|sent| alike(sent, message)));
        let Some(slot) = found.and_then(|index| self.slots.get_mut(index)) else {
            return false;
        };
        if let (State::Waiting(_), Some(kept)) = (&slot.state, &mut slot.kept) {
            kept.returned = Some(returned);
            true
        } else {
            slot.kept = None;
            false
        }
    }

    /// Ends every publish that has no outcome yet with `err`.
    pub(crate) fn fail_all(&mut self, err: &Error, woken: &mut Vec<Waker>) {
        let outcome = Err(err.clone());
        for slot in &mut self.slots {
            self.unanswered -= usize::from(slot.answer(&outcome, woken));
        }
        self.shrink();
    }

    /// Handles the loss of the wire for the reason `err`. A publish in flight ends with
    /// `err`. It waits to be sent again instead if that was asked for, its deadline is after `now`,
    /// and resending is not `over`. A publish that waits to be sent keeps waiting.
    pub(crate) fn lose(&mut self, err: &Error, now: Instant, over: bool, woken: &mut Vec<Waker>) {
        let outcome = Err(err.clone());
        let mut earliest = self.armed;
        for slot in self.slots.iter_mut().filter(|slot| !slot.answered) {
            match &mut slot.kept {
                Some(kept) if kept.unsent => {}
                Some(kept) if kept.resend && !over && now < slot.deadline => {
                    kept.unsent = true;
                    kept.sent_before = true;
                    kept.returned = None;
                    // No publisher may wait for it, and then nothing else checks its deadline.
                    let next = earliest.map_or(slot.deadline, |armed| armed.min(slot.deadline));
                    earliest = Some(next);
                }
                _ => self.unanswered -= usize::from(slot.answer(&outcome, woken)),
            }
        }
        self.armed = earliest;
        self.shrink();
    }

    /// Hands over the waiting publishes to the new wire of this id, in order.
    ///
    /// # Errors
    /// The first error of `hand_over`; publishes that were not handed over keep waiting.
    pub(crate) fn replay(
        &mut self,
        wire: u64,
        now: Instant,
        mut hand_over: impl FnMut(&mut Publish) -> Result<()>,
    ) -> Result<()> {
        self.wire = wire;
        self.numbering = Numbering::beginning_with(self.end());
        self.answered_to = 1;
        for (slot, id) in self.slots.iter_mut().zip(self.first..) {
            let Some(kept) = slot.kept.as_mut().filter(|kept| kept.unsent) else {
                continue;
            };
            if kept.expires {
                let left = slot.deadline.saturating_duration_since(now);
                set_expiration(&mut kept.publish, left);
            }
            hand_over(&mut kept.publish)?;
            self.numbering.sent_again(id);
            kept.unsent = false;
            kept.room = None;
            if !kept.resend && !kept.publish.mandatory {
                slot.kept = None;
            }
        }
        Ok(())
    }

    /// Time at which to call [`Confirms::expire`] next.
    pub(crate) fn armed(&self) -> Option<Instant> {
        self.armed
    }

    /// Ends the publishes that are overdue at `now`, and finds the next deadline. `note` is the
    /// known cause of the broker's silence.
    pub(crate) fn expire(&mut self, now: Instant, note: &str, woken: &mut Vec<Waker>) {
        let mut next: Option<Instant> = None;
        for slot in &mut self.slots {
            let unsent = slot.kept.as_ref().is_some_and(|kept| kept.unsent);
            if !unsent && !matches!(slot.state, State::Waiting(_)) {
                continue;
            }
            if slot.deadline <= now {
                self.unanswered -= usize::from(slot.expire(note, woken));
            } else {
                next = Some(next.map_or(slot.deadline, |next| next.min(slot.deadline)));
            }
        }
        self.armed = next;
        self.shrink();
    }

    /// Number of publishes that the broker has not answered yet.
    pub(crate) fn in_flight(&self) -> usize {
        self.unanswered
    }

    /// Returns the id of the next publish.
    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn slot(&mut self, id: u64) -> Option<&mut Slot> {
        let index = id.checked_sub(self.first)?;
        self.slots.get_mut(usize::try_from(index).ok()?)
    }

    /// Returns the first unanswered publish whose message `matches` and has not been returned.
    fn matching(&self, matches: impl Fn(&Message) -> bool) -> Option<usize> {
        self.slots.iter().position(|slot| {
            slot.kept.as_deref().is_some_and(|kept| {
                kept.publish.mandatory
                    && !kept.unsent
                    && kept.returned.is_none()
                    && matches(&kept.publish.message)
            })
        })
    }

    fn shrink(&mut self) {
        while let Some(Slot {
            state: State::Gone,
            answered: true,
            ..
        }) = self.slots.front()
        {
            self.slots.pop_front();
            self.first += 1;
        }
    }
}

impl Slot {
    /// Records the broker's answer. False if there was one before.
    fn answer(&mut self, outcome: &Result<u64>, woken: &mut Vec<Waker>) -> bool {
        if self.answered {
            return false;
        }
        self.answered = true;
        // A return arrives before its confirm: a later return belongs to another publish, even if
        // the messages are equal.
        let returned = self.kept.take().and_then(|kept| kept.returned);
        if let State::Waiting(waker) = &mut self.state {
            woken.extend(waker.take());
            self.state = State::Settled(match returned {
                Some(returned) if outcome.is_ok() => Err(Error::returned(returned)),
                _ => outcome.clone(),
            });
        }
        true
    }

    /// Ends a publish whose deadline has passed. True if the broker can no longer answer it.
    fn expire(&mut self, note: &str, woken: &mut Vec<Waker>) -> bool {
        let limit = self.limit;
        let mut over = false;
        let what = match &mut self.kept {
            Some(kept) if kept.unsent => {
                let fate = if kept.sent_before {
                    "the message was sent before the loss, so that the broker may have it, and was \
                     not sent again"
                } else {
                    "the message was not sent"
                };
                // No wire will get the message any more.
                over = !self.answered;
                self.answered = true;
                self.kept = None;
                format!(
                    "the connection was not back within the publish's timeout of {limit:?}: {fate}"
                )
            }
            kept => {
                if let Some(kept) = kept {
                    kept.resend = false;
                }
                format!(
                    "the publish's confirm did not come within its timeout of {limit:?}: the broker may have the message"
                )
            }
        };
        if let State::Waiting(waker) = &mut self.state {
            woken.extend(waker.take());
            let message = format!("{what}{note}");
            self.state = State::Settled(Err(Error::new(ErrorKind::TimedOut, message)));
        }
        over
    }
}

/// Makes the message expire after `left`, in whole milliseconds.
pub(crate) fn set_expiration(publish: &mut Publish, left: Duration) {
    // RabbitMQ refuses a longer time.
    let left = left.as_millis().min(u32::MAX.into()).to_string();
    let properties = Arc::make_mut(&mut publish.message.properties);
    properties.expiration = left.try_into().ok();
}

/// Returns true if the broker may have returned the message `sent`.
fn alike(sent: &Message, returned: &Message) -> bool {
    sent.exchange == returned.exchange
        && sent.routing_key == returned.routing_key
        && sent.properties.message_id == returned.properties.message_id
        && sent.properties.correlation_id == returned.properties.correlation_id
        && sent.body == returned.body
}

/// Returns true if `returned` has the properties of `sent`. `BCC` is stripped on the way.
fn equal_properties(sent: &Message, returned: &Message) -> bool {
    let mut expected = (*sent.properties).clone();
    expected.headers.remove("BCC");
    expected == *returned.properties
}

/// Error for polling a publish after its outcome was returned.
pub fn already_resolved() -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "this publish's outcome has been given already",
    )
}

#[cfg(test)]
mod tests;
