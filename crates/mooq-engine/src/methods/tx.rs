//! The class `tx`: publishes and settlements that wait for a commit.

use crate::channel::{PublishingMode, Transaction};
use crate::reply_error::ReplyError;
use crate::{Caller, Engine};

impl Engine {
    pub(super) fn tx_select(&mut self, caller: Caller) -> Result<(), ReplyError> {
        let publishing = &mut self.channel_mut(caller)?.publishing;
        match publishing {
            PublishingMode::Plain => {
                *publishing = PublishingMode::Transaction(Transaction::default());
            }
            PublishingMode::Transaction(_) => {}
            PublishingMode::Confirm { .. } => {
                return Err(ReplyError::precondition_failed(
                    "cannot switch from confirm to tx mode",
                ));
            }
        }
        Ok(())
    }

    pub(super) fn tx_commit(&mut self, caller: Caller) -> Result<(), ReplyError> {
        let transaction = self.take_transaction(caller)?;
        let mut taken = true;
        for routed in transaction.publishes {
            taken &= self.publish_routed(caller, routed)?;
        }
        for (disposition, unacked) in transaction.settlements {
            self.settle(caller.channel, unacked, disposition);
        }
        if !taken {
            return Err(ReplyError::precondition_failed("partial tx completion"));
        }
        Ok(())
    }

    /// Rolls a transaction back. Deliveries settled in it are unacked again, and are not
    /// redelivered.
    pub(super) fn tx_rollback(&mut self, caller: Caller) -> Result<(), ReplyError> {
        let transaction = self.take_transaction(caller)?;
        let settlements = transaction.settlements.into_iter();
        let outstanding = settlements.flat_map(|(_, unacked)| unacked).collect();
        self.channel_mut(caller)?.unacked.restore(outstanding);
        Ok(())
    }

    fn take_transaction(&mut self, caller: Caller) -> Result<Transaction, ReplyError> {
        match &mut self.channel_mut(caller)?.publishing {
            PublishingMode::Transaction(transaction) => Ok(std::mem::take(transaction)),
            _ => Err(ReplyError::precondition_failed(
                "channel is not transactional",
            )),
        }
    }
}
