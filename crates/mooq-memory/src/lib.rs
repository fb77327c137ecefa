//! An in-memory RabbitMQ that a unit test can trust, as a mooq transport.
//!
//! [`InMemoryBroker`] is a broker in this process, [`MemoryTransport`] connects to one. Underneath
//! is the [`engine`], a state machine without I/O, clock or randomness, which can also be driven
//! by itself. It does what RabbitMQ does with classic queues, down to reply codes and texts: by
//! default what RabbitMQ 4.0 does, and what 3.10 or 4.3 does where a broker has their [`Profile`].

mod assertions;
mod broker;
pub mod engine;
pub mod seeds;

pub use assertions::{Recorded, Selection};
pub use broker::faults;
pub use broker::{AlarmGuard, InMemoryBroker, MemoryTransport, Recording};
pub use engine::{
    Activity, Alarm, ApplyTo, BindingInfo, ChannelInfo, ConnectionInfo, ConsumerInfo,
    DeadLetterReason, ExchangeInfo, Options, Policy, Profile, PublishOutcome, QueueInfo,
    QueueTally, ReadyMessage, RecordedDeadLetter, RecordedDelivery, RecordedPublish, Settled,
    UnackedMessage,
};
