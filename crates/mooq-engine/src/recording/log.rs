//! A recording: its content and its limit.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::{RecordedDeadLetter, RecordedDelivery, RecordedPublish, Settled};
use crate::ids::ChannelId;

/// Entries recorded since a recording began, in order.
#[derive(Debug)]
pub struct Log {
    limit: usize,
    missed: u64,
    publishes: Vec<RecordedPublish>,
    deliveries: Vec<RecordedDelivery>,
    dead_letters: Vec<RecordedDeadLetter>,
    /// Indexes of the deliveries that are not settled yet.
    unsettled: HashMap<(ChannelId, u64), usize, RandomState>,
}

impl Default for Log {
    /// Creates a log that holds nothing and never will.
    fn default() -> Self {
        Self::new(0)
    }
}

impl Log {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            missed: 0,
            publishes: Vec::new(),
            deliveries: Vec::new(),
            dead_letters: Vec::new(),
            unsettled: HashMap::default(),
        }
    }

    /// Largest number of entries: publishes, deliveries and dead letters together.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Number of entries that were discarded since the log was full.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The publishes.
    #[must_use]
    pub fn publishes(&self) -> &[RecordedPublish] {
        &self.publishes
    }

    /// The deliveries.
    #[must_use]
    pub fn deliveries(&self) -> &[RecordedDelivery] {
        &self.deliveries
    }

    /// The dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> &[RecordedDeadLetter] {
        &self.dead_letters
    }

    pub(super) fn publish(&mut self, publish: &RecordedPublish) {
        if self.has_room() {
            self.publishes.push(publish.clone());
        }
    }

    /// Records a delivery. Keeps its index for its settlement, if it is to be settled.
    pub(super) fn delivery(&mut self, delivery: &RecordedDelivery, tag: (ChannelId, u64)) {
        if self.has_room() {
            if delivery.settled.is_none() {
                self.unsettled.insert(tag, self.deliveries.len());
            }
            self.deliveries.push(delivery.clone());
        }
    }

    pub(super) fn dead_letter(&mut self, dead_letter: &RecordedDeadLetter) {
        if self.has_room() {
            self.dead_letters.push(dead_letter.clone());
        }
    }

    /// Records the outcome of a delivery, if the log contains the delivery.
    pub(super) fn settle(&mut self, channel: ChannelId, delivery_tag: u64, how: Settled) {
        if let Some(at) = self.unsettled.remove(&(channel, delivery_tag))
            && let Some(delivery) = self.deliveries.get_mut(at)
        {
            delivery.settled = Some(how);
        }
    }

    /// Records that all deliveries of a channel were requeued.
    pub(super) fn settle_all(&mut self, channel: ChannelId, how: Settled) {
        let deliveries = &mut self.deliveries;
        self.unsettled.retain(|(of, _), at| {
            if *of != channel {
                return true;
            }
            if let Some(delivery) = deliveries.get_mut(*at) {
                delivery.settled = Some(how);
            }
            false
        });
    }

    /// True if there is room for one more entry. If not, the entry is counted as missed.
    fn has_room(&mut self) -> bool {
        let held = self.publishes.len() + self.deliveries.len() + self.dead_letters.len();
        let has_room = held < self.limit;
        self.missed += u64::from(!has_room);
        has_room
    }
}
