//! A connection: opening channels on it, and closing it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use amqprs::connection::Connection;
use async_trait::async_trait;
use futures_util::future::join_all;
use mooq_core::mailbox::mailbox;
use mooq_core::{
    Error, ErrorKind, ErrorScope, OpenedChannel, Result, ShortString, TransportConnection,
};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::callbacks::ChannelHooks;
use crate::channel::RabbitChannel;
use crate::channel_state::ChannelState;
use crate::command_queue::CommandQueue;
use crate::connection_state::ConnectionState;
use crate::flush::flush;
use crate::worker::CommandWorker;

/// Time that an error of amqprs waits for the reason, which is there already or arrives at once.
const REASON_TIMEOUT: Duration = Duration::from_secs(1);

/// Time that amqprs' channels have for ending by themselves, once their connection is dead.
const CHANNELS_END_TIMEOUT: Duration = Duration::from_secs(1);

const NO_CHANNEL: &str = "opens no channel any more";

/// Time limit for a used-up connection to close in good order.
const GOOD_ORDER: Duration = Duration::from_secs(10);

/// A connection for the runtime above.
#[derive(Debug)]
pub(crate) struct RabbitConnection {
    handle: Arc<AmqprsHandle>,
    frame_max: u32,
}

impl RabbitConnection {
    pub(crate) fn new(connection: Connection, state: Arc<ConnectionState>) -> Self {
        let frame_max = connection.frame_max();
        let handle = Arc::new(AmqprsHandle {
            connection: Some(connection.clone()),
            state: Arc::clone(&state),
            runtime: Handle::current(),
            channels: Mutex::default(),
            secrets: tokio::sync::Mutex::default(),
            closing: OnceLock::new(),
            closed: watch::Sender::new(None),
        });
        if state.unflushed.is_some() {
            tokio::spawn(flush(connection, Arc::clone(&state)));
        }
        tokio::spawn(end_channels(state, Arc::downgrade(&handle)));
        Self { handle, frame_max }
    }
}

#[async_trait]
impl TransportConnection for RabbitConnection {
    fn closed(&self) -> Option<Error> {
        self.handle.state.reason()
    }

    fn frame_max(&self) -> u32 {
        self.frame_max
    }

    fn announces_blocked(&self) -> bool {
        // amqprs does not announce to the broker that it supports connection.blocked.
        false
    }

    async fn open_channel(&self) -> Result<OpenedChannel> {
        let state = &self.handle.state;
        if let Some(reason) = state.reason() {
            return Err(reason);
        }
        if let Some(reason) = self.handle.closing.get() {
            return Err(reason.clone());
        }
        if let Err(error) = state.take_channel_id() {
            if error.scope() == ErrorScope::Connection {
                self.handle.begin_close(error.clone());
            }
            return Err(error);
        }
        // In a task of its own, because dropping amqprs' future can kill its reader and leave a
        // connection that claims to be open (amqprs issue 198).
        let (reply, answer) = oneshot::channel();
        let handle = Arc::clone(&self.handle);
        self.handle.runtime.spawn(async move {
            let opened = tokio::select! {
                biased;
                opened = handle.open_channel() => opened,
                // A writer that is stuck in the socket can delay the answer for ever, and this task
                // would keep the connection. By now everything that the drop kills is dead.
                reason = handle.state.dead() => Err(reason),
            };
            // If the caller is gone, the channel closes as it is dropped.
            let _ = reply.send(opened);
        });
        match answer.await {
            Ok(opened) => opened,
            // The task ended without an answer, and the connection with it.
            Err(_) => Err(state.dead().await),
        }
    }

