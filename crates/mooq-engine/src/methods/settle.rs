//! `basic.ack`, `basic.nack`, `basic.reject` and `basic.recover`.

use mooq_core::{Settle, Settlement};

use crate::channel::{Disposition, PublishingMode};
use crate::faults::acks::AckFault;
use crate::message::Unacked;
use crate::reply_error::ReplyError;
use crate::{Caller, Engine};

impl Engine {
    pub(super) fn basic_settle(
        &mut self,
        caller: Caller,
        settle: Settle,
    ) -> Result<(), ReplyError> {
        let Settle {
            delivery_tag,
            multiple,
            settlement,
        } = settle;
        let failed = self.options.profile.counts_as_failed(settlement);
        let fault = self.ack_fault(caller, settle);
        if fault == Some(AckFault::Lost) {
            self.lose_connection(caller.connection);
            return Ok(());
        }
        let (disposition, multiple) = match settlement {
            Settlement::Ack if fault == Some(AckFault::Undone) => {
                (Disposition::Requeued { failed: false }, multiple)
            }
            Settlement::Ack => (Disposition::Acked, multiple),
            Settlement::Nack { requeue } => (disposition(requeue, failed), multiple),
            Settlement::Reject { requeue } => (disposition(requeue, failed), false),
        };
        let channel = self.channel_mut(caller)?;
        let unknown = || ReplyError::unknown_delivery_tag(delivery_tag);
        let taken = if !multiple {
            let unacked = channel.unacked.take(delivery_tag).ok_or_else(unknown)?;
            if !matches!(channel.publishing, PublishingMode::Transaction(_)) {
                self.settle_one(caller.channel, unacked, disposition);
                return Ok(());
            }
            vec![unacked]
        } else if delivery_tag == 0 {
            channel.unacked.take_all()
        } else {
            channel
                .unacked
                .take_up_to(delivery_tag)
                .ok_or_else(unknown)?
        };
        self.settle_or_hold_back(caller, taken, disposition)
    }

    fn settle_or_hold_back(
        &mut self,
        caller: Caller,
        taken: Vec<Unacked>,
        disposition: Disposition,
    ) -> Result<(), ReplyError> {
        match &mut self.channel_mut(caller)?.publishing {
            PublishingMode::Transaction(transaction) => {
                transaction.settlements.push((disposition, taken));
            }
            _ => self.settle(caller.channel, taken, disposition),
        }
        Ok(())
    }

    /// Requeues all unacked deliveries of the channel. A transaction does not hold this back.
    pub(super) fn basic_recover(
        &mut self,
        caller: Caller,
        requeue: bool,
    ) -> Result<(), ReplyError> {
        if !requeue {
            return Err(ReplyError::not_implemented("requeue=false"));
        }
        let taken = self.channel_mut(caller)?.unacked.take_all();
        self.settle(
            caller.channel,
            taken,
            Disposition::Requeued { failed: false },
        );
        Ok(())
    }
}

fn disposition(requeue: bool, failed: bool) -> Disposition {
    if requeue {
        Disposition::Requeued { failed }
    } else {
        Disposition::Rejected { failed }
    }
}
