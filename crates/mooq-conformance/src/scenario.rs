//! A scenario, and the list of all scenarios.

#![allow(
    unsafe_code,
    reason = "linkme declares the section of the list, which counts as unsafe"
)]

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::fixture::Fixture;
use crate::version::Versions;

/// Every scenario that [`#[scenario]`](macro@crate::scenario) has registered, in no order.
#[linkme::distributed_slice]
pub static SCENARIOS: [Scenario];

/// A statement about RabbitMQ, and the test that it holds.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Scenario {
    /// File and function: `acks::acks_are_per_channel`.
    pub name: &'static str,
    /// The versions of RabbitMQ that the scenario holds for.
    pub versions: Versions,
    /// Keeps other scenarios off the broker meanwhile.
    pub alone: bool,
    /// Gives the in-memory broker the [timeouts](crate::control::CONSUMER_TIMEOUT) of hurried
    /// channels and queues.
    pub short_timeouts: bool,
    /// Runs the scenario, which fails by panicking.
    pub run: fn(Fixture) -> Pin<Box<dyn Future<Output = ()>>>,
}

impl Scenario {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(
        path: &'static str,
        run: fn(Fixture) -> Pin<Box<dyn Future<Output = ()>>>,
    ) -> Self {
        Self {
            name: file_and_function(path),
            versions: Versions::ALL,
            alone: false,
            short_timeouts: false,
            run,
        }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn since(self, version: crate::Version) -> Self {
        Self {
            versions: self.versions.and_from(version),
            ..self
        }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn before(self, version: crate::Version) -> Self {
        Self {
            versions: self.versions.and_before(version),
            ..self
        }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn alone(self) -> Self {
        Self {
            alone: true,
            ..self
        }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn short_timeouts(self) -> Self {
        Self {
            short_timeouts: true,
            ..self
        }
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scenario").field(&self.name).finish()
    }
}

/// Returns every scenario, by name.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let mut all = SCENARIOS.to_vec();
    all.sort_by_key(|scenario| scenario.name);
    all
}

/// Returns the last two parts of a path: `mooq_conformance::scenarios::acks::all` is `acks::all`.
const fn file_and_function(path: &'static str) -> &'static str {
    let bytes = path.as_bytes();
    let (mut at, mut separators) = (bytes.len(), 0);
    while at > 1 {
        if bytes[at - 1] == b':' && bytes[at - 2] == b':' {
            separators += 1;
            if separators == 2 {
                return path.split_at(at).1;
            }
            at -= 1;
        }
        at -= 1;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_file_and_function() {
        assert_eq!(file_and_function("a::b::c::d"), "c::d");
        assert_eq!(file_and_function("c::d"), "c::d");
        assert_eq!(file_and_function("d"), "d");
    }

    #[test]
    fn no_two_scenarios_have_one_name() {
        let all = scenarios();
        assert!(all.windows(2).all(|two| two[0].name != two[1].name));
    }
}
