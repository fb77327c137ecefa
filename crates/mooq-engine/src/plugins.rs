//! The plugins that a broker can have enabled.

/// A plugin of RabbitMQ that adds an exchange kind. As in RabbitMQ, plugins are disabled unless a
/// broker's options enable them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Plugin {
    /// `rabbitmq_consistent_hash_exchange`: the kind `x-consistent-hash`. A message goes to the
    /// same queue that RabbitMQ would send it to.
    ConsistentHashExchange,
    /// `rabbitmq_random_exchange`: the kind `x-random`. The broker's seed determines its choices.
    RandomExchange,
    /// `rabbitmq_recent_history_exchange`: the kind `x-recent-history`.
    RecentHistoryExchange,
    /// `rabbitmq_delayed_message_exchange`: the kind `x-delayed-message`. RabbitMQ ships without
    /// this plugin, so its rules come from its documentation and were not compared with a running
    /// broker.
    DelayedMessageExchange,
}

impl Plugin {
    /// All plugins.
    pub const ALL: [Self; 4] = [
        Self::ConsistentHashExchange,
        Self::RandomExchange,
        Self::RecentHistoryExchange,
        Self::DelayedMessageExchange,
    ];

    /// Returns the plugin's name, as `rabbitmq-plugins enable` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ConsistentHashExchange => "rabbitmq_consistent_hash_exchange",
            Self::RandomExchange => "rabbitmq_random_exchange",
            Self::RecentHistoryExchange => "rabbitmq_recent_history_exchange",
            Self::DelayedMessageExchange => "rabbitmq_delayed_message_exchange",
        }
    }
}
