//! Exchange kinds of a broker.

use mooq_core::ExchangeKind;

use crate::options::Options;
use crate::plugins::Plugin;

/// Kind of an exchange's routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routing {
    Direct,
    Topic,
    Fanout,
    Headers,
    LocalRandom,
    ModulusHash,
    ConsistentHash,
    Random,
    RecentHistory,
    /// Routes like the kind that is named in `x-delayed-type`, immediately or after a delay.
    DelayedMessage,
}

impl Routing {
    /// Returns the routing of a kind; none for a kind that neither this version of RabbitMQ nor an
    /// enabled plugin has.
    pub(crate) fn of(kind: &ExchangeKind, options: &Options) -> Option<Self> {
        let enabled = |plugin| options.plugins.contains(&plugin);
        let (routing, is_known) = match kind {
            ExchangeKind::Direct => (Self::Direct, true),
            ExchangeKind::Topic => (Self::Topic, true),
            ExchangeKind::Fanout => (Self::Fanout, true),
            ExchangeKind::Headers => (Self::Headers, true),
            ExchangeKind::LocalRandom => (Self::LocalRandom, options.profile.has_local_random()),
            ExchangeKind::ModulusHash => (Self::ModulusHash, options.profile.has_modulus_hash()),
            ExchangeKind::ConsistentHash => (
                Self::ConsistentHash,
                enabled(Plugin::ConsistentHashExchange),
            ),
            ExchangeKind::Random => (Self::Random, enabled(Plugin::RandomExchange)),
            ExchangeKind::RecentHistory => {
                (Self::RecentHistory, enabled(Plugin::RecentHistoryExchange))
            }
            ExchangeKind::DelayedMessage => (
                Self::DelayedMessage,
                enabled(Plugin::DelayedMessageExchange),
            ),
            _ => return None,
        };
        is_known.then_some(routing)
    }

    /// Returns the kind as clients know it.
    pub(crate) fn kind(self) -> ExchangeKind {
        match self {
            Self::Direct => ExchangeKind::Direct,
            Self::Topic => ExchangeKind::Topic,
            Self::Fanout => ExchangeKind::Fanout,
            Self::Headers => ExchangeKind::Headers,
            Self::LocalRandom => ExchangeKind::LocalRandom,
            Self::ModulusHash => ExchangeKind::ModulusHash,
            Self::ConsistentHash => ExchangeKind::ConsistentHash,
            Self::Random => ExchangeKind::Random,
            Self::RecentHistory => ExchangeKind::RecentHistory,
            Self::DelayedMessage => ExchangeKind::DelayedMessage,
        }
    }
}
