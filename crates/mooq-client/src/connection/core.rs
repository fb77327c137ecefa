//! Core of a connection beneath its handles: the link in use, and the state that outlives any link.

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
use super::link::open_link;
use super::state::{ConnectionState, Event, KEPT_EVENTS};
use crate::channel::ChannelShared;
use crate::consumer::Dispatch;
use crate::lock::lock;
use crate::options::{ConnectOptions, Endpoints};
use crate::presence::{Presence, Present};
use crate::reasons::closed_locally;
use crate::recovery::{Topology, WhileDisconnected};
use crate::timeout::within;

/// State that the handles of a connection, its channels and its supervisor share. None of them
/// holds a link for longer than a call, or in the supervisor's case, longer than it takes to
/// restore things on it: the link closes when the core lets go of it.
pub(crate) struct Core {
    transport: Arc<dyn Transport>,
    options: ConnectOptions,
    endpoints: Endpoints,
    /// The connection in use, or the reason why there is none.
    link: Present<dyn TransportConnection>,
    /// Number of the endpoint that the link is open to.
    host: AtomicUsize,
    state: watch::Sender<ConnectionState>,
    events: broadcast::Sender<Event>,
    channels: Mutex<BTreeMap<u64, Weak<ChannelShared>>>,
    next_channel: AtomicU64,
    /// Sender with which channels report that they are broken.
    broken: mpsc::UnboundedSender<Weak<ChannelShared>>,
    topology: Mutex<Topology>,
    /// True once a queue has got a new name.
    renamed: AtomicBool,
    dispatch: Arc<Dispatch>,
    buffer: Arc<Buffer>,
    /// Reason why the broker is not reading publishes.
    blocked: Mutex<Option<String>>,
    /// Frame limit of the link, or of the last one.
    frame_max: AtomicU32,
    /// True once the user closes the connection.
    closing: watch::Sender<bool>,
    /// Result of the close from this side.
    close_result: OnceLock<Result<()>>,
    /// Runtime on which calls go on after their futures were dropped, and on which drops can spawn.
    runtime: Handle,
}

impl Core {
    /// Makes a core over an open connection to endpoint number `host`. Returns it with the receiver
    /// of its channels' reports.
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

    pub(crate) fn timeout(&self) -> Duration {
        self.options.call_timeout()
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

    /// Returns true if lost connections and channels are reopened.
    pub(crate) fn recovers(&self) -> bool {
        self.options.recovery_policy().enabled
    }

    /// Returns true if calls wait while the connection is lost.
    pub(crate) fn waits(&self) -> bool {
        self.options.while_lost() == WhileDisconnected::Wait
    }

    /// Returns the endpoint that the connection is open to, or was last, or that is tried now.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.endpoints.get(self.host())
    }

    /// Returns the number of that endpoint.
    pub(crate) fn host(&self) -> usize {
        self.host.load(Ordering::Relaxed)
    }

    pub(crate) fn hosts(&self) -> usize {
        self.endpoints.len()
    }

    /// Returns the connection in use, waiting for it as the options say.
    pub(crate) async fn link(&self) -> Result<Arc<dyn TransportConnection>> {
        self.link.get(self.waits()).await
    }

    /// Returns the connection in use, if there is one.
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

    /// Maximum number of bytes in a frame.
    pub(crate) fn frame_max(&self) -> u32 {
        self.frame_max.load(Ordering::Relaxed)
    }

    /// Marks the link as lost and to be reopened.
    pub(crate) fn lost(&self, reason: &Error) {
        self.set_blocked(None);
        self.link.set(Presence::Away(reason.clone()));
        self.reconnecting(0, reason);
        self.tell(Event::Lost(reason.clone()));
    }

    /// Records that an attempt to reopen the link has begun or failed.
    pub(crate) fn reconnecting(&self, attempts: u32, error: &Error) {
        let error = error.clone();
        self.state
            .send_replace(ConnectionState::Reconnecting { attempts, error });
    }

    /// Marks the link as open again, with everything on it restored.
    pub(crate) fn restored(&self, link: Arc<dyn TransportConnection>, after: Duration) {
        self.link.set(Presence::There(link));
        self.state.send_replace(ConnectionState::Connected);
        let address = self.endpoint().address();
        self.tell(Event::Reconnected { address, after });
    }