    async fn update_secret(&self, secret: &str, reason: &ShortString) -> Result<()> {
        let state = &self.handle.state;
        if let Some(reason) = state
            .reason()
            .or_else(|| self.handle.closing.get().cloned())
        {
            return Err(reason);
        }
        // In a task of its own, as the opening of channels is. The lock is held until the answer is
        // there: amqprs takes the answer to one for the answer to another.
        let (reply, answer) = oneshot::channel();
        let handle = Arc::clone(&self.handle);
        let (secret, reason) = (secret.to_owned(), reason.to_string());
        self.handle.runtime.spawn(async move {
            let updated = tokio::select! {
                biased;
                updated = handle.update_secret(&secret, &reason) => updated,
                reason = handle.state.dead() => Err(reason),
            };
            // The caller may be gone.
            let _ = reply.send(updated);
        });
        match answer.await {
            Ok(updated) => updated,
            // The task ended without an answer, and the connection with it.
            Err(_) => Err(state.dead().await),
        }
    }

    async fn close(&self) -> Result<()> {
        let mut closed = self.handle.closed.subscribe();
        self.handle.begin_close(self.handle.state.closed_here());
        match closed.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Some(lost))) => Err(lost.clone()),
            _ => Ok(()),
        }
    }
}

/// The handle of amqprs' connection, which [`RabbitConnection`] and the workers share. The
/// connection closes when the last of them is dropped.
pub(crate) struct AmqprsHandle {
    /// Taken only by the drop.
    connection: Option<Connection>,
    state: Arc<ConnectionState>,
    /// The runtime of the connection's tasks. Calls come from outside of it.
    runtime: Handle,
    channels: Mutex<Vec<Weak<ChannelState>>>,
    /// Held while the broker has not answered `connection.update-secret`.
    secrets: tokio::sync::Mutex<()>,
    /// The reason why this side is closing the connection, if it is.
    closing: OnceLock<Error>,
    /// Result of closing, once closing is done: the error, if there was one.
    closed: watch::Sender<Option<Option<Error>>>,
}

impl AmqprsHandle {
    async fn open_channel(self: &Arc<Self>) -> Result<OpenedChannel> {
        let Some(connection) = &self.connection else {
            return Err(self.state.closed_here());
        };
        self.state.sent();
        let channel = match connection.open_channel(None).await {
            Ok(channel) => channel,
            Err(error) => return Err(self.failed(NO_CHANNEL, error).await),
        };
        let (sender, events) = mailbox();
        let connection = Arc::clone(&self.state);
        let commands = CommandQueue::new(channel.clone());
        let state = Arc::new(ChannelState::new(commands, connection, sender));
        // The callback is only queued here, but before any event for the channel can arrive.
        if let Err(error) = channel
            .register_callback(ChannelHooks(Arc::clone(&state)))
            .await
        {
            return Err(self.failed(NO_CHANNEL, error).await);
        }
        self.remember(&state);
        if let Some(reason) = self.closing.get() {
            // The close may have missed this channel, which must not take commands that would never
            // be sent.
            state.commands.push_close(reason.clone());
        }
        let worker = CommandWorker::new(channel, Arc::clone(&state), Arc::clone(self));
        self.runtime.spawn(worker.run());
        Ok(OpenedChannel {
            channel: Arc::new(RabbitChannel::new(state)),
            events,
        })
    }

    async fn update_secret(&self, secret: &str, reason: &str) -> Result<()> {
        let Some(connection) = &self.connection else {
            return Err(self.state.closed_here());
        };
        let _one_at_a_time = self.secrets.lock().await;
        self.state.sent();
        match connection.update_secret(secret, reason).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.failed("takes no secret any more", error).await),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<ChannelState>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, state: &Arc<ChannelState>) {
        let mut channels = self.lock();
        channels.retain(|channel| channel.strong_count() > 0);
        channels.push(Arc::downgrade(state));
    }

    fn channels(&self) -> Vec<Arc<ChannelState>> {
        self.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Returns the reason of the connection's death, which is the only cause of an error of amqprs
    /// here; otherwise `what` it does not do.
    async fn failed(&self, what: &str, error: amqprs::error::Error) -> Error {
        match tokio::time::timeout(REASON_TIMEOUT, self.state.dead()).await {
            Ok(reason) => reason,
            Err(_) => Error::connection(
                ErrorKind::ConnectionLost,
                format!("the connection to {} {what}", self.state.address()),
            )
            .with_source(error),
        }
    }

    /// Begins to close the connection, unless it is already closing: from here on calls fail with
    /// `reason`. Commands taken before are performed, and their confirms are awaited.
    pub(crate) fn begin_close(self: &Arc<Self>, reason: Error) {
        if self.closing.set(reason.clone()).is_err() {
            return;
        }
        let channels = self.channels();
        for channel in &channels {
            channel.commands.push_close(reason.clone());
        }
        let handle = Arc::clone(self);
        let closing = Closing {
            handle,
            channels,
            reason,
        };
        // In a task of its own, so that a close that has begun is also finished.
        self.runtime.spawn(closing.run());
    }
}

