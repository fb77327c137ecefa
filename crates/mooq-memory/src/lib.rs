//! An in-memory RabbitMQ that a unit test can trust, as a mooq transport.
//!
//! [`InMemoryBroker`] is a broker in this process, [`MemoryTransport`] connects to one. Underneath
//! is the [`engine`], a state machine without I/O, clock or randomness, which can also be driven
//! by itself. It does what RabbitMQ does with classic queues, down to reply codes and texts: by
//! default what RabbitMQ 4.0 does, and what 3.10 or 4.3 does where a broker has their [`Profile`].
//!
//! A test can look in ([`InMemoryBroker::queues`] and others), have it
//! [record](InMemoryBroker::record) what goes through and assert [what that was](Selection), and
//! [wait until it is idle](InMemoryBroker::wait_idle). Things go wrong in it by [`faults`], and
//! otherwise than usual by [`seeds`].

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
