//! The task that performs a channel's commands, one at a time and in order.
//!
//! Only this task waits for amqprs on behalf of its channel, which settles three things at once. No
//! future of amqprs is dropped because a caller lost interest: dropping one panics amqprs'
//! dispatcher (amqprs issues 196, 198). No two requests of one method overlap: the second would
//! take the first one's answer and end the connection (amqprs issue 145). And publishes, acks and
//! requests are sent in the order of their calls. (Commands that need no wait are sent past this
//! task while it is idle.)

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use amqprs::channel::Channel;
use mooq_core::{Error, ErrorKind};

use crate::channel_state::ChannelState;
use crate::command::Operation;
use crate::command_queue::Next;
use crate::connection::AmqprsHandle;

/// Time that an error of amqprs waits for its reason. The reason is there already or arrives at
/// once; the time is for the case that amqprs' writer fails and its reader does not notice.
const REASON_TIMEOUT: Duration = Duration::from_secs(1);

/// Time that a close waits for confirms of earlier publishes.
const LATE_CONFIRMS: Duration = Duration::from_secs(5);

pub(crate) struct CommandWorker {
    channel: Channel,
    state: Arc<ChannelState>,
    /// Keeps the connection until the last command is performed.
    handle: Arc<AmqprsHandle>,
}

/// Returned when the channel has ended.
struct Ended;

impl CommandWorker {
    pub(crate) fn new(
        channel: Channel,
        state: Arc<ChannelState>,
        handle: Arc<AmqprsHandle>,
    ) -> Self {
        Self {
            channel,
            state,
            handle,
        }
    }

    pub(crate) async fn run(self) {
        let commands = &self.state.commands;
        let mut batch = VecDeque::new();
        loop {
            match poll_fn(|cx| commands.poll_next(cx, &mut batch)).await {
                Next::Perform => {
                    for command in batch.drain(..) {
                        let operation = command.begin(self.channel.clone());
                        if let Err(Ended) = self.send(operation).await {
                            break;
                        }
                    }
                }
                Next::Close => self.close().await,
                Next::End => break,
            }
        }
        self.state.consumers.stop().await;
        // Because the broker closed this channel, the connection may have to be replaced.
        if let Some(count) = self.state.connection.channel_ids.used_up() {
            self.handle
                .begin_close(self.state.connection.used_up(count));
        }
        // The drop does the rest, so that it also happens if this task panics or is aborted.
    }

    /// Drives one of amqprs' futures to its end.
    async fn send(&self, mut operation: Operation) -> Result<(), Ended> {
        let outcome = poll_fn(|cx| {
            let polled = self.state.send_barrier.poll(operation.as_mut(), cx);
            self.state.connection.sent();
            if let Poll::Ready(outcome) = polled {
                return Poll::Ready(outcome);
            }
            // Once the channel has failed, the future is dropped: amqprs' dispatcher, which would
            // panic on such a drop, has ended by then or will read no more. Waiting on could take
            // for ever: a writer that is stuck in the socket never releases its data.
            self.state.commands.poll_failed(cx).map(|()| None)
        })
        .await;
        match outcome {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => {
                self.fail(error).await;
                Err(Ended)
            }
            None => Err(Ended),
        }
    }

    /// Closes the channel by agreement. After that the channel ends on its own.
    async fn close(&self) {
        self.confirmed().await;
        self.state.set_closing();
        let mut close = pin!(self.channel.clone().close());
        let mut died = pin!(self.state.connection.dead());
        let mut is_dead = false;
        let outcome = poll_fn(|cx| {
            let polled = self.state.send_barrier.poll(close.as_mut(), cx);
            self.state.connection.sent();
            if let Poll::Ready(outcome) = polled {
                return Poll::Ready(outcome);
            }
            // Unlike the other futures, this one runs on when amqprs' dispatcher ends, which
            // happens at close-ok: the rest of the future frees the channel's number.
            is_dead = is_dead || died.as_mut().poll(cx).is_ready();
            let failed = self.state.commands.poll_failed(cx);
            if is_dead || self.state.send_barrier.is_shut() {
                return failed.map(|()| None);
            }
            Poll::Pending
        })
        .await;
        match outcome {
            Some(Ok(())) => self.state.connection.channel_ids.give(),
            Some(Err(error)) => self.fail(error).await,
            None => {}
        }
    }

    /// Waits for confirms: amqprs leaves as soon as the close is answered, and RabbitMQ answers it
    /// before it has confirmed all publishes. When the channel has closed, its user has seen the
    /// end of its publishes.
    async fn confirmed(&self) {
        let failed = poll_fn(|cx| self.state.commands.poll_failed(cx));
        tokio::select! {
            () = self.state.confirms.all() => {}
            () = failed => {}
            // A queue may delay its confirm for as long as it has no majority, for example.
            () = tokio::time::sleep(LATE_CONFIRMS) => {}
        }
    }

    /// Ensures that the channel has failed, with a better reason than amqprs' error if there is
    /// one: amqprs' error is the same for every cause.
    async fn fail(&self, error: amqprs::error::Error) {
        let failed = poll_fn(|cx| self.state.commands.poll_failed(cx));
        if tokio::time::timeout(REASON_TIMEOUT, failed).await.is_err() {
            let connection = &self.state.connection;
            let lost = Error::connection(
                ErrorKind::ConnectionLost,
                format!(
                    "the connection to {} takes nothing more",
                    connection.address()
                ),
            );
            self.state.commands.fail(lost.with_source(error));
        }
    }
}

impl Drop for CommandWorker {
    fn drop(&mut self) {
        self.state.end();
    }
}
