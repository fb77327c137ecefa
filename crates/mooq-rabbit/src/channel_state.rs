//! The state that the handle, the worker, the callbacks and the consumers of a channel share.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mooq_core::mailbox::Sender;
use mooq_core::{ChannelEvent, Error, ErrorKind, Publish, Result};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::command::Command;
use crate::command_queue::CommandQueue;
use crate::confirms::Confirms;
use crate::connection_state::ConnectionState;
use crate::consumer::Consumers;
use crate::events::Events;
use crate::send_barrier::SendBarrier;

/// Time that an answer may still take after its caller has gone.
const FORSAKEN_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// One channel.
#[derive(Debug)]
pub(crate) struct ChannelState {
    pub(crate) connection: Arc<ConnectionState>,
    pub(crate) send_barrier: SendBarrier,
    pub(crate) commands: CommandQueue,
    pub(crate) events: Events<ChannelEvent>,
    pub(crate) consumers: Consumers,
    pub(crate) confirms: Confirms,
    /// True if `channel.close` is being sent, or has been.
    closing: AtomicBool,
    /// Number of calls so far whose callers have gone.
    forsaken_calls: AtomicU64,
    /// The number of the call without a caller that the channel performs, if it does.
    forsaken: watch::Sender<Option<u64>>,
    /// The reason why the channel ended, once its last event is sent.
    ended: watch::Sender<Option<Error>>,
}

impl ChannelState {
    pub(crate) fn new(
        commands: CommandQueue,
        connection: Arc<ConnectionState>,
        events: Sender<ChannelEvent>,
    ) -> Self {
        Self {
            connection,
            send_barrier: SendBarrier::default(),
            commands,
            events: Events::new(events),
            consumers: Consumers::default(),
            confirms: Confirms::default(),
            closing: AtomicBool::new(false),
            forsaken_calls: AtomicU64::new(0),
            forsaken: watch::Sender::new(None),
            ended: watch::Sender::new(None),
        }
    }

    /// The reason why nothing more can be sent on the channel, as soon as it is known.
    pub(crate) fn closed(&self) -> Option<Error> {
        self.commands.refusal().or_else(|| self.connection.reason())
    }

    /// Takes `command`, and returns true if the queue is full now.
    pub(crate) fn push(&self, command: Command) -> Result<bool> {
        let full = self.commands.push(command, &self.send_barrier)?;
        self.connection.sent();
        Ok(full)
    }

    /// Takes a publish, and returns true if the queue is full now.
    pub(crate) fn publish(&self, publish: Publish) -> Result<bool> {
        // Counted first, because its confirm could be faster.
        self.confirms.publish();
        let pushed = self.push(Command::Publish(publish));
        if pushed.is_err() {
            self.confirms.take_back();
        }
        pushed
    }

    /// Records that the worker is about to send `channel.close`.
    pub(crate) fn set_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Records that the broker has closed the channel. Returns true if both sides are closing it.
    pub(crate) fn closed_by_broker(&self, reason: Error) -> bool {
        // The barrier is shut first: the failing queue wakes the worker, which checks the barrier.
        self.send_barrier.shut();
        self.commands.fail(reason);
        self.connection.channel_ids.lose();
        self.closing.load(Ordering::Acquire)
    }

    /// Records that amqprs has finished with the channel: no more events follow from amqprs.
    pub(crate) fn dispatcher_ended(&self) {
        let reason = self.connection.reason().or_else(|| self.commands.refusal());
        self.commands.fail(reason.unwrap_or_else(broke_down));
    }

    /// Ends the channel: all its events have been sent.
    pub(crate) fn end(&self) {
        let reason = self.commands.refusal().unwrap_or_else(broke_down);
        self.commands.fail(reason.clone());
        self.events.send_last(ChannelEvent::Closed(reason.clone()));
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(reason);
            first
        });
    }

    /// Finishes a call whose caller has gone.
    pub(crate) async fn forsaken<T>(&self, call: impl Future<Output = T>) -> T {
        let number = self.forsaken_calls.fetch_add(1, Ordering::Relaxed);
        self.forsaken.send_replace(Some(number));
        let answer = call.await;
        self.forsaken.send_replace(None);
        answer
    }

    /// Waits for the end, but only briefly for a call whose caller has gone: RabbitMQ takes a
    /// minute over a queue whose node is down.
    pub(crate) async fn ended_or_forsaken(&self) {
        let mut forsaken = self.forsaken.subscribe();
        let forsaken = async {
            // This state owns the sender.
            while let Ok(call) = forsaken.wait_for(Option::is_some).await.map(|call| *call) {
                // Each call has its own time: the next one may begin before the answer to this one
                // is noticed.
                let answered = forsaken.wait_for(|now| *now != call);
                if timeout(FORSAKEN_ANSWER_TIMEOUT, answered).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            _ = self.ended() => {}
            () = forsaken => {}
        }
    }

    /// Waits for the end, and returns its reason.
    pub(crate) async fn ended(&self) -> Error {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(reason)) => reason.clone(),
            // Unreachable: this state owns the sender.
            Ok(None) | Err(_) => broke_down(),
        }
    }
}

/// The reason if a task ended without one: a panic inside amqprs, or a runtime that is shutting
/// down.
fn broke_down() -> Error {
    Error::channel(
        ErrorKind::ConnectionLost,
        "the channel's task ended without a reason",
    )
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;
    use mooq_core::mailbox::mailbox;
    use tokio::sync::oneshot;
    use tokio::time::advance;

    use super::*;

    fn state() -> ChannelState {
        let endpoint = "amqp://rabbit".parse().unwrap();
        let connection = ConnectionState::new(&endpoint, mailbox().0, 0);
        ChannelState::new(CommandQueue::default(), Arc::new(connection), mailbox().0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_gives_each_forsaken_call_its_own_time() {
        let state = state();
        let (first, first_answer) = oneshot::channel();
        let (_second, second_answer) = oneshot::channel::<()>();
        let mut calls = pin!(async {
            state.forsaken(first_answer).await.unwrap();
            state.forsaken(second_answer).await
        });
        let mut close = pin!(state.ended_or_forsaken());
        assert!(calls.as_mut().now_or_never().is_none());
        assert!(close.as_mut().now_or_never().is_none());

        advance(FORSAKEN_ANSWER_TIMEOUT * 3 / 4).await;
        first.send(()).unwrap();
        // Within one poll the first call is answered and the second begun.
        assert!(calls.as_mut().now_or_never().is_none());
        assert!(close.as_mut().now_or_never().is_none());
        advance(FORSAKEN_ANSWER_TIMEOUT * 3 / 4).await;
        assert!(close.as_mut().now_or_never().is_none(), "the second's time");
        advance(FORSAKEN_ANSWER_TIMEOUT / 2).await;
        assert!(close.now_or_never().is_some(), "it is up");
    }
}
