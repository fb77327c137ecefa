//! The same two workloads against RabbitMQ, by mooq, by raw amqprs and by lapin: confirmed
//! publishing with 256 in flight, and consuming with an acknowledgement for each message at a
//! prefetch of 250. Bodies are 64 bytes, queues durable, messages transient.

pub mod by_amqprs;
pub mod by_lapin;
pub mod by_mooq;

/// Number of publishes in flight before the producer waits for the oldest confirm.
const WINDOW: usize = 256;

/// Maximum number of unacked deliveries.
const PREFETCH: u16 = 250;

/// Body of the messages.
const BODY: [u8; 64] = [b'x'; 64];

/// The queue that all use, one after the other.
const QUEUE: &str = "mooq-figures";
