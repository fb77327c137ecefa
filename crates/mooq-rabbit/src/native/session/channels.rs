//! The channels of a connection, by their numbers.

use std::collections::VecDeque;

use super::channel::{Channel, ChannelId};

/// Number of free numbers that are kept out of use. RabbitMQ may still send a frame to a channel
/// that is closed, for example when two deliveries time out at once.
const RESTING: usize = 64;

#[derive(Debug)]
pub(super) struct Channels {
    /// Channel 1 comes first. Boxed, because most numbers are not in use.
    by_number: Vec<Option<Box<Channel>>>,
    /// Numbers that have been used and are free again, the one that has been free longest first.
    free: VecDeque<u16>,
    /// The highest number that the broker allows.
    max: u16,
    serial: u64,
    /// Channels that are closed once they are drained.
    pub(super) draining: Vec<ChannelId>,
}

impl Channels {
    pub(super) fn new(max: u16) -> Self {
        Self {
            by_number: Vec::new(),
            free: VecDeque::new(),
            max,
            serial: 0,
            draining: Vec::new(),
        }
    }

    /// Adds a channel with a free number.
    ///
    /// # Errors
    /// The number of channels that may be open, if all of them are.
    pub(super) fn open(&mut self) -> Result<&mut Channel, u16> {
        let fresh = u16::try_from(self.by_number.len() + 1).ok();
        let fresh = fresh.filter(|number| *number <= self.max);
        let number = match fresh {
            Some(fresh) if self.free.len() < RESTING => {
                self.by_number.push(None);
                fresh
            }
            _ => self.free.pop_front().ok_or(self.max)?,
        };
        self.serial += 1;
        let id = ChannelId {
            number,
            serial: self.serial,
        };
        let place = &mut self.by_number[usize::from(number) - 1];
        Ok(place.insert(Box::new(Channel::new(id))))
    }

    /// The channel with this number, if there is one.
    pub(super) fn at(&mut self, number: u16) -> Option<&mut Channel> {
        let index = usize::from(number).checked_sub(1)?;
        self.by_number.get_mut(index)?.as_deref_mut()
    }

    /// The channel with this identity, if it is not closed.
    pub(super) fn find(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.at(id.number).filter(|channel| channel.id == id)
    }

    /// Returns true if the number has been used.
    pub(super) fn is_known(&self, number: u16) -> bool {
        (1..=self.by_number.len()).contains(&usize::from(number))
    }

    pub(super) fn get(&self, id: ChannelId) -> Option<&Channel> {
        let index = usize::from(id.number).checked_sub(1)?;
        let channel = self.by_number.get(index)?.as_deref();
        channel.filter(|channel| channel.id == id)
    }

    /// Removes a channel, whose number may be used again.
    pub(super) fn free(&mut self, number: u16) {
        if let Some(index) = usize::from(number).checked_sub(1)
            && let Some(place) = self.by_number.get_mut(index)
            && place.take().is_some()
        {
            self.free.push_back(number);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.by_number.iter().filter_map(Option::as_deref)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.by_number.iter_mut().filter_map(Option::as_deref_mut)
    }

    /// Takes all channels.
    pub(super) fn take(&mut self) -> Vec<Channel> {
        self.draining.clear();
        let channels = std::mem::take(&mut self.by_number).into_iter().flatten();
        channels.map(|channel| *channel).collect()
    }
}
