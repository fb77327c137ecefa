//! A connection: opening channels on it, and closing it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use amqprs::connection::Connection;
use async_trait::async_trait;
use futures_util::future::join_all;
use mooq_core::mailbox::mailbox;
use mooq_core::{Error, ErrorKind, ErrorScope, OpenedChannel, Result, TransportConnection};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::callbacks::ChannelHooks;
use crate::channel::RabbitChannel;
use crate::flush::flush;
use crate::pump::Pump;
use crate::queue::Queue;
use crate::session::Session;
use crate::state::ChannelState;

/// How long an error of amqprs waits for the reason, which is there already or comes at once.
const GRACE: Duration = Duration::from_secs(1);

/// How long a connection that is used up may take to end in good order.
const GOOD_ORDER: Duration = Duration::from_secs(10);

/// What the runtime above holds of a connection.
#[derive(Debug)]
pub(crate) struct RabbitConnection {
    link: Arc<Link>,
    frame_max: u32,
}

impl RabbitConnection {
    pub(crate) fn new(connection: Connection, session: Arc<Session>) -> Self {
        let frame_max = connection.frame_max();
        let link = Arc::new(Link {
            connection: Some(connection.clone()),
            session: Arc::clone(&session),
            runtime: Handle::current(),
            channels: Mutex::default(),
            closing: OnceLock::new(),
            closed: watch::Sender::new(None),
        });
        if session.unflushed.is_some() {
            tokio::spawn(flush(connection, Arc::clone(&session)));
        }
        tokio::spawn(end_channels(session, Arc::downgrade(&link)));
        Self { link, frame_max }
    }
}

#[async_trait]
impl TransportConnection for RabbitConnection {
    fn closed(&self) -> Option<Error> {
        self.link.session.reason()
    }

    fn frame_max(&self) -> u32 {
        self.frame_max
    }

    fn announces_blocked(&self) -> bool {
        // amqprs does not tell the broker that it understands connection.blocked.
        false
    }

    async fn open_channel(&self) -> Result<OpenedChannel> {
        let session = &self.link.session;
        if let Some(reason) = session.reason() {
            return Err(reason);
        }
        if let Some(reason) = self.link.closing.get() {
            return Err(reason.clone());
        }
        if let Err(error) = session.take_number() {
            if error.scope() == ErrorScope::Connection {
                self.link.begin_close(error.clone());
            }
            return Err(error);
        }
        // In a task of its own, since dropping amqprs' future can kill its reader and leave a
        // connection that says it is open (amqprs issue 198).
        let (reply, answer) = oneshot::channel();
        let link = Arc::clone(&self.link);
        self.link.runtime.spawn(async move {
            let opened = tokio::select! {
                biased;
                opened = link.open_channel() => opened,
                // A writer that is stuck in the socket can keep the answer away for ever, and this
                // task would keep the connection. What the drop kills is dead by now.
                reason = link.session.dead() => Err(reason),
            };
            // A channel that nobody waits for any more closes as it is dropped.
            let _ = reply.send(opened);
        });
        match answer.await {
            Ok(opened) => opened,
            // The task is gone where the runtime has shut down, and with it the connection.
            Err(_) => Err(session.dead().await),
        }
    }

    async fn close(&self) -> Result<()> {
        let mut closed = self.link.closed.subscribe();
        self.link.begin_close(self.link.session.closed_here());
        match closed.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Some(lost))) => Err(lost.clone()),
            _ => Ok(()),
        }
    }
}

/// A connection as its handle and its pumps share it. It closes with the last of them.
pub(crate) struct Link {
    /// Taken only by the drop.
    connection: Option<Connection>,
    session: Arc<Session>,
    /// Where the connection's tasks run, for calls from outside of it.
    runtime: Handle,
    channels: Mutex<Vec<Weak<ChannelState>>>,
    /// Why it is being closed from this side, if it is.
    closing: OnceLock<Error>,
    /// What came of closing, once that is over: the error, if there was one.
    closed: watch::Sender<Option<Option<Error>>>,
}

