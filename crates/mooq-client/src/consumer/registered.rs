//! A registered consumer with a callback.

use std::sync::Arc;

use mooq_core::{ConsumerTag, QueueName, Result};

use crate::channel::{Channel, Inbox};

/// A registered consumer. Dropping the handle changes nothing: the consumer stays until it is
/// cancelled or its channel is closed.
#[derive(Debug)]
pub struct Consumer {
    pub(super) channel: Channel,
    pub(super) tag: ConsumerTag,
    pub(super) inbox: Arc<Inbox>,
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
        self.inbox.queue()
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
    /// Once polled, the cancellation goes on even if the future is dropped.
    pub async fn cancel(self) -> Result<()> {
        let Self {
            channel,
            tag,
            inbox,
        } = self;
        let whole = channel.clone();
        channel
            .run_to_end("basic.cancel", async move {
                if whole.shared().is_own() {
                    return whole.shared().end_own().await;
                }
                let cancelled = whole.shared().unsubscribe(tag, &inbox).await;
                inbox.cancelled(whole.dispatch());
                cancelled
            })
            .await
    }
}
