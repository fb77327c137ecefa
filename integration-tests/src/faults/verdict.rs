//! Verdicts on workloads.

use std::fmt;

use super::record::{Counts, Duplicates};
use super::timing::Timing;

/// The result of a workload.
#[derive(Debug)]
pub struct Verdict {
    /// Counts of messages by outcome.
    pub counts: Counts,
    /// Copies beyond the first.
    pub duplicates: Duplicates,
    /// Numbers of confirmed messages that never came.
    pub lost: Vec<u64>,
    /// Durations of the calls.
    pub timing: Timing,
    /// Other failures.
    pub failures: Vec<String>,
}

impl Verdict {
    /// Asserts the guarantees that hold under every fault: no confirmed message is lost, every copy
    /// is explained, every call has ended in time.
    ///
    /// # Panics
    /// If one of them does not hold.
    pub fn assert(&self) {
        assert_eq!(self.failures, [""; 0], "{self}");
        assert!(self.lost.is_empty(), "lost: {:?}; {self}", self.lost);
        assert_eq!(self.duplicates.unexplained, 0, "{self}");
        let overdue = self.timing.overdue();
        assert!(overdue.is_empty(), "overdue: {overdue:?}; {self}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (counts, duplicates) = (&self.counts, &self.duplicates);
        write!(
            f,
            "published {}, confirmed {}, unknown {}, refused {}, received {}, lost {}; \
             duplicates: {} redelivered, {} sent again, {} unexplained; {} calls",
            counts.published,
            counts.confirmed,
            counts.unknown,
            counts.refused,
            counts.received,
            self.lost.len(),
            duplicates.redelivered,
            duplicates.resent,
            duplicates.unexplained,
            self.timing.calls(),
        )?;
        if let Some(worst) = self.timing.worst() {
            let (what, over) = (worst.what, worst.took().saturating_sub(worst.limit));
            write!(f, ", {what} ended {over:?} after its deadline")?;
        }
        write!(
            f,
            ", held up for {:?} at most",
            self.timing.longest_hold_up()
        )
    }
}
