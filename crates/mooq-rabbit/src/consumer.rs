//! A channel's consumers, which forward deliveries from amqprs' queues to the channel's mailbox.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use amqprs::channel::ConsumerMessage;
use mooq_core::{ChannelEvent, ConsumerTag};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::channel_state::ChannelState;
use crate::convert::DeliverReader;
use crate::poison::ReadGuard;

/// Maximum number of deliveries that are moved at a time.
const BATCH: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Consumers {
    /// The task of each consumer. Some of the tasks may have ended.
    forwarders: Mutex<HashMap<ConsumerTag, JoinHandle<()>>>,
    ends: watch::Sender<Ends>,
}

/// Forwarders that are to end, once their deliveries are in the mailbox.
#[derive(Debug, Default)]
struct Ends {
    /// True if all forwarders are to end.
    all: bool,
    /// Consumers that the broker cancelled, until their forwarders have sent the event.
    cancelled: HashSet<ConsumerTag>,
}

impl Consumers {
    fn forwarders(&self) -> MutexGuard<'_, HashMap<ConsumerTag, JoinHandle<()>>> {
        self.forwarders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Forwards the deliveries of the new consumer `tag`, in a task of its own.
    ///
    /// An `AsyncConsumer` of amqprs would run in such a task already, but a consumer that panics
    /// would die while the broker's consumer lives on (amqprs issue 66).
    pub(crate) fn start(
        channel: &Arc<ChannelState>,
        tag: ConsumerTag,
        deliveries: UnboundedReceiver<ConsumerMessage>,
        read: ReadGuard,
    ) {
        let consumers = &channel.consumers;
        let forwarder = Forwarder {
            reader: DeliverReader::new(tag.clone()),
            tag: tag.clone(),
            channel: Arc::clone(channel),
            deliveries,
            ends: consumers.ends.subscribe(),
            read,
        };
        let mut forwarders = consumers.forwarders();
        forwarders.retain(|_, task| !task.is_finished());
        forwarders.insert(tag, tokio::spawn(forwarder.run()));
    }

    /// Records that the broker has cancelled the consumer `tag`, which may not be known here yet.
    /// The event waits for the deliveries that arrived before, so the forwarder sends it.
    pub(crate) fn cancelled_by_broker(&self, tag: ConsumerTag) {
        self.ends.send_modify(|ends| {
            ends.cancelled.insert(tag);
        });
    }

    /// Waits until all deliveries for the cancelled consumer `tag` are in the mailbox.
    pub(crate) async fn finished(&self, tag: &ConsumerTag) {
        let task = self.forwarders().remove(tag);
        if let Some(task) = task {
            // A forwarder that panicked has finished as well.
            let _ = task.await;
        }
    }

    /// Ends all forwarders, once their deliveries are in the mailbox.
    pub(crate) async fn stop(&self) {
        self.ends.send_modify(|ends| ends.all = true);
        let tasks = std::mem::take(&mut *self.forwarders());
        for task in tasks.into_values() {
            let _ = task.await;
        }
    }
}

struct Forwarder {
    tag: ConsumerTag,
    channel: Arc<ChannelState>,
    deliveries: UnboundedReceiver<ConsumerMessage>,
    reader: DeliverReader,
    ends: watch::Receiver<Ends>,
    /// The queue counts as read from until this is dropped.
    read: ReadGuard,
}

impl Forwarder {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                count = self.deliveries.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    self.forward(batch.drain(..));
                }
                // A cancel by the broker ends the queue too, but only if amqprs knew the queue when
                // the cancel arrived.
                () = ended(&mut self.ends, &self.tag) => break,
            }
        }
        while let Ok(delivery) = self.deliveries.try_recv() {
            self.forward([delivery]);
        }
        let mut is_cancelled = false;
        self.channel.consumers.ends.send_if_modified(|ends| {
            is_cancelled = ends.cancelled.remove(&self.tag);
            // No task waits for this change.
            false
        });
        if is_cancelled {
            let event = ChannelEvent::ConsumerCancelled(self.tag.clone());
            self.channel.events.send(event);
        }
    }

    fn forward(&mut self, messages: impl IntoIterator<Item = ConsumerMessage>) {
        self.read.delivers();
        let reader = &mut self.reader;
        let deliveries = messages
            .into_iter()
            .filter_map(|message| reader.read(message));
        self.channel
            .events
            .send_all(deliveries.map(ChannelEvent::Deliver));
    }
}

/// Waits until the forwarder for `tag` is to end.
async fn ended(ends: &mut watch::Receiver<Ends>, tag: &ConsumerTag) {
    // An error means that no sender is left.
    let _ = ends
        .wait_for(|ends| ends.all || ends.cancelled.contains(tag))
        .await;
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};
    use mooq_core::mailbox::{Receiver, mailbox};
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::*;
    use crate::command_queue::CommandQueue;
    use crate::connection_state::ConnectionState;

    fn channel() -> (Arc<ChannelState>, Receiver<ChannelEvent>) {
        let endpoint = "amqp://rabbit".parse().unwrap();
        let connection = ConnectionState::new(&endpoint, mailbox().0, 0);
        let (sender, events) = mailbox();
        let state = ChannelState::new(CommandQueue::default(), Arc::new(connection), sender);
        (Arc::new(state), events)
    }

    /// Starts a consumer, and returns amqprs' end of its queue.
    fn start(channel: &Arc<ChannelState>, tag: &ConsumerTag) -> UnboundedSender<ConsumerMessage> {
        let (sender, deliveries) = unbounded_channel();
        let read = channel.connection.read("q".try_into().unwrap());
        let read = read.now_or_never().unwrap().unwrap();
        Consumers::start(channel, tag.clone(), deliveries, read);
        sender
    }

    async fn expect_cancel(events: &mut Receiver<ChannelEvent>, expected: &ConsumerTag) {
        let event = events.next().await.unwrap();
        assert!(
            matches!(&event, ChannelEvent::ConsumerCancelled(tag) if tag == expected),
            "{event:?}"
        );
    }

    #[tokio::test]
    async fn a_cancel_before_amqprs_knows_the_queue_ends_the_consumer() {
        let (channel, mut events) = channel();
        let tag: ConsumerTag = "overtaken".try_into().unwrap();
        // The cancel may come before the forwarder first runs or after: amqprs never ends the
        // queue.
        for runs_before in [false, true] {
            let _queue = start(&channel, &tag);
            if runs_before {
                tokio::task::yield_now().await;
            }
            channel.consumers.cancelled_by_broker(tag.clone());
            expect_cancel(&mut events, &tag).await;
            channel.consumers.finished(&tag).await;
        }
        assert!(events.next().now_or_never().is_none(), "announced once");
    }

    #[tokio::test]
    async fn a_cancel_is_not_taken_for_that_of_the_next_consumer_with_the_tag() {
        let (channel, mut events) = channel();
        let tag: ConsumerTag = "again".try_into().unwrap();
        let _first = start(&channel, &tag);
        channel.consumers.cancelled_by_broker(tag.clone());
        channel.consumers.finished(&tag).await;
        expect_cancel(&mut events, &tag).await;

        let _second = start(&channel, &tag);
        tokio::task::yield_now().await;
        assert!(events.next().now_or_never().is_none(), "the second lives");
        channel.consumers.cancelled_by_broker(tag.clone());
        expect_cancel(&mut events, &tag).await;
    }
}
