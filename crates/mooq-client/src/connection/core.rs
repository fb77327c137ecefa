//! What a connection is beneath its handles: the link in use, and what outlives any link.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use mooq_core::{
    Endpoint, Error, ErrorKind, Message, OpenedConnection, QueueName, Result, ShortString,
    Transport, TransportConnection,
};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, watch};

use super::buffer::Buffer;
use super::state::{ConnectionState, Event, KEPT_EVENTS};
use crate::channel::ChannelShared;
use crate::consumer::Dispatch;
use crate::deadline::within;
use crate::lock::lock;
use crate::options::{ConnectOptions, Endpoints};
use crate::presence::{Presence, Present};
use crate::recovery::{Topology, WhileDisconnected};

/// What the handles of a connection, its channels and its supervisor share. None of them holds a
/// link for longer than a call, or, the supervisor, than it puts things on it: it closes when the
/// core lets go of it.
pub(crate) struct Core {
    transport: Arc<dyn Transport>,
    options: ConnectOptions,
    endpoints: Endpoints,
    /// The connection in use, or why there is none.
    link: Present<dyn TransportConnection>,
    /// Which of the endpoints it leads to.
    host: AtomicUsize,
    state: watch::Sender<ConnectionState>,
    events: broadcast::Sender<Event>,
    channels: Mutex<BTreeMap<u64, Weak<ChannelShared>>>,
    next_channel: AtomicU64,
    /// Where channels report that they are broken.
    broken: mpsc::UnboundedSender<Weak<ChannelShared>>,
    topology: Mutex<Topology>,
    /// Some queue has got a new name.
    renamed: AtomicBool,
    dispatch: Arc<Dispatch>,
    buffer: Arc<Buffer>,
    /// Why the broker reads no publishes at present.
    blocked: Mutex<Option<String>>,
    /// Of the link, or of the last one.
    frame_max: AtomicU32,
    /// The user closes the connection.
    closing: watch::Sender<bool>,
    /// How the closing from this side went.
    close_result: OnceLock<Result<()>>,
    /// Where calls go on whose futures were dropped, and where drops can spawn.
    runtime: Handle,
}

