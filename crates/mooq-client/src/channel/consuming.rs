//! Consumers of a channel: their deliveries, registration and end.

use std::collections::VecDeque;
use std::iter;
use std::sync::{Arc, Weak};

use mooq_core::{
    ChannelEvent, ConsumerTag, Deliver, Error, ErrorKind, ErrorScope, IntoChecked, QueueName,
    Result,
};

use super::consumers::Restorables;
use super::generation::Generation;
use super::inbox::Inbox;
use super::shared::ChannelShared;
use crate::connection::Event;

impl ChannelShared {
    /// Takes a delivery of `generation`, and the following ones in `batch` for the same consumer.
    pub(super) fn deliver(
        &self,
        deliver: Deliver,
        batch: &mut VecDeque<ChannelEvent>,
        generation: &Weak<Generation>,
    ) {
        let tag = deliver.consumer_tag.clone();
        if let Some(inbox) = self.consumers().inbox(&tag) {
            let more = iter::from_fn(|| next_for(&tag, batch));
            inbox.push(iter::once(deliver).chain(more), generation);
        } else if let Some(generation) = generation.upgrade() {
            // Its consumer was never registered: the caller no longer waited for the broker's
            // answer.
            generation.give_back(deliver.delivery_tag);
        }
    }

    /// Handles the broker's cancellation of a consumer on `generation`.
    pub(super) fn consumer_cancelled(&self, tag: ConsumerTag, generation: &Weak<Generation>) {
        if let Some(inbox) = self.consumers().remove(&tag) {
            let queue = inbox.queue();
            // The queue was deleted by another client. If it were redeclared at the next loss, it
            // would fill without a consumer.
            if !self.core().consumes(&queue) {
                self.core().topology().queue_deleted(&queue);
            }
            let error = Error::new(
                ErrorKind::ConsumerCancelled,
                format!(
                    "the broker cancelled the consumer '{tag}' of queue '{queue}', as it does when \
                     the queue is deleted, or on RabbitMQ 4.3 when a delivery from a quorum queue \
                     is not acknowledged within the queue's consumer timeout"
                ),
            );
            self.consumer_failed(&inbox, error);
        }
        self.cancel_for_good(tag, generation);
    }

    /// Cancels a consumer that the broker says it has cancelled. RabbitMQ 4.3 keeps a consumer
    /// whose delivery was overdue, and delivers to it again once the delivery is settled.
    fn cancel_for_good(&self, tag: ConsumerTag, generation: &Weak<Generation>) {
        let Some(generation) = generation.upgrade() else {
            return;
        };
        self.core().runtime().spawn(async move {
            if let Err(err) = generation.transport().cancel(tag).await {
                tracing::debug!(%err, "the consumer went with its channel");
            }
        });
    }

    /// Ends a consumer that ended by itself and is not registered any more.
    fn consumer_failed(&self, inbox: &Inbox, error: Error) {
        let queue = inbox.queue();
        inbox.end(error.clone());
        self.core().tell(Event::ConsumerEnded { queue, error });
    }

    /// Ends a consumer that could not be registered again.
    pub(crate) fn not_restored(&self, tag: &ConsumerTag, error: Error) {
        if let Some(inbox) = self.consumers().remove(tag) {
            // The channel was closed because of the consumer, but only the consumer ends.
            let message = format!(
                "the consumer '{tag}' of queue '{}' could not be registered again: {error}",
                inbox.queue()
            );
            let error = Error::new(error.kind(), message).with_source(error);
            self.consumer_failed(&inbox, error);
        }
    }

    /// Returns the consumers to register again, in order.
    pub(crate) fn restorable(&self) -> Restorables {
        self.consumers().restorable()
    }

    /// Returns the auto-delete queues of the channel's consumers.
    pub(crate) fn auto_delete_queues(&self) -> Vec<QueueName> {
        let restorable = self.restorable();
        let topology = self.core().topology();
        let queues = restorable.all.iter().map(|one| one.inbox.queue());
        queues
            .filter(|queue| topology.is_auto_delete(queue))
            .collect()
    }

