//! How a broker is set up.

use std::time::Duration;

use super::profile::Profile;

/// How a broker is set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Which RabbitMQ to behave as.
    pub profile: Profile,
    /// What decides wherever RabbitMQ leaves something open, and the names that the broker
    /// chooses: the same seed, the same decisions. With none, names are the same in every broker,
    /// and everything happens in the plain order: what a method brings about has happened before
    /// the next one is looked at.
    pub seed: Option<u64>,
    /// How long after the Unix epoch the broker was made, for the times it writes into headers.
    pub started: Duration,
    /// How many channels a connection may have open. RabbitMQ's default is 2047.
    pub channel_max: u16,
    /// The largest body that may be published, in bytes. None stands for the default of the
    /// profile: 128 MiB before RabbitMQ 4.0, 16 MiB since.
    pub max_message_size: Option<usize>,
}

impl Options {
    /// The options of a broker that behaves as `profile` does.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        Self {
            profile,
            seed: None,
            started: Duration::ZERO,
            channel_max: 2047,
            max_message_size: None,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::of(Profile::default())
    }
}
