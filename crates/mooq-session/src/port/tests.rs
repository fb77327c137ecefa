//! Publishes over losses, and what a wire that was given up can still say.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use std::time::Duration;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);

/// A wire that keeps what it is given.
#[derive(Debug, Clone, Default)]
struct Fake(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    id: u64,
    sent: Cell<usize>,
    /// The expiration of the message that was sent last.
    expiration: RefCell<Option<String>>,
    refusal: RefCell<Option<Error>>,
}

impl PartialEq for Fake {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Wire for Fake {
    fn closed(&self) -> Option<Error> {
        None
    }

    fn publish(&self, publish: Publish) -> Result<Handoff> {
        if let Some(refusal) = self.0.refusal.borrow_mut().take() {
            return Err(refusal);
        }
        self.0.sent.set(self.0.sent.get() + 1);
        let expiration = &publish.message.properties.expiration;
        self.0
            .expiration
            .replace(expiration.as_deref().map(str::to_owned));
        Ok(Handoff::Done)
    }

    fn set_lost(&self) {}

    fn is_lost(&self) -> bool {
        false
    }

    fn id(&self) -> u64 {
        self.0.id
    }

    fn hand_out(&self) {}

    fn take_back(&self) {}

    fn has_unsettled(&self) -> bool {
        false
    }
}

fn open(port: &mut Port<Fake>) -> Fake {
    let wire = Fake::default();
    port.open(&wire, Instant::now(), &mut Vec::new()).unwrap();
    wire
}

fn publish(port: &mut Port<Fake>, resend: bool) -> PublishId {
    let terms = PublishTerms {
        limit: LIMIT,
        resend,
        expires: false,
    };
    publish_at(port, terms, Instant::now())
}

fn publish_at(port: &mut Port<Fake>, terms: PublishTerms, now: Instant) -> PublishId {
    let message = Message {
        exchange: "".try_into().unwrap(),
        routing_key: "queue".try_into().unwrap(),
        properties: Arc::default(),
        body: "body".into(),
    };
    let room = |_: &Message| Ok(Permit::new(()));
    let taken = port.publish(Publish::new(message), terms, now, room);
    taken.unwrap().id
}

fn confirm(port: &mut Port<Fake>, wire: &Fake, sequence: u64) {
    let multiple = false;
    let event = ChannelEvent::Confirm { sequence, multiple };
    port.answer(wire, event, &mut Vec::new());
}

fn outcome(port: &mut Port<Fake>, id: PublishId) -> Poll<Result<()>> {
    port.poll(id, &Context::from_waker(Waker::noop()))
}

fn failure(port: &mut Port<Fake>, id: PublishId) -> ErrorKind {
    match outcome(port, id) {
        Poll::Ready(Err(err)) => err.kind(),
        other => panic!("publish {id} has not failed: {other:?}"),
    }
}

fn lost() -> Error {
    Error::connection(ErrorKind::ConnectionLost, "lost")
}

fn lose(port: &mut Port<Fake>) {
    let wire = port.lose(&lost(), Instant::now(), &mut Vec::new());
    assert!(wire.is_some(), "it was open");
}

#[test]
fn confirms_before_a_loss_count_and_the_next_wire_counts_anew() {
    let mut port = Port::new(true);
    let first = open(&mut port);
    let [confirmed, failed, resent] = [false, false, true].map(|resend| publish(&mut port, resend));
    confirm(&mut port, &first, 1);
    lose(&mut port);
    assert!(matches!(outcome(&mut port, confirmed), Poll::Ready(Ok(()))));
    assert_eq!(failure(&mut port, failed), ErrorKind::ConnectionLost);
    let waits = publish(&mut port, false);

    let second = open(&mut port);
    assert_eq!(second.0.sent.get(), 2);
    confirm(&mut port, &second, 2);
    assert!(matches!(outcome(&mut port, waits), Poll::Ready(Ok(()))));
    confirm(&mut port, &second, 1);
    assert!(matches!(outcome(&mut port, resent), Poll::Ready(Ok(()))));
}

#[test]
fn a_wire_that_was_given_up_confirms_nothing() {
    let mut port = Port::new(true);
    let first = open(&mut port);
    lose(&mut port);
    let waits = publish(&mut port, false);
    let second = open(&mut port);
    confirm(&mut port, &first, 1);
    assert!(outcome(&mut port, waits).is_pending());
    confirm(&mut port, &second, 1);
    assert!(matches!(outcome(&mut port, waits), Poll::Ready(Ok(()))));
}

#[test]
fn a_publish_refused_in_the_moment_of_loss_shares_the_fate_of_what_is_in_flight() {
    let mut port = Port::new(true);
    let wire = open(&mut port);
    let [failed, resent] = [false, true].map(|resend| {
        *wire.0.refusal.borrow_mut() = Some(lost());
        publish(&mut port, resend)
    });
    lose(&mut port);
    assert_eq!(failure(&mut port, failed), ErrorKind::ConnectionLost);
    let next = open(&mut port);
    confirm(&mut port, &next, 1);
    assert!(matches!(outcome(&mut port, resent), Poll::Ready(Ok(()))));
}

#[test]
fn a_closed_port_ends_what_waits_and_takes_no_more() {
    let mut port = Port::new(true);
    open(&mut port);
    let waits = publish(&mut port, true);
    let mut woken = Vec::new();
    assert!(
        port.poll_drained(&Context::from_waker(Waker::noop()))
            .is_pending()
    );
    let closed = Error::channel(ErrorKind::ChannelClosed, "closed");
    port.close(&closed, &mut woken);
    assert_eq!(woken.len(), 1, "nothing is in flight any more");
    assert_eq!(failure(&mut port, waits), ErrorKind::ChannelClosed);
    // Only the first reason counts.
    port.close(&lost(), &mut woken);
    let reason = port.phase().closed().unwrap();
    assert_eq!(reason.kind(), ErrorKind::ChannelClosed);
}

#[test]
fn message_that_expires_with_its_publish_gets_what_is_left_of_the_limit() {
    let mut port = Port::new(true);
    let began = Instant::now();
    let terms = |limit| PublishTerms {
        limit,
        resend: true,
        expires: true,
    };
    publish_at(&mut port, terms(LIMIT), began);
    let after = |seconds| began + Duration::from_secs(seconds);
    let expiration = |wire: &Fake| wire.0.expiration.take();

    let first = Fake::default();
    port.open(&first, after(10), &mut Vec::new()).unwrap();
    assert_eq!(expiration(&first).as_deref(), Some("20000"));

    // It is sent again after a loss.
    port.lose(&lost(), after(12), &mut Vec::new());
    let second = Fake::default();
    port.open(&second, after(25), &mut Vec::new()).unwrap();
    assert_eq!(expiration(&second).as_deref(), Some("5000"));

    publish_at(&mut port, terms(LIMIT), after(26));
    assert_eq!(expiration(&second).as_deref(), Some("30000"));
    // RabbitMQ takes no longer time.
    publish_at(&mut port, terms(Duration::MAX), after(26));
    assert_eq!(expiration(&second).as_deref(), Some("4294967295"));
    publish(&mut port, false);
    assert_eq!(expiration(&second), None);
}

#[test]
fn outcome_names_the_wire_that_confirmed() {
    let mut port = Port::new(true);
    let polled = |port: &mut Port<Fake>, id| {
        port.poll_on(id, &Context::from_waker(Waker::noop()))
            .map(|outcome| outcome.map_err(|err| err.kind()))
    };
    for number in [3, 8] {
        let id = publish(&mut port, false);
        let wire = Fake(Rc::new(Inner {
            id: number,
            ..Inner::default()
        }));
        port.open(&wire, Instant::now(), &mut Vec::new()).unwrap();
        confirm(&mut port, &wire, 1);
        // The loss before its publisher looks changes nothing.
        lose(&mut port);
        assert_eq!(polled(&mut port, id), Poll::Ready(Ok(number)));
    }
}
