//! Supervisor: the task that watches a connection and carries out the actions of the state machine.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use mooq_core::mailbox::Receiver;
use mooq_core::{
    ConnectionEvent, Error, ErrorKind, ErrorScope, OpenedConnection, Result, Scheme,
    TransportConnection,
};
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep};

use super::late::{Unanswered, Underway};
use super::machine::{Action, Input, Machine};
use super::restore;
use super::target::Target;
use crate::channel::ChannelShared;
use crate::connection::{Core, Event};
use crate::reasons::{closed_locally, without_reason};
use crate::timeout::within;

/// Number of heartbeats after a loss for which resources of the lost connection may still be
/// locked: the broker gives a silent client up after two.
const LOCKED_HEARTBEATS: u32 = 3;

/// Time that a useless connection may take to close.
const DISCARDING: Duration = Duration::from_secs(1);

/// Supervises `core`, whose connection has just been opened, until it is closed for good.
pub(crate) fn supervise(
    core: &Arc<Core>,
    events: Receiver<ConnectionEvent>,
    reports: UnboundedReceiver<Weak<ChannelShared>>,
) {
    let policy = core.options().recovery_policy().clone();
    let machine = Machine::connected(
        policy,
        core.hosts(),
        core.host(),
        Instant::now(),
        jitter_seed(core),
    );
    // Made here, since a runtime that ends may never poll the task.
    let supervisor = Supervisor {
        core: EndOnDrop(Arc::clone(core)),
        machine,
        events,
        reports,
        underway: Underway::new(),
        unanswered: Unanswered::default(),
        turn: Arc::default(),
        opened: None,
        error: closed_locally(),
        lost_at: Instant::now(),
    };
    core.runtime().spawn(supervisor.run());
}

/// Returns the seed of the jitter. Clients of a real broker must not reconnect all at once; in
/// memory every run must be repeatable.
fn jitter_seed(core: &Core) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    match core.endpoint().scheme {
        Scheme::Memory => 0,
        _ => RandomState::new().hash_one(()),
    }
}

struct Supervisor {
    core: EndOnDrop,
    machine: Machine,
    /// Events of the connection that was opened last.
    events: Receiver<ConnectionEvent>,
    /// Reports of broken channels.
    reports: UnboundedReceiver<Weak<ChannelShared>>,
    /// Restorations under way on the connection in use: broken channels, and requests that the
    /// broker has not answered yet.
    underway: Underway,
    /// Queues among those requests.
    unanswered: Unanswered,
    /// Turn of a broken channel to redeclare what was deleted with it.
    turn: Arc<Mutex<()>>,
    /// A connection that is open and not in use yet.
    opened: Option<Arc<dyn TransportConnection>>,
    /// Reason why the connection was lost, or why the latest attempt failed.
    error: Error,
    lost_at: Instant,
}

impl Supervisor {
    async fn run(mut self) {
        let core = Arc::clone(&self.core.0);
        let mut action = Action::Watch;
        loop {
            let input = match action {
                Action::Close => return self.close().await,
                Action::GiveUp => return core.end(&self.gave_up()),
                action => tokio::select! {
                    biased;
                    () = core.closing() => Input::Close,
                    input = self.step(action) => input,
                },
            };
            if input == Input::Lost && !core.recovers() {
                return core.end(&self.error);
            }
            action = self.machine.next(input, Instant::now());
        }
    }

    /// Carries out `action`, and returns its result.
    async fn step(&mut self, action: Action) -> Input {
        match action {
            Action::Watch => {
                let reason = self.watch().await;
                self.underway.clear();
                self.lost_at = Instant::now();
                let (core, link) = (&self.core.0, self.core.0.link_now());
                if core.recovers() {
                    core.lost(&reason);
                }
                if let Some(link) = link.filter(|link| link.closed().is_none()) {
                    discard(&*link).await;
                }
                self.error = reason;
                Input::Lost
            }
            Action::Wait(delay) => {
                let attempts = self.machine.attempts();
                self.core.0.reconnecting(attempts, &self.error);
                sleep(delay).await;
                Input::Waited
            }
            Action::Open(host) => match self.core.0.open_link(host).await {
                Ok(OpenedConnection { connection, events }) => {
                    self.events = events;
                    self.opened = Some(connection);
                    Input::Opened
                }
                Err(err) => self.failed(err),
            },
            Action::Restore => match self.restore().await {
                Ok(()) => Input::Restored,
                Err(err) => self.failed(err),
            },
            // The end of the task.
            Action::Close | Action::GiveUp => Input::Close,
        }
    }

