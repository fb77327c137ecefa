//! A consumer with a callback, once it is registered.

use std::sync::Arc;

use mooq_core::{ConsumerTag, QueueName, Result};

use crate::channel::{Channel, Inbox};

/// A registered consumer. Dropping this changes nothing: the consumer stays until it is
/// cancelled or its channel is closed.
#[derive(Debug)]
pub struct Consumer {
    pub(super) channel: Channel,
    pub(super) tag: ConsumerTag,
    pub(super) inbox: Arc<Inbox>,
}

impl Consumer {
    /// The consumer's tag.
    #[must_use]
    pub fn tag(&self) -> &ConsumerTag {
        &self.tag
    }

    /// The queue that it consumes from: the broker's choice, if it was asked to choose, which may
    /// be another one after the connection was lost.
    #[must_use]
    pub fn queue(&self) -> QueueName {
        self.inbox.queue()
    }

    /// Ends the consumer. Callbacks that run finish and are settled; deliveries that were not
    /// begun go back to their queue, or with automatic acknowledgement are still processed.
    ///
    /// # Errors
    /// The channel's close, if it is closed.
    ///
    /// # Cancel safety
    /// Once polled, the cancellation goes on when this is dropped.
    pub async fn cancel(self) -> Result<()> {
        let Self {
            channel,
            tag,
            inbox,
        } = self;
        let whole = channel.clone();
        channel
            .run_to_end("basic.cancel", async move {
                let cancelled = whole.shared().unsubscribe(tag, &inbox).await;
                inbox.cancelled(whole.dispatch());
                cancelled
            })
            .await
    }
}
