//! The table of queue arguments: the queue types and versions that have each, its place when a
//! redeclare compares arguments, and the policies that may set it.

use Support::{Foreign, Ignored, Known, KnownSince};

use crate::profile::Profile::{self, V3_10, V4_0, V4_2, V4_3};

/// A queue argument, and the policy setting of the same name without `x-`.
#[derive(Debug)]
pub(crate) struct QueueArgument {
    /// The argument's name. A setting that is no argument has a name without `x-`.
    pub(super) name: &'static str,
    /// The first version in which a queue type knows the argument. Earlier versions neither check
    /// it nor compare it, though 4.0 to 4.2 obey `x-consumer-timeout` (`AsSet::consumer_timeout`).
    since: Profile,
    pub(super) classic: Support,
    pub(super) quorum: Support,
    /// The first version whose policies may have the setting.
    policies: Option<Profile>,
    /// The first version whose operator policies may have the setting.
    operator_policies: Option<Profile>,
    /// True if a policy with the setting does not apply to classic queues.
    pub(crate) excludes_classic: bool,
    /// True if a policy with the setting does not apply to quorum queues.
    pub(crate) excludes_quorum: bool,
}

/// Support of a queue type for an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    /// The type knows the argument. A redeclare compares arguments in the order of these places,
    /// which are unique among the arguments of a type.
    Known(u8),
    /// The type knows the argument from a version on. Before, the argument is an error.
    KnownSince(Profile, u8),
    /// The argument is only for queues of other types: an error.
    Foreign,
    /// No queue type knows the argument, and none refuses it.
    Ignored,
}

/// Every argument that some queue type knows, and every setting that policies have for queues.
/// Arguments that are not in the table are ignored.
pub(crate) static ARGUMENTS: [QueueArgument; 29] = [
    argument("x-consumer-disconnected-timeout", V4_3, Foreign, Known(16)).policies(V4_3),
    argument("x-consumer-timeout", V4_3, Foreign, Known(17)).policies(V4_0),
    argument("x-dead-letter-exchange", V3_10, Known(3), Known(1)).policies(V3_10),
    argument("x-dead-letter-routing-key", V3_10, Known(4), Known(2)).policies(V3_10),
    argument("x-dead-letter-strategy", V3_10, Foreign, Known(3))
        .policies(V3_10)
        .excludes_classic(),
    argument("x-delayed-retry-max", V4_3, Foreign, Known(20))
        .policies(V4_3)
        .operator_policies(V4_3),
    argument("x-delayed-retry-min", V4_3, Foreign, Known(19))
        .policies(V4_3)
        .operator_policies(V4_3),
    argument("x-delayed-retry-type", V4_3, Foreign, Known(18))
        .policies(V4_3)
        .operator_policies(V4_3),
    argument("x-delivery-limit", V3_10, Foreign, Known(13))
        .policies(V3_10)
        .operator_policies(V3_10)
        .excludes_classic(),
    argument("x-expires", V3_10, Known(1), Known(4))
        .policies(V3_10)
        .operator_policies(V3_10),
    argument("x-initial-cluster-size", V3_10, Foreign, Foreign)
        .policies(V3_10)
        .excludes_classic()
        .excludes_quorum(),
    argument("x-max-age", V3_10, Foreign, Foreign)
        .policies(V3_10)
        .excludes_classic()
        .excludes_quorum(),
    argument("x-max-in-memory-bytes", V3_10, Foreign, Known(8))
        .policies(V3_10)
        .operator_policies(V3_10)
        .excludes_classic(),
    argument("x-max-in-memory-length", V3_10, Foreign, Known(7))
        .policies(V3_10)
        .operator_policies(V3_10)
        .excludes_classic(),
    argument("x-max-length", V3_10, Known(5), Known(5))
        .policies(V3_10)
        .operator_policies(V3_10),
    argument("x-max-length-bytes", V3_10, Known(6), Known(6))
        .policies(V3_10)
        .operator_policies(V3_10),
    argument("x-max-priority", V3_10, Known(7), Foreign),
    argument("x-message-ttl", V3_10, Known(2), Known(14))
        .policies(V3_10)
        .operator_policies(V3_10),
    argument("x-overflow", V3_10, Known(8), Known(9))
        .policies(V3_10)
        .operator_policies(V4_0),
    argument(
        "x-queue-leader-locator",
        V3_10,
        KnownSince(V4_0, 14),
        Known(15),
    )
    .policies(V3_10),
    argument("x-queue-master-locator", V3_10, Known(13), Foreign),
    argument("x-queue-mode", V3_10, Known(9), Foreign)
        .policies(V3_10)
        .excludes_quorum(),
    argument("x-queue-type", V3_10, Known(12), Known(11)),
    argument("x-queue-version", V3_10, Known(10), Foreign)
        .policies(V3_10)
        .operator_policies(V4_0),
    argument("x-quorum-initial-group-size", V3_10, Foreign, Known(12)),
    argument("x-single-active-consumer", V3_10, Known(11), Known(10)),
    argument("x-stream-filter-size-bytes", V4_2, Foreign, Foreign),
    argument("x-stream-max-segment-size-bytes", V3_10, Foreign, Foreign)
        .policies(V3_10)
        .excludes_classic()
        .excludes_quorum(),
    argument("target-group-size", V3_10, Ignored, Ignored)
        .policies(V3_10)
        .operator_policies(V4_0)
        .excludes_classic(),
];

