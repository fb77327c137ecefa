//! What is under way inside the broker: deliveries from queues to channels, and confirms.
//!
//! RabbitMQ's queues and channels are processes of their own, side by side: what one queue sends
//! to one channel arrives in order, and all else is left open. By default nothing is ever under
//! way: what is sent has arrived. With a seed it arrives little by little, in an order that the
//! seed decides; [`Engine::carry_on`] lets one more thing arrive. What a client asks for, and the
//! end of anything, waits for what was sent before, as it does in RabbitMQ.

use std::collections::{BTreeMap, VecDeque};

use mooq_core::{ChannelEvent, ConsumerTag};

use super::Engine;
use super::arena::Key;
use super::channel::Channel;
use super::command::Effect;
use super::consumer::Consumer;
use super::queue::Queue;
use super::queue::ready::QueuedMessage;
use super::random::Random;
use super::time::Time;

#[derive(Debug, Default)]
pub(crate) struct Transit {
    /// Decides what is left open. None: nothing is.
    choices: Option<Random>,
    /// A fault has that arrive first which was sent last.
    pub(crate) latest_first: bool,
    deliveries: BTreeMap<(Key<Channel>, Key<Queue>), VecDeque<Parcel>>,
    /// What became of publishes, by number: whether they were taken.
    confirms: BTreeMap<Key<Channel>, BTreeMap<u64, bool>>,
    /// How many deliveries were sent, which gives them an order.
    sent: u64,
}

/// A delivery that is under way.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) consumer: Key<Consumer>,
    pub(crate) tag: ConsumerTag,
    pub(crate) no_ack: bool,
    pub(crate) queued: QueuedMessage,
    number: u64,
}

/// What can arrive next.
#[derive(Debug, Clone, Copy)]
enum Arrival {
    Delivery(Key<Channel>, Key<Queue>),
    Confirms(Key<Channel>),
}

impl Transit {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self {
            // Not the numbers that names are made of.
            choices: seed.map(|seed| Random::new(!seed)),
            ..Self::default()
        }
    }

    /// Decides which of a queue's consumers comes first, where nothing has said so yet: RabbitMQ
    /// serves them in turn, and begins with whom it likes.
    pub(crate) fn place_newest(&mut self, queue: &mut Queue, priority: i64) {
        if let Some(choices) = &mut self.choices
            && !queue.options.single_active_consumer
        {
            queue
                .consumers
                .place_newest(priority, |count| choices.below(count));
        }
    }

    /// How much is under way.
    pub(crate) fn len(&self) -> usize {
        let deliveries = self.deliveries.values().map(VecDeque::len);
        let confirms = self.confirms.values().map(BTreeMap::len);
        deliveries.chain(confirms).sum()
    }

    fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.confirms.is_empty()
    }

    /// All that can arrive next, in a fixed order.
    fn arrivals(&self) -> impl Iterator<Item = Arrival> {
        let deliveries = self.deliveries.keys();
        let deliveries = deliveries.map(|(channel, queue)| Arrival::Delivery(*channel, *queue));
        let confirms = self
            .confirms
            .keys()
            .map(|channel| Arrival::Confirms(*channel));
        deliveries.chain(confirms)
    }

    /// Chooses one of those that `may` arrive.
    fn choose(&mut self, may: impl Fn(Arrival) -> bool) -> Option<Arrival> {
        if self.latest_first {
            let may = self.arrivals().filter(|arrival| may(*arrival));
            return may.max_by_key(|arrival| self.age(*arrival));
        }
        let count = self.arrivals().filter(|arrival| may(*arrival)).count();
        let nth = self
            .choices
            .as_mut()
            .map_or(0, |choices| choices.below(count));
        self.arrivals().filter(|arrival| may(*arrival)).nth(nth)
    }

    /// The number of what would arrive. Confirms come last where the latest comes first.
    fn age(&self, arrival: Arrival) -> u64 {
        match arrival {
            Arrival::Delivery(channel, queue) => {
                let parcels = self.deliveries.get(&(channel, queue));
                let first = parcels.and_then(VecDeque::front);
                first.map_or(0, |parcel| parcel.number)
            }
            Arrival::Confirms(_) => 0,
        }
    }

    fn take_parcel(&mut self, channel: Key<Channel>, queue: Key<Queue>) -> Option<Parcel> {
        let parcels = self.deliveries.get_mut(&(channel, queue))?;
        let parcel = parcels.pop_front();
        if parcels.is_empty() {
            self.deliveries.remove(&(channel, queue));
        }
        parcel
    }
}

impl Engine {
    /// Sends a message to a consumer that takes it: it arrives now or later.
    pub(super) fn deliver(&mut self, queue: Key<Queue>, key: Key<Consumer>, queued: QueuedMessage) {
        let Some(consumer) = self.consumers.get_mut(key) else {
            return;
        };
        let (channel, no_ack) = (consumer.channel, consumer.no_ack);
        if !no_ack {
            consumer.unacked += 1;
        }
        let tag = consumer.tag.clone();
        if let Some(queue) = self.queues.get_mut(queue) {
            if no_ack {
                queue.tally.acked += 1;
            } else {
                queue.unacked += 1;
            }
        }
        self.transit.sent += 1;
        let parcel = Parcel {
            consumer: key,
            tag,
            no_ack,
            queued,
            number: self.transit.sent,
        };
        if self.transit.choices.is_some() || self.reorders(queue, channel) {
            let parcels = self.transit.deliveries.entry((channel, queue)).or_default();
            parcels.push_back(parcel);
        } else {
            self.arrive_at_channel(channel, queue, parcel);
        }
    }

