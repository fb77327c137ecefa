//! A consumer that the broker knows, until it is cancelled.

use std::sync::Arc;

use mooq_core::{Consume, ConsumerTag, Error, ErrorKind, Result};

use super::Channel;
use super::generation::Source;
use super::inbox::{Addressee, Inbox};
use crate::deadline::within;
use crate::frame::check_arguments;
use crate::presence::Usable;

/// A consumer's life with the broker. Dropped, it is cancelled, and the deliveries that wait in
/// its inbox go back to the queue.
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
    /// Somebody else has taken over.
    Kept,
}

/// Whether a consumer comes back when its channel does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    Yes,
    No,
}

impl Channel {
    /// `basic.consume`, after `basic.qos` with `prefetch`. A tag is chosen if there is none.
    /// Deliveries go to `callback`, or else wait for a stream. Dropped midway, no consumer stays.
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
        let turn = async { Ok(shared.subscribing.lock().await) };
        let what = "waiting for another consumer's registration";
        let _one_at_a_time = within(self.deadline(), what, turn).await?;
        let what = "waiting for the channel";
        let generation = within(self.deadline(), what, shared.generation()).await?;
        // Not before: it may have got a new name while this waited.
        shared.core().use_current_name(&mut consume.queue);
        let qos = generation.transport().qos(prefetch, false);
        within(self.deadline(), "basic.qos", qos).await?;

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
        if let Err(err) = within(self.deadline(), &what, consuming).await {
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

impl Subscription {
    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Leaves the consumer to the caller, for good.
    pub(crate) fn keep(mut self) -> ConsumerTag {
        self.state = State::Kept;
        self.tag.clone()
    }

    /// Ends the consumer. What waits can still be taken from the inbox.
    pub(crate) async fn cancel(&mut self) -> Result<()> {
        let (shared, tag) = (Arc::clone(self.channel.shared()), self.tag.clone());
        let inbox = Arc::clone(&self.inbox);
        self.channel
            .run_to_end("basic.cancel", async move {
                shared.unsubscribe(tag, &inbox).await
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
                    if let Err(err) = channel.shared().unsubscribe(tag, &inbox).await {
                        tracing::debug!(%err, "the consumer is gone already");
                    }
                    // Only after cancel-ok: what goes back earlier may come again.
                    inbox.give_back();
                });
            }
        }
    }
}
