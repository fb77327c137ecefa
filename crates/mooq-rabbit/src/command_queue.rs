//! The queue of commands between a channel's handle and its worker.

use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use amqprs::channel::Channel;
use mooq_core::{Error, Result};
use tokio::sync::Notify;

use crate::command::{Command, Outcome, send_settle};
use crate::send_barrier::SendBarrier;

/// Limits from which [`CommandQueue::push`] reports that the queue is full.
const FULL_MESSAGES: usize = 4096;
const FULL_BYTES: usize = 1 << 20;

/// Limits of one batch of the worker. Commands in a batch no longer count, so the limits are small.
const BATCH_MESSAGES: usize = 64;
const BATCH_BYTES: usize = 64 << 10;

/// Commands in order, the reason why no more are taken, and the tasks to wake.
#[derive(Default)]
pub(crate) struct CommandQueue {
    state: Mutex<State>,
    /// Notified when a full queue has room again, and when it fails.
    room: Notify,
}

#[derive(Default)]
struct State {
    commands: VecDeque<Command>,
    bytes: usize,
    /// True if the channel is to be closed after the last command.
    close: bool,
    /// The reason why no more commands are taken.
    refusal: Option<Error>,
    /// True if the queued commands are not performed either.
    failed: bool,
    /// The worker's waker, while the worker waits.
    worker: Option<Waker>,
    /// The channel for sending past the queue, until the queue fails.
    channel: Option<Channel>,
    /// True if the worker waits for commands, and has finished every command that it began.
    idle: bool,
}

/// The worker's next step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Perform the batch.
    Perform,
    /// Close the channel.
    Close,
    /// Stop: the queue has failed.
    End,
}

impl State {
    fn is_full(&self) -> bool {
        !self.failed && (self.commands.len() >= FULL_MESSAGES || self.bytes >= FULL_BYTES)
    }

    fn remember(&mut self, cx: &Context<'_>) {
        match &mut self.worker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    /// Sends `command` past the queue, if nothing is before it and amqprs only has to queue it for
    /// its writer: so a message costs no switch to the worker. Returns the command that is left to
    /// perform, if any.
    fn send_directly(&mut self, command: Command, barrier: &SendBarrier) -> Option<Command> {
        let (true, Some(channel)) = (self.idle && self.commands.is_empty(), &self.channel) else {
            return Some(command);
        };
        // If one poll is not enough, the worker polls with its own waker. Behind a shut barrier the
        // worker does not poll either.
        let mut cx = Context::from_waker(Waker::noop());
        match command {
            Command::Publish(_) => {
                let mut operation = command.begin(channel.clone());
                match barrier.poll(operation.as_mut(), &mut cx) {
                    Poll::Ready(Some(outcome)) => begun(outcome),
                    Poll::Ready(None) | Poll::Pending => Some(Command::Begun(operation)),
                }
            }
            Command::Settle(settle) => {
                let operation = pin!(send_settle(channel, settle));
                match barrier.poll(operation, &mut cx) {
                    Poll::Ready(Some(outcome)) => begun(outcome),
                    // This future may be dropped: it has not reached amqprs' tasks.
                    Poll::Ready(None) | Poll::Pending => Some(command),
                }
            }
            Command::Call(_) | Command::Begun(_) => Some(command),
        }
    }
}

/// Returns the command that is left after `outcome`: the worker handles errors.
fn begun(outcome: Outcome) -> Option<Command> {
    let error = outcome.err()?;
    Some(Command::Begun(Box::pin(async move { Err(error) })))
}

impl CommandQueue {
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            state: Mutex::new(State {
                channel: Some(channel),
                ..State::default()
            }),
            room: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `command`, and returns true if the queue is full now.
    pub(crate) fn push(&self, command: Command, barrier: &SendBarrier) -> Result<bool> {
        let mut state = self.lock();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        let Some(command) = state.send_directly(command, barrier) else {
            return Ok(false);
        };
        state.bytes += command.bytes();
        state.commands.push_back(command);
        let worker = state.worker.take();
        let full = state.is_full();
        drop(state);
        wake(worker);
        Ok(full)
    }

    /// Closes the channel after the queued commands. From here on every command fails with
    /// `refusal`.
    pub(crate) fn push_close(&self, refusal: Error) {
        let mut state = self.lock();
        if state.refusal.is_some() {
            return;
        }
        state.refusal = Some(refusal);
        state.close = true;
        let worker = state.worker.take();
        drop(state);
        wake(worker);
    }

    /// Drops the queued commands and takes no more. The reason of the first call stays, but it
    /// replaces the reason of an unfinished close from this side.
    pub(crate) fn fail(&self, reason: Error) {
        let mut state = self.lock();
        if !state.failed {
            state.failed = true;
            state.refusal = Some(reason);
        }
        let commands = std::mem::take(&mut state.commands);
        let channel = state.channel.take();
        state.bytes = 0;
        let worker = state.worker.take();
        drop(state);
        // Dropping a call wakes its caller: this must not happen under the lock.
        drop((commands, channel));
        wake(worker);
        self.room.notify_waiters();
    }

