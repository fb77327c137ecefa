//! What a connection's users can watch.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use mooq_core::{Error, QueueName};
use tokio::sync::broadcast::{self, error::RecvError};

/// Where a connection stands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ConnectionState {
    /// It is open, and what was declared over it is there, but for what is
    /// [`Unanswered`](Event::Unanswered).
    Connected,
    /// It was lost, and is being opened again.
    Reconnecting {
        /// The number of the attempt that is under way or comes next. It is 0 as long as there is
        /// nothing to wait for, and counts on if the connection was lost again at once.
        attempts: u32,
        /// Why the latest attempt failed, or why the connection was lost.
        error: Error,
    },
    /// It is closed for good, for this reason: `ConnectionClosed` if from this side.
    Closed(Error),
}

impl ConnectionState {
    /// Whether it is open.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected)
    }

    /// Whether it is closed for good.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

/// What happened to a connection.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The connection was lost. Publishes without a confirm end or wait to be sent again;
    /// deliveries that are not settled yet are stale.
    Lost(Error),
    /// An attempt to open it again failed.
    AttemptFailed(Error),
    /// It is open again, and what was declared over it is there, but for what is
    /// [`Unanswered`](Self::Unanswered).
    Reconnected {
        /// `host:port` of the broker.
        address: String,
        /// How long it was lost.
        after: Duration,
    },
    /// The broker closed a channel for this reason, and it has been opened again.
    ChannelReopened(Error),
    /// An exchange, queue or binding could not be declared again; recovery went on without it. Or a
    /// channel could not be opened again yet, since as many are open as the broker allows.
    NotRestored {
        /// What, in words.
        what: String,
        /// Why.
        error: Error,
    },
    /// The broker has not answered yet that a durable queue is there, or a consumer back. Recovery
    /// goes on without it. The consumer's channel, and what is bound to the queue, are back once
    /// there is an answer: RabbitMQ takes a minute over a queue whose node is down. If the
    /// connection is lost before that, all of it begins again.
    Unanswered {
        /// What, in words.
        what: String,
    },
    /// The broker has answered to what was [`Unanswered`](Self::Unanswered). If the answer is an
    /// error, [`NotRestored`](Self::NotRestored) or [`ConsumerEnded`](Self::ConsumerEnded) follows.
    Answered {
        /// What, in the same words.
        what: String,
        /// How long it took.
        after: Duration,
    },
    /// The broker gave a queue that it names a new name.
    QueueRenamed {
        /// What it was called.
        from: QueueName,
        /// What it is called now.
        to: QueueName,
    },
    /// A consumer ended by itself: its queue was deleted, or it could not be registered again.
    ConsumerEnded {
        /// The queue that it consumed from.
        queue: QueueName,
        /// Why.
        error: Error,
    },
    /// The broker has stopped reading from connections that publish, for the given reason.
    Blocked(String),
    /// It reads again.
    Unblocked,
    /// The connection is closed for good, for this reason. Always the last event.
    Closed(Error),
    /// This many events were dropped, since they were not read in time.
    Missed(u64),
}

impl Event {
    /// Tells the log of it, for services that do not listen.
    pub(super) fn log(&self, address: &str) {
        match self {
            Self::Lost(err) => tracing::warn!(address, %err, "the connection is lost"),
            Self::AttemptFailed(err) => {
                tracing::debug!(address, %err, "the connection could not be opened again");
            }
            Self::Reconnected { address, after } => {
                tracing::info!(address, ?after, "the connection is open again");
            }
            Self::ChannelReopened(err) => {
                tracing::warn!(address, %err, "the broker closed a channel, which is open again");
            }
            Self::NotRestored { what, error } => {
                tracing::error!(address, what, err = %error, "did not come back");
            }
            Self::Unanswered { what } => {
                tracing::warn!(
                    address,
                    what,
                    "the broker has not answered yet that it is back"
                );
            }
            Self::Answered { what, after } => {
                tracing::info!(address, what, ?after, "the broker has answered");
            }
            Self::QueueRenamed { from, to } => {
                tracing::info!(address, %from, %to, "the broker has named a queue anew");
            }
            Self::ConsumerEnded { queue, error } => {
                tracing::warn!(address, %queue, err = %error, "a consumer has ended");
            }
            Self::Blocked(reason) => {
                tracing::warn!(address, reason, "the broker has blocked the connection");
            }
            Self::Unblocked => tracing::info!(address, "the broker has unblocked the connection"),
            Self::Closed(err) => tracing::debug!(address, %err, "the connection is closed"),
            // Each stream's own.
            Self::Missed(_) => {}
        }
    }
}

/// How many events are kept for a stream that is not read.
pub(super) const KEPT_EVENTS: usize = 256;

/// What happens to a connection, as a [`Stream`]: made by
/// [`Connection::events`](crate::Connection::events). It ends after [`Event::Closed`].
#[must_use = "a stream does nothing unless it is polled"]
pub struct Events(BoxStream<'static, Event>);

impl Events {
    /// What `receiver` will hear, of a connection that is closed for good as `closed` says.
    pub(super) fn new(receiver: broadcast::Receiver<Event>, closed: Option<Error>) -> Self {
        if let Some(reason) = closed {
            return Self(stream::once(async { Event::Closed(reason) }).boxed());
        }
        let events = stream::unfold(Some(receiver), |receiver| async {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Ok(last @ Event::Closed(_)) => Some((last, None)),
                Ok(event) => Some((event, Some(receiver))),
                Err(RecvError::Lagged(missed)) => Some((Event::Missed(missed), Some(receiver))),
                Err(RecvError::Closed) => None,
            }
        });
        Self(events.boxed())
    }

    /// The next event, without `StreamExt`. `None` once the connection is closed for good.
    ///
    /// # Cancel safety
    /// No event is lost when this is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.next().await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
