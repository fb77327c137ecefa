//! Ready messages of a quorum queue: first the requeued ones, in the order in which they were
//! requeued, then the arrived ones by
//! [priority](https://www.rabbitmq.com/docs/quorum-queues#priorities).

use std::collections::{BTreeMap, VecDeque};

use crate::message::QueuedMessage;
use crate::profile::{Profile, QuorumPriorities};
use crate::queue::measure::Measure;
use crate::time::Time;

#[derive(Debug)]
pub(crate) struct QuorumMessages {
    returned: VecDeque<QueuedMessage>,
    arrived: Arrivals,
    len: usize,
    bytes: u64,
    measure: Measure,
}

/// Messages that arrived and have not been delivered yet.
#[derive(Debug)]
enum Arrivals {
    /// Priorities do not matter.
    InOrder(VecDeque<QueuedMessage>),
    /// High messages have precedence, without ever keeping normal ones waiting for long.
    HighAndNormal(TwoLevels),
    /// Messages of higher priority leave first.
    Strict(BTreeMap<u8, VecDeque<QueuedMessage>>),
}

#[derive(Debug, Default)]
struct TwoLevels {
    high: VecDeque<QueuedMessage>,
    normal: VecDeque<QueuedMessage>,
    /// Position in a round. The last turn of each round goes to a normal message.
    turn: u8,
}

/// A round is two high messages and a normal one.
const LAST_TURN: u8 = 2;

/// The highest priority of a normal message. Messages above it are high.
const HIGHEST_NORMAL: u8 = 4;

/// Priority of a message without one, where every priority counts.
const DEFAULT_PRIORITY: u8 = 4;

/// The highest priority, where every priority counts. Higher values are treated as this one.
const MAX_PRIORITY: u8 = 31;

