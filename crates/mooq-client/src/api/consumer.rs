//! A registered consumer with a callback.

use mooq_core::{Consume, ConsumerTag, QueueName, Result};
use mooq_session::{AfterCancel, ConsumerId, Sink};

use super::channel::Channel;
use super::subscription::{Place, Subscribed};
use crate::runtime::Tokio;
use crate::runtime::timeout::within;

/// A registered consumer. Dropping the handle changes nothing: the consumer stays until it is
/// cancelled or its channel is closed.
#[derive(Debug)]
pub struct Consumer {
    /// Keeps the connection open.
    channel: Channel,
    id: ConsumerId,
    tag: ConsumerTag,
    /// The queue's name when the consumer was registered.
    queue: QueueName,
}

impl Channel {
    /// Registers a consumer whose deliveries go to a callback.
    pub(super) async fn register(
        &self,
        consume: Consume,
        prefetch: u16,
        place: Place,
        sink: Sink<Tokio>,
    ) -> Result<Consumer> {
        let subscribed = self.subscribe(consume, prefetch, place, sink).await?;
        let Subscribed { channel, id, tag } = subscribed;
        let queue = channel
            .shared()
            .with(|session| session.queue_of(id).cloned());
        Ok(Consumer {
            queue: queue.unwrap_or_default(),
            channel,
            id,
            tag,
        })
    }
}

impl Consumer {
    /// Returns the consumer's tag.
    #[must_use]
    pub fn tag(&self) -> &ConsumerTag {
        &self.tag
    }

    /// Returns the queue that the consumer consumes from. For a server-named queue this is the
    /// broker's choice, which may be another one after the connection was lost.
    #[must_use]
    pub fn queue(&self) -> QueueName {
        let now = self
            .channel
            .shared()
            .with(|session| session.queue_of(self.id).cloned());
        now.unwrap_or_else(|| self.queue.clone())
    }

    /// Cancels the consumer. Running callbacks finish and their deliveries are settled; deliveries
    /// whose callback has not started are requeued, or with automatic acknowledgement still
    /// processed. A queue that was registered without a name is deleted with its consumer.
    ///
    /// If the consumer is [exclusive](crate::RegisterConsumer::exclusive_consumer), or this
    /// connection declared its queue with `x-single-active-consumer`, its deliveries are requeued
    /// before the next consumer can become active, so that their order holds. While callbacks run,
    /// the broker keeps the consumer until their deliveries are settled, even if `cancel` returns
    /// before.
    ///
    /// # Errors
    /// The channel's close, if it is closed.
    ///
    /// # Cancel safety
    /// Once polled, the cancellation continues even if the future is dropped.
    pub async fn cancel(self) -> Result<()> {
        let channel = self.channel.shared();
        let cancelling = channel
            .inner()
            .call(|session, caller| session.cancel(self.id, AfterCancel::End, caller));
        within(self.channel.timeout(), "basic.cancel", cancelling)
            .await
            .map(drop)
    }
}