impl Drop for AmqprsHandle {
    fn drop(&mut self) {
        self.state.set_closing(self.state.closed_here());
        // amqprs spawns a task when its connection is dropped, and panics outside of a runtime;
        // this drop may happen anywhere.
        let _entered = self.runtime.enter();
        // The spawned task sends the close and waits for no answer. `close` would first ask amqprs'
        // reader, and send nothing if the reader has panicked: the writer would keep the
        // connection, and the broker its consumers, for as long as heartbeats are sent.
        drop(self.connection.take());
    }
}

impl std::fmt::Debug for AmqprsHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AmqprsHandle")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// The task that closes a connection. Tasks that wait for the close are released even if this task
/// panics.
struct Closing {
    handle: Arc<AmqprsHandle>,
    channels: Vec<Arc<ChannelState>>,
    reason: Error,
}

impl Closing {
    async fn run(self) {
        let lost = if self.reason.kind() == ErrorKind::ConnectionClosed {
            self.close().await
        } else {
            // This close has no caller, so it has no deadline either. During an alarm, for example,
            // the broker does not read that channels are closed.
            let closed = tokio::time::timeout(GOOD_ORDER, self.close()).await;
            closed.unwrap_or_else(|_| {
                self.handle.state.die(self.reason.clone());
                None
            })
        };
        self.handle.closed.send_replace(Some(lost));
    }

    /// Closes the connection once its channels are closed. Returns the reason if the broker was
    /// lost meanwhile.
    async fn close(&self) -> Option<Error> {
        let state = &self.handle.state;
        if state.reason().is_some() {
            return None;
        }
        // The channels close first, and completely: any frame that arrives for a channel once
        // amqprs has begun to close the connection makes it leave before close-ok, with late
        // confirms unread.
        join_all(
            self.channels
                .iter()
                .map(|channel| channel.ended_or_forsaken()),
        )
        .await;
        if let Some(reason) = state.reason() {
            return Some(reason);
        }
        state.set_closing(self.reason.clone());
        if let Some(connection) = self.handle.connection.clone() {
            tokio::select! {
                // The error of the close carries no information: a heartbeat that crosses the close
                // is enough for one.
                _ = connection.close() => {}
                // A writer that is stuck in the socket can keep the close waiting for ever.
                _ = state.dead() => {}
            }
        }
        state.dead().await;
        None
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.handle.closed.send_if_modified(|closed| {
            let unfinished = closed.is_none();
            closed.get_or_insert(None);
            unfinished
        });
    }
}

/// Ends the channels that amqprs does not end by itself, once the connection is dead.
///
/// Usually amqprs' reader ends, and with it the channels, each once it has sent on all its events.
/// But if a broker reads nothing more and then closes the connection, the reader waits for the
/// writer, which is stuck in the socket.
async fn end_channels(state: Arc<ConnectionState>, handle: Weak<AmqprsHandle>) {
    state.dead().await;
    let channels = match handle.upgrade() {
        Some(handle) => handle.channels(),
        None => return,
    };
    let ended = async {
        for channel in &channels {
            channel.ended().await;
        }
    };
    if tokio::time::timeout(CHANNELS_END_TIMEOUT, ended)
        .await
        .is_err()
    {
        for channel in &channels {
            channel.dispatcher_ended();
        }
    }
}
