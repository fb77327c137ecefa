//! The publishes of a channel that wait for their confirms.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mooq_core::{Error, ErrorKind, Message, Result, Returned};
use tokio::time::Instant;

use crate::deadline::exceeded;

/// One slot for each publish, by sequence number, without an allocation of its own.
#[derive(Debug)]
pub(crate) struct Ledger {
    slots: VecDeque<Slot>,
    /// The sequence number of the first slot.
    first: u64,
    /// Every publish before this one has its outcome: where a `multiple` begins.
    settled_to: u64,
    /// When the driver will look for overdue publishes next.
    armed: Option<Instant>,
}

#[derive(Debug)]
struct Slot {
    state: State,
    deadline: Instant,
    limit: Duration,
    /// Kept for mandatory messages only: a return names no sequence number, so that it is
    /// matched by its content.
    mandatory: Option<Box<Message>>,
    returned: Option<Returned>,
}

#[derive(Debug)]
enum State {
    /// No outcome yet; somebody may wait.
    Waiting(Option<Waker>),
    /// No outcome yet, and nobody will ask for it.
    Abandoned,
    /// The outcome, not yet asked for.
    Settled(Result<()>),
    /// The outcome was given.
    Taken,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            slots: VecDeque::new(),
            first: 1,
            settled_to: 1,
            armed: None,
        }
    }
}

impl Ledger {
    /// Makes room for the next publish. Says too whether its deadline is the earliest, so that
    /// the driver must be told.
    pub(crate) fn open(&mut self, limit: Duration, mandatory: Option<Box<Message>>) -> (u64, bool) {
        let deadline = Instant::now() + limit;
        self.slots.push_back(Slot {
            state: State::Waiting(None),
            deadline,
            limit,
            mandatory,
            returned: None,
        });
        let earliest = self.armed.is_none_or(|armed| deadline < armed);
        if earliest {
            self.armed = Some(deadline);
        }
        (self.first + self.slots.len() as u64 - 1, earliest)
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
        match std::mem::replace(&mut slot.state, State::Taken) {
            State::Settled(outcome) => {
                self.shrink();
                Poll::Ready(outcome)
            }
            State::Waiting(_) => {
                slot.state = State::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
            State::Abandoned | State::Taken => Poll::Ready(Err(asked_twice())),
        }
    }

    /// Nobody waits for `sequence` any more.
    pub(crate) fn abandon(&mut self, sequence: u64) {
        let Some(slot) = self.slot(sequence) else {
            return;
        };
        slot.state = match slot.state {
            State::Waiting(_) => State::Abandoned,
            _ => State::Taken,
        };
        self.shrink();
    }

    /// The broker's answer to one publish, or to all up to it.
    pub(crate) fn settle(&mut self, sequence: u64, multiple: bool, outcome: &Result<()>) {
        let end = sequence.saturating_add(1);
        let begin = if multiple { self.settled_to } else { sequence };
        if begin <= self.settled_to {
            self.settled_to = self.settled_to.max(end);
        }
        for sequence in begin..end.min(self.first + self.slots.len() as u64) {
            if let Some(slot) = self.slot(sequence) {
                // A return comes before its confirm: a later one is of another publish, however
                // equal their messages are.
                slot.mandatory = None;
                slot.settle(outcome.clone());
            }
        }
        self.shrink();
    }

    /// Notes that a message came back; its publish ends so when its confirm comes. False if no
    /// publish in flight had this content.
    pub(crate) fn returned(&mut self, returned: Returned) -> bool {
        let publish = self.slots.iter_mut().find(|slot| {
            slot.returned.is_none()
                && slot
                    .mandatory
                    .as_deref()
                    .is_some_and(|sent| same(sent, &returned.message))
        });
        match publish {
            Some(slot) if !matches!(slot.state, State::Abandoned) => {
                slot.returned = Some(returned);
                true
            }
            Some(slot) => {
                slot.mandatory = None;
                false
            }
            None => false,
        }
    }

    /// Ends all that is in flight with `err`.
    pub(crate) fn fail_all(&mut self, err: &Error) {
        for slot in &mut self.slots {
            slot.settle(Err(err.clone()));
        }
        self.settled_to = self.first + self.slots.len() as u64;
        self.shrink();
    }

    /// When to call [`Ledger::expire`] next.
    pub(crate) fn armed(&self) -> Option<Instant> {
        self.armed
    }

    /// Ends what is overdue at `now`, and finds the next deadline.
    pub(crate) fn expire(&mut self, now: Instant) {
        let mut next: Option<Instant> = None;
        for slot in &mut self.slots {
            if !matches!(slot.state, State::Waiting(_)) {
                continue;
            }
            if slot.deadline <= now {
                let err = exceeded("the publish's confirm", slot.limit);
                slot.settle(Err(err));
            } else {
                next = Some(next.map_or(slot.deadline, |next| next.min(slot.deadline)));
            }
        }
        self.armed = next;
    }

    /// How many publishes have no outcome yet.
    pub(crate) fn in_flight(&self) -> usize {
        let open = |slot: &&Slot| matches!(slot.state, State::Waiting(_) | State::Abandoned);
        self.slots.iter().filter(open).count()
    }

    fn slot(&mut self, sequence: u64) -> Option<&mut Slot> {
        let index = sequence.checked_sub(self.first)?;
        self.slots.get_mut(usize::try_from(index).ok()?)
    }

    fn shrink(&mut self) {
        while let Some(Slot {
            state: State::Taken,
            ..
        }) = self.slots.front()
        {
            self.slots.pop_front();
            self.first += 1;
        }
        self.settled_to = self.settled_to.max(self.first);
    }
}

impl Slot {
    fn settle(&mut self, outcome: Result<()>) {
        match std::mem::replace(&mut self.state, State::Taken) {
            State::Waiting(waker) => {
                let outcome = match self.returned.take() {
                    Some(returned) if outcome.is_ok() => Err(Error::returned(returned)),
                    _ => outcome,
                };
                self.state = State::Settled(outcome);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            State::Abandoned => {}
            settled => self.state = settled,
        }
    }
}

/// Whether the broker returned what was sent. `BCC` is stripped on the way.
fn same(sent: &Message, returned: &Arc<Message>) -> bool {
    sent.exchange == returned.exchange
        && sent.routing_key == returned.routing_key
        && sent.properties.message_id == returned.properties.message_id
        && sent.properties.correlation_id == returned.properties.correlation_id
        && sent.body == returned.body
}

fn asked_twice() -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "this publish's outcome has been given already",
    )
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn ledger(publishes: usize) -> Ledger {
        let mut ledger = Ledger::default();
        for _ in 0..publishes {
            ledger.open(LIMIT, None);
        }
        ledger
    }