    /// Whether things take time on their way by themselves.
    pub(super) fn is_seeded(&self) -> bool {
        self.transit.choices.is_some()
    }

    /// Tells a publisher what became of a publish: now or later.
    pub(super) fn settle_publish(&mut self, channel: Key<Channel>, sequence: u64, taken: bool) {
        if self.transit.choices.is_some() {
            let outcomes = self.transit.confirms.entry(channel).or_default();
            outcomes.insert(sequence, taken);
        } else {
            self.tell_publisher(channel, sequence, taken, false);
        }
    }

    /// Whether something is under way.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        !self.transit.is_empty()
    }

    /// Lets one more thing arrive of what is under way.
    pub fn carry_on(&mut self, now: Time) {
        self.advance(now);
        if let Some(arrival) = self.transit.choose(|_| true) {
            self.let_arrive(arrival);
        }
    }

    /// Lets something arrive or not, as the seed decides.
    pub(super) fn perhaps_carry_on(&mut self) {
        while !self.transit.is_empty()
            && self.transit.choices.as_mut().is_some_and(Random::coin)
            && let Some(arrival) = self.transit.choose(|_| true)
        {
            self.let_arrive(arrival);
        }
    }

    /// Lets everything arrive that is under way.
    pub(super) fn await_all(&mut self) {
        while let Some(arrival) = self.transit.choose(|_| true) {
            self.let_arrive(arrival);
        }
    }

    /// Lets everything arrive that is under way to a channel.
    pub(super) fn await_channel(&mut self, channel: Key<Channel>) {
        let is_to = |arrival: Arrival| match arrival {
            Arrival::Delivery(to, _) | Arrival::Confirms(to) => to == channel,
        };
        while !self.transit.is_empty()
            && let Some(arrival) = self.transit.choose(is_to)
        {
            self.let_arrive(arrival);
        }
    }

    /// Lets everything arrive that a queue has sent.
    pub(super) fn await_queue(&mut self, queue: Key<Queue>) {
        let is_from = |arrival| matches!(arrival, Arrival::Delivery(_, from) if from == queue);
        while !self.transit.is_empty()
            && let Some(arrival) = self.transit.choose(is_from)
        {
            self.let_arrive(arrival);
        }
    }

    fn let_arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Delivery(channel, queue) => {
                if let Some(parcel) = self.transit.take_parcel(channel, queue) {
                    self.arrive_at_channel(channel, queue, parcel);
                }
            }
            Arrival::Confirms(channel) => self.let_confirms_arrive(channel),
        }
    }

    /// Tells a publisher of some of the publishes whose outcome it does not know yet: refused ones
    /// one by one, then those taken up to which everything is told as one, then the others, as
    /// RabbitMQ does ([confirms](https://www.rabbitmq.com/docs/confirms#publisher-confirms)).
    fn let_confirms_arrive(&mut self, channel: Key<Channel>) {
        let transit = &mut self.transit;
        let Some(waiting) = transit.confirms.remove(&channel) else {
            return;
        };
        let (mut told, mut left) = (Vec::new(), BTreeMap::new());
        if let Some(choices) = &mut transit.choices {
            // One at least, so that it comes to an end.
            let certain = choices.below(waiting.len());
            for (at, (sequence, taken)) in waiting.into_iter().enumerate() {
                if at == certain || choices.coin() {
                    told.push((sequence, taken));
                } else {
                    left.insert(sequence, taken);
                }
            }
        }
        let first_left = left.keys().next().copied().unwrap_or(u64::MAX);
        if !left.is_empty() {
            transit.confirms.insert(channel, left);
        }
        for (sequence, _) in told.iter().filter(|(_, taken)| !taken) {
            self.tell_publisher(channel, *sequence, false, false);
        }
        let taken = told
            .iter()
            .filter(|(_, taken)| *taken)
            .map(|(sequence, _)| *sequence);
        let (below, above): (Vec<_>, Vec<_>) = taken.partition(|sequence| *sequence < first_left);
        if let Some(last) = below.last() {
            self.tell_publisher(channel, *last, true, below.len() > 1);
        }
        for sequence in above {
            self.tell_publisher(channel, sequence, true, false);
        }
    }

    fn tell_publisher(&mut self, key: Key<Channel>, sequence: u64, taken: bool, multiple: bool) {
        let Some(channel) = self.channels.get(key) else {
            return;
        };
        self.effects.push_back(Effect::Channel {
            connection: channel.connection,
            channel: channel.number,
            event: if taken {
                ChannelEvent::Confirm { sequence, multiple }
            } else {
                ChannelEvent::Nack { sequence, multiple }
            },
        });
    }
}
