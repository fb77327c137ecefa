//! Plans: what brings a broker to a topology.

pub(crate) mod applying;
pub(crate) mod building;
mod exchanges;
mod executing;
mod moving;
pub(crate) mod planner;
mod queues;
pub(crate) mod step;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

use crate::broker::management::Management;
use step::Step;

/// A difference that a plan leaves as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Blocked {
    /// The exchange, queue or other part, and its difference.
    pub what: String,
    /// The reason for which the plan does not change it.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.what, self.why, self.remedy)
    }
}

/// The steps that bring a broker to a topology, as data: made by
/// [`Topology::plan`](crate::Topology::plan), carried out by [`apply`](Self::apply).
///
/// Its text, for people, has a line for each step. Its JSON, by serde, is an object with the lists
/// `steps` and `blocked`, and `is_complete`. Making a plan changes nothing, so printing it is a dry
/// run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    steps: Vec<Step>,
    blocked: Vec<Blocked>,
    is_complete: bool,
    #[serde(skip)]
    management: Option<Management>,
}

impl Plan {
    /// Returns true if there is nothing to do: the broker has the topology, as far as was compared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.blocked.is_empty()
    }

    /// The steps, in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Differences that the plan leaves as they are. A plan with any of them is not carried out.
    #[must_use]
    pub fn blocked(&self) -> &[Blocked] {
        &self.blocked
    }

    /// Returns false if bindings and policies were not compared, for want of the management API. The
    /// plan then binds only what it declares.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            writeln!(f, "nothing to do")?;
        }
        for (n, step) in (1..).zip(&self.steps) {
            writeln!(f, "{n}. {step}")?;
        }
        for blocked in &self.blocked {
            writeln!(f, "blocked: {blocked}")?;
        }
        if !self.is_complete {
            writeln!(
                f,
                "not compared, without the management API: bindings and policies"
            )?;
        }
        Ok(())
    }
}
