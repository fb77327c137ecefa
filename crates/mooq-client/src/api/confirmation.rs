//! Handoff of a publish, and its outcome to be awaited.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use mooq_core::{Handoff, Message, Result};
use mooq_session::{PortCell, PublishId, PublishTerms, Taken, already_resolved, check_properties};

use crate::runtime::ChannelRef;
use crate::runtime::timeout::within;

/// The outcome of a publish, to be awaited. Dropping the confirmation does not take the message
/// back: its outcome stays unknown.
#[derive(Debug)]
#[must_use = "a publish that was not confirmed may be lost"]
pub struct Confirmation {
    /// None once the outcome has been returned.
    pending: Option<(Arc<ChannelRef>, PublishId)>,
}

impl Future for Confirmation {
    type Output = Result<()>;

    /// # Errors
    /// As awaiting the [`Publish`](crate::Publish) itself. `InvalidArgument` if the confirmation
    /// was ready before.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_on(cx).map(|outcome| outcome.map(drop))
    }
}

impl Confirmation {
    /// Returns the outcome with the id of the wire that confirmed.
    pub(super) fn poll_on(&mut self, cx: &Context<'_>) -> Poll<Result<u64>> {
        let Some((channel, id)) = &self.pending else {
            return Poll::Ready(Err(already_resolved()));
        };
        let outcome = ready!(channel.port().with(|port| port.poll_on(*id, cx)));
        self.pending = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Confirmation {
    fn drop(&mut self) {
        if let Some((channel, id)) = self.pending.take() {
            channel.abandon(id);
        }
    }
}

/// A publish that is ready to be handed over.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) channel: Arc<ChannelRef>,
    pub(crate) message: Message,
    pub(crate) mandatory: bool,
    pub(crate) terms: PublishTerms,
}

impl Prepared {
    /// Hands the message over.
    pub(crate) fn hand_over(self) -> Result<(Confirmation, Handoff)> {
        let publish = mooq_core::Publish {
            mandatory: self.mandatory,
            ..mooq_core::Publish::new(self.message)
        };
        let properties = &publish.message.properties;
        properties.headers.check("header")?;
        // The other properties are short strings, and always fit.
        if !properties.headers.is_empty() {
            let frame_max = self.channel.with(|session| session.frame_max());
            check_properties(properties, frame_max)?;
        }
        let Taken { id, handoff, .. } = self.channel.publish(publish, self.terms)?;
        let pending = Some((self.channel, id));
        Ok((Confirmation { pending }, handoff))
    }

    /// Hands the message over, and waits until the transport has room for more.
    pub(crate) async fn send(self) -> Result<Confirmation> {
        let limit = self.terms.limit;
        let (confirmation, handoff) = self.hand_over()?;
        if let Handoff::Full(room) = handoff {
            let room = async {
                room.await;
                Ok(())
            };
            within(limit, "waiting for room to publish", room).await?;
        }
        Ok(confirmation)
    }
}

/// The future of a [`Publish`](crate::Publish): ready when the broker has confirmed.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Published {
    /// None from the first poll on.
    unsent: Option<Result<Prepared>>,
    /// None before the first poll, or if the handoff failed.
    confirmation: Option<Confirmation>,
}

impl Published {
    pub(crate) fn new(prepared: Result<Prepared>) -> Self {
        Self {
            unsent: Some(prepared),
            confirmation: None,
        }
    }
}

impl Future for Published {
    type Output = Result<()>;

    /// # Errors
    /// As of the [`Publish`](crate::Publish). `InvalidArgument` if the future was ready before.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(prepared) = self.unsent.take() {
            // Waiting for room keeps a publisher from running ahead; this publish waits for its
            // confirm, which takes longer.
            let (confirmation, _room) = prepared?.hand_over()?;
            self.confirmation = Some(confirmation);
        }
        match &mut self.confirmation {
            Some(confirmation) => Pin::new(confirmation).poll(cx),
            None => Poll::Ready(Err(already_resolved())),
        }
    }
}
