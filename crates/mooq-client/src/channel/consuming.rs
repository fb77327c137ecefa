//! A channel's consumers: their deliveries, and their comings and goings.

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
    /// Takes a delivery that came on `generation`, and with it those for the same consumer that
    /// follow in `batch`.
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
            // Its consumer did not come to be: nobody waited any more for the broker's answer.
            generation.give_back(deliver.delivery_tag);
        }
    }

    pub(super) fn consumer_cancelled(&self, tag: &ConsumerTag) {
        if let Some(inbox) = self.consumers().remove(tag) {
            let queue = inbox.queue();
            self.consumer_gone(&queue);
            let error = Error::new(
                ErrorKind::ConsumerCancelled,
                format!(
                    "the broker cancelled the consumer '{tag}' of queue '{queue}', as it does when \
                     the queue is deleted"
                ),
            );
            self.consumer_failed(&inbox, error);
        }
    }

    /// A consumer, which is not registered any more, has ended by itself.
    fn consumer_failed(&self, inbox: &Inbox, error: Error) {
        let queue = inbox.queue();
        inbox.end(error.clone());
        self.core().tell(Event::ConsumerEnded { queue, error });
    }

    /// A consumer could not be registered again.
    pub(crate) fn not_restored(&self, tag: &ConsumerTag, error: Error) {
        if let Some(inbox) = self.consumers().remove(tag) {
            // The channel was closed for it, but what ends is the consumer alone.
            let message = format!(
                "the consumer '{tag}' of queue '{}' could not be registered again: {error}",
                inbox.queue()
            );
            let error = Error::new(error.kind(), message).with_source(error);
            self.consumer_failed(&inbox, error);
        }
    }

    /// The consumers that come back, in order.
    pub(crate) fn restorable(&self) -> Restorables {
        self.consumers().restorable()
    }

    /// The queues of its consumers that go with their last one.
    pub(crate) fn auto_delete_queues(&self) -> Vec<QueueName> {
        let restorable = self.restorable();
        let topology = self.core().topology();
        let queues = restorable.all.iter().map(|one| one.inbox.queue());
        queues
            .filter(|queue| topology.is_auto_delete(queue))
            .collect()
    }

    /// A consumer tag that no other consumer of this channel has.
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
        // The channel may have ended in between, having told only those it knew.
        if let Some(err) = self.gone() {
            self.consumers().end(&err);
        }
        Ok(())
    }

    /// `basic.cancel`, and forgets the consumer once that is answered. All that came for it is in
    /// its inbox then. A channel that is on its way back comes without the consumer.
    pub(crate) async fn unsubscribe(&self, tag: ConsumerTag, inbox: &Inbox) -> Result<()> {
        let cancelled = match self.forget_consumer(&tag) {
            Some(generation) => generation.transport().cancel(tag.clone()).await,
            None => self.gone().map_or(Ok(()), Err),
        };
        self.remove_consumer(&tag).await;
        // As it is called by now.
        self.consumer_gone(&inbox.queue());
        match cancelled {
            // The consumer went with the generation.
            Err(err) if err.scope() != ErrorScope::Operation && self.gone().is_none() => Ok(()),
            other => other,
        }
    }

    /// Whether one of the consumers is on `queue`.
    pub(crate) fn consumes(&self, queue: &QueueName) -> bool {
        self.consumers().consume_from(queue)
    }

    /// A consumer of `queue` is no more: an auto-delete queue goes with its last one, and must
    /// not come back then.
    pub(super) fn consumer_gone(&self, queue: &QueueName) {
        let core = self.core();
        if core.topology().is_auto_delete(queue) && !core.consumes(queue) {
            core.topology().queue_deleted(queue);
        }
    }

    /// Cancels all consumers.
    pub(crate) async fn stop_consuming(&self) {
        for (tag, inbox) in self.consumers().all() {
            if let Err(err) = self.unsubscribe(tag, &inbox).await {
                tracing::debug!(%err, "the consumer is gone already");
            }
            inbox.cancelled(self.core().dispatch());
        }
    }

    /// Forgets a consumer, once all that came for it is in its inbox.
    pub(super) async fn remove_consumer(&self, tag: &ConsumerTag) {
        self.inlet().catch_up().await;
        drop(self.consumers().remove(tag));
    }
}

/// The first of `batch`, if it is a delivery for the consumer `tag`, past what is said of publishes
/// and settled already.
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
