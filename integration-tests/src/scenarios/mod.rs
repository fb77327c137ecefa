//! The scenarios, one file for each part of AMQP that they are about.

mod acks;
mod alarms;
mod bad_input;
mod callbacks;
mod channel_ends;
mod closing;
mod confirms;
mod connecting;
mod consumer_timeouts;
mod consumers;
mod dead_letter_ways;
mod dead_letters;
mod delivery_limits;
mod direct_reply_to;
mod ending_in_order;
mod exchange_bindings;
mod exchanges;
mod failures;
mod forced_ends;
mod getting;
mod hash_exchanges;
mod length_limits;
mod lines;
mod nowait;
mod outages;
mod permissions;
mod permissions_kept;
mod policies;
mod priorities;
mod processing;
mod processing_ends;
mod properties;
mod publish_checks;
mod publishing;
mod queue_exclusive;
mod queue_options;
mod queue_setters;
mod queues;
mod quorum_consumers;
mod quorum_dead_letters;
mod quorum_declaring;
mod quorum_delayed_retry;
mod quorum_kept_dead_letters;
mod quorum_limits;
mod quorum_policies;
mod quorum_priorities;
mod quorum_redelivery;
mod quorum_single_active;
mod quorum_timeouts;
mod random_exchanges;
mod recent_history;
mod recovery;
mod recovery_outages;
mod recovery_publishing;
mod recovery_queues;
mod registering;
mod restarting;
mod routing;
mod routing_headers;
mod routing_topic;
mod seed;
mod shutdown;
mod single_active_consumer;
mod streams;
mod time_to_live;
mod versions;

use std::future::Future;
use std::pin::Pin;

use crate::Fixture;
use crate::version::Versions;

/// One scenario.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name: file and function, which says in words what must hold.
    pub name: &'static str,
    /// The versions of RabbitMQ that it holds for.
    pub versions: Versions,
    /// What it does. A scenario fails by panicking.
    pub run: fn(Fixture) -> Pin<Box<dyn Future<Output = ()>>>,
}

impl Scenario {
    /// Whether it does something to the broker that others would feel.
    #[must_use]
    pub fn disturbs_others(&self) -> bool {
        [
            "alarms::",
            "consumer_timeouts::",
            "outages::",
            "quorum_kept_dead_letters::a_timer",
            "quorum_timeouts::a_classic_queue",
            "recovery_outages::",
            "recovery_queues::a_call_that_waits",
            "restarting::",
        ]
        .iter()
        .any(|file| self.name.starts_with(file))
    }
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Scenario").field(&self.name).finish()
    }
}

/// Lists the scenarios of a file: `scenarios! { file: first, second }`.
///
/// One that holds only for some versions says so, and is not listed where it does not hold:
/// `since [from V4_0]`, `formerly [before V4_0]`, `for_a_while [from V4_0, before V4_3]`.
macro_rules! scenarios {
    ($file:ident: $($name:ident $([$($when:tt)+])?),+ $(,)?) => {
        pub(super) const SCENARIOS: &[$crate::scenarios::Scenario] = &[$(
            $crate::scenarios::Scenario {
                name: concat!(stringify!($file), "::", stringify!($name)),
                versions: $crate::scenarios::versions_listed!($($($when)+)?),
                run: |fixture| Box::pin($name(fixture)),
            }
        ),+];
    };
}
use scenarios;

/// The versions that a listing names.
macro_rules! versions_listed {
    () => {
        $crate::version::Versions::ALL
    };
    (from $from:ident) => {
        $crate::version::Versions::from($crate::version::Version::$from)
    };
    (before $before:ident) => {
        $crate::version::Versions::before($crate::version::Version::$before)
    };
    (from $from:ident, before $before:ident) => {
        $crate::scenarios::versions_listed!(from $from).and_before($crate::version::Version::$before)
    };
}
use versions_listed;

/// Every scenario, file by file.
#[must_use]
pub fn all() -> Vec<Scenario> {
    [
        acks::SCENARIOS,
        alarms::SCENARIOS,
        bad_input::SCENARIOS,
        callbacks::SCENARIOS,
        channel_ends::SCENARIOS,
        closing::SCENARIOS,
        confirms::SCENARIOS,
        connecting::SCENARIOS,
        consumer_timeouts::SCENARIOS,
        consumers::SCENARIOS,
        dead_letter_ways::SCENARIOS,
        dead_letters::SCENARIOS,
        delivery_limits::SCENARIOS,
        direct_reply_to::SCENARIOS,
        ending_in_order::SCENARIOS,
        exchange_bindings::SCENARIOS,
        exchanges::SCENARIOS,
        failures::SCENARIOS,
        forced_ends::SCENARIOS,
        getting::SCENARIOS,
        hash_exchanges::SCENARIOS,
        length_limits::SCENARIOS,
        lines::SCENARIOS,
        nowait::SCENARIOS,
        outages::SCENARIOS,
        permissions::SCENARIOS,
        permissions_kept::SCENARIOS,
        policies::SCENARIOS,
        priorities::SCENARIOS,
        processing::SCENARIOS,
        processing_ends::SCENARIOS,
        properties::SCENARIOS,
        publish_checks::SCENARIOS,
        publishing::SCENARIOS,
        queue_exclusive::SCENARIOS,
        queue_options::SCENARIOS,
        queue_setters::SCENARIOS,
        queues::SCENARIOS,
        quorum_consumers::SCENARIOS,
        quorum_dead_letters::SCENARIOS,
        quorum_declaring::SCENARIOS,
        quorum_delayed_retry::SCENARIOS,
        quorum_kept_dead_letters::SCENARIOS,
        quorum_limits::SCENARIOS,
        quorum_policies::SCENARIOS,
        quorum_priorities::SCENARIOS,
        quorum_redelivery::SCENARIOS,
        quorum_single_active::SCENARIOS,
        quorum_timeouts::SCENARIOS,
        random_exchanges::SCENARIOS,
        recent_history::SCENARIOS,
        recovery::SCENARIOS,
        recovery_outages::SCENARIOS,
        recovery_publishing::SCENARIOS,
        recovery_queues::SCENARIOS,
        registering::SCENARIOS,
        restarting::SCENARIOS,
        routing::SCENARIOS,
        routing_headers::SCENARIOS,
        routing_topic::SCENARIOS,
        seed::SCENARIOS,
        shutdown::SCENARIOS,
        single_active_consumer::SCENARIOS,
        streams::SCENARIOS,
        time_to_live::SCENARIOS,
        versions::SCENARIOS,
    ]
    .concat()
}
