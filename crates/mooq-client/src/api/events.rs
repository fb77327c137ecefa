//! The events of a connection, for its users to watch.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use mooq_core::Error;
use mooq_session::Event;
use tokio::sync::broadcast::{self, error::RecvError};

/// The events of a connection, as a [`Stream`]: made by
/// [`Connection::events`](crate::Connection::events). The stream ends after [`Event::Closed`].
#[must_use = "a stream does nothing unless it is polled"]
pub struct Events(BoxStream<'static, Event>);

impl Events {
    /// Events that `receiver` will get; if the connection is closed for good, `closed` is the
    /// reason and the only event.
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

    /// Returns the next event, without `StreamExt`. `None` once the connection is closed for good.
    ///
    /// # Cancel safety
    /// No event is lost if the future is dropped.
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