    /// Returns a consumer tag that no other consumer of this channel has.
    pub(super) fn new_tag(&self) -> Result<ConsumerTag> {
        loop {
            let number = self.next_tag();
            let tag = format!("mooq-{number}").into_checked()?;
            if !self.consumers().contains(&tag) {
                return Ok(tag);
            }
        }
    }

    /// Adds a consumer before it is announced to the broker.
    pub(super) fn add_consumer(&self, tag: ConsumerTag, inbox: Arc<Inbox>) -> Result<()> {
        self.consumers().add(tag, inbox)?;
        // The channel may have ended in between, and notified only the consumers that it knew.
        if let Some(err) = self.gone() {
            self.consumers().end(&err);
        }
        Ok(())
    }

    /// Calls `basic.cancel`, and forgets the consumer once that is answered. By then all its
    /// deliveries are in its inbox. A channel that is being reopened is restored without the
    /// consumer.
    pub(crate) async fn unsubscribe(&self, tag: ConsumerTag, inbox: &Inbox) -> Result<()> {
        let cancelled = match self.forget_consumer(&tag) {
            Some(generation) => generation.transport().cancel(tag.clone()).await,
            None => self.gone().map_or(Ok(()), Err),
        };
        self.remove_consumer(&tag).await;
        // By the current name.
        self.consumer_gone(&inbox.queue());
        match cancelled {
            // The consumer went with the generation.
            Err(err) if err.scope() != ErrorScope::Operation && self.gone().is_none() => Ok(()),
            other => other,
        }
    }

    /// Returns true if one of the consumers is on `queue`.
    pub(crate) fn consumes(&self, queue: &QueueName) -> bool {
        self.consumers().consume_from(queue)
    }

    /// Handles the end of a consumer of `queue`: an auto-delete queue is deleted with its last
    /// consumer, and must not be redeclared after that.
    pub(super) fn consumer_gone(&self, queue: &QueueName) {
        let core = self.core();
        if core.topology().is_auto_delete(queue) && !core.consumes(queue) {
            core.topology().queue_deleted(queue);
        }
    }

    /// Cancels all consumers.
    pub(crate) async fn stop_consuming(&self) {
        if self.is_own() {
            self.stop_own().await;
            return;
        }
        for (tag, inbox) in self.consumers().all() {
            if let Err(err) = self.unsubscribe(tag, &inbox).await {
                tracing::debug!(%err, "the consumer is gone already");
            }
            inbox.cancelled(self.core().dispatch());
        }
    }

    /// Ends the consumer that owns this channel.
    async fn stop_own(&self) {
        let consumers = self.consumers().all();
        if consumers.iter().any(|(_, inbox)| inbox.is_stream()) {
            // The stream yields the waiting deliveries, which are settled while the channel is
            // open.
            self.end_stream();
        } else if let Err(err) = self.end_own().await {
            tracing::debug!(%err, "the consumer is gone already");
        }
    }

    /// Forgets a consumer, once all its deliveries are in its inbox.
    pub(super) async fn remove_consumer(&self, tag: &ConsumerTag) {
        self.inlet().catch_up().await;
        drop(self.consumers().remove(tag));
    }
}

/// Takes the first event of `batch` if it is a delivery for the consumer `tag`, skipping events of
/// publishes, which are settled already.
fn next_for(tag: &ConsumerTag, batch: &mut VecDeque<ChannelEvent>) -> Option<Deliver> {
    loop {
        match batch.front()? {
            ChannelEvent::Deliver(deliver) if deliver.consumer_tag == *tag => {}
            ChannelEvent::Confirm { .. } | ChannelEvent::Nack { .. } | ChannelEvent::Return(_) => {}
            _ => return None,
        }
        if let Some(ChannelEvent::Deliver(deliver)) = batch.pop_front() {
            return Some(deliver);
        }
    }
}
