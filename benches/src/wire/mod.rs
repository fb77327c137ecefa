//! Load on a broker over its socket, the same for RabbitMQ and mooq-server.
//!
//! The generator shares the cores with the broker, so it does as little as it can: it writes frames
//! that were encoded beforehand, many at a time, and of what comes back it reads only what it
//! counts.

pub mod load;
pub mod peer;
pub mod server;

mod scan;
