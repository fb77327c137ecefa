//! A channel that counts what passes.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use metrics::{counter, gauge};
use mooq_core::{
    Binding, ChannelEvent, Consume, ConsumerTag, Error, ExchangeDeclare, ExchangeName, Fetched,
    Handoff, OpenedChannel, Publish, QueueDeclare, QueueDeclared, QueueName, RawMethods, Result,
    Settle, Settlement, TransportChannel,
};

use crate::names::{CONFIRMED, DELIVERED, NACKED, PUBLISHED, RETURNED, SETTLED, UNSETTLED};
use crate::publishes::Publishes;

/// A channel that counts, and whose events count as they are read.
pub(crate) fn metered(opened: OpenedChannel) -> OpenedChannel {
    let state = Arc::new(Mutex::new(State::default()));
    let mut events = opened.events;
    let counting = Arc::clone(&state);
    events.watch(move |event| lock(&counting).event(event));
    OpenedChannel {
        channel: Arc::new(Channel {
            inner: opened.channel,
            state,
        }),
        events,
    }
}

struct Channel {
    inner: Arc<dyn TransportChannel>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    publishes: Publishes,
    /// Consumers whose deliveries the broker has settled.
    no_ack: HashSet<ConsumerTag>,
    unsettled: BTreeSet<u64>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn event(&mut self, event: &ChannelEvent) {
        match event {
            ChannelEvent::Deliver(deliver) => {
                let no_ack = self.no_ack.contains(&deliver.consumer_tag);
                self.delivered(deliver.delivery_tag, deliver.redelivered, no_ack);
            }
            ChannelEvent::Return(_) => counter!(RETURNED).increment(1),
            ChannelEvent::Confirm { sequence, multiple } => {
                self.publishes.answered(*sequence, *multiple, CONFIRMED);
            }
            ChannelEvent::Nack { sequence, multiple } => {
                self.publishes.answered(*sequence, *multiple, NACKED);
            }
            ChannelEvent::ConsumerCancelled(_) => {}
            ChannelEvent::Closed(_) => self.end(),
        }
    }

    fn delivered(&mut self, delivery_tag: u64, redelivered: bool, no_ack: bool) {
        let redelivered = match redelivered {
            true => "true",
            false => "false",
        };
        counter!(DELIVERED, "redelivered" => redelivered).increment(1);
        if !no_ack && self.unsettled.insert(delivery_tag) {
            gauge!(UNSETTLED).increment(1);
        }
    }

    fn settled(&mut self, settle: Settle) {
        let outcome = match settle.settlement {
            Settlement::Ack => "ack",
            Settlement::Nack { requeue: true } | Settlement::Reject { requeue: true } => "requeue",
            Settlement::Nack { requeue: false } | Settlement::Reject { requeue: false } => "reject",
        };
        let settled = match settle.multiple {
            true => {
                let later = self
                    .unsettled
                    .split_off(&(settle.delivery_tag.saturating_add(1)));
                std::mem::replace(&mut self.unsettled, later).len()
            }
            false => usize::from(self.unsettled.remove(&settle.delivery_tag)),
        };
        gauge!(UNSETTLED).decrement(settled as f64);
        counter!(SETTLED, "outcome" => outcome).increment(settled as u64);
    }

    /// The broker requeues what is not settled.
    fn end(&mut self) {
        let left = std::mem::take(&mut self.unsettled).len();
        gauge!(UNSETTLED).decrement(left as f64);
        self.publishes.end();
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        lock(&self.state).end();
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl TransportChannel for Channel {
    fn closed(&self) -> Option<Error> {
        self.inner.closed()
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }

    async fn declare_exchange(&self, declare: ExchangeDeclare) -> Result<()> {
        self.inner.declare_exchange(declare).await
    }

    async fn delete_exchange(&self, name: ExchangeName, if_unused: bool) -> Result<()> {
        self.inner.delete_exchange(name, if_unused).await
    }

    async fn bind(&self, binding: Binding) -> Result<()> {
        self.inner.bind(binding).await
    }

    async fn unbind(&self, binding: Binding) -> Result<()> {
        self.inner.unbind(binding).await
    }

    async fn declare_queue(&self, declare: QueueDeclare) -> Result<QueueDeclared> {
        self.inner.declare_queue(declare).await
    }

    async fn purge_queue(&self, name: QueueName) -> Result<u32> {
        self.inner.purge_queue(name).await
    }

    async fn delete_queue(&self, name: QueueName, if_unused: bool, if_empty: bool) -> Result<u32> {
        self.inner.delete_queue(name, if_unused, if_empty).await
    }

    async fn qos(&self, prefetch_count: u16, global: bool) -> Result<()> {
        self.inner.qos(prefetch_count, global).await
    }

    async fn consume(&self, consume: Consume) -> Result<ConsumerTag> {
        if consume.no_ack {
            // Before the first delivery. A tag that the broker chooses is never mooq's.
            lock(&self.state).no_ack.insert(consume.tag.clone());
        }
        self.inner.consume(consume).await
    }

    async fn cancel(&self, tag: ConsumerTag) -> Result<()> {
        self.inner.cancel(tag).await
    }

    async fn get(&self, queue: QueueName, no_ack: bool) -> Result<Option<Fetched>> {
        let fetched = self.inner.get(queue, no_ack).await?;
        if let Some(fetched) = &fetched {
            let (tag, redelivered) = (fetched.delivery_tag, fetched.redelivered);
            lock(&self.state).delivered(tag, redelivered, no_ack);
        }
        Ok(fetched)
    }

    async fn confirm_select(&self) -> Result<()> {
        self.inner.confirm_select().await?;
        lock(&self.state).publishes.confirm_select();
        Ok(())
    }

    fn publish(&self, publish: Publish) -> Result<Handoff> {
        // Held meanwhile: the broker's answer may come before this returns.
        let mut state = lock(&self.state);
        let handoff = self.inner.publish(publish)?;
        state.publishes.published();
        counter!(PUBLISHED).increment(1);
        Ok(handoff)
    }

    fn settle(&self, settle: Settle) -> Result<()> {
        self.inner.settle(settle)?;
        lock(&self.state).settled(settle);
        Ok(())
    }

    fn raw_methods(&self) -> Option<&dyn RawMethods> {
        self.inner.raw_methods()
    }
}
