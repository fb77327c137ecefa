//! A message on its way to the transport, and its outcome to be awaited.

use std::fmt;
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
#[must_use = "a publish that was not confirmed may be lost"]
pub struct Confirmation {
    /// None once the outcome has been returned.
    pending: Option<(Arc<ChannelRef>, PublishId)>,
    watchers: Vec<Watcher>,
}

type Watcher = Box<dyn FnOnce(&Result<()>) + Send + Sync>;

impl fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Confirmation").field(&self.pending).finish()
    }
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
    /// Calls `watcher` with the outcome when this is awaited: for layers around publishes. If the
    /// confirmation is dropped before, `watcher` is dropped too.
    pub fn watch(mut self, watcher: impl FnOnce(&Result<()>) + Send + Sync + 'static) -> Self {
        self.watchers.push(Box::new(watcher));
        self
    }

    /// Returns the outcome with the id of the wire that confirmed.
    pub(super) fn poll_on(&mut self, cx: &Context<'_>) -> Poll<Result<u64>> {
        let Some((channel, id)) = &self.pending else {
            return Poll::Ready(Err(already_resolved()));
        };
        let outcome = ready!(channel.port().with(|port| port.poll_on(*id, cx)));
        self.pending = None;
        if !self.watchers.is_empty() {
            let seen = outcome.as_ref().map(|_| ()).map_err(Clone::clone);
            self.watchers.drain(..).for_each(|watcher| watcher(&seen));
        }
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

/// A message on its way to the transport, as a layer around publishes sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outgoing {
    /// The message.
    pub message: Message,
    /// Whether the broker returns the message if it reaches no queue.
    pub mandatory: bool,
    pub(crate) channel: Arc<ChannelRef>,
    pub(crate) terms: PublishTerms,
    /// Whether handing the message over waits until the transport has room for more.
    pub(crate) waits_for_room: bool,
}

impl Outgoing {
    /// Hands the message over.
    pub(super) fn hand_over(self) -> Result<(Confirmation, Handoff)> {
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
        let confirmation = Confirmation {
            pending: Some((self.channel, id)),
            watchers: Vec::new(),
        };
        Ok((confirmation, handoff))
    }

    /// Hands the message over, and waits for room if it should.
    pub(super) async fn into_transport(self) -> Result<Confirmation> {
        let (limit, waits) = (self.terms.limit, self.waits_for_room);
        let (confirmation, handoff) = self.hand_over()?;
        if let (Handoff::Full(room), true) = (handoff, waits) {
            let room = async {
                room.await;
                Ok(())
            };
            within(limit, "waiting for room to publish", room).await?;
        }
        Ok(confirmation)
    }
}
