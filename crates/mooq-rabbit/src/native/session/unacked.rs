//! A channel's deliveries that are not settled, and the acks that wait to be sent together.
//!
//! An ack is kept back until the next frame of its channel or the next write to the socket. Then
//! the acks of the oldest unsettled deliveries, as long as none is missing between them, become one
//! `basic.ack` with `multiple`, which means the same to the broker. All others are sent one by one.
//!
//! The list of unsettled deliveries is never shorter than the broker's: where it could be, after
//! `tx.select` and `basic.recover`, no ack is kept back any more.

use std::collections::VecDeque;

/// Number of entries from which the list is searched for settled ones to remove.
const COMPACTED: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The broker waits for a settlement.
    Unacked,
    /// Acked, and not sent yet.
    Acked,
    Settled,
}

#[derive(Debug)]
pub(super) struct Unacked {
    /// Deliveries by tag, in ascending order.
    entries: VecDeque<(u64, State)>,
    /// Number of entries that are not settled.
    unsettled: usize,
    /// Tags of the acks that are kept back, in the order of the calls.
    acked: Vec<u64>,
    /// True if `entries` has everything that the broker holds as unacked.
    is_complete: bool,
}

impl Default for Unacked {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            unsettled: 0,
            acked: Vec::new(),
            is_complete: true,
        }
    }
}

impl Unacked {
    /// Records a delivery that has to be settled.
    pub(super) fn delivered(&mut self, tag: u64) {
        if !self.is_complete {
            return;
        }
        // Tags ascend. A broker that does it differently is not understood well enough.
        if self.entries.back().is_some_and(|(last, _)| *last >= tag) {
            self.give_up();
            return;
        }
        self.entries.push_back((tag, State::Unacked));
        self.unsettled += 1;
    }

    /// Stops keeping acks back: from here on the broker may hold deliveries as unacked that are
    /// settled here.
    pub(super) fn give_up(&mut self) {
        self.is_complete = false;
        if self.acked.is_empty() {
            self.entries = VecDeque::new();
        }
    }

    /// Takes an ack of one delivery to keep back. Returns false if the ack has to be sent as it is.
    pub(super) fn keep_back(&mut self, tag: u64) -> bool {
        if !self.is_complete {
            return false;
        }
        let Ok(index) = self.entries.binary_search_by_key(&tag, |(tag, _)| *tag) else {
            return false;
        };
        if self.entries[index].1 != State::Unacked {
            return false;
        }
        self.entries[index].1 = State::Acked;
        self.acked.push(tag);
        true
    }

    /// Returns true if acks are kept back.
    pub(super) fn has_acks(&self) -> bool {
        !self.acked.is_empty()
    }

    /// Passes the acks that were kept back to `send`, as tag and `multiple`.
    pub(super) fn release(&mut self, mut send: impl FnMut(u64, bool)) {
        let mut first = 0;
        let mut last = None;
        while let Some((tag, state)) = self.entries.front()
            && *state != State::Unacked
        {
            if *state == State::Acked {
                last = Some(*tag);
                first += 1;
                self.unsettled -= 1;
            }
            self.entries.pop_front();
        }
        if let Some(last) = last {
            send(last, first > 1);
        }
        for tag in self.acked.drain(..) {
            if last.is_some_and(|last| tag <= last) {
                continue;
            }
            send(tag, false);
            if let Ok(index) = self.entries.binary_search_by_key(&tag, |(tag, _)| *tag) {
                self.entries[index].1 = State::Settled;
                self.unsettled -= 1;
            }
        }
        if !self.is_complete {
            self.entries = VecDeque::new();
        }
        self.compact();
    }

    /// Records a settlement that is sent as it is: of one delivery, or with `multiple` of all up to
    /// it, where 0 stands for the last. No acks may be kept back.
    pub(super) fn settled(&mut self, tag: u64, multiple: bool) {
        if !multiple {
            if let Ok(index) = self.entries.binary_search_by_key(&tag, |(tag, _)| *tag)
                && self.entries[index].1 != State::Settled
            {
                self.entries[index].1 = State::Settled;
                self.unsettled -= 1;
            }
        } else {
            let up_to = if tag == 0 { u64::MAX } else { tag };
            while let Some((first, state)) = self.entries.front()
                && *first <= up_to
            {
                if *state != State::Settled {
                    self.unsettled -= 1;
                }
                self.entries.pop_front();
            }
        }
        self.compact();
    }