impl Link {
    async fn open_channel(self: &Arc<Self>) -> Result<OpenedChannel> {
        let Some(connection) = &self.connection else {
            return Err(self.session.closed_here());
        };
        self.session.sent();
        let channel = match connection.open_channel(None).await {
            Ok(channel) => channel,
            Err(error) => return Err(self.failed(error).await),
        };
        let (sender, events) = mailbox();
        let session = Arc::clone(&self.session);
        let queue = Queue::new(channel.clone());
        let state = Arc::new(ChannelState::new(queue, session, sender));
        // It is only queued here, but before anything can come for the channel.
        if let Err(error) = channel
            .register_callback(ChannelHooks(Arc::clone(&state)))
            .await
        {
            return Err(self.failed(error).await);
        }
        self.remember(&state);
        if let Some(reason) = self.closing.get() {
            // The close may have missed this channel. It must not take what would never be sent.
            state.queue.push_close(reason.clone());
        }
        let pump = Pump::new(channel, Arc::clone(&state), Arc::clone(self));
        self.runtime.spawn(pump.run());
        Ok(OpenedChannel {
            channel: Arc::new(RabbitChannel::new(state)),
            events,
        })
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

    /// The reason of the connection's death, which is what an error of amqprs means here.
    async fn failed(&self, error: amqprs::error::Error) -> Error {
        match tokio::time::timeout(GRACE, self.session.dead()).await {
            Ok(reason) => reason,
            Err(_) => Error::connection(
                ErrorKind::ConnectionLost,
                format!(
                    "the connection to {} opens no channel any more",
                    self.session.address()
                ),
            )
            .with_source(error),
        }
    }

    /// Begins to close the connection, unless that has begun: from here on calls get `reason`.
    /// What was handed over before is performed, and confirms of it are waited for.
    pub(crate) fn begin_close(self: &Arc<Self>, reason: Error) {
        if self.closing.set(reason.clone()).is_err() {
            return;
        }
        let channels = self.channels();
        for channel in &channels {
            channel.queue.push_close(reason.clone());
        }
        let link = Arc::clone(self);
        let closing = Closing {
            link,
            channels,
            reason,
        };
        // In a task of its own, so that what is begun is also finished.
        self.runtime.spawn(closing.run());
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.session.set_closing(self.session.closed_here());
        // amqprs spawns a task when its connection is dropped, and panics where there is no
        // runtime; this drop may happen anywhere.
        let _entered = self.runtime.enter();
        // That task says goodbye and waits for no answer. `close` would first ask amqprs' reader,
        // and say nothing if that has panicked: the writer would keep the connection, and the
        // broker its consumers, for as long as heartbeats are sent.
        drop(self.connection.take());
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// The task that closes a connection. Those who wait for it are released even if the task is
/// dropped, as it is where the runtime has shut down.
struct Closing {
    link: Arc<Link>,
    channels: Vec<Arc<ChannelState>>,
    reason: Error,
}

impl Closing {
    async fn run(self) {
        let lost = if self.reason.kind() == ErrorKind::ConnectionClosed {
            self.close().await
        } else {
            // Nobody asked for this, so nobody has set a deadline. During an alarm, for one, the
            // broker does not read that channels are closed.
            let closed = tokio::time::timeout(GOOD_ORDER, self.close()).await;
            closed.unwrap_or_else(|_| {
                self.link.session.die(self.reason.clone());
                None
            })
        };
        self.link.closed.send_replace(Some(lost));
    }

    /// Closes the connection once its channels have. Gives the reason if the broker went away
    /// meanwhile.
    async fn close(&self) -> Option<Error> {
        let session = &self.link.session;
        if session.reason().is_some() {
            return None;
        }
        // The channels first, and to their end: whatever comes for a channel once amqprs has begun
        // to close the connection makes it leave before close-ok, late confirms unread.
        join_all(
            self.channels
                .iter()
                .map(|channel| channel.ended_or_forsaken()),
        )
        .await;
        if let Some(reason) = session.reason() {
            return Some(reason);
        }
        session.set_closing(self.reason.clone());
        if let Some(connection) = self.link.connection.clone() {
            tokio::select! {
                // Its error tells nothing: a heartbeat that crosses the close is enough for one.
                _ = connection.close() => {}
                // A writer that is stuck in the socket can keep it waiting for ever.
                _ = session.dead() => {}
            }
        }
        session.dead().await;
        None
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.link.closed.send_if_modified(|closed| {
            let unfinished = closed.is_none();
            closed.get_or_insert(None);
            unfinished
        });
    }
}

/// Once the connection is dead, ends the channels that amqprs does not end by itself.
///
/// Usually its reader ends, and with it the channels, each once it has said what had come for it.
/// But a broker that reads nothing more and then closes the connection finds the reader waiting
/// for the writer, which is stuck in the socket.
async fn end_channels(session: Arc<Session>, link: Weak<Link>) {
    session.dead().await;
    let channels = match link.upgrade() {
        Some(link) => link.channels(),
        None => return,
    };
    let ended = async {
        for channel in &channels {
            channel.ended().await;
        }
    };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        for channel in &channels {
            channel.dispatcher_ended();
        }
    }
}
