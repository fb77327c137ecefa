//! Registering a consumer with the broker, for streams and callbacks alike.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use mooq_core::{Consume, ConsumerTag, Error, ErrorKind, QueueName, Result};
use mooq_retry::Known;
use mooq_session::reasons::{closed_locally, is_channel_limit};
use mooq_session::{AfterCancel, ConsumerId, Handed, Reply, Sink, check_arguments};

use super::channel::Channel;
use crate::runtime::timeout::within;
use crate::runtime::{Tokio, WireRef};

/// A consumer that is registered, and the channel that it is on.
#[derive(Debug)]
pub(crate) struct Subscribed {
    pub(crate) channel: Channel,
    pub(crate) id: ConsumerId,
    pub(crate) tag: ConsumerTag,
}

/// The channel to register a consumer on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// This channel, or one of its own if the order of its queue depends on how the consumer ends.
    #[default]
    ByQueue,
    /// A channel of its own, as its user asks.
    OwnChannel,
    /// This channel, and not again when the channel is reopened.
    Once,
}

impl Channel {
    /// Registers a consumer with the broker, within the connection's timeout. If the future is
    /// dropped midway, no consumer stays registered.
    pub(crate) async fn subscribe(
        &self,
        consume: Consume,
        prefetch: u16,
        place: Place,
        sink: Sink<Tokio>,
    ) -> Result<Subscribed> {
        check_arguments(&consume.arguments, self.frame_max())?;
        let channel = match place {
            Place::ByQueue => self.channel_for(&consume).await?,
            Place::OwnChannel => self.own_channel_for(&consume).await?,
            Place::Once => self.clone(),
        };
        let recoverable = place != Place::Once;
        let what = format!("consuming queue '{}'", consume.queue);
        let shared = channel.shared();
        let call = shared.inner().call(|session, caller| {
            session.consume(shared.id(), consume, prefetch, recoverable, sink, caller)
        });
        match within(self.timeout(), &what, call).await? {
            Reply::Consumer(id, tag) => Ok(Subscribed { channel, id, tag }),
            _ => Err(closed_locally()),
        }
    }

    /// The channel for a consumer: one of its own if the order of its queue depends on how it ends,
    /// and this one if the broker allows no more channels.
    async fn channel_for(&self, consume: &Consume) -> Result<Channel> {
        let shared = self.shared();
        let id = shared.id();
        if !shared.with(|session| session.needs_own_channel(id, consume)) {
            return Ok(self.clone());
        }
        match self.own_channel().await {
            Ok(own) => Ok(own),
            Err(err) if is_channel_limit(&err) => {
                tracing::warn!(
                    %err,
                    "a consumer that should keep its queue's order shares its channel: what it has \
                     not settled when it is cancelled may come out of order"
                );
                Ok(self.clone())
            }
            Err(err) => Err(err),
        }
    }

    async fn own_channel_for(&self, consume: &Consume) -> Result<Self> {
        if consume.queue.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "a consumer on a channel of its own needs its queue's name: an empty one stands for \
                 the queue that the channel declared last",
            ));
        }
        self.own_channel().await
    }

    /// Opens a channel for one consumer, which closes with this channel.
    async fn own_channel(&self) -> Result<Self> {
        let own = self.sibling().await?;
        let shared = self.shared();
        shared.with(|session| session.adopt(shared.id(), own.shared().id()));
        Ok(own)
    }
}

/// The deliveries of a consumer, to be polled. If it is dropped, the consumer is cancelled, and the
/// deliveries that wait are requeued.
#[derive(Debug)]
pub(crate) struct Subscription {
    channel: Channel,
    id: ConsumerId,
    tag: ConsumerTag,
}

impl Subscription {
    /// Registers a consumer.
    pub(crate) async fn open(
        channel: &Channel,
        consume: Consume,
        prefetch: u16,
        place: Place,
    ) -> Result<Self> {
        let sink = Sink::Stream(None);
        let subscribed = channel.subscribe(consume, prefetch, place, sink).await?;
        let Subscribed { channel, id, tag } = subscribed;
        Ok(Self { channel, id, tag })
    }

    pub(crate) fn tag(&self) -> &ConsumerTag {
        &self.tag
    }

    /// Returns the destination of the rejected messages of `queue`, as far as it is known to exist.
    pub(crate) fn known(&self, queue: &QueueName) -> Known {
        self.channel.shared().inner().known(queue)
    }

    /// Takes the oldest delivery, or returns the reason why no more arrive.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Result<Handed<WireRef>, Error>> {
        let shared = self.channel.shared();
        let next = shared.with(|session| session.poll_stream(self.id, cx.waker()));
        Poll::Ready(ready!(next).map_err(|end| end.unwrap_or_else(closed_locally)))
    }

    /// Returns true if the consumer has a channel of its own, whose end requeues its unsettled
    /// deliveries.
    pub(crate) fn has_own_channel(&self) -> bool {
        let shared = self.channel.shared();
        shared.with(|session| session.is_owned(shared.id()))
    }

    /// Cancels the consumer. Waiting deliveries can still be taken.
    pub(crate) async fn cancel(&self) -> Result<()> {
        let shared = self.channel.shared();
        let cancelling = shared
            .inner()
            .call(|session, caller| session.cancel(self.id, AfterCancel::Keep, caller));
        within(self.channel.timeout(), "basic.cancel", cancelling)
            .await
            .map(drop)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let shared = Arc::clone(self.channel.shared());
        shared.with(|session| session.drop_stream(self.id));
    }
}
