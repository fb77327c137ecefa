//! Deliveries and publisher confirms in transit inside the broker, from queues to channels.
//!
//! RabbitMQ's queues and channels are concurrent processes. Messages from one queue to one channel
//! arrive in order, and any other order is possible. By default nothing is ever in transit:
//! everything arrives when it is sent. With a seed, things arrive one by one in an order that the
//! seed decides, and [`Engine::carry_on`] lets the next one arrive. As in RabbitMQ, a client's
//! requests, and the end of anything, wait for everything sent before them.
//!
//! A quorum queue agrees on an acknowledgement in a round of Raft before it sends more to the
//! consumer. With a seed, a round may take time, and the consumer may be cancelled meanwhile.

use std::collections::{BTreeMap, VecDeque};

use mooq_core::{ChannelEvent, ConsumerTag};

use super::Engine;
use super::command::Effect;
use super::consumer::Status;
use super::ids::{ChannelId, ConsumerId, QueueId};
use super::message::{QueuedMessage, Timed, Unacked};
use super::queue::Queue;
use super::random::Random;
use super::recording::TimelineEvent;
use super::time::Time;

#[derive(Debug, Default)]
pub(crate) struct InTransit {
    /// Source of the choices that RabbitMQ leaves open. None if nothing is left open.
    choices: Option<Random>,
    /// True if a fault makes the item that was sent last arrive first.
    pub(crate) latest_first: bool,
    deliveries: BTreeMap<(ChannelId, QueueId), VecDeque<PendingDelivery>>,
    /// Outcomes of publishes by number: true if the publish was accepted.
    confirms: BTreeMap<ChannelId, BTreeMap<u64, bool>>,
    /// Rounds of Raft, by the consumers of quorum queues whose acknowledgements began them.
    rounds: BTreeMap<ConsumerId, Round>,
    /// Number of deliveries sent, which gives deliveries an order.
    sent: u64,
}

/// A quorum queue's agreement on an acknowledgement. Until then its consumer gets nothing for the
/// acknowledgement. Acknowledgements that follow meanwhile join the round.
#[derive(Debug)]
struct Round {
    channel: ChannelId,
    queue: QueueId,
    /// True if the round takes time. Otherwise the acknowledgements have already had their effect.
    is_slow: bool,
    /// Credit that the acknowledgements will give.
    credit: u32,
}

/// Messages that a quorum queue sends to a consumer while the consumer is being cancelled.
#[derive(Debug)]
pub(crate) struct Overtaken {
    queue: QueueId,
    messages: Vec<QueuedMessage>,
}

/// A delivery in transit.
#[derive(Debug)]
pub(crate) struct PendingDelivery {
    pub(crate) consumer: ConsumerId,
    pub(crate) tag: ConsumerTag,
    pub(crate) no_ack: bool,
    pub(crate) queued: QueuedMessage,
    number: u64,
}

/// Things that can arrive next.
#[derive(Debug, Clone, Copy)]
enum Arrival {
    Delivery(ChannelId, QueueId),
    Confirms(ChannelId),
    Round(ConsumerId),
}

impl InTransit {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self {
            // A different sequence from the one that generates names.
            choices: seed.map(|seed| Random::new(!seed)),
            ..Self::default()
        }
    }

    /// Chooses which of a queue's consumers comes first, where nothing has decided this yet.
    /// RabbitMQ serves consumers in turn, but may begin with any of them.
    pub(crate) fn place_newest(&mut self, queue: &mut Queue, priority: i64) {
        if let Some(choices) = &mut self.choices
            && !queue.options.single_active_consumer
        {
            queue
                .consumers
                .place_newest(priority, |count| choices.below(count));
        }
    }

    /// Number of things in transit.
    pub(crate) fn len(&self) -> usize {
        let deliveries = self.deliveries.values().map(VecDeque::len);
        let confirms = self.confirms.values().map(BTreeMap::len);
        deliveries.chain(confirms).sum::<usize>() + self.rounds.len()
    }

    fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.confirms.is_empty() && self.rounds.is_empty()
    }

    /// Returns everything that can arrive next, in a fixed order.
    fn arrivals(&self) -> impl Iterator<Item = Arrival> {
        let deliveries = self.deliveries.keys();
        let deliveries = deliveries.map(|(channel, queue)| Arrival::Delivery(*channel, *queue));
        let confirms = self
            .confirms
            .keys()
            .map(|channel| Arrival::Confirms(*channel));
        let rounds = self.rounds.keys();
        let rounds = rounds.map(|consumer| Arrival::Round(*consumer));
        deliveries.chain(confirms).chain(rounds)
    }

    /// Chooses one of the arrivals for which `may` returns true.
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

    /// Returns the number of the delivery that would arrive. Where the latest comes first, confirms
    /// come last.
    fn age(&self, arrival: Arrival) -> u64 {
        match arrival {
            Arrival::Delivery(channel, queue) => {
                let deliveries = self.deliveries.get(&(channel, queue));
                let first = deliveries.and_then(VecDeque::front);
                first.map_or(0, |delivery| delivery.number)
            }
            Arrival::Confirms(_) | Arrival::Round(_) => 0,
        }
    }

    fn take_delivery(&mut self, channel: ChannelId, queue: QueueId) -> Option<PendingDelivery> {
        let deliveries = self.deliveries.get_mut(&(channel, queue))?;
        let delivery = deliveries.pop_front();
        if deliveries.is_empty() {
            self.deliveries.remove(&(channel, queue));
        }
        delivery
    }
}