    /// The reason why commands are refused, if they are.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.lock().refusal.clone()
    }

    /// Ready once the queue has failed. Otherwise registers the worker to be woken when it does.
    pub(crate) fn poll_failed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.failed {
            return Poll::Ready(());
        }
        state.remember(cx);
        Poll::Pending
    }

    /// Waits for the next step, and moves commands to `batch`.
    pub(crate) fn poll_next(&self, cx: &Context<'_>, batch: &mut VecDeque<Command>) -> Poll<Next> {
        let mut state = self.lock();
        state.idle = false;
        if state.failed {
            return Poll::Ready(Next::End);
        }
        let was_full = state.is_full();
        let mut bytes = 0;
        while batch.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
            let Some(command) = state.commands.pop_front() else {
                break;
            };
            bytes += command.bytes();
            batch.push_back(command);
        }
        if batch.is_empty() {
            if std::mem::take(&mut state.close) {
                return Poll::Ready(Next::Close);
            }
            state.remember(cx);
            state.idle = true;
            return Poll::Pending;
        }
        state.bytes -= bytes;
        let has_room = was_full && !state.is_full();
        drop(state);
        if has_room {
            self.room.notify_waiters();
        }
        Poll::Ready(Next::Perform)
    }

    /// Ends when the queue is not full, or has failed.
    pub(crate) async fn room(&self) {
        loop {
            let mut notified = pin!(self.room.notified());
            // Registered before the check, or a notification in between would be missed.
            notified.as_mut().enable();
            if !self.lock().is_full() {
                return;
            }
            notified.await;
        }
    }
}

fn wake(worker: Option<Waker>) {
    if let Some(worker) = worker {
        worker.wake();
    }
}

impl fmt::Debug for CommandQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("CommandQueue")
            .field("commands", &state.commands.len())
            .field("bytes", &state.bytes)
            .field("refusal", &state.refusal)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use mooq_core::{ErrorKind, ExchangeName, Message, Properties, Publish, RoutingKey};

    use super::*;

    fn push(queue: &CommandQueue, bytes: usize) -> Result<bool> {
        let publish = Publish::new(Message {
            exchange: ExchangeName::default(),
            routing_key: RoutingKey::default(),
            properties: Arc::new(Properties::default()),
            body: vec![0; bytes].into(),
        });
        queue.push(Command::Publish(publish), &SendBarrier::default())
    }

    /// The worker's view: the number of commands, and the next step.
    fn next(queue: &CommandQueue) -> Poll<(usize, Next)> {
        let mut batch = VecDeque::new();
        let cx = Context::from_waker(Waker::noop());
        queue
            .poll_next(&cx, &mut batch)
            .map(|next| (batch.len(), next))
    }

    fn reason(kind: ErrorKind) -> Error {
        Error::channel(kind, "for a test")
    }

    #[test]
    fn many_messages_or_many_bytes_fill_it_and_taking_them_makes_room() {
        let queue = CommandQueue::default();
        for _ in 1..FULL_MESSAGES {
            assert!(!push(&queue, 0).unwrap());
        }
        assert!(push(&queue, 0).unwrap(), "by messages");
        assert!(queue.room().now_or_never().is_none());
        let waiting = queue.room();
        assert_eq!(next(&queue), Poll::Ready((BATCH_MESSAGES, Next::Perform)));
        assert!(waiting.now_or_never().is_some());

        let queue = CommandQueue::default();
        assert!(push(&queue, FULL_BYTES).unwrap(), "by bytes");
        assert_eq!(next(&queue), Poll::Ready((1, Next::Perform)));
        assert!(queue.room().now_or_never().is_some());
        assert_eq!(next(&queue), Poll::Pending);
    }

    #[test]
    fn a_close_comes_after_what_is_queued_and_before_nothing() {
        let queue = CommandQueue::default();
        push(&queue, 1).unwrap();
        queue.push_close(reason(ErrorKind::ChannelClosed));
        queue.push_close(reason(ErrorKind::ConnectionClosed));
        let err = push(&queue, 1).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ChannelClosed);
        assert_eq!(next(&queue), Poll::Ready((1, Next::Perform)));
        assert_eq!(next(&queue), Poll::Ready((0, Next::Close)));
        assert_eq!(next(&queue), Poll::Pending, "closed once");
    }

    #[test]
    fn failing_ends_everything_with_the_first_reason() {
        let queue = CommandQueue::default();
        push(&queue, FULL_BYTES).unwrap();
        queue.push_close(reason(ErrorKind::ChannelClosed));
        queue.fail(reason(ErrorKind::ConnectionLost));
        queue.fail(reason(ErrorKind::ConnectionClosed));
        assert_eq!(queue.refusal().unwrap().kind(), ErrorKind::ConnectionLost);
        assert_eq!(
            push(&queue, 1).unwrap_err().kind(),
            ErrorKind::ConnectionLost
        );
        assert!(
            queue.room().now_or_never().is_some(),
            "nobody waits for room"
        );
        assert_eq!(next(&queue), Poll::Ready((0, Next::End)));
    }
}
