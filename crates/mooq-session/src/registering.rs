//! Registering one consumer with the broker: `basic.qos`, and then `basic.consume`.
//!
//! A user's call registers a consumer for the first time (`consuming`). While a channel is reopened
//! its consumers are registered again (`restore/reopening`). The requests are the same; what they
//! are made of, and what an error means, is not.

use std::time::Instant;

use mooq_core::Result;

use crate::ids::ConsumerId;
use crate::output::{Answer, Request};
use crate::purpose::{Purpose, Registering};
use crate::session::Session;
use crate::shell::Shell;

impl<S: Shell> Session<S> {
    /// Begins to register a consumer on a wire.
    pub(crate) fn ask_prefetch(&mut self, which: Registering, wire: &S::Wire, prefetch: u16) {
        let purpose = Purpose::Prefetch(which, wire.clone());
        self.ask(wire, Request::Qos(prefetch), purpose);
    }

    pub(crate) fn prefetch_answered(
        &mut self,
        which: Registering,
        wire: &S::Wire,
        answer: Result<Answer<S>>,
        now: Instant,
    ) {
        let next = match (answer, which) {
            (Ok(_), Registering::First(channel)) => self.add_consumer(channel, wire),
            (Ok(_), Registering::Again(job)) => self.consumer_of(job, now),
            (Err(err), Registering::First(channel)) => {
                return self.registered(channel, Err(err));
            }
            (Err(err), Registering::Again(job)) => return self.register_failed(job, err, now),
        };
        if let Some((consumer, consume)) = next {
            let purpose = Purpose::Consume(which, consumer);
            self.ask(wire, Request::Consume(consume), purpose);
        }
    }

    pub(crate) fn consume_answered(
        &mut self,
        which: Registering,
        consumer: ConsumerId,
        answer: Result<Answer<S>>,
        now: Instant,
    ) {
        match (which, answer) {
            (Registering::First(channel), answer) => {
                self.first_registration_answered(channel, consumer, answer);
            }
            (Registering::Again(job), Ok(_)) => self.consumer_registered_again(job, now),
            (Registering::Again(job), Err(err)) => self.register_failed(job, err, now),
        }
    }
}
