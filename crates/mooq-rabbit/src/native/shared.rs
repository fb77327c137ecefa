//! The state that the handles of a connection share with its task.
//!
//! One lock holds the session and everything that its events lead to, so that each input and what
//! follows from it are one step. Nothing waits under the lock, and wakers are called after it.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;

use mooq_core::mailbox::Sender;
use mooq_core::{ChannelEvent, ConnectionEvent, Result};
use mooq_wire::Output;
use tokio::sync::{Notify, oneshot};

use super::end::End;
use super::session::{Answer, ChannelId, Event, Session, Ticket};

/// Size of everything that is not written yet, in bytes, from which a publish reports that the
/// connection is full.
const FULL: usize = 1 << 20;

/// Receiver of the answer to a request.
pub(super) type Reply = oneshot::Sender<Result<Answer>>;

pub(super) struct Shared {
    state: Mutex<State>,
    /// Notified when a full connection has room again, and when it ends.
    room: Notify,
    /// The connection's end.
    pub(super) end: End,
}

struct State {
    session: Session,
    /// The ports of open channels, by number less 1.
    ports: Vec<Option<Port>>,
    replies: HashMap<Ticket, Reply>,
    events: Sender<ConnectionEvent>,
    /// The task's waker, while the task waits.
    task: Option<Waker>,
    /// Number of bytes that the task has taken and not written yet.
    taken: usize,
}

/// A channel as events reach it.
struct Port {
    events: Sender<ChannelEvent>,
    end: Arc<End>,
}

impl Shared {
    pub(super) fn new(session: Session, events: Sender<ConnectionEvent>) -> Self {
        Self {
            state: Mutex::new(State {
                session,
                ports: Vec::new(),
                replies: HashMap::new(),
                events,
                task: None,
                taken: 0,
            }),
            room: Notify::new(),
            end: End::default(),
        }
    }

    /// Locks the state. Nothing under the lock panics; a panic elsewhere does not matter here.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call, and carries out what follows from it.
    pub(super) fn call<T>(&self, call: impl FnOnce(&mut Session) -> T) -> T {
        let mut state = self.lock();
        let result = call(&mut state.session);
        self.settle(state);
        result
    }

    /// Makes a request whose answer goes to `reply`.
    pub(super) fn request(
        &self,
        reply: Reply,
        call: impl FnOnce(&mut Session) -> Result<Ticket>,
    ) -> Result<Ticket> {
        let mut state = self.lock();
        let ticket = call(&mut state.session)?;
        state.replies.insert(ticket, reply);
        self.settle(state);
        Ok(ticket)
    }

    /// Begins to open a channel, whose events go to `events`.
    pub(super) fn open_channel(
        &self,
        reply: Reply,
        events: Sender<ChannelEvent>,
        end: Arc<End>,
    ) -> Result<(ChannelId, Ticket)> {
        let mut state = self.lock();
        if let Some(reason) = self.end.reason() {
            return Err(reason.clone());
        }
        let (id, ticket) = state.session.open_channel()?;
        state.replies.insert(ticket, reply);
        let index = usize::from(id.number) - 1;
        if state.ports.len() <= index {
            state.ports.resize_with(index + 1, || None);
        }
        state.ports[index] = Some(Port { events, end });
        self.settle(state);
        Ok((id, ticket))
    }

    /// Makes a call that only adds to the output, and returns true if the connection is full now.
    pub(super) fn push(&self, call: impl FnOnce(&mut Session) -> Result<()>) -> Result<bool> {
        let mut state = self.lock();
        call(&mut state.session)?;
        let is_full = state.is_full();
        // A task that is still writing looks for more by itself.
        let task = if state.taken == 0 {
            state.task.take()
        } else {
            None
        };
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
        Ok(is_full)
    }

    /// Waits until the connection is not full.
    pub(super) async fn has_room(&self) {
        loop {
            let mut room = pin!(self.room.notified());
            // Registered before the check, or a notification in between would be missed.
            room.as_mut().enable();
            if !self.lock().is_full() {
                return;
            }
            room.await;
        }
    }

    /// Passes on what the session has to say, and wakes the task.
    fn settle(&self, mut state: MutexGuard<'_, State>) {
        let mut wakers = self.dispatch(&mut state);
        wakers.extend(state.task.take());
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Passes the session's events on. Returns the wakers to call once the lock is released.
    fn dispatch(&self, state: &mut State) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while let Some(event) = state.session.poll_event() {
            match event {
                Event::Channel(number, event) => {
                    let place = usize::from(number)
                        .checked_sub(1)
                        .and_then(|index| state.ports.get_mut(index));
                    let Some(place) = place else {
                        continue;
                    };
                    let Some(port) = place else {
                        continue;
                    };
                    if let ChannelEvent::Closed(reason) = &event {
                        let reason = reason.clone();
                        wakers.extend(port.events.push(event));
                        port.end.set(reason);
                        *place = None;
                    } else {
                        wakers.extend(port.events.push(event));
                    }
                }
                Event::Connection(event) => {
                    if let ConnectionEvent::Closed(reason) = &event {
                        self.end.set(reason.clone());
                        self.room.notify_waiters();
                    }
                    wakers.extend(state.events.push(event));
                }
                Event::Answer(ticket, answer) => {
                    if let Some(reply) = state.replies.remove(&ticket) {
                        // The caller may be gone: its request has happened all the same.
                        let _ = reply.send(answer);
                    }
                }
            }
        }
        wakers
    }

    // For the task.

    /// Passes input to the session.
    pub(super) fn input<T>(&self, input: impl FnOnce(&mut Session) -> T) -> T {
        let mut state = self.lock();
        let result = input(&mut state.session);
        let wakers = self.dispatch(&mut state);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    /// Takes the output for the task, if `output` is empty, and remembers the task's waker.
    pub(super) fn take_output(
        &self,
        now: Instant,
        output: &mut Output,
        cx: &Context<'_>,
    ) -> Status {
        let mut state = self.lock();
        state.session.advance(now);
        let wakers = self.dispatch(&mut state);
        let was_full = state.is_full();
        if output.is_empty() {
            state.session.take_output(now, output);
            state.taken = bytes::Buf::remaining(output);
            if was_full && !state.is_full() {
                self.room.notify_waiters();
            }
        }
        match &mut state.task {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        let status = Status {
            deadline: state.session.next_deadline(),
            has_ended: state.session.has_ended(),
            is_lost: state.session.is_lost(),
        };
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        status
    }

    /// Records that the task has ended: the connection is lost, unless it has ended before.
    pub(super) fn task_ended(&self) {
        self.input(|session| session.lost("its task was stopped", None));
        // A waker keeps its task's memory.
        let task = self.lock().task.take();
        drop(task);
    }
}

/// State of a connection as its task sees it.
pub(super) struct Status {
    pub(super) deadline: Option<Instant>,
    pub(super) has_ended: bool,
    pub(super) is_lost: bool,
}

impl State {
    fn is_full(&self) -> bool {
        !self.session.has_ended() && self.session.unwritten() + self.taken >= FULL
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
