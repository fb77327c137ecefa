//! A consumer that the broker knows, until it is cancelled.

use std::sync::Arc;

use mooq_core::{Consume, ConsumerTag, Result};

use super::{Channel, Inbox, give_back};
use crate::deadline::within;

/// A consumer's life with the broker. Dropped, it is cancelled, and the deliveries that wait in
/// its inbox go back to the queue.
#[derive(Debug)]
pub(crate) struct Subscription {
    channel: Channel,
    tag: ConsumerTag,
    inbox: Arc<Inbox>,
    /// Deliveries are settled as they are sent, so that none can go back.
    no_ack: bool,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Consuming,
    Cancelled,
    /// Somebody else has taken over.
    Kept,
}

impl Channel {
    /// `basic.consume`, after `basic.qos` if a prefetch is given. A tag is chosen if there is
    /// none. Dropped midway, no consumer stays.
    pub(crate) async fn subscribe(
        &self,
        mut consume: Consume,
        prefetch: u16,
        inbox: Arc<Inbox>,
    ) -> Result<Subscription> {
        let shared = self.shared();
        if consume.tag.is_empty() {
            consume.tag = shared.new_tag()?;
        }
        let turn = async { Ok(shared.subscribing.lock().await) };
        let what = "waiting for another consumer's registration";
        let _one_at_a_time = within(self.deadline(), what, turn).await?;
        self.rpc("basic.qos", |c| c.qos(prefetch, false)).await?;
        shared
            .state()
            .add_consumer(consume.tag.clone(), Arc::clone(&inbox))?;
        let mut subscription = Subscription {
            channel: self.clone(),
            tag: consume.tag.clone(),
            inbox,
            no_ack: consume.no_ack,
            state: State::Consuming,
        };
        let what = format!("consuming queue '{}'", consume.queue);
        let consumed = self.rpc(&what, |c| c.consume(consume)).await;
        if let Err(err) = consumed {
            if self.shared().state().closed().is_some() {
                subscription.state = State::Cancelled;
            }
            return Err(err);
        }
        Ok(subscription)
    }
}

impl Subscription {
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Leaves the consumer to the caller, for good.
    pub(crate) fn keep(mut self) -> ConsumerTag {
        self.state = State::Kept;
        self.tag.clone()
    }

    /// Ends the consumer. What waits can still be taken from the inbox.
    pub(crate) async fn cancel(&mut self) -> Result<()> {
        let (shared, tag) = (Arc::clone(self.channel.shared()), self.tag.clone());
        self.channel
            .run_to_end("basic.cancel", async move { shared.unsubscribe(tag).await })
            .await?;
        self.state = State::Cancelled;
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let (inbox, no_ack) = (Arc::clone(&self.inbox), self.no_ack);
        let shared = Arc::clone(self.channel.shared());
        let give_back_rest = move || {
            for deliver in inbox.drain() {
                if !no_ack {
                    give_back(shared.transport(), deliver.delivery_tag);
                }
            }
        };
        match self.state {
            State::Kept => {}
            State::Cancelled => give_back_rest(),
            State::Consuming => {
                let (channel, tag) = (self.channel.clone(), self.tag.clone());
                self.channel.connection.runtime().spawn(async move {
                    if let Err(err) = channel.shared().unsubscribe(tag).await {
                        tracing::debug!(%err, "the consumer is gone already");
                    }
                    // Only after cancel-ok: what goes back earlier may come again.
                    give_back_rest();
                });
            }
        }
    }
}
