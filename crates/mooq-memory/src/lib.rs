//! An in-memory RabbitMQ that a unit test can trust, as a mooq transport.
//!
//! [`InMemoryBroker`] is a broker in this process, [`MemoryTransport`] connects to one. Underneath
//! is [`mooq_engine`], a state machine without I/O, clock or randomness, which can also be driven
//! by itself. The engine does what RabbitMQ does, down to reply codes and texts: by default it
//! behaves as RabbitMQ 4.0, and with another [`Profile`] as 3.10, 4.1, 4.2 or 4.3. 3.10, 4.0 and
//! 4.3 are compared with live brokers.
//!
//! A test can inspect a broker ([`InMemoryBroker::queues`] and others),
//! [record](InMemoryBroker::record) its traffic and assert [on the records](Selection), and [wait
//! until it is idle](InMemoryBroker::wait_idle). [`faults`] inject failures, and
//! [seeds](InMemoryBroker::start_seeded) vary everything that RabbitMQ leaves open. A
//! [timeline](InMemoryBroker::timeline) shows the last events when a test fails.

mod assertions;
mod broker;
mod timeline;

pub use assertions::{Recorded, Selection};
pub use broker::faults;
#[cfg(feature = "definitions")]
pub use broker::password_hash;
pub use broker::{
    AlarmGuard, Hold, InMemoryBroker, ListenerGuard, ListenerInfo, LoginRefused, MemoryTransport,
    ProtocolConnection, Recording, Timeline,
};
#[cfg(feature = "definitions")]
pub use mooq_core::json;
pub use mooq_engine::{
    Activity, Alarm, ApplyTo, BindingInfo, ChannelInfo, ClientDetails, ClientSocket,
    ConnectionInfo, ConsumerInfo, DeadLetterReason, DeprecatedFeatures, ExchangeInfo, Options,
    PermissionsInfo, Plugin, Policy, PolicyInfo, Profile, PublishOutcome, QueueDetails, QueueInfo,
    QueueTally, QueueType, ReadyMessage, RecordedDeadLetter, RecordedDelivery, RecordedPublish,
    Settled, TopicPermissionsInfo, UnackedMessage, UserInfo, VirtualHostInfo, VirtualHostMetadata,
};