impl QuorumMessages {
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            returned: VecDeque::new(),
            arrived: match profile.quorum_priorities() {
                QuorumPriorities::None => Arrivals::InOrder(VecDeque::new()),
                QuorumPriorities::HighAndNormal => Arrivals::HighAndNormal(TwoLevels::default()),
                QuorumPriorities::Strict => Arrivals::Strict(BTreeMap::new()),
            },
            len: 0,
            bytes: 0,
            measure: profile.quorum_measure(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn measure(&self) -> Measure {
        self.measure
    }

    pub(super) fn push(&mut self, queued: QueuedMessage) {
        let priority = queued.message.properties.priority;
        self.push_as(queued, priority);
    }

    /// Uses a turn for a message that goes straight to a consumer.
    pub(super) fn pass_by(&mut self) {
        if let Arrivals::HighAndNormal(levels) = &mut self.arrived {
            levels.turn = after(levels.turn);
        }
    }

    /// Adds a message as a new arrival without a priority. A queue without a delivery limit does
    /// this with returned messages, so that they do not block other messages for ever.
    pub(super) fn push_again(&mut self, queued: QueuedMessage) {
        self.push_as(queued, None);
    }

    fn push_as(&mut self, queued: QueuedMessage, priority: Option<u8>) {
        self.len += 1;
        self.bytes += queued.bytes(self.measure);
        match &mut self.arrived {
            Arrivals::InOrder(messages) => messages.push_back(queued),
            Arrivals::HighAndNormal(levels) => {
                let level = match priority {
                    Some(priority) if priority > HIGHEST_NORMAL => &mut levels.high,
                    _ => &mut levels.normal,
                };
                level.push_back(queued);
            }
            Arrivals::Strict(levels) => {
                let priority = priority.unwrap_or(DEFAULT_PRIORITY).min(MAX_PRIORITY);
                levels.entry(priority).or_default().push_back(queued);
            }
        }
    }

    pub(super) fn put_back(&mut self, queued: QueuedMessage) {
        self.len += 1;
        self.bytes += queued.bytes(self.measure);
        self.returned.push_back(queued);
    }

    pub(super) fn front(&self) -> Option<&QueuedMessage> {
        self.returned.front().or_else(|| self.arrived.front())
    }

    /// Returns all messages in the order in which they leave.
    pub(super) fn iter(&self) -> impl Iterator<Item = &QueuedMessage> {
        self.returned.iter().chain(self.arrived.iter())
    }

    pub(super) fn pop(&mut self) -> Option<QueuedMessage> {
        let next = self.returned.pop_front();
        let queued = next.or_else(|| self.arrived.pop())?;
        self.len -= 1;
        self.bytes -= queued.bytes(self.measure);
        Some(queued)
    }

    /// Returns the time of the next expiry. Where priorities are strict, each priority has its own
    /// head.
    pub(super) fn next_expiry(&self) -> Option<Time> {
        match &self.arrived {
            Arrivals::Strict(levels) => {
                let heads = levels.values().filter_map(VecDeque::front);
                let heads = heads.chain(self.returned.front());
                heads.filter_map(|head| head.expires).min()
            }
            _ => self.front()?.expires,
        }
    }

    /// Removes and returns the next message that has expired.
    pub(super) fn pop_expired(&mut self, now: Time) -> Option<QueuedMessage> {
        let has_expired = |head: &QueuedMessage| head.expires.is_some_and(|at| at <= now);
        let Arrivals::Strict(levels) = &mut self.arrived else {
            return self.front().is_some_and(has_expired).then(|| self.pop())?;
        };
        let expired = if self.returned.front().is_some_and(has_expired) {
            self.returned.pop_front()
        } else {
            let priority = levels.iter().rev().find_map(|(priority, level)| {
                level.front().is_some_and(has_expired).then_some(*priority)
            });
            Arrivals::pop_strict(levels, priority?)
        }?;
        self.len -= 1;
        self.bytes -= expired.bytes(self.measure);
        Some(expired)
    }

    pub(super) fn clear(&mut self) -> usize {
        let cleared = self.len;
        self.returned.clear();
        match &mut self.arrived {
            Arrivals::InOrder(messages) => messages.clear(),
            Arrivals::HighAndNormal(levels) => {
                levels.high.clear();
                levels.normal.clear();
                levels.turn = 0;
            }
            Arrivals::Strict(levels) => levels.clear(),
        }
        self.len = 0;
        self.bytes = 0;
        cleared
    }
}

impl Arrivals {
    fn front(&self) -> Option<&QueuedMessage> {
        match self {
            Self::InOrder(messages) => messages.front(),
            Self::HighAndNormal(levels) => levels.front(),
            Self::Strict(levels) => levels.values().next_back()?.front(),
        }
    }

    fn iter(&self) -> Box<dyn Iterator<Item = &QueuedMessage> + '_> {
        match self {
            Self::InOrder(messages) => Box::new(messages.iter()),
            Self::HighAndNormal(levels) => Box::new(levels.iter()),
            Self::Strict(levels) => Box::new(levels.values().rev().flatten()),
        }
    }

    fn pop(&mut self) -> Option<QueuedMessage> {
        match self {
            Self::InOrder(messages) => messages.pop_front(),
            Self::HighAndNormal(levels) => levels.pop(),
            Self::Strict(levels) => {
                let (highest, _) = levels.last_key_value()?;
                Self::pop_strict(levels, *highest)
            }
        }
    }

    fn pop_strict(
        levels: &mut BTreeMap<u8, VecDeque<QueuedMessage>>,
        priority: u8,
    ) -> Option<QueuedMessage> {
        let level = levels.get_mut(&priority)?;
        let queued = level.pop_front();
        if level.is_empty() {
            levels.remove(&priority);
        }
        queued
    }
}

impl TwoLevels {
    /// True if the next message to leave is a high one, given the first message of each level and
    /// the turn.
    fn next_is_high(
        turn: u8,
        high: Option<&QueuedMessage>,
        normal: Option<&QueuedMessage>,
    ) -> bool {
        match (high, normal) {
            (None, _) => false,
            (Some(_), None) => true,
            // A high message that arrived before the normal ones does not keep any of them waiting.
            (Some(high), Some(normal)) => turn < LAST_TURN || high.position < normal.position,
        }
    }

