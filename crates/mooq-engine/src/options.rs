//! Options of a broker.

use std::collections::BTreeSet;
use std::time::Duration;

use super::deprecated::{Deprecated, DeprecatedFeatures};
use super::plugins::Plugin;
use super::profile::Profile;
use super::reply_code::ReplyCode;
use super::reply_error::ReplyError;

/// Configuration of a broker.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The RabbitMQ version that the broker behaves as.
    pub profile: Profile,
    /// Seed of all decisions that RabbitMQ leaves open, and of the names that the broker generates:
    /// the same seed gives the same decisions. Without a seed, names are the same in every broker,
    /// and everything happens in plain order: all effects of one method come before the next method
    /// is handled.
    pub seed: Option<u64>,
    /// Time at which the broker was created, since the Unix epoch. The broker uses it for the times
    /// that it writes into headers.
    pub started: Duration,
    /// Largest number of channels that a connection may have open. RabbitMQ's default is 2047.
    pub channel_max: u16,
    /// The largest frame that the broker proposes to a client on a socket, in bytes. RabbitMQ's
    /// default is 131,072.
    pub frame_max: u32,
    /// The heartbeat interval that the broker proposes to a client on a socket. RabbitMQ's default
    /// is 60 s. An interval below 1 s stands for none.
    pub heartbeat: Duration,
    /// The largest body that may be published, in bytes. None stands for the profile's default: 128
    /// MiB before RabbitMQ 4.0, 16 MiB since.
    pub max_message_size: Option<usize>,
    /// Time after which a quorum queue with the dead-letter strategy `at-least-once` republishes a
    /// dead letter that no queue has accepted: RabbitMQ's
    /// `dead_letter_worker_publisher_confirm_timeout`, 180 s by default. A time below 1 ms counts
    /// as 1 ms.
    pub dead_letter_retry_interval: Duration,
    /// Deprecated features that are permitted or denied explicitly.
    pub deprecated_features: DeprecatedFeatures,
    /// Longest time that a delivery may stay unacked, RabbitMQ's `consumer_timeout`: 30 minutes by
    /// default. None stands for `undefined`. See [`Self::consumer_timeout`].
    pub consumer_timeout: Option<Duration>,
    /// Interval at which a channel looks for overdue deliveries, before RabbitMQ 4.3: RabbitMQ's
    /// `channel_tick_interval`, one minute by default. An interval below 1 ms counts as 1 ms.
    pub channel_tick_interval: Duration,
    /// The enabled plugins: none by default.
    pub plugins: BTreeSet<Plugin>,
}

impl Options {
    /// Returns the options of a broker that behaves as `profile` does.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        Self {
            profile,
            seed: None,
            started: Duration::ZERO,
            channel_max: 2047,
            frame_max: 131_072,
            heartbeat: Duration::from_secs(60),
            max_message_size: None,
            dead_letter_retry_interval: Duration::from_secs(180),
            deprecated_features: DeprecatedFeatures::default(),
            consumer_timeout: Some(Duration::from_secs(30 * 60)),
            channel_tick_interval: Duration::from_secs(60),
            plugins: BTreeSet::new(),
        }
    }

    /// Sets the longest time that a delivery may stay unacked, in whole milliseconds, where neither
    /// its queue nor its consumer has another timeout: RabbitMQ's setting `consumer_timeout`
    /// ([acknowledgement timeouts](https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout)).
    /// None stands for `undefined`: no timeout, except for 24 hours on the quorum queues of 4.3.
    ///
    /// Before 4.3 the channel of an overdue delivery is closed with 406 at the channel's next tick,
    /// up to a [tick interval](Self::channel_tick_interval) after the timeout. On 4.3 quorum queues requeue overdue deliveries on time
    /// and cancel their consumers, and classic queues have no timeouts. See
    /// [when a channel looks for overdue deliveries][looks].
    ///
    /// [looks]: https://github.com/mooq-rs/mooq/blob/main/docs/virtual-time.md#what-depends-on-a-channels-sleep
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use mooq::memory::Options;
    ///
    /// let quick = Options::default().consumer_timeout(Duration::from_secs(90));
    /// let never = Options::default().consumer_timeout(None);
    /// assert_eq!(quick.consumer_timeout, Some(Duration::from_secs(90)));
    /// assert_eq!(never.consumer_timeout, None);
    /// ```
    #[must_use]
    pub fn consumer_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.consumer_timeout = timeout.into();
        self
    }

    /// The largest body that may be published, in bytes: [`Self::max_message_size`], or else the
    /// profile's default.
    #[must_use]
    pub fn message_size_limit(&self) -> usize {
        let max = self.max_message_size;
        max.unwrap_or_else(|| self.profile.max_message_size())
    }

    /// Enables a plugin.
    ///
    /// # Examples
    /// ```
    /// # use mooq::memory::InMemoryBroker;
    /// # use mooq::ExchangeKind;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// use mooq::memory::{Options, Plugin, Profile};
    ///
    /// let options = Options::of(Profile::V4_3).plugin(Plugin::ConsistentHashExchange);
    /// let broker = InMemoryBroker::start_with_options(options);
    /// let chan = mooq::connect(&broker).await?.create_channel().await?;
    /// chan.declare_exchange("by-customer", ExchangeKind::ConsistentHash).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn plugin(mut self, plugin: Plugin) -> Self {
        self.plugins.insert(plugin);
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::of(Profile::default())
    }
}

impl Options {
    /// True if the broker permits a deprecated feature.
    pub(crate) fn permit(&self, feature: Deprecated) -> bool {
        let set = match feature {
            Deprecated::GlobalQos => self.deprecated_features.global_qos,
            Deprecated::QueueMasterLocator => self.deprecated_features.queue_master_locator,
            Deprecated::TransientSharedQueues => self.deprecated_features.transient_nonexcl_queues,
        };
        set.unwrap_or_else(|| self.profile.permits(feature))
    }

    /// Checks that the broker permits a deprecated feature. RabbitMQ's text is longer than this
    /// one, but the length limit of a reply text cuts off the rest.
    pub(crate) fn check_permitted(&self, feature: Deprecated) -> Result<(), ReplyError> {
        if self.permit(feature) {
            return Ok(());
        }
        let name = feature.name();
        let why = if self.profile.permits(feature) {
            format!(
                "Its use is not permitted per the configuration (overriding the default, which is \
                 permitted):\n    \"deprecated_features.permit.{name} = false\"\nIts use will not \
                 be permitted by default"
            )
        } else {
            "By default, this feature is not permitted anymore.\nThe feature will be removed from \
             a future major RabbitMQ version, regardless of the configuration; actual version to \
             be determined.\nTo continue using this feature"
                .into()
        };
        let text = format!("Feature `{name}` is deprecated.\n{why}");
        Err(ReplyError::new(ReplyCode::InternalError, text))
    }
}