impl Core {
    /// A core over an open connection to endpoint number `host`, and where its channels report.
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        options: ConnectOptions,
        endpoints: Endpoints,
        host: usize,
        link: Arc<dyn TransportConnection>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Weak<ChannelShared>>) {
        let (broken, reports) = mpsc::unbounded_channel();
        let core = Self {
            transport,
            endpoints,
            frame_max: AtomicU32::new(link.frame_max()),
            link: Present::new(Presence::There(link)),
            host: AtomicUsize::new(host),
            state: watch::Sender::new(ConnectionState::Connected),
            events: broadcast::Sender::new(KEPT_EVENTS),
            channels: Mutex::default(),
            next_channel: AtomicU64::new(0),
            broken,
            topology: Mutex::default(),
            renamed: AtomicBool::new(false),
            dispatch: Arc::default(),
            buffer: Arc::new(Buffer::new(options.buffer_limit())),
            blocked: Mutex::default(),
            closing: watch::Sender::new(false),
            close_result: OnceLock::new(),
            runtime: Handle::current(),
            options,
        };
        (Arc::new(core), reports)
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.options.call_deadline()
    }

    pub(crate) fn dispatch(&self) -> &Arc<Dispatch> {
        &self.dispatch
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(crate) fn buffer(&self) -> &Arc<Buffer> {
        &self.buffer
    }

    pub(crate) fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// Whether what is lost comes back.
    pub(crate) fn recovers(&self) -> bool {
        self.options.recovery_policy().enabled
    }

    /// Whether calls wait while the connection is lost.
    pub(crate) fn waits(&self) -> bool {
        self.options.while_lost() == WhileDisconnected::Wait
    }

    /// Where it is connected to, or was last, or what is tried now.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.endpoints.get(self.host())
    }

    /// The number of that endpoint.
    pub(crate) fn host(&self) -> usize {
        self.host.load(Ordering::Relaxed)
    }

    pub(crate) fn hosts(&self) -> usize {
        self.endpoints.len()
    }

    /// The connection in use, waiting for it as the options say.
    pub(crate) async fn link(&self) -> Result<Arc<dyn TransportConnection>> {
        self.link.get(self.waits()).await
    }

    /// The connection in use, if there is one.
    pub(crate) fn link_now(&self) -> Option<Arc<dyn TransportConnection>> {
        match self.link.now() {
            Presence::There(link) => Some(link),
            Presence::Away(_) | Presence::Gone(_) => None,
        }
    }

    /// Opens a connection to endpoint number `host`.
    pub(crate) async fn open_link(&self, host: usize) -> Result<OpenedConnection> {
        self.host.store(host, Ordering::Relaxed);
        let opened = open_link(&*self.transport, self.endpoint()).await?;
        let frame_max = opened.connection.frame_max();
        self.frame_max.store(frame_max, Ordering::Relaxed);
        Ok(opened)
    }

    /// How many bytes a frame may have.
    pub(crate) fn frame_max(&self) -> u32 {
        self.frame_max.load(Ordering::Relaxed)
    }

    /// The link is lost, and is to come back.
    pub(crate) fn lost(&self, reason: &Error) {
        self.set_blocked(None);
        self.link.set(Presence::Away(reason.clone()));
        self.reconnecting(0, reason);
        self.tell(Event::Lost(reason.clone()));
    }

    /// An attempt to get the link back has begun or failed.
    pub(crate) fn reconnecting(&self, attempts: u32, error: &Error) {
        let error = error.clone();
        self.state
            .send_replace(ConnectionState::Reconnecting { attempts, error });
    }

    /// The link is back, with all that was on it.
    pub(crate) fn restored(&self, link: Arc<dyn TransportConnection>, after: Duration) {
        self.link.set(Presence::There(link));
        self.state.send_replace(ConnectionState::Connected);
        let address = self.endpoint().address();
        self.tell(Event::Reconnected { address, after });
    }

    /// The connection is closed for good. Only the first reason counts.
    pub(crate) fn end(&self, reason: &Error) {
        if self.state.borrow().is_closed() {
            return;
        }
        self.link.set(Presence::Gone(reason.clone()));
        // First the processing, which tells the reason once for all consumers that end with it.
        self.dispatch.close(match reason.kind() {
            ErrorKind::ConnectionClosed => Ok(()),
            _ => Err(reason.clone()),
        });
        for channel in self.channels_in_order() {
            channel.end(reason);
        }
        self.state
            .send_replace(ConnectionState::Closed(reason.clone()));
        self.tell(Event::Closed(reason.clone()));
    }

    pub(super) fn state(&self) -> &watch::Sender<ConnectionState> {
        &self.state
    }

    /// Why the connection is closed for good, if it is.
    pub(super) fn closed(&self) -> Option<Error> {
        match &*self.state.borrow() {
            ConnectionState::Closed(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    /// Waits until the connection is closed for good, and says why.
    pub(super) async fn wait_closed(&self) -> Error {
        let mut state = self.state.subscribe();
        match state.wait_for(ConnectionState::is_closed).await.as_deref() {
            Ok(ConnectionState::Closed(reason)) => reason.clone(),
            // Not reached: this holds the sender, and waited for that state.
            _ => closed_here(),
        }
    }

    pub(super) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Tells `event` to those who listen, and to the log.
    pub(crate) fn tell(&self, event: Event) {
        event.log(&self.endpoint().address());
        // An error means that nobody listens.
        let _ = self.events.send(event);
    }

    pub(crate) fn set_blocked(&self, reason: Option<String>) {
        *lock(&self.blocked) = reason;
    }

    /// Why the broker reads no publishes, if it has said so.
    pub(crate) fn blocked(&self) -> Option<String> {
        lock(&self.blocked).clone()
    }

    /// Whether what ended for this `reason` is followed by another one. A close from this side is
    /// not always the user's: the supervisor replaces a connection that is of no use.
    pub(crate) fn replaces(&self, reason: &Error) -> bool {
        let replacing = match reason.kind() {
            ErrorKind::ChannelClosed => false,
            ErrorKind::ConnectionClosed => !*self.closing.borrow(),
            _ => true,
        };
        self.recovers() && replacing
    }

    /// Whether a consumer of this connection is on `queue`.
    pub(crate) fn consumes(&self, queue: &QueueName) -> bool {
        let mut channels = self.channels_in_order().into_iter();
        channels.any(|channel| channel.consumes(queue))
    }

    /// Why the connection was lost, while it is.
    pub(crate) fn lost_reason(&self) -> Option<Error> {
        match self.link.now() {
            Presence::Away(reason) => Some(reason),
            Presence::There(_) | Presence::Gone(_) => None,
        }
    }

    /// Asks the supervisor to close the connection.
    pub(super) fn begin_close(&self) {
        self.closing.send_replace(true);
    }

    /// Waits until the user closes the connection.
    pub(crate) async fn closing(&self) {
        let mut closing = self.closing.subscribe();
        // The sender lives as long as this does.
        let _ = closing.wait_for(|closing| *closing).await;
    }

    pub(crate) fn set_close_result(&self, result: Result<()>) {
        self.close_result.get_or_init(|| result);
    }

    pub(super) fn close_result(&self) -> Result<()> {
        self.close_result.get().cloned().unwrap_or(Ok(()))
    }

    /// No handle is left: nothing is to come back, and the link closes.
    pub(super) fn abandon(&self) {
        self.dispatch.abandon();
        self.begin_close();
        self.link.set(Presence::Gone(closed_here()));
    }

    pub(crate) fn topology(&self) -> MutexGuard<'_, Topology> {
        lock(&self.topology)
    }

    /// Makes `name`, which may be from before a loss, the one that the queue has now.
    pub(crate) fn use_current_name(&self, name: &mut QueueName) {
        if let Some(now) = self.topology().current_name(name) {
            name.clone_from(now);
        }
    }

    /// Sends `message` to the queues that it means by names from before a loss: as its key, if it
    /// goes through the default exchange, and as the queue for replies.
    pub(crate) fn use_current_names(&self, message: &mut Message) {
        if !self.renamed.load(Ordering::Relaxed) {
            return;
        }
        let topology = self.topology();
        let now = |name: &str| topology.current_name(&QueueName::try_from(name).ok()?);
        if message.exchange.is_empty()
            && let Some(queue) = now(&message.routing_key)
        {
            message.routing_key = queue.clone().into();
        }
        let reply_to = message.properties.reply_to.as_deref();
        if let Some(queue) = reply_to.and_then(now) {
            let queue = ShortString::try_from(queue.as_str()).ok();
            Arc::make_mut(&mut message.properties).reply_to = queue;
        }
    }

    /// The broker has given a queue a new name.
    pub(crate) fn queue_renamed(&self, from: QueueName, to: QueueName) {
        if self.topology().rename(&from, &to) {
            self.renamed.store(true, Ordering::Relaxed);
            self.tell(Event::QueueRenamed { from, to });
        }
    }

    pub(crate) fn new_channel_id(&self) -> u64 {
        self.next_channel.fetch_add(1, Ordering::Relaxed)
    }

    /// From here on `channel` comes back with the link.
    pub(crate) fn add_channel(&self, id: u64, channel: &Arc<ChannelShared>) {
        lock(&self.channels).insert(id, Arc::downgrade(channel));
        // The connection may have ended in between, having told only those it knew.
        if let Presence::Gone(reason) = self.link.now() {
            channel.end(&reason);
        }
    }

    pub(crate) fn remove_channel(&self, id: u64) {
        lock(&self.channels).remove(&id);
    }

    /// The channels, in the order in which they were opened.
    pub(crate) fn channels_in_order(&self) -> Vec<Arc<ChannelShared>> {
        let channels = lock(&self.channels);
        channels.values().filter_map(Weak::upgrade).collect()
    }

    /// `channel` is broken, and wants to be opened again.
    pub(crate) fn report_broken(&self, channel: Weak<ChannelShared>) {
        // An error means that the supervisor has ended, and the connection with it.
        let _ = self.broken.send(channel);
    }

    /// `call` within the deadline, in a task of its own: it goes on when this is dropped.
    pub(crate) async fn run_to_end<T: Send + 'static>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let task = self.runtime.spawn(call);
        within(self.deadline(), what, async {
            match task.await {
                Ok(result) => result,
                Err(err) => {
                    let message = format!("{what} did not come to its end: {err}");
                    Err(Error::new(ErrorKind::ConnectionLost, message).with_source(err))
                }
            }
        })
        .await
    }
}

/// Opens a connection, in the time that `endpoint` allows.
pub(super) async fn open_link(
    transport: &dyn Transport,
    endpoint: &Endpoint,
) -> Result<OpenedConnection> {
    let opening = transport.open(endpoint);
    within(endpoint.connect_timeout, "connecting", opening).await
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("endpoint", self.endpoint())
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

/// The reason of a connection that was closed from this side.
pub(crate) fn closed_here() -> Error {
    Error::connection(
        ErrorKind::ConnectionClosed,
        "the connection was closed from this side",
    )
}

/// The reason of an end that the transport gave none for.
pub(crate) fn without_reason() -> Error {
    Error::connection(
        ErrorKind::ConnectionLost,
        "the connection ended without a reason",
    )
}
