//! A consumer registered with the broker, until it is cancelled.

use std::sync::Arc;

use mooq_core::{Consume, ConsumerTag, Error, ErrorKind, QueueName, Result};

use super::Channel;
use super::generation::Source;
use super::inbox::{Addressee, Inbox};
use crate::consumer::Escape;
use crate::frame::check_arguments;
use crate::presence::Usable;
use crate::timeout::within;

/// A consumer's registration with the broker. If it is dropped, the consumer is cancelled, and the
/// deliveries that wait in its inbox are requeued.
#[derive(Debug)]
pub(crate) struct Subscription {
    channel: Channel,
    tag: ConsumerTag,
    inbox: Arc<Inbox>,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Consuming,
    Cancelled,
    /// Another owner has taken over.
    Kept,
}

/// Choice to register a consumer again when its channel is reopened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    Yes,
    No,
}

impl Channel {
    /// Calls `basic.consume`, after `basic.qos` with `prefetch`. A tag is chosen if there is none.
    /// Deliveries go to `callback`, or if none, wait for a stream. If the future is dropped midway,
    /// no consumer stays registered.
    pub(crate) async fn subscribe(
        &self,
        mut consume: Consume,
        prefetch: u16,
        lasting: Lasting,
        callback: Option<Addressee>,
    ) -> Result<Subscription> {
        let shared = self.shared();
        check_arguments(&consume.arguments, shared.core().frame_max())?;
        if consume.tag.is_empty() {
            consume.tag = shared.new_tag()?;
        }
        if lasting == Lasting::Yes
            && self.keeps_order(&consume)
            && let Some(own) = self.own_channel().await?
        {
            return Box::pin(own.subscribe(consume, prefetch, lasting, callback)).await;
        }
        let turn = async { Ok(shared.subscribing.lock().await) };
        let what = "waiting for another consumer's registration";
        let _one_at_a_time = within(self.timeout(), what, turn).await?;
        let what = "waiting for the channel";
        let generation = within(self.timeout(), what, shared.generation()).await?;
        // Only now: the queue may have got a new name while this waited.
        shared.core().use_current_name(&mut consume.queue);
        let qos = generation.transport().qos(prefetch, false);
        within(self.timeout(), "basic.qos", qos).await?;

        let source = Source {
            generation: Arc::clone(&generation),
            queue: consume.queue.clone(),
        };
        let inbox = Arc::new(Inbox::new(source, consume.no_ack, callback));
        shared.add_consumer(consume.tag.clone(), Arc::clone(&inbox))?;
        let mut subscription = Subscription {
            channel: self.clone(),
            tag: consume.tag.clone(),
            inbox,
            state: State::Consuming,
        };
        let what = format!("consuming queue '{}'", consume.queue);
        let consuming = generation.transport().consume(consume.clone());
        if let Err(err) = within(self.timeout(), &what, consuming).await {
            if !generation.is_usable() {
                shared.remove_consumer(&consume.tag).await;
                subscription.state = State::Cancelled;
            }
            return Err(err);
        }
        if lasting == Lasting::Yes && !shared.consumers().record(consume, prefetch) {
            // The generation was lost at the last moment, and the consumer with it.
            subscription.state = State::Cancelled;
            return Err(subscription.inbox.ended().unwrap_or_else(|| {
                let message = format!("the channel was lost while {what}");
                Error::channel(ErrorKind::ConnectionLost, message)
            }));
        }
        Ok(subscription)
    }
}

impl Channel {
    /// Returns true if the order of the queue depends on how the consumer ends: another consumer
    /// becomes active when this one is cancelled, and must not do so before the cancelled one's
    /// unacked deliveries are requeued.
    fn keeps_order(&self, consume: &Consume) -> bool {
        let shared = self.shared();
        if consume.no_ack || consume.queue.is_empty() || shared.is_own() {
            return false;
        }
        consume.exclusive || shared.core().topology().is_single_active(&consume.queue)
    }

    /// Opens a channel for one consumer of this channel. None if the broker allows no more
    /// channels.
    async fn own_channel(&self) -> Result<Option<Channel>> {
        match self.sibling().await {
            Ok(own) => {
                self.shared().add_own_channel(own.shared());
                Ok(Some(own))
            }
            Err(err) if err.kind() == ErrorKind::NotAllowed => {
                tracing::warn!(
                    %err,
                    "a consumer that should keep its queue's order shares its channel: what it has \
                     not settled when it is cancelled may come out of order"
                );
                Ok(None)
            }
            Err(err) => Err(err),
        }
    }
}

impl Subscription {
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Returns true if the consumer owns its channel, whose end requeues its unsettled deliveries.
    pub(crate) fn has_own_channel(&self) -> bool {
        self.channel.shared().is_own()
    }

    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Returns the known destination of the rejected messages of `queue`.
    pub(crate) fn escape(&self, queue: &QueueName) -> Escape {
        self.channel.shared().core().topology().escape(queue)
    }

    pub(crate) fn tag(&self) -> &ConsumerTag {
        &self.tag
    }

    /// Hands the consumer over to the caller, for good.
    pub(crate) fn keep(mut self) -> ConsumerTag {
        self.state = State::Kept;
        self.tag.clone()
    }

    /// Cancels the consumer. Waiting deliveries can still be taken from the inbox.
    pub(crate) async fn cancel(&mut self) -> Result<()> {
        let (shared, tag) = (Arc::clone(self.channel.shared()), self.tag.clone());
        let inbox = Arc::clone(&self.inbox);
        self.channel
            .run_to_end("basic.cancel", async move {
                match shared.is_own() {
                    true => shared.end_own().await,
                    false => shared.unsubscribe(tag, &inbox).await,
                }
            })
            .await?;
        self.state = State::Cancelled;
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        match self.state {
            State::Kept => {}
            State::Cancelled => self.inbox.give_back(),
            State::Consuming => {
                let (channel, tag) = (self.channel.clone(), self.tag.clone());
                let inbox = Arc::clone(&self.inbox);
                self.channel.shared().core().runtime().spawn(async move {
                    if channel.shared().is_own() {
                        if let Err(err) = channel.shared().end_own().await {
                            tracing::debug!(%err, "the consumer is gone already");
                        }
                        return;
                    }
                    if let Err(err) = channel.shared().unsubscribe(tag, &inbox).await {
                        tracing::debug!(%err, "the consumer is gone already");
                    }
                    // Only after cancel-ok: a delivery that is requeued earlier may be redelivered
                    // to this consumer.
                    inbox.give_back();
                });
            }
        }
    }
}
