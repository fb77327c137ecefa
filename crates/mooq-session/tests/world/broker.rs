//! The broker's side of links and wires.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::rc::Rc;

use mooq_core::{ChannelEvent, ConsumerTag, Error, Handoff, Publish, Result};
use mooq_session::{Link, Port, PortCell, Wire};

thread_local! {
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

#[derive(Clone, Default)]
pub(crate) struct FakeLink(Rc<RefCell<Option<Error>>>);

impl FakeLink {
    pub(crate) fn close(&self, reason: &Error) {
        self.0.borrow_mut().get_or_insert_with(|| reason.clone());
    }

    pub(crate) fn reason(&self) -> Option<Error> {
        self.0.borrow().clone()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.borrow().is_none()
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Link for FakeLink {
    fn closed(&self) -> Option<Error> {
        self.reason()
    }

    fn frame_max(&self) -> u32 {
        131_072
    }

    fn announces_blocked(&self) -> bool {
        true
    }
}

#[derive(Clone)]
pub(crate) struct FakePort(pub(crate) Rc<RefCell<Port<FakeWire>>>);

impl PortCell<FakeWire> for FakePort {
    fn with<T>(&self, f: impl FnOnce(&mut Port<FakeWire>) -> T) -> T {
        f(&mut self.0.borrow_mut())
    }
}

#[derive(Clone)]
pub(crate) struct FakeWire(Rc<Inner>);

struct Inner {
    id: u64,
    closed: RefCell<Option<Error>>,
    lost: Cell<bool>,
    handed_out: Cell<usize>,
    /// The numbers of the messages that arrived.
    sent: RefCell<Vec<u64>>,
    confirmed: Cell<usize>,
    consumers: RefCell<HashSet<ConsumerTag>>,
    events: RefCell<VecDeque<ChannelEvent>>,
}

impl FakeWire {
    pub(crate) fn new() -> Self {
        let id = NEXT.get();
        NEXT.set(id + 1);
        Self(Rc::new(Inner {
            id,
            closed: RefCell::default(),
            lost: Cell::new(false),
            handed_out: Cell::new(0),
            sent: RefCell::default(),
            confirmed: Cell::new(0),
            consumers: RefCell::default(),
            events: RefCell::default(),
        }))
    }

    /// Closes it, with its last event.
    pub(crate) fn close(&self, reason: &Error) {
        if self.0.closed.borrow().is_none() {
            *self.0.closed.borrow_mut() = Some(reason.clone());
            let closed = ChannelEvent::Closed(reason.clone());
            self.0.events.borrow_mut().push_back(closed);
        }
    }

    pub(crate) fn send(&self, event: ChannelEvent) {
        if self.0.closed.borrow().is_none() {
            self.0.events.borrow_mut().push_back(event);
        }
    }

    pub(crate) fn receive(&self) -> Option<ChannelEvent> {
        self.0.events.borrow_mut().pop_front()
    }

    pub(crate) fn sent(&self) -> Vec<u64> {
        self.0.sent.borrow().clone()
    }

    /// The next publish to confirm: its sequence number, and the number of its message.
    pub(crate) fn confirm_next(&self) -> Option<(u64, u64)> {
        if self.0.closed.borrow().is_some() {
            return None;
        }
        let next = self.0.confirmed.get();
        let number = self.0.sent.borrow().get(next).copied()?;
        self.0.confirmed.set(next + 1);
        Some((next as u64 + 1, number))
    }

    pub(crate) fn consume(&self, tag: ConsumerTag) {
        self.0.consumers.borrow_mut().insert(tag);
    }

    pub(crate) fn cancel(&self, tag: &ConsumerTag) {
        self.0.consumers.borrow_mut().remove(tag);
    }

    pub(crate) fn consumes(&self, tag: &ConsumerTag) -> bool {
        self.0.closed.borrow().is_none() && self.0.consumers.borrow().contains(tag)
    }
}

impl Wire for FakeWire {
    fn closed(&self) -> Option<Error> {
        self.0.closed.borrow().clone()
    }

    fn publish(&self, publish: Publish) -> Result<Handoff> {
        if let Some(reason) = self.closed() {
            return Err(reason);
        }
        let body = &publish.message.body;
        let number = u64::from_be_bytes(body[..8].try_into().unwrap());
        self.0.sent.borrow_mut().push(number);
        Ok(Handoff::Done)
    }

    fn set_lost(&self) {
        self.0.lost.set(true);
    }

    fn is_lost(&self) -> bool {
        self.0.lost.get()
    }

    fn id(&self) -> u64 {
        self.0.id
    }

    fn hand_out(&self) {
        self.0.handed_out.set(self.0.handed_out.get() + 1);
    }

    fn take_back(&self) {
        self.0.handed_out.set(self.0.handed_out.get() - 1);
    }

    fn has_unsettled(&self) -> bool {
        self.0.handed_out.get() > 0
    }
}

impl PartialEq for FakeWire {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl fmt::Debug for FakeWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wire {}", self.0.id)
    }
}
