//! What the handle, the pump, the callbacks and the consumers of one channel share.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mooq_core::mailbox::Sender;
use mooq_core::{ChannelEvent, Error, ErrorKind, Publish, Result};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::command::Command;
use crate::confirms::Confirms;
use crate::consumer::Consumers;
use crate::events::Events;
use crate::gate::Gate;
use crate::queue::Queue;
use crate::session::Session;

/// How long an answer that nobody waits for may still take.
const GRACE: Duration = Duration::from_secs(1);

/// One channel.
#[derive(Debug)]
pub(crate) struct ChannelState {
    pub(crate) session: Arc<Session>,
    pub(crate) gate: Gate,
    pub(crate) queue: Queue,
    pub(crate) events: Events<ChannelEvent>,
    pub(crate) consumers: Consumers,
    pub(crate) confirms: Confirms,
    /// `channel.close` is being sent, or has been.
    closing: AtomicBool,
    /// How many calls nobody waited for any more, so far.
    forsaken_calls: AtomicU64,
    /// Which of them the channel performs, if it does.
    forsaken: watch::Sender<Option<u64>>,
    /// Why the channel ended, once its last event is sent.
    ended: watch::Sender<Option<Error>>,
}

impl ChannelState {
    pub(crate) fn new(queue: Queue, session: Arc<Session>, events: Sender<ChannelEvent>) -> Self {
        Self {
            session,
            gate: Gate::default(),
            queue,
            events: Events::new(events),
            consumers: Consumers::default(),
            confirms: Confirms::default(),
            closing: AtomicBool::new(false),
            forsaken_calls: AtomicU64::new(0),
            forsaken: watch::Sender::new(None),
            ended: watch::Sender::new(None),
        }
    }

    /// Why nothing can be sent on the channel any more, as soon as that is known.
    pub(crate) fn closed(&self) -> Option<Error> {
        self.queue.refusal().or_else(|| self.session.reason())
    }

    /// Takes `command`, and says whether the queue is full now.
    pub(crate) fn push(&self, command: Command) -> Result<bool> {
        let full = self.queue.push(command, &self.gate)?;
        self.session.sent();
        Ok(full)
    }

    /// Takes a publish, and says whether the queue is full now.
    pub(crate) fn publish(&self, publish: Publish) -> Result<bool> {
        // Counted first, or its confirm could be faster.
        self.confirms.publish();
        let pushed = self.push(Command::Publish(publish));
        if pushed.is_err() {
            self.confirms.take_back();
        }
        pushed
    }

    /// The pump is about to send `channel.close`.
    pub(crate) fn set_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// The broker has closed the channel. Says whether both sides are closing it.
    pub(crate) fn closed_by_broker(&self, reason: Error) -> bool {
        // First the gate: the failing queue wakes the pump, which looks whether it is shut.
        self.gate.shut();
        self.queue.fail(reason);
        self.session.numbers.lose();
        self.closing.load(Ordering::Acquire)
    }

    /// amqprs has finished with the channel: nothing comes from it any more.
    pub(crate) fn dispatcher_ended(&self) {
        let reason = self.session.reason().or_else(|| self.queue.refusal());
        self.queue.fail(reason.unwrap_or_else(broke_down));
    }

    /// Everything that the channel had to say has been said.
    pub(crate) fn end(&self) {
        let reason = self.queue.refusal().unwrap_or_else(broke_down);
        self.queue.fail(reason.clone());
        self.events.send_last(ChannelEvent::Closed(reason.clone()));
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(reason);
            first
        });
    }

    /// Sees a call through that nobody waits for any more.
    pub(crate) async fn forsaken<T>(&self, call: impl Future<Output = T>) -> T {
        let number = self.forsaken_calls.fetch_add(1, Ordering::Relaxed);
        self.forsaken.send_replace(Some(number));
        let answer = call.await;
        self.forsaken.send_replace(None);
        answer
    }

    /// Waits for the end, but for little longer than anybody waits for an answer: RabbitMQ takes a
    /// minute over a queue whose node is down.
    pub(crate) async fn ended_or_forsaken(&self) {
        let mut forsaken = self.forsaken.subscribe();
        let forsaken = async {
            // This state owns the sender.
            while let Ok(call) = forsaken.wait_for(Option::is_some).await.map(|call| *call) {
                // Each call has its own time: the next one may be there before this one is seen to
                // be answered.
                let answered = forsaken.wait_for(|now| *now != call);
                if timeout(GRACE, answered).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            _ = self.ended() => {}
            () = forsaken => {}
        }
    }

    /// Waits for the end, and gives its reason.
    pub(crate) async fn ended(&self) -> Error {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(reason)) => reason.clone(),
            // Not reached: this state owns the sender.
            Ok(None) | Err(_) => broke_down(),
        }
    }
}

/// A reason for the case that a task ended without one: a panic inside amqprs, or a runtime that
/// is shutting down.
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
        let session = Session::new(&endpoint, mailbox().0, 0);
        ChannelState::new(Queue::default(), Arc::new(session), mailbox().0)
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

        advance(GRACE * 3 / 4).await;
        first.send(()).unwrap();
        // Within one poll the first is answered and the second begun.
        assert!(calls.as_mut().now_or_never().is_none());
        assert!(close.as_mut().now_or_never().is_none());
        advance(GRACE * 3 / 4).await;
        assert!(close.as_mut().now_or_never().is_none(), "the second's time");
        advance(GRACE / 2).await;
        assert!(close.now_or_never().is_some(), "it is up");
    }
}
