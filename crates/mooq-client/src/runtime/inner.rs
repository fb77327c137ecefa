//! State that the handles of a connection share.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use mooq_core::mailbox::Sender;
use mooq_core::{
    Endpoint, Endpoints, Error, ErrorKind, Message, OpenedConnection, QueueName, Result, Transport,
};
use mooq_retry::Known;
use mooq_session::reasons::closed_locally;
use mooq_session::{
    CallId, ConnectionState, Direct, Dropped, Event, Options, Output, Permit, Port, PortCell,
    Reply, Session, Shell,
};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, oneshot, watch};

use super::buffer::Buffer;
use super::handler::CallbackConsumer;
use super::link::open_link;
use super::lock::lock;
use super::polling::ConnectionId;
use super::wire::{LinkRef, Unsettled, WireRef, Work};

/// The session's types in this shell.
#[derive(Debug)]
pub(crate) struct Tokio;

/// The reply to a call, or the reason why there is none.
pub(crate) type CallResult = Result<Reply<WireRef>>;

impl Shell for Tokio {
    type Link = LinkRef;
    type Wire = WireRef;
    type Port = PortRef;
    type Callback = Arc<CallbackConsumer>;
    type Direct = Sender<Direct>;
    type Caller = oneshot::Sender<CallResult>;
}

/// A channel's port under its lock, which a publish takes and nothing else.
#[derive(Debug, Clone)]
pub(crate) struct PortRef(Arc<Mutex<Port<WireRef>>>);

impl PortRef {
    fn new(waits: bool) -> Self {
        Self(Arc::new(Mutex::new(Port::new(waits))))
    }
}

impl PortCell<WireRef> for PortRef {
    fn with<T>(&self, f: impl FnOnce(&mut Port<WireRef>) -> T) -> T {
        f(&mut lock(&self.0))
    }
}

/// A connection: its session, and what the session's effects need.
pub(crate) struct ConnectionInner {
    id: ConnectionId,
    session: Mutex<Session<Tokio>>,
    /// The work of the driver.
    work: Sender<Work>,
    state: watch::Sender<ConnectionState>,
    events: broadcast::Sender<Event>,
    transport: Arc<dyn Transport>,
    endpoints: Endpoints,
    timeout: Duration,
    recovers: bool,
    buffer: Arc<Buffer>,
    /// Runtime on which calls continue after their futures were dropped.
    runtime: Handle,
}

/// What the driver needs to know of its session.
pub(super) struct DriverStatus {
    /// The time at which it has something to do next.
    pub(super) next: Option<std::time::Instant>,
    pub(super) is_closed: bool,
    /// The connection or a channel is on its way back.
    pub(super) is_returning: bool,
}

/// Number of events that are kept for a stream that is not read.
const KEPT_EVENTS: usize = 256;