/// An argument that no policy sets.
const fn argument(
    name: &'static str,
    since: Profile,
    classic: Support,
    quorum: Support,
) -> QueueArgument {
    QueueArgument {
        name,
        since,
        classic,
        quorum,
        policies: None,
        operator_policies: None,
        excludes_classic: false,
        excludes_quorum: false,
    }
}

impl QueueArgument {
    const fn policies(mut self, since: Profile) -> Self {
        self.policies = Some(since);
        self
    }

    const fn operator_policies(mut self, since: Profile) -> Self {
        self.operator_policies = Some(since);
        self
    }

    const fn excludes_classic(mut self) -> Self {
        self.excludes_classic = true;
        self
    }

    const fn excludes_quorum(mut self) -> Self {
        self.excludes_quorum = true;
        self
    }

    /// Returns the argument of this name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        ARGUMENTS.iter().find(|argument| argument.name == name)
    }

    /// Returns the argument whose policy setting has this name, if policies may set it in any
    /// version.
    pub(crate) fn of_setting(setting: &str) -> Option<&'static Self> {
        let mut arguments = ARGUMENTS.iter();
        arguments.find(|argument| argument.setting() == Some(setting))
    }

    /// Returns the name of the argument's policy setting, if policies may set it in any version.
    pub(crate) fn setting(&self) -> Option<&'static str> {
        let name = self.name.strip_prefix("x-").unwrap_or(self.name);
        self.policies.map(|_| name)
    }

    /// True if a queue type knows the argument, or refuses it, in this version.
    fn exists(&self, profile: Profile) -> bool {
        profile.is_since(self.since)
    }

    /// Returns the support that a type's `column` of the table means in this version: `Known`,
    /// `Foreign` or `Ignored`.
    pub(super) fn support(&self, column: Support, profile: Profile) -> Support {
        match column {
            _ if !self.exists(profile) => Ignored,
            KnownSince(since, place) if profile.is_since(since) => Known(place),
            KnownSince(..) => Foreign,
            Known(_) | Foreign | Ignored => column,
        }
    }

    /// True if a policy of this version may have the setting.
    pub(crate) fn is_for_policies(&self, profile: Profile) -> bool {
        self.policies.is_some_and(|since| profile.is_since(since))
    }

    /// True if an operator policy of this version may have the setting.
    pub(crate) fn is_for_operator_policies(&self, profile: Profile) -> bool {
        let since = self.operator_policies;
        since.is_some_and(|since| profile.is_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_of_an_argument_is_unique_in_its_queue_type() {
        for profile in Profile::ALL {
            for column in [
                |of: &QueueArgument| of.classic,
                |of: &QueueArgument| of.quorum,
            ] {
                let places =
                    ARGUMENTS
                        .iter()
                        .filter_map(|of| match of.support(column(of), profile) {
                            Known(place) => Some(place),
                            KnownSince(..) | Foreign | Ignored => None,
                        });
                let mut places: Vec<_> = places.collect();
                places.sort_unstable();
                let repeated = places.windows(2).find(|two| two[0] == two[1]);
                assert_eq!(repeated, None, "{profile}: {places:?}");
            }
        }
    }
}