    fn outcome(ledger: &mut Ledger, sequence: u64) -> Poll<Result<()>> {
        ledger.poll(sequence, &Context::from_waker(Waker::noop()))
    }

    fn settled_ok(ledger: &mut Ledger, sequence: u64) -> bool {
        matches!(outcome(ledger, sequence), Poll::Ready(Ok(())))
    }

    #[tokio::test]
    async fn a_multiple_confirms_all_up_to_it_and_no_more() {
        let mut ledger = ledger(5);
        ledger.settle(2, false, &Ok(()));
        ledger.settle(4, true, &Ok(()));
        for sequence in 1..=4 {
            assert!(settled_ok(&mut ledger, sequence), "{sequence}");
        }
        assert!(outcome(&mut ledger, 5).is_pending());
    }

    #[tokio::test]
    async fn an_answer_out_of_order_does_not_hide_those_before_it() {
        let mut ledger = ledger(3);
        ledger.settle(3, false, &Ok(()));
        assert!(outcome(&mut ledger, 1).is_pending());
        ledger.settle(2, true, &Ok(()));
        assert!(settled_ok(&mut ledger, 1));
        assert!(settled_ok(&mut ledger, 2));
        assert!(settled_ok(&mut ledger, 3));
    }

    #[tokio::test]
    async fn a_slot_goes_once_it_was_asked_for_or_abandoned() {
        let mut ledger = ledger(3);
        ledger.abandon(2);
        ledger.settle(3, true, &Ok(()));
        assert!(settled_ok(&mut ledger, 1));
        assert!(settled_ok(&mut ledger, 3));
        assert!(ledger.slots.is_empty());
        assert_eq!(ledger.open(LIMIT, None).0, 4, "numbers never start again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_overdue_ends_and_the_rest_waits() {
        let mut ledger = Ledger::default();
        ledger.open(Duration::from_secs(1), None);
        ledger.open(LIMIT, None);
        tokio::time::advance(Duration::from_secs(2)).await;
        ledger.expire(Instant::now());
        let Poll::Ready(Err(err)) = outcome(&mut ledger, 1) else {
            panic!("the first is overdue");
        };
        assert_eq!(err.kind(), ErrorKind::DeadlineExceeded);
        assert!(outcome(&mut ledger, 2).is_pending());
        assert!(ledger.armed().is_some());
    }

    #[tokio::test]
    async fn equal_messages_that_come_back_one_by_one_each_end_their_own_publish() {
        let message = Message {
            exchange: "x".try_into().unwrap(),
            routing_key: "k".try_into().unwrap(),
            properties: Arc::default(),
            body: "same".into(),
        };
        let mut ledger = Ledger::default();
        for _ in 0..2 {
            ledger.open(LIMIT, Some(Box::new(message.clone())));
        }
        for sequence in 1..=2 {
            assert!(ledger.returned(Returned {
                reply_code: 312,
                reply_text: "NO_ROUTE".into(),
                message: Arc::new(message.clone()),
            }));
            ledger.settle(sequence, false, &Ok(()));
        }
        // Nobody asks before both are settled.
        for sequence in 1..=2 {
            let Poll::Ready(Err(err)) = outcome(&mut ledger, sequence) else {
                panic!("{sequence} came back");
            };
            assert_eq!(err.kind(), ErrorKind::Returned);
        }
    }

    #[tokio::test]
    async fn an_unknown_or_repeated_answer_changes_nothing() {
        let mut ledger = ledger(1);
        ledger.settle(9, false, &Ok(()));
        assert!(outcome(&mut ledger, 1).is_pending());
        ledger.settle(1, false, &Ok(()));
        let refused = Error::new(ErrorKind::Nacked, "late");
        ledger.settle(1, false, &Err(refused));
        assert!(settled_ok(&mut ledger, 1));
    }
}