    /// Closes the connection for good. Only the first reason counts.
    pub(crate) fn end(&self, reason: &Error) {
        if self.state.borrow().is_closed() {
            return;
        }
        self.link.set(Presence::Gone(reason.clone()));
        // First the processing, which reports the reason once for all consumers that end with it.
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

    /// Returns the reason why the connection is closed for good, if it is.
    pub(super) fn closed(&self) -> Option<Error> {
        match &*self.state.borrow() {
            ConnectionState::Closed(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    /// Waits until the connection is closed for good, and returns the reason.
    pub(super) async fn wait_closed(&self) -> Error {
        let mut state = self.state.subscribe();
        match state.wait_for(ConnectionState::is_closed).await.as_deref() {
            Ok(ConnectionState::Closed(reason)) => reason.clone(),
            // Not reached: `self` holds the sender, and the wait was for that state.
            _ => closed_locally(),
        }
    }

    pub(super) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Sends `event` to its listeners, and logs it.
    pub(crate) fn tell(&self, event: Event) {
        event.log(&self.endpoint().address());
        // An error means that there are no listeners.
        let _ = self.events.send(event);
    }

    pub(crate) fn set_blocked(&self, reason: Option<String>) {
        *lock(&self.blocked) = reason;
    }

    /// Returns the reason why the broker is not reading publishes, if it has announced one.
    pub(crate) fn blocked(&self) -> Option<String> {
        lock(&self.blocked).clone()
    }

    /// Returns true if a link or generation that ended for this `reason` is followed by another
    /// one. A close from this side is not always the user's: the supervisor replaces a connection
    /// that is useless.
    pub(crate) fn replaces(&self, reason: &Error) -> bool {
        let replacing = match reason.kind() {
            ErrorKind::ChannelClosed => false,
            ErrorKind::ConnectionClosed => !*self.closing.borrow(),
            _ => true,
        };
        self.recovers() && replacing
    }

    /// Returns true if a consumer of this connection is on `queue`.
    pub(crate) fn consumes(&self, queue: &QueueName) -> bool {
        let mut channels = self.channels_in_order().into_iter();
        channels.any(|channel| channel.consumes(queue))
    }

    /// Returns the reason why the connection was lost, while it is.
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
        // The sender lives as long as `self`.
        let _ = closing.wait_for(|closing| *closing).await;
    }

    pub(crate) fn set_close_result(&self, result: Result<()>) {
        self.close_result.get_or_init(|| result);
    }

    pub(super) fn close_result(&self) -> Result<()> {
        self.close_result.get().cloned().unwrap_or(Ok(()))
    }

    /// Ends the connection when no handle is left: nothing is reopened, and the link closes.
    pub(super) fn abandon(&self) {
        self.dispatch.abandon();
        self.begin_close();
        self.link.set(Presence::Gone(closed_locally()));
    }

    pub(crate) fn topology(&self) -> MutexGuard<'_, Topology> {
        lock(&self.topology)
    }

    /// Replaces `name`, which may be from before a loss, by the queue's current name.
    pub(crate) fn use_current_name(&self, name: &mut QueueName) {
        if let Some(now) = self.topology().current_name(name) {
            name.clone_from(now);
        }
    }

    /// Replaces names from before a loss in `message` by the queues' current names: in its routing
    /// key, if it goes through the default exchange, and in its `reply_to`.
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

    /// Records that the broker has given a queue a new name.
    pub(crate) fn queue_renamed(&self, from: QueueName, to: QueueName) {
        if self.topology().rename(&from, &to) {
            self.renamed.store(true, Ordering::Relaxed);
            self.tell(Event::QueueRenamed { from, to });
        }
    }

    pub(crate) fn new_channel_id(&self) -> u64 {
        self.next_channel.fetch_add(1, Ordering::Relaxed)
    }

    /// Registers `channel` to be reopened with the link.
    pub(crate) fn add_channel(&self, id: u64, channel: &Arc<ChannelShared>) {
        lock(&self.channels).insert(id, Arc::downgrade(channel));
        // The connection may have ended in between, and notified only the channels that it knew.
        if let Presence::Gone(reason) = self.link.now() {
            channel.end(&reason);
        }
    }

    pub(crate) fn remove_channel(&self, id: u64) {
        lock(&self.channels).remove(&id);
    }

    /// Returns the channels, in the order in which they were opened.
    pub(crate) fn channels_in_order(&self) -> Vec<Arc<ChannelShared>> {
        let channels = lock(&self.channels);
        channels.values().filter_map(Weak::upgrade).collect()
    }

    /// Reports that `channel` is broken and is to be reopened.
    pub(crate) fn report_broken(&self, channel: Weak<ChannelShared>) {
        // An error means that the supervisor has ended, and the connection with it.
        let _ = self.broken.send(channel);
    }

    /// Runs `call` within the timeout, in a task of its own: the call goes on if the future is
    /// dropped.
    pub(crate) async fn run_to_end<T: Send + 'static>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let task = self.runtime.spawn(call);
        within(self.timeout(), what, async {
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

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("endpoint", self.endpoint())
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}
