//! A channel for its connection: the frames being read on it, and the requests yet to be answered.

use std::collections::{HashSet, VecDeque};

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
    /// Deliveries by ascending tag. A delivery that is settled before earlier ones leaves an empty
    /// entry.
    deliveries: VecDeque<(u64, Option<InFlight>)>,
}

impl Unsettled {
    pub(super) fn add(&mut self, tag: u64, in_flight: InFlight) {
        self.deliveries.push_back((tag, Some(in_flight)));
    }

    /// Removes one delivery, or all up to it; with tag 0 all of them.
    pub(super) fn settle(&mut self, tag: u64, multiple: bool) {
        if multiple {
            let end = match tag {
                0 => self.deliveries.len(),
                tag => self.deliveries.partition_point(|(other, _)| *other <= tag),
            };
            self.deliveries.drain(..end);
        } else if let Ok(at) = self.deliveries.binary_search_by_key(&tag, |(tag, _)| *tag)
            && let Some((_, in_flight)) = self.deliveries.get_mut(at)
        {
            *in_flight = None;
        }
        while let Some((_, None)) = self.deliveries.front() {
            self.deliveries.pop_front();
        }
    }

    /// Removes all deliveries, because they are requeued.
    pub(super) fn clear(&mut self) {
        self.deliveries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(unsettled: &Unsettled) -> Vec<u64> {
        let kept = unsettled.deliveries.iter();
        kept.filter_map(|(tag, in_flight)| in_flight.as_ref().map(|_| *tag))
            .collect()
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
        assert_eq!(unsettled.deliveries.len(), 3, "1 and 2 are gone");
        unsettled.settle(5, true);
        assert_eq!(tags(&unsettled), [6]);
        unsettled.settle(0, true);
        assert!(tags(&unsettled).is_empty());
    }
}
