//! The way of a publish through the layers of its channel, and its future.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mooq_core::{Error, ErrorKind, Result};
use mooq_session::already_resolved;
use tower_service::Service;

use super::confirmation::{Confirmation, Outgoing};
use super::layers::PublishService;
use crate::runtime::timeout::within;

/// A publish that is ready to be handed over, through its channel's layers.
pub(crate) struct Prepared {
    pub(crate) outgoing: Outgoing,
    /// None without layers.
    pub(crate) through: Option<PublishService>,
}

impl Prepared {
    /// Hands the message over, and waits until the transport has room for more.
    pub(crate) async fn send(self) -> Result<Confirmation> {
        match self.through {
            None => self.outgoing.into_transport().await,
            Some(layers) => layered(layers, self.outgoing).await,
        }
    }

    /// Hands the message over, as far as no layer waits.
    pub(super) fn now(mut self) -> Result<Confirmation> {
        self.outgoing.waits_for_room = false;
        let Some(layers) = self.through else {
            return self
                .outgoing
                .hand_over()
                .map(|(confirmation, _)| confirmation);
        };
        let published = layered(layers, self.outgoing).now_or_never();
        published.unwrap_or_else(|| {
            Err(Error::new(
                ErrorKind::NotAllowed,
                "a layer around this publish waits, which publish_now() cannot: use send()",
            ))
        })
    }
}

/// Hands the message over through layers, which may take as long as the publish may.
fn layered(
    mut layers: PublishService,
    outgoing: Outgoing,
) -> BoxFuture<'static, Result<Confirmation>> {
    let limit = outgoing.terms.limit;
    Box::pin(async move { within(limit, "publishing", layers.call(outgoing)).await })
}

/// The future of a [`Publish`](crate::Publish): ready when the broker has confirmed.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Published(State);

/// State of a [`Published`].
enum State {
    Unsent(Result<Prepared>),
    InLayers(BoxFuture<'static, Result<Confirmation>>),
    Sent(Confirmation),
    Over,
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Unsent(_) => "Published(unsent)",
            State::InLayers(_) => "Published(in layers)",
            State::Sent(_) => "Published(sent)",
            State::Over => "Published(over)",
        })
    }
}

impl Published {
    pub(crate) fn new(prepared: Result<Prepared>) -> Self {
        Self(State::Unsent(prepared))
    }
}

impl Future for Published {
    type Output = Result<()>;

    /// # Errors
    /// As of the [`Publish`](crate::Publish). `InvalidArgument` if the future was ready before.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let State::Unsent(_) = self.0
            && let State::Unsent(prepared) = mem::replace(&mut self.0, State::Over)
        {
            let Prepared {
                mut outgoing,
                through,
            } = prepared?;
            // Waiting for room keeps a publisher from running ahead; this publish waits for its
            // confirm, which takes longer.
            outgoing.waits_for_room = false;
            self.0 = match through {
                None => State::Sent(outgoing.hand_over()?.0),
                Some(layers) => State::InLayers(layered(layers, outgoing)),
            };
        }
        if let State::InLayers(handing_over) = &mut self.0 {
            let handed_over = ready!(handing_over.as_mut().poll(cx));
            self.0 = State::Over;
            self.0 = State::Sent(handed_over?);
        }
        match &mut self.0 {
            State::Sent(confirmation) => Pin::new(confirmation).poll(cx),
            _ => Poll::Ready(Err(already_resolved())),
        }
    }
}
