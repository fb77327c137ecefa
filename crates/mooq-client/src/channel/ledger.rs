//! The publishes of a channel that wait for their confirms.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mooq_core::{Error, ErrorKind, Message, Result, Returned};
use tokio::time::Instant;

use crate::deadline::{after, exceeded};

/// One slot for each publish, by sequence number, without an allocation of its own.
///
/// Wakers are handed out and never woken here, where the ledger is locked.
#[derive(Debug)]
pub(crate) struct Ledger {
    slots: VecDeque<Slot>,
    /// The sequence number of the first slot.
    first: u64,
    /// Every publish before this one is answered: where a `multiple` begins.
    answered_to: u64,
    /// When the driver will look for overdue publishes next.
    armed: Option<Instant>,
}

#[derive(Debug)]
struct Slot {
    state: State,
    /// The broker has confirmed or refused it, or can no more. Until then the slot stays, even if
    /// its publisher has given up: a return that comes late is this publish's, and not that of
    /// the next one like it.
    answered: bool,
    deadline: Instant,
    limit: Duration,
    /// Kept for mandatory messages only: a return names no sequence number, so that it is
    /// matched by its content.
    mandatory: Option<Box<Message>>,
    returned: Option<Returned>,
}

/// What a publish's publisher knows.
#[derive(Debug)]
enum State {
    /// No outcome yet; somebody may wait.
    Waiting(Option<Waker>),
    /// The outcome, not yet asked for.
    Settled(Result<()>),
    /// The outcome was given, or nobody will ask for it.
    Gone,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            slots: VecDeque::new(),
            first: 1,
            answered_to: 1,
            armed: None,
        }
    }
}

impl Ledger {
    /// Makes room for the next publish. Says too whether its deadline is the earliest, so that
    /// the driver must be told.
    pub(crate) fn open(&mut self, limit: Duration, mandatory: Option<Box<Message>>) -> (u64, bool) {
        let deadline = after(limit);
        self.slots.push_back(Slot {
            state: State::Waiting(None),
            answered: false,
            deadline,
            limit,
            mandatory,
            returned: None,
        });
        let earliest = self.armed.is_none_or(|armed| deadline < armed);
        if earliest {
            self.armed = Some(deadline);
        }
        (self.end() - 1, earliest)
    }

    /// Takes back the room for the publish just opened, which the transport did not take.
    pub(crate) fn take_back(&mut self) {
        self.slots.pop_back();
    }

    /// The outcome of publish `sequence`, once there is one.
    pub(crate) fn poll(&mut self, sequence: u64, cx: &Context<'_>) -> Poll<Result<()>> {
        let Some(slot) = self.slot(sequence) else {
            return Poll::Ready(Err(asked_twice()));
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
            State::Gone => Poll::Ready(Err(asked_twice())),
        }
    }

    /// Nobody waits for `sequence` any more.
    pub(crate) fn abandon(&mut self, sequence: u64) {
        if let Some(slot) = self.slot(sequence) {
            slot.state = State::Gone;
            self.shrink();
        }
    }

    /// The broker's answer to one publish, or to all up to it.
    pub(crate) fn settle(
        &mut self,
        sequence: u64,
        multiple: bool,
        outcome: &Result<()>,
        woken: &mut Vec<Waker>,
    ) {
        let end = sequence.saturating_add(1).min(self.end());
        let begin = if multiple { self.answered_to } else { sequence };
        if begin <= self.answered_to {
            self.answered_to = self.answered_to.max(end);
        }
        for sequence in begin..end {
            if let Some(slot) = self.slot(sequence) {
                slot.answer(outcome, woken);
            }
        }
        self.shrink();
    }

    /// Notes that a message came back; its publish ends so when its confirm comes. False if
    /// nobody waits for a publish of this content.
    pub(crate) fn returned(&mut self, returned: Returned) -> bool {
        let message = &returned.message;
        // The headers may have changed on the way, but of several that are alike otherwise the
        // right one has them all.
        let found = self
            .matching(|sent| alike(sent, message) && equal_properties(sent, message))
            .or_else(|| self.matching(|sent| alike(sent, message)));
        let Some(slot) = found.and_then(|index| self.slots.get_mut(index)) else {
            return false;
        };
        if let State::Waiting(_) = slot.state {
            slot.returned = Some(returned);
            true
        } else {
            slot.mandatory = None;
            false
        }
    }

    /// Ends all that is in flight with `err`.
    pub(crate) fn fail_all(&mut self, err: &Error, woken: &mut Vec<Waker>) {
        let outcome = Err(err.clone());
        for slot in &mut self.slots {
            slot.answer(&outcome, woken);
        }
        self.answered_to = self.end();
        self.shrink();
    }

    /// When to call [`Ledger::expire`] next.
    pub(crate) fn armed(&self) -> Option<Instant> {
        self.armed
    }

    /// Ends what is overdue at `now`, and finds the next deadline.
    pub(crate) fn expire(&mut self, now: Instant, woken: &mut Vec<Waker>) {
        let mut next: Option<Instant> = None;
        for slot in &mut self.slots {
            let State::Waiting(waker) = &mut slot.state else {
                continue;
            };
            if slot.deadline <= now {
                woken.extend(waker.take());
                let err = exceeded("the publish's confirm", slot.limit);
                slot.state = State::Settled(Err(err));
            } else {
                next = Some(next.map_or(slot.deadline, |next| next.min(slot.deadline)));
            }
        }
        self.armed = next;
    }

    /// How many publishes the broker has not answered yet.
    pub(crate) fn in_flight(&self) -> usize {
        self.slots.iter().filter(|slot| !slot.answered).count()
    }

    /// The sequence number of the next publish.
    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn slot(&mut self, sequence: u64) -> Option<&mut Slot> {
        let index = sequence.checked_sub(self.first)?;
        self.slots.get_mut(usize::try_from(index).ok()?)
    }

    /// The first unanswered publish whose message `matches` and has not come back.
    fn matching(&self, matches: impl Fn(&Message) -> bool) -> Option<usize> {
        self.slots.iter().position(|slot| {
            slot.returned.is_none() && slot.mandatory.as_deref().is_some_and(&matches)
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
        self.answered_to = self.answered_to.max(self.first);
    }
}

impl Slot {
    /// Takes the broker's answer, unless there was one before.
    fn answer(&mut self, outcome: &Result<()>, woken: &mut Vec<Waker>) {
        if self.answered {
            return;
        }
        self.answered = true;
        // A return comes before its confirm: a later one is of another publish, however equal
        // their messages are.
        self.mandatory = None;
        let returned = self.returned.take();
        if let State::Waiting(waker) = &mut self.state {
            woken.extend(waker.take());
            self.state = State::Settled(match returned {
                Some(returned) if outcome.is_ok() => Err(Error::returned(returned)),
                _ => outcome.clone(),
            });
        }
    }
}

/// Whether the broker may have returned what was sent.
fn alike(sent: &Message, returned: &Message) -> bool {
    sent.exchange == returned.exchange
        && sent.routing_key == returned.routing_key
        && sent.properties.message_id == returned.properties.message_id
        && sent.properties.correlation_id == returned.properties.correlation_id
        && sent.body == returned.body
}

/// Whether what was returned has the properties of what was sent. `BCC` is stripped on the way.
fn equal_properties(sent: &Message, returned: &Message) -> bool {
    let mut expected = (*sent.properties).clone();
    expected.headers.remove("BCC");
    expected == *returned.properties
}

/// The error of whoever asks for the outcome of a publish a second time.
pub(crate) fn asked_twice() -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "this publish's outcome has been given already",
    )
}

#[cfg(test)]
mod tests;