impl Engine {
    /// Sends a message to a consumer that can take it. The message arrives now or later.
    pub(super) fn deliver(&mut self, queue: QueueId, key: ConsumerId, queued: QueuedMessage) {
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
        self.in_transit.sent += 1;
        let delivery = PendingDelivery {
            consumer: key,
            tag,
            no_ack,
            queued,
            number: self.in_transit.sent,
        };
        if self.in_transit.choices.is_some() || self.strike_order(queue, channel) {
            let deliveries = self
                .in_transit
                .deliveries
                .entry((channel, queue))
                .or_default();
            deliveries.push_back(delivery);
        } else {
            self.arrive_at_channel(channel, queue, delivery);
        }
    }

    /// True if things take time in transit even without a fault.
    pub(super) fn is_seeded(&self) -> bool {
        self.in_transit.choices.is_some()
    }

    /// Sends a publisher the outcome of a publish, now or later.
    pub(super) fn settle_publish(&mut self, channel: ChannelId, sequence: u64, taken: bool) {
        if self.in_transit.choices.is_some() {
            let outcomes = self.in_transit.confirms.entry(channel).or_default();
            outcomes.insert(sequence, taken);
        } else {
            self.notify_publisher(channel, sequence, taken, false);
        }
    }

    /// Returns true if anything is in transit, or if dead letters circle.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        !self.in_transit.is_empty() || self.dead_letters_circle()
    }

    /// Returns true if messages circle between queues that dead-letter them to each other. They may
    /// do so for ever.
    #[must_use]
    pub fn dead_letters_circle(&self) -> bool {
        !self.dead_letters.is_empty()
    }

    /// Lets one more thing in transit arrive, and dead letters that circle go on for a while.
    pub fn carry_on(&mut self, now: Time) {
        self.advance(now);
        if let Some(arrival) = self.in_transit.choose(|_| true) {
            self.let_arrive(arrival);
        }
        self.finish();
    }

    /// Lets things in transit arrive or not, as the seed decides. Rounds of Raft are slower than
    /// that.
    pub(super) fn perhaps_carry_on(&mut self) {
        while !self.in_transit.is_empty()
            && self.in_transit.choices.as_mut().is_some_and(Random::coin)
            && let Some(arrival) = self
                .in_transit
                .choose(|arrival| !matches!(arrival, Arrival::Round(_)))
        {
            self.let_arrive(arrival);
            self.finish();
        }
    }

    /// Lets everything in transit arrive.
    pub(super) fn await_all(&mut self) {
        while let Some(arrival) = self.in_transit.choose(|_| true) {
            self.let_arrive(arrival);
        }
    }

    /// Lets everything in transit to a channel arrive.
    pub(super) fn await_channel(&mut self, channel: ChannelId) {
        self.end_rounds(|round| round.channel == channel);
        let is_to = |arrival: Arrival| match arrival {
            Arrival::Delivery(to, _) | Arrival::Confirms(to) => to == channel,
            Arrival::Round(_) => false,
        };
        while !self.in_transit.is_empty()
            && let Some(arrival) = self.in_transit.choose(is_to)
        {
            self.let_arrive(arrival);
        }
    }

    /// Lets everything that a queue has sent arrive.
    pub(super) fn await_queue(&mut self, queue: QueueId) {
        self.end_rounds(|round| round.queue == queue);
        let is_from = |arrival| matches!(arrival, Arrival::Delivery(_, from) if from == queue);
        while !self.in_transit.is_empty()
            && let Some(arrival) = self.in_transit.choose(is_from)
        {
            self.let_arrive(arrival);
        }
    }

    fn let_arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Delivery(channel, queue) => {
                if let Some(delivery) = self.in_transit.take_delivery(channel, queue) {
                    self.arrive_at_channel(channel, queue, delivery);
                }
            }
            Arrival::Confirms(channel) => self.let_confirms_arrive(channel),
            Arrival::Round(consumer) => self.end_round(consumer),
        }
    }

    /// True if the credit that an acknowledgement gives a quorum queue's consumer waits for a round
    /// of Raft, as the seed decides.
    pub(super) fn holds_credit(&mut self, key: ConsumerId, count: u32) -> bool {
        let Some(choices) = &mut self.in_transit.choices else {
            return false;
        };
        let Some(consumer) = self.consumers.get(key) else {
            return false;
        };
        let is_quorum = self
            .queues
            .get(consumer.queue)
            .is_some_and(Queue::is_quorum);
        if !is_quorum || consumer.credit.is_none() {
            return false;
        }
        let rounds = &mut self.in_transit.rounds;
        let round = rounds.entry(key).or_insert_with(|| Round {
            channel: consumer.channel,
            queue: consumer.queue,
            is_slow: choices.coin(),
            credit: 0,
        });
        if round.is_slow {
            round.credit = round.credit.saturating_add(count);
        }
        round.is_slow
    }

    fn end_rounds(&mut self, of: impl Fn(&Round) -> bool) {
        let rounds = self.in_transit.rounds.iter();
        let ending = rounds.filter(|(_, round)| of(round));
        let ending: Vec<_> = ending.map(|(consumer, _)| *consumer).collect();
        for consumer in ending {
            self.end_round(consumer);
        }
    }

    /// Ends a round in which a quorum queue has agreed on acknowledgements: their consumer gets the
    /// credit.
    fn end_round(&mut self, key: ConsumerId) {
        let Some(round) = self.in_transit.rounds.remove(&key) else {
            return;
        };
        if self.add_credit(key, round.credit) {
            self.deliver_ready(round.queue);
        }
    }

    /// Removes the messages that a quorum queue sends to a consumer for acknowledgements on which
    /// it has not agreed yet, while the consumer is being cancelled. The channel no longer knows
    /// the consumer and sends these messages back.
    pub(super) fn overtake(&mut self, channel: ChannelId, tag: &ConsumerTag) -> Option<Overtaken> {
        if self.in_transit.rounds.is_empty() {
            return None;
        }
        let key = *self.channels.get(channel)?.consumers.get(tag)?;
        let round = self.in_transit.rounds.remove(&key)?;
        let is_up = self.consumers.get(key)?.status == Status::Up;
        let queue = self.queues.get_mut(round.queue)?;
        let is_active =
            !queue.options.single_active_consumer || queue.consumers.active == Some(key);
        let mut messages = Vec::new();
        while is_up
            && is_active
            && (messages.len() as u64) < u64::from(round.credit)
            && let Some(queued) = queue.pop()
        {
            messages.push(queued);
        }
        let queue = round.queue;
        (!messages.is_empty()).then_some(Overtaken { queue, messages })
    }

    /// Requeues messages that arrived at a channel for a consumer that no longer exists.
    pub(super) fn send_back(&mut self, overtaken: Overtaken) {
        let Overtaken { queue, messages } = overtaken;
        let timed = Timed::Since(self.now);
        let messages = messages.into_iter().map(|queued| Unacked {
            delivery_tag: 0,
            queue,
            consumer: None,
            queued,
            timed,
        });
        self.return_to_queue(queue, messages.collect(), false);
        self.deliver_returned(queue);
    }

    /// Sends a publisher some of the outcomes that it does not know yet, in RabbitMQ's order: first
    /// the refused publishes one by one, then in one confirm the accepted publishes before the
    /// first outcome that stays unknown, then the other accepted publishes one by one
    /// ([confirms](https://www.rabbitmq.com/docs/confirms#publisher-confirms)).
    fn let_confirms_arrive(&mut self, channel: ChannelId) {
        let in_transit = &mut self.in_transit;
        let Some(waiting) = in_transit.confirms.remove(&channel) else {
            return;
        };
        let (mut told, mut left) = (Vec::new(), BTreeMap::new());
        if let Some(choices) = &mut in_transit.choices {
            // At least one, so that the confirms come to an end.
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
            in_transit.confirms.insert(channel, left);
        }
        for (sequence, _) in told.iter().filter(|(_, taken)| !taken) {
            self.notify_publisher(channel, *sequence, false, false);
        }
        let taken = told
            .iter()
            .filter(|(_, taken)| *taken)
            .map(|(sequence, _)| *sequence);
        let (below, above): (Vec<_>, Vec<_>) = taken.partition(|sequence| *sequence < first_left);
        if let Some(last) = below.last() {
            self.notify_publisher(channel, *last, true, below.len() > 1);
        }
        for sequence in above {
            self.notify_publisher(channel, sequence, true, false);
        }
    }

    fn notify_publisher(&mut self, key: ChannelId, sequence: u64, taken: bool, multiple: bool) {
        let Some(channel) = self.channels.get(key) else {
            return;
        };
        let (connection, number) = (channel.connection, channel.number);
        self.note(connection, number, || match taken {
            true => TimelineEvent::Confirmed { sequence, multiple },
            false => TimelineEvent::Nacked { sequence },
        });
        self.effects.push_back(Effect::Channel {
            connection,
            channel: number,
            event: if taken {
                ChannelEvent::Confirm { sequence, multiple }
            } else {
                ChannelEvent::Nack { sequence, multiple }
            },
        });
    }
}
