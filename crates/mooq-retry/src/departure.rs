//! The copy of a failed message that goes to another queue.

use std::time::Duration;

use mooq_core::{Message, QueueName, Result};

use crate::destination::Destination;
use crate::ladder::{Ladder, parked_name, parking_queue};
use crate::trail::{Mark, Trail};
use crate::verdict::{Failed, To};

/// The longest time after which a delivery is tried again whose message could not be moved.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A copy of a message, and where it goes.
#[derive(Debug)]
pub struct Departure {
    /// The copy.
    pub message: Message,
    /// The message's next place.
    pub destination: Destination,
    /// The queue in which it is parked, if it has failed for good.
    pub parked: Option<QueueName>,
}

impl Departure {
    /// Makes a copy of a message that was delivered from `queue`, to quorum queues if `quorum` is
    /// set.
    ///
    /// # Errors
    /// `InvalidName` if the queue's name leaves no room for what is added to it.
    pub fn new(
        message: &Message,
        queue: &QueueName,
        trail: &Trail,
        (failed, to): (Failed, &To),
        quorum: bool,
    ) -> Result<Self> {
        let (destination, parked, reason) = match to {
            To::Later(delay) => {
                let ladder = Ladder::new(queue, quorum)?;
                let destination = match ladder.place(*delay) {
                    Some(place) => Destination::Later(ladder, place),
                    None => Destination::Back(ladder),
                };
                (destination, None, None)
            }
            To::Parking(name) => {
                let name = name.clone().map_or_else(|| parked_name(queue), Ok)?;
                let destination = Destination::Parking(parking_queue(name.clone(), quorum));
                let reason = match failed {
                    Failed::Decoding => "undecodable",
                    Failed::Park => "outcome",
                    Failed::ForGood => "error",
                    Failed::Callback | Failed::RetryAfter(_) => "attempts",
                };
                (destination, Some(name), Some(reason))
            }
        };
        let mark = Mark {
            attempts: trail.attempts,
            error: trail.error.as_deref().unwrap_or_default(),
            parked: reason,
        };
        let message = Message {
            properties: mark.put(message, queue),
            ..message.clone()
        };
        Ok(Self {
            message,
            destination,
            parked,
        })
    }
}

impl To {
    /// Returns the time after which the delivery is tried again if its message could not be moved.
    #[must_use]
    pub fn wait(&self) -> Duration {
        match self {
            Self::Later(delay) => (*delay).min(LONGEST_WAIT),
            Self::Parking(_) => LONGEST_WAIT,
        }
    }
}
