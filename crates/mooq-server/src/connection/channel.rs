//! A channel for its connection: the frames being read on it, and the requests yet to be answered.

use std::collections::{BTreeMap, HashSet, VecDeque};

use mooq_core::ConsumerTag;
use mooq_core::in_flight::InFlight;
use mooq_wire::content::Assembler;

use super::command::Request;

/// A channel that a client has opened.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// Assembles the client's methods and content.
    pub(super) assembler: Assembler,
    /// Requests that the broker has yet to answer, in order.
    pub(super) requests: VecDeque<Request>,
    /// True if the broker has closed the channel, or is about to: everything up to the client's answer
    /// is ignored.
    pub(super) closing: bool,
    /// Consumers whose deliveries are settled as they are sent.
    pub(super) automatic: HashSet<ConsumerTag>,
    /// Deliveries that the client has yet to settle.
    pub(super) unsettled: Unsettled,
}

/// Deliveries that count as in flight until the client settles them.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    by_tag: BTreeMap<u64, InFlight>,
}

impl Unsettled {
    pub(super) fn add(&mut self, tag: u64, in_flight: InFlight) {
        self.by_tag.insert(tag, in_flight);
    }

    /// Removes one delivery, or all up to it; with tag 0 all of them.
    pub(super) fn settle(&mut self, tag: u64, multiple: bool) {
        match (multiple, tag) {
            (false, tag) => drop(self.by_tag.remove(&tag)),
            (true, 0) => self.by_tag.clear(),
            (true, tag) => self.by_tag = self.by_tag.split_off(&tag.saturating_add(1)),
        }
    }

    /// Removes all deliveries, because they are requeued.
    pub(super) fn clear(&mut self) {
        self.by_tag.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(unsettled: &Unsettled) -> Vec<u64> {
        unsettled.by_tag.keys().copied().collect()
    }

    #[test]
    fn deliveries_are_settled_in_any_order() {
        let mut unsettled = Unsettled::default();
        for tag in [1, 2, 3, 5, 6] {
            unsettled.add(tag, InFlight::default());
        }
        unsettled.settle(2, false);
        assert_eq!(tags(&unsettled), [1, 3, 5, 6]);
        unsettled.settle(4, false);
        assert_eq!(
            tags(&unsettled),
            [1, 3, 5, 6],
            "4 was settled as it was sent"
        );
        unsettled.settle(1, false);
        assert_eq!(tags(&unsettled), [3, 5, 6]);
        unsettled.settle(5, true);
        assert_eq!(tags(&unsettled), [6]);
        unsettled.settle(0, true);
        assert!(tags(&unsettled).is_empty());
    }
}
