//! Exchanges that choose one binding at random.

use super::DestinationKind;
use super::destinations::Destination;
use crate::random::Random;
use crate::reply_error::ReplyError;

/// Every binding, so that a destination with several bindings is chosen more often.
#[derive(Debug, Default)]
pub(crate) struct RandomIndex {
    bindings: Vec<Destination>,
}

impl RandomIndex {
    pub(crate) fn add(&mut self, destination: Destination) {
        self.bindings.push(destination);
    }

    pub(crate) fn remove(&mut self, destination: Destination) {
        if let Some(at) = self.bindings.iter().position(|d| *d == destination) {
            self.bindings.swap_remove(at);
        }
    }

    pub(crate) fn route(&self, random: &mut Random) -> Option<Destination> {
        // A single binding needs no decision.
        let at = match self.bindings.len() {
            1 => 0,
            len => random.below(len),
        };
        self.bindings.get(at).copied()
    }
}

/// Checks a binding of `x-local-random`. Such an exchange delivers only to local queue processes,
/// which only classic queues have.
pub(crate) fn validate_local(key: &str, target: DestinationKind) -> Result<(), ReplyError> {
    if !key.is_empty() {
        return Err(ReplyError::precondition_failed(format!(
            "Non empty binding '{key}' key not permitted"
        )));
    }
    match target {
        DestinationKind::ClassicQueue => Ok(()),
        DestinationKind::QuorumQueue => Err(ReplyError::precondition_failed(
            "Queue type rabbit_quorum_queue not valid for this exchange type",
        )),
        DestinationKind::Exchange => Err(ReplyError::precondition_failed("Destination not found")),
    }
}