    /// Watches the open connection, and reopens its broken channels, until it is lost.
    async fn watch(&mut self) -> Error {
        loop {
            tokio::select! {
                biased;
                event = self.events.next() => match event {
                    Some(ConnectionEvent::Blocked(reason)) => {
                        self.core.0.set_blocked(Some(reason.clone()));
                        self.core.0.tell(Event::Blocked(reason));
                    }
                    Some(ConnectionEvent::Unblocked) => {
                        self.core.0.set_blocked(None);
                        self.core.0.tell(Event::Unblocked);
                    }
                    Some(ConnectionEvent::Closed(reason)) => return reason,
                    None => return without_reason(),
                },
                Some(channel) = self.reports.recv() => {
                    if let Some(channel) = channel.upgrade() {
                        self.reopen(&channel);
                    }
                }
                Some(arrived) = self.underway.next() => {
                    let link = self.core.0.link_now();
                    match arrived {
                        Err(err) if link.is_some_and(|link| link.closed().is_none()) => {
                            return of_no_use(err);
                        }
                        // If the link is closed, its last event carries the reason.
                        _ => {}
                    }
                }
            }
        }
    }

    /// Begins to reopen a broken channel.
    fn reopen(&self, channel: &Arc<ChannelShared>) {
        let core = Arc::clone(&self.core.0);
        let (Some(reason), Some(link)) = (channel.away(), core.link_now()) else {
            return;
        };
        // The channel may be reopening already, since the connection was lost as well.
        let Some(claim) = channel.claim() else {
            return;
        };
        let target = Target {
            core,
            link,
            // A resource that is taken belongs to another client: the connection is the same.
            taken_until: Instant::now(),
            unanswered: self.unanswered.clone(),
        };
        let reopening = restore::channel(claim, reason, target, Arc::clone(&self.turn));
        self.underway.push(reopening.boxed());
    }

    async fn restore(&mut self) -> Result<()> {
        let Some(link) = self.opened.take() else {
            return Err(without_reason());
        };
        let core = &self.core.0;
        let target = Target {
            core: Arc::clone(core),
            link,
            taken_until: self.lost_at + core.endpoint().heartbeat * LOCKED_HEARTBEATS,
            unanswered: Unanswered::default(),
        };
        match restore::everything(&target).await {
            Ok(underway) => {
                self.underway = underway;
                self.unanswered = target.unanswered;
                core.restored(target.link, self.lost_at.elapsed());
                Ok(())
            }
            Err(err) => {
                discard(&*target.link).await;
                Err(err)
            }
        }
    }

    fn failed(&mut self, err: Error) -> Input {
        self.core.0.tell(Event::AttemptFailed(err.clone()));
        self.error = err;
        Input::Failed
    }

    fn gave_up(&self) -> Error {
        let message = format!(
            "the connection was lost and not back within {:?}: {}",
            self.lost_at.elapsed(),
            self.error
        );
        Error::connection(ErrorKind::ConnectionLost, message).with_source(self.error.clone())
    }

    /// Closes the connection, as the user asks.
    async fn close(mut self) {
        self.underway.clear();
        let core = Arc::clone(&self.core.0);
        let mut reason = closed_locally();
        if let Some(link) = self.opened.take().or_else(|| core.link_now()) {
            let closing = async {
                link.close().await?;
                while let Some(event) = self.events.next().await {
                    if let ConnectionEvent::Closed(err) = event {
                        reason = err;
                        break;
                    }
                }
                // The broker's last events are still in flight, confirms among them.
                for channel in core.channels_in_order() {
                    channel.left().await;
                }
                Ok(())
            };
            let closed = within(core.timeout(), "closing the connection", closing).await;
            core.set_close_result(closed);
        }
        if reason.kind() != ErrorKind::ConnectionClosed {
            reason = closed_locally();
        }
        core.end(&reason);
    }
}

/// Turns an error into a lost connection. The failure may concern one channel, but its consequence
/// is a lost connection for all.
fn of_no_use(err: Error) -> Error {
    if err.scope() == ErrorScope::Connection {
        return err;
    }
    let message = format!("the connection is of no use any more: {err}");
    Error::connection(ErrorKind::ConnectionLost, message).with_source(err)
}

/// Closes a useless connection.
async fn discard(link: &dyn TransportConnection) {
    if let Err(err) = within(DISCARDING, "closing the connection", link.close()).await {
        tracing::debug!(%err, "a connection of no use did not close");
    }
}

/// Ends a connection whose supervisor is dropped, as it is when its runtime ends. If the connection
/// is closed already, this changes nothing.
struct EndOnDrop(Arc<Core>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(&Error::connection(
            ErrorKind::ConnectionLost,
            "the runtime that the connection was opened on has ended",
        ));
    }
}