    fn compact(&mut self) {
        while let Some((_, State::Settled)) = self.entries.front() {
            self.entries.pop_front();
        }
        if self.entries.len() >= COMPACTED && self.unsettled * 2 < self.entries.len() {
            self.entries.retain(|(_, state)| *state != State::Settled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(count: u64) -> Unacked {
        let mut unacked = Unacked::default();
        (1..=count).for_each(|tag| unacked.delivered(tag));
        unacked
    }

    fn released(unacked: &mut Unacked) -> Vec<(u64, bool)> {
        let mut sent = Vec::new();
        unacked.release(|tag, multiple| sent.push((tag, multiple)));
        sent
    }

    #[test]
    fn acks_of_the_oldest_become_one() {
        let mut unacked = delivered(5);
        for tag in [2, 1, 3, 5] {
            assert!(unacked.keep_back(tag), "{tag}");
        }
        // 4 is not settled, so 5 stands alone.
        assert_eq!(released(&mut unacked), [(3, true), (5, false)]);
        assert!(unacked.keep_back(4));
        assert_eq!(released(&mut unacked), [(4, false)]);
        assert!(unacked.entries.is_empty());
        assert_eq!(unacked.unsettled, 0);
    }

    #[test]
    fn an_ack_that_the_broker_would_refuse_is_sent_as_it_is() {
        let mut unacked = delivered(2);
        assert!(unacked.keep_back(1));
        assert!(!unacked.keep_back(1), "acked twice");
        assert!(!unacked.keep_back(3), "never delivered");
        assert_eq!(released(&mut unacked), [(1, false)]);
        assert!(!unacked.keep_back(1), "settled");
        assert!(!unacked.keep_back(0), "0 alone is no delivery");
    }

    #[test]
    fn deliveries_settled_in_another_way_stand_in_no_ones_way() {
        let mut unacked = delivered(6);
        unacked.settled(2, false);
        for tag in [1, 3] {
            assert!(unacked.keep_back(tag), "{tag}");
        }
        assert_eq!(released(&mut unacked), [(3, true)]);
        unacked.settled(5, true);
        assert!(unacked.keep_back(6));
        assert_eq!(released(&mut unacked), [(6, false)]);
        unacked.delivered(7);
        unacked.settled(0, true);
        assert!(!unacked.keep_back(7));
    }

    #[test]
    fn nothing_is_kept_back_where_the_broker_may_hold_more() {
        let mut unacked = delivered(2);
        assert!(unacked.keep_back(1));
        unacked.give_up();
        assert_eq!(released(&mut unacked), [(1, false)]);
        assert!(!unacked.keep_back(2));

        // The tags of a broker that counts differently.
        let mut unacked = delivered(2);
        unacked.delivered(2);
        assert!(!unacked.keep_back(1));
    }

    #[test]
    fn one_old_delivery_does_not_make_the_list_grow() {
        let mut unacked = delivered(1);
        for tag in 2..10_000 {
            unacked.delivered(tag);
            assert!(unacked.keep_back(tag));
            assert_eq!(released(&mut unacked), [(tag, false)]);
        }
        assert!(
            unacked.entries.len() <= COMPACTED,
            "{}",
            unacked.entries.len()
        );
        assert!(unacked.keep_back(1));
        assert_eq!(released(&mut unacked), [(1, false)]);
    }

    /// Every settlement by this list leaves the broker with the same unacked deliveries as the
    /// calls one by one.
    #[test]
    fn acks_sent_together_settle_what_the_calls_settle() {
        let mut random = 7_u64;
        let mut next = |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % below
        };
        for _ in 0..300 {
            let mut unacked = Unacked::default();
            let mut broker = std::collections::BTreeSet::new();
            let mut wanted = std::collections::BTreeSet::new();
            let mut tag = 0;
            for _ in 0..200 {
                match next(6) {
                    0..=2 => {
                        tag += 1;
                        unacked.delivered(tag);
                        broker.insert(tag);
                        wanted.insert(tag);
                    }
                    3 | 4 => {
                        let Some(acked) = wanted.iter().nth(next(4) as usize).copied() else {
                            continue;
                        };
                        assert!(unacked.keep_back(acked));
                        wanted.remove(&acked);
                    }
                    _ => {
                        unacked.release(|tag, multiple| {
                            assert!(broker.remove(&tag), "the tag itself is outstanding");
                            if multiple {
                                broker.retain(|other| *other > tag);
                            }
                        });
                        assert_eq!(broker, wanted);
                    }
                }
            }
        }
    }
}