    fn front(&self) -> Option<&QueuedMessage> {
        self.iter().next()
    }

    fn iter(&self) -> impl Iterator<Item = &QueuedMessage> {
        let (mut high, mut normal) = (self.high.iter().peekable(), self.normal.iter().peekable());
        let mut turn = self.turn;
        std::iter::from_fn(move || {
            let next = if Self::next_is_high(turn, high.peek().copied(), normal.peek().copied()) {
                high.next()
            } else {
                normal.next()
            };
            turn = after(turn);
            next
        })
    }

    fn pop(&mut self) -> Option<QueuedMessage> {
        let next = if Self::next_is_high(self.turn, self.high.front(), self.normal.front()) {
            &mut self.high
        } else {
            &mut self.normal
        };
        let queued = next.pop_front()?;
        self.turn = after(self.turn);
        Some(queued)
    }
}

/// Returns the next turn of a round.
fn after(turn: u8) -> u8 {
    if turn == LAST_TURN { 0 } else { turn + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::ready::queued;

    /// Fills a queue with these priorities, and returns the order in which its messages leave.
    fn order(profile: Profile, priorities: &[Option<u8>]) -> Vec<u64> {
        let mut ready = QuorumMessages::new(profile);
        for (position, priority) in (0..).zip(priorities) {
            ready.push(queued(position, *priority));
        }
        let seen: Vec<_> = ready.iter().map(|queued| queued.position).collect();
        let left = drain(&mut ready);
        assert_eq!(seen, left, "a look shows the order in which they leave");
        left
    }

    fn drain(ready: &mut QuorumMessages) -> Vec<u64> {
        let mut order = Vec::new();
        loop {
            let front = ready.front().map(|queued| queued.position);
            let popped = ready.pop().map(|queued| queued.position);
            assert_eq!(front, popped, "the front is what leaves next");
            match popped {
                Some(position) => order.push(position),
                None => return order,
            }
        }
    }

    #[test]
    fn returned_messages_leave_first_in_the_order_of_their_return() {
        let mut ready = QuorumMessages::new(Profile::V4_0);
        (1..=5).for_each(|position| ready.push(queued(position, None)));
        let out: Vec<_> = (0..3).map(|_| ready.pop().unwrap()).collect();
        for index in [2, 0, 1] {
            ready.put_back(out[index].clone());
        }
        assert_eq!((ready.len(), ready.bytes()), (5, 20));
        assert_eq!(drain(&mut ready), [3, 1, 2, 4, 5]);
        assert_eq!((ready.len(), ready.bytes()), (0, 0));
    }

    #[test]
    fn each_version_has_its_own_priorities() {
        let sent = [None, Some(0), Some(4), Some(5), Some(9), Some(255), Some(6)];
        assert_eq!(order(Profile::V3_10, &sent), [0, 1, 2, 3, 4, 5, 6]);
        // Two high ones, a normal one, and so on.
        assert_eq!(order(Profile::V4_0, &sent), [3, 4, 0, 5, 6, 1, 2]);
        assert_eq!(order(Profile::V4_3, &sent), [5, 4, 6, 3, 0, 2, 1]);
    }

    #[test]
    fn message_straight_to_a_consumer_takes_a_turn() {
        let mut ready = QuorumMessages::new(Profile::V4_0);
        ready.pass_by();
        for (position, priority) in [None, None, Some(9), Some(9), Some(9)].iter().enumerate() {
            ready.push(queued(position as u64, *priority));
        }
        assert_eq!(drain(&mut ready), [2, 0, 3, 4, 1]);
    }

    #[test]
    fn a_high_message_does_not_wait_for_normal_ones_that_came_after_it() {
        let high_first = [Some(9), Some(9), Some(9), Some(9), None, None];
        assert_eq!(order(Profile::V4_0, &high_first), [0, 1, 2, 3, 4, 5]);
    }
}
