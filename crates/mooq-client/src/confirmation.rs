//! The outcome of a publish, to be awaited.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use mooq_core::{Error, Result};

use crate::channel::{ChannelShared, asked_twice};

/// The outcome of a publish, to be awaited. Dropping it changes nothing but that nobody learns
/// the outcome.
#[derive(Debug)]
#[must_use = "a publish that was not confirmed may be lost"]
pub struct Confirmation {
    /// None once the outcome was given.
    pending: Option<(Arc<ChannelShared>, u64)>,
}

impl Confirmation {
    pub(crate) fn new(channel: Arc<ChannelShared>, ticket: u64) -> Self {
        Self {
            pending: Some((channel, ticket)),
        }
    }
}

impl Future for Confirmation {
    type Output = Result<()>;

    /// # Errors
    /// As awaiting the [`Publish`](crate::Publish) itself. `InvalidArgument` if it was ready
    /// before.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some((channel, ticket)) = &self.pending else {
            return Poll::Ready(Err(asked_twice()));
        };
        let outcome = ready!(channel.ledger(|ledger| ledger.poll(*ticket, cx)));
        self.pending = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Confirmation {
    fn drop(&mut self) {
        if let Some((channel, ticket)) = self.pending.take() {
            channel.ledger(|ledger| ledger.abandon(ticket));
        }
    }
}

/// The future of a [`Publish`](crate::Publish): ready when the broker has confirmed.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Published(State);

enum State {
    /// Nothing was sent. None once the error was given.
    Failed(Option<Error>),
    Sent(Confirmation),
}

impl Published {
    pub(crate) fn failed(err: Error) -> Self {
        Self(State::Failed(Some(err)))
    }

    pub(crate) fn sent(confirmation: Confirmation) -> Self {
        Self(State::Sent(confirmation))
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed(_) => "Failed",
            Self::Sent(_) => "Sent",
        })
    }
}

impl Future for Published {
    type Output = Result<()>;

    /// # Errors
    /// As the [`Publish`](crate::Publish) says. `InvalidArgument` if it was ready before.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.0 {
            State::Failed(err) => Poll::Ready(Err(err.take().unwrap_or_else(asked_twice))),
            State::Sent(confirmation) => Pin::new(confirmation).poll(cx),
        }
    }
}
