//! The unacked deliveries of a channel.

use super::message::Unacked;
use std::collections::VecDeque;

/// Unacked deliveries by delivery tag. Tags only ever rise.
#[derive(Debug, Default)]
pub(crate) struct UnackedDeliveries {
    /// Entries sorted by tag. A delivery that is settled out of order leaves a gap. The gap stays
    /// until all earlier deliveries are settled too, or until gaps are the greater part.
    entries: VecDeque<Entry>,
    outstanding: usize,
}

#[derive(Debug)]
struct Entry {
    delivery_tag: u64,
    unacked: Option<Unacked>,
}

impl UnackedDeliveries {
    /// Returns the number of unacked deliveries.
    pub(crate) fn len(&self) -> usize {
        self.outstanding
    }

    /// Adds a delivery, whose tag is higher than all earlier ones.
    pub(crate) fn insert(&mut self, unacked: Unacked) {
        self.outstanding += 1;
        self.entries.push_back(Entry {
            delivery_tag: unacked.delivery_tag,
            unacked: Some(unacked),
        });
    }

    /// Returns true if this delivery is outstanding.
    pub(crate) fn contains(&self, delivery_tag: u64) -> bool {
        let entry = self.find(delivery_tag).and_then(|at| self.entries.get(at));
        entry.is_some_and(|entry| entry.unacked.is_some())
    }

    /// Takes one delivery out, if it is outstanding.
    pub(crate) fn take(&mut self, delivery_tag: u64) -> Option<Unacked> {
        let at = self.find(delivery_tag)?;
        let unacked = self.entries.get_mut(at)?.unacked.take()?;
        self.outstanding -= 1;
        self.close_gaps();
        Some(unacked)
    }

    /// Takes out all deliveries up to this tag, in order. Returns none if the tag is not
    /// outstanding.
    pub(crate) fn take_up_to(&mut self, delivery_tag: u64) -> Option<Vec<Unacked>> {
        let at = self.find(delivery_tag)?;
        self.entries.get(at)?.unacked.as_ref()?;
        let taken: Vec<_> = self
            .entries
            .drain(..=at)
            .filter_map(|e| e.unacked)
            .collect();
        self.outstanding -= taken.len();
        self.close_gaps();
        Some(taken)
    }

    /// Takes out all deliveries, in order.
    pub(crate) fn take_all(&mut self) -> Vec<Unacked> {
        self.outstanding = 0;
        self.entries.drain(..).filter_map(|e| e.unacked).collect()
    }

    /// Returns all outstanding deliveries, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Unacked> {
        self.entries.iter().filter_map(|e| e.unacked.as_ref())
    }

    /// Returns all outstanding deliveries, in order, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Unacked> {
        self.entries.iter_mut().filter_map(|e| e.unacked.as_mut())
    }

    /// Puts back deliveries that were taken out, in any order.
    pub(crate) fn restore(&mut self, taken: Vec<Unacked>) {
        let mut all = self.take_all();
        all.extend(taken);
        all.sort_by_key(|unacked| unacked.delivery_tag);
        for unacked in all {
            self.insert(unacked);
        }
    }

    #[inline]
    fn find(&self, delivery_tag: u64) -> Option<usize> {
        // No search is needed if the tags have no gaps, as on a channel with one consumer.
        let first = self.entries.front()?.delivery_tag;
        let guess = usize::try_from(delivery_tag.checked_sub(first)?).ok()?;
        if self
            .entries
            .get(guess)
            .is_some_and(|e| e.delivery_tag == delivery_tag)
        {
            return Some(guess);
        }
        let by_tag = |entry: &Entry| entry.delivery_tag;
        self.entries
            .binary_search_by_key(&delivery_tag, by_tag)
            .ok()
    }

    fn close_gaps(&mut self) {
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.unacked.is_none())
        {
            self.entries.pop_front();
        }
        if self.entries.len() > 32 && self.entries.len() > 2 * self.outstanding {
            self.entries.retain(|entry| entry.unacked.is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;
    use crate::message::Timed;
    use crate::queue::Queue;

    fn unacked(tags: impl IntoIterator<Item = u64>) -> UnackedDeliveries {
        let mut queue = Queue::placeholder();
        let mut deliveries = UnackedDeliveries::default();
        for delivery_tag in tags {
            let message = mooq_core::Message {
                exchange: Default::default(),
                routing_key: Default::default(),
                properties: Default::default(),
                body: Default::default(),
            };
            deliveries.insert(Unacked {
                delivery_tag,
                queue: SlotMap::with_key().insert(()),
                consumer: None,
                queued: queue.receive(Default::default(), message.into(), None, None),
                timed: Timed::Out,
            });
        }
        deliveries
    }

    fn tags(taken: Option<Vec<Unacked>>) -> Option<Vec<u64>> {
        Some(taken?.iter().map(|unacked| unacked.delivery_tag).collect())
    }

    #[test]
    fn a_tag_is_taken_once() {
        let mut deliveries = unacked([1, 3, 4, 8]);
        assert!(deliveries.take(3).is_some());
        assert!(deliveries.take(3).is_none());
        assert!(
            deliveries.take(2).is_none(),
            "it was sent without acknowledgement"
        );
        assert!(deliveries.take(9).is_none());
        assert!(deliveries.take(0).is_none());
        assert_eq!(deliveries.len(), 3);
    }

    #[test]
    fn up_to_a_tag_needs_that_very_tag_to_be_outstanding() {
        let mut deliveries = unacked(1..=6);
        deliveries.take(3);
        assert_eq!(tags(deliveries.take_up_to(3)), None);
        assert_eq!(tags(deliveries.take_up_to(7)), None);
        assert_eq!(tags(deliveries.take_up_to(4)), Some(vec![1, 2, 4]));
        assert_eq!(tags(Some(deliveries.take_all())), Some(vec![5, 6]));
    }

    #[test]
    fn restored_deliveries_are_in_order_again() {
        let mut deliveries = unacked(1..=4);
        let (second, first) = (deliveries.take(2).unwrap(), deliveries.take(1).unwrap());
        deliveries.restore(vec![second, first]);
        assert_eq!(deliveries.len(), 4);
        assert_eq!(tags(deliveries.take_up_to(4)), Some(vec![1, 2, 3, 4]));
    }

    #[test]
    fn gaps_do_not_pile_up_behind_one_that_stays() {
        let mut deliveries = unacked(1..=10_000);
        for tag in 2..=10_000 {
            assert!(deliveries.take(tag).is_some());
        }
        assert!(deliveries.entries.len() <= 33);
        assert!(deliveries.take(1).is_some());
    }
}