impl ConnectionInner {
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        endpoints: Endpoints,
        options: &Options,
        buffer: usize,
        session: Session<Tokio>,
        work: Sender<Work>,
    ) -> Self {
        Self {
            id: ConnectionId::new(),
            state: watch::Sender::new(session.state().clone()),
            events: broadcast::Sender::new(KEPT_EVENTS),
            session: Mutex::new(session),
            work,
            transport,
            endpoints,
            timeout: options.timeout,
            recovers: options.recovery.is_enabled(),
            buffer: Arc::new(Buffer::new(buffer)),
            runtime: Handle::current(),
        }
    }

    /// Calls `f` with the session, and carries out what follows.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Session<Tokio>) -> T) -> T {
        let mut after_unlock = AfterUnlock::default();
        let mut session = lock(&self.session);
        let result = f(&mut session);
        // Under the lock, so that effects are carried out in the order in which they were caused.
        while let Some(output) = session.poll_output() {
            self.carry_out(output, session.host(), &mut after_unlock);
        }
        let is_timer_set = session.timeout_changed();
        drop(session);
        if is_timer_set {
            self.work.send(Work::Timer);
        }
        after_unlock.run(self);
        result
    }

    /// Returns the session's standing.
    pub(super) fn driver_status(&self) -> DriverStatus {
        let session = lock(&self.session);
        DriverStatus {
            next: session.next_timeout(),
            is_closed: session.state().is_closed(),
            is_returning: session.is_returning(),
        }
    }

    fn carry_out(&self, output: Output<Tokio>, host: usize, after_unlock: &mut AfterUnlock) {
        match output {
            Output::Connect(id, host) => self.work.send(Work::Connect(id, host)),
            Output::OpenWire(id, link) => self.work.send(Work::OpenWire(id, link)),
            Output::CloseLink(id, link) => self.work.send(Work::CloseLink(id, link)),
            Output::Ask(id, wire, request) => self.work.send(Work::Ask(id, wire, request)),
            Output::Abort(id) => self.work.send(Work::Abort(id)),
            Output::Reply(caller, reply) => {
                if let Err(Ok(reply)) = caller.send(reply) {
                    after_unlock.unclaimed.push(reply);
                }
            }
            Output::Tell(event) => {
                after_unlock.logged.push(Logged::Event(event.clone(), host));
                // An error means that there are no listeners.
                let _ = self.events.send(event);
            }
            Output::Note(what, err) => after_unlock.logged.push(Logged::Note(what, err)),
            Output::State(state) => {
                self.state.send_replace(state);
            }
            Output::GiveBack {
                wire,
                delivery_tag,
                failed,
            } => after_unlock.given_back.push((wire, delivery_tag, failed)),
            Output::Direct(receiver, news) => receiver.send(news),
            Output::Wake(waker) => after_unlock.woken.push(waker),
            Output::Drop(dropped) => after_unlock.dropped.push(dropped),
        }
    }

    /// Makes a call, and waits for its reply. If the future is dropped, the call is abandoned, and
    /// the work that it has begun is undone or completed.
    pub(crate) async fn call(
        &self,
        begin: impl FnOnce(&mut Session<Tokio>, oneshot::Sender<CallResult>) -> CallId,
    ) -> CallResult {
        let (caller, reply) = oneshot::channel();
        let call = self.with(|session| begin(session, caller));
        let mut waiting = Call {
            inner: self,
            call,
            reply,
        };
        (&mut waiting.reply)
            .await
            .unwrap_or_else(|_| Err(no_runtime()))
    }

    /// Undoes a reply that nobody has taken.
    fn undo(&self, reply: Reply<WireRef>) {
        match reply {
            Reply::Fetched(Some(mut handed)) => drop(Unsettled::of(&mut handed)),
            Reply::Consumer(consumer, _) => self.with(|session| session.drop_stream(consumer)),
            Reply::Fetched(None) | Reply::Done | Reply::Queue(_) | Reply::Count(_) => {}
        }
    }

    /// Returns the destination of the rejected messages of `queue`, as far as it is known to exist.
    pub(crate) fn known(&self, queue: &QueueName) -> Known {
        let info = self.with(|session| session.dead_letter_info(queue));
        Known {
            takes_dead_letters: info.dead_letter_exchange,
            delivery_limit: info.delivery_limit,
        }
    }

    pub(crate) fn new_port(&self) -> PortRef {
        PortRef::new(self.with(|session| session.waits()))
    }

    pub(crate) fn room_for(&self, message: &Message) -> Result<Permit> {
        self.buffer.room_for(message).map(Permit::new)
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Opens a connection to the host of this number.
    pub(super) async fn connect(&self, host: usize) -> Result<OpenedConnection> {
        open_link(&*self.transport, self.endpoints.get(host)).await
    }

    /// Returns true if lost connections and channels are reopened.
    pub(super) fn recovers(&self) -> bool {
        self.recovers
    }

    /// Returns the endpoint that the connection is open to, or was open to last.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.endpoints
            .get(self.with(|session| session.connected_host()))
    }

    pub(crate) fn state(&self) -> &watch::Sender<ConnectionState> {
        &self.state
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Waits until the connection is closed for good, and returns the reason.
    pub(crate) async fn closed(&self) -> Error {
        let mut state = self.state.subscribe();
        match state.wait_for(ConnectionState::is_closed).await.as_deref() {
            Ok(ConnectionState::Closed(reason)) => reason.clone(),
            // Not reached: `self` holds the sender, and the wait was for that state.
            _ => closed_locally(),
        }
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

/// The reason of a connection whose runtime has ended.
pub(super) fn no_runtime() -> Error {
    Error::connection(
        ErrorKind::ConnectionLost,
        "the runtime that the connection was opened on has ended",
    )
}

/// A call that waits for its reply.
struct Call<'a> {
    inner: &'a ConnectionInner,
    call: CallId,
    reply: oneshot::Receiver<CallResult>,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.reply.is_terminated() {
            return;
        }
        self.reply.close();
        match self.reply.try_recv() {
            Ok(Ok(reply)) => self.inner.undo(reply),
            Ok(Err(_)) => {}
            Err(_) => drop(self.inner.with(|session| session.abandon(self.call))),
        }
    }
}

/// Work to do after the lock of the session is released: it may run the user's code, and make
/// calls.
#[derive(Default)]
struct AfterUnlock {
    logged: Vec<Logged>,
    woken: Vec<Waker>,
    given_back: Vec<(WireRef, u64, bool)>,
    unclaimed: Vec<Reply<WireRef>>,
    dropped: Vec<Dropped<Tokio>>,
}

/// Something for the log.
enum Logged {
    /// An event of the connection to the host of this number.
    Event(Event, usize),
    /// A failure that changes nothing.
    Note(&'static str, Error),
}

impl AfterUnlock {
    fn run(self, inner: &ConnectionInner) {
        for logged in self.logged {
            match logged {
                Logged::Event(event, host) => event.log(&inner.endpoints.get(host).address()),
                Logged::Note(what, err) => tracing::debug!(%err, "{what}"),
            }
        }
        for (wire, delivery_tag, failed) in self.given_back {
            wire.give_back(delivery_tag, failed);
        }
        self.woken.into_iter().for_each(Waker::wake);
        for reply in self.unclaimed {
            inner.undo(reply);
        }
        drop(self.dropped);
    }
}

impl fmt::Debug for ConnectionInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionInner")
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}
