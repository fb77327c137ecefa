//! The consumers of a channel: from amqprs' queue of each to the channel's mailbox.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use amqprs::channel::ConsumerMessage;
use mooq_core::{ChannelEvent, ConsumerTag};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::convert::DeliverReader;
use crate::state::ChannelState;

/// How many deliveries are moved at a time.
const BATCH: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Consumers {
    state: Mutex<State>,
    /// True once the forwarders are to end.
    stop: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// A task for each consumer, some of which may have ended.
    forwarders: HashMap<ConsumerTag, JoinHandle<()>>,
    /// The tags of consumers that the broker cancelled, until their forwarders have said so.
    cancelled: HashSet<ConsumerTag>,
}

impl Consumers {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forwards what comes for the new consumer `tag`, in a task of its own.
    ///
    /// An `AsyncConsumer` of amqprs would be that task already, but one that panics would die
    /// while the broker's consumer lives on (amqprs issue 66).
    pub(crate) fn start(
        channel: &Arc<ChannelState>,
        tag: ConsumerTag,
        deliveries: UnboundedReceiver<ConsumerMessage>,
    ) {
        let consumers = &channel.consumers;
        let forwarder = Forwarder {
            reader: DeliverReader::new(tag.clone()),
            tag: tag.clone(),
            channel: Arc::clone(channel),
            deliveries,
            stop: consumers.stop.subscribe(),
        };
        let mut state = consumers.lock();
        state.forwarders.retain(|_, task| !task.is_finished());
        state.forwarders.insert(tag, tokio::spawn(forwarder.run()));
    }

    /// The broker has cancelled the consumer `tag`. The event waits for the deliveries that came
    /// before, so the forwarder sends it.
    pub(crate) fn cancelled_by_broker(&self, tag: ConsumerTag) {
        self.lock().cancelled.insert(tag);
    }

    fn is_cancelled(&self, tag: &ConsumerTag) -> bool {
        self.lock().cancelled.contains(tag)
    }

    /// Waits until all that came for `tag`, which has been cancelled, is in the mailbox.
    pub(crate) async fn finished(&self, tag: &ConsumerTag) {
        let task = self.lock().forwarders.remove(tag);
        if let Some(task) = task {
            // A forwarder that panicked has finished as well.
            let _ = task.await;
        }
    }

    /// Ends all forwarders, once what has come is in the mailbox.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let tasks = std::mem::take(&mut self.lock().forwarders);
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
    stop: watch::Receiver<bool>,
}

impl Forwarder {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        // A cancel that came before amqprs knew this consumer's queue never ends that queue.
        if !self.channel.consumers.is_cancelled(&self.tag) {
            loop {
                tokio::select! {
                    biased;
                    count = self.deliveries.recv_many(&mut batch, BATCH) => {
                        if count == 0 {
                            break;
                        }
                        self.forward(batch.drain(..));
                    }
                    () = stopped(&mut self.stop) => break,
                }
            }
        }
        while let Ok(delivery) = self.deliveries.try_recv() {
            self.forward([delivery]);
        }
        if self.channel.consumers.lock().cancelled.remove(&self.tag) {
            let event = ChannelEvent::ConsumerCancelled(self.tag.clone());
            self.channel.events.send(event);
        }
    }

    fn forward(&mut self, messages: impl IntoIterator<Item = ConsumerMessage>) {
        let reader = &mut self.reader;
        let deliveries = messages
            .into_iter()
            .filter_map(|message| reader.read(message));
        self.channel
            .events
            .send_all(deliveries.map(ChannelEvent::Deliver));
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that there is nobody left to say so.
    let _ = stop.wait_for(|stop| *stop).await;
}
