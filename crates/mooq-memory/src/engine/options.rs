//! How a broker is set up.

use std::time::Duration;

/// Which RabbitMQ the engine behaves as, where its versions differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// RabbitMQ 4.0.
    #[default]
    V4_0,
}

/// How a broker is set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Which RabbitMQ to behave as.
    pub profile: Profile,
    /// Where the names that the broker chooses begin: the same seed gives the same names.
    pub seed: u64,
    /// How long after the Unix epoch the broker was made, for the times it writes into headers.
    pub started: Duration,
    /// How many channels a connection may have open. RabbitMQ's default is 2047.
    pub channel_max: u16,
    /// The largest body that may be published, in bytes. RabbitMQ 4's default is 16 MiB.
    pub max_message_size: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            seed: 0,
            started: Duration::ZERO,
            channel_max: 2047,
            max_message_size: 16 * 1024 * 1024,
        }
    }
}
