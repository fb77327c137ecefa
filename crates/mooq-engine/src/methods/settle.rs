//! `basic.ack`, `basic.nack`, `basic.reject` and `basic.recover`.

use mooq_core::{Settle, Settlement};

use crate::channel::{Fate, PublishingMode};
use crate::faults::acks::AckMishap;
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
        let failed = self.options.profile.takes_for_failed(settlement);
        let mishap = self.ack_mishap(caller, settle);
        if mishap == Some(AckMishap::Lost) {
            self.lose_connection(caller.connection);
            return Ok(());
        }
        let (fate, multiple) = match settlement {
            Settlement::Ack if mishap == Some(AckMishap::Undone) => {
                (Fate::Requeued { failed: false }, multiple)
            }
            Settlement::Ack => (Fate::Acked, multiple),
            Settlement::Nack { requeue } => (fate(requeue, failed), multiple),
            Settlement::Reject { requeue } => (fate(requeue, failed), false),
        };
        let channel = self.channel_mut(caller)?;
        let unknown = || ReplyError::unknown_delivery_tag(delivery_tag);
        let taken = if !multiple {
            let unacked = channel.ledger.take(delivery_tag).ok_or_else(unknown)?;
            if !matches!(channel.publishing, PublishingMode::Transaction(_)) {
                self.settle_one(caller.channel, unacked, fate);
                return Ok(());
            }
            vec![unacked]
        } else if delivery_tag == 0 {
            channel.ledger.take_all()
        } else {
            channel
                .ledger
                .take_up_to(delivery_tag)
                .ok_or_else(unknown)?
        };
        self.settle_or_hold_back(caller, taken, fate)
    }

    fn settle_or_hold_back(
        &mut self,
        caller: Caller,
        taken: Vec<Unacked>,
        fate: Fate,
    ) -> Result<(), ReplyError> {
        match &mut self.channel_mut(caller)?.publishing {
            PublishingMode::Transaction(transaction) => transaction.settlements.push((fate, taken)),
            _ => self.settle(caller.channel, taken, fate),
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
        let taken = self.channel_mut(caller)?.ledger.take_all();
        self.settle(caller.channel, taken, Fate::Requeued { failed: false });
        Ok(())
    }
}

fn fate(requeue: bool, failed: bool) -> Fate {
    if requeue {
        Fate::Requeued { failed }
    } else {
        Fate::Rejected { failed }
    }
}
