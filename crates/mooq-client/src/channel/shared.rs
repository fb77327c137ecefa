//! What all handles of a channel share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mooq_core::{
    ConsumerTag, Error, Handoff, IntoChecked, OpenedChannel, Publish, Result, Settle,
    TransportChannel,
};
use tokio::sync::Mutex;

use super::driver::drive;
use super::state::ChannelState;
use crate::connection::ConnectionShared;
use crate::deadline::within;

/// An open channel: the transport's, and what is in flight on it.
pub(crate) struct ChannelShared {
    transport: Arc<dyn TransportChannel>,
    state: Arc<ChannelState>,
    /// `basic.qos` holds for the consumers that come later, so that it and the `basic.consume`
    /// that it is for must not be parted.
    pub(super) subscribing: Mutex<()>,
    tags: AtomicU64,
}

impl ChannelShared {
    pub(super) async fn open(connection: &ConnectionShared) -> Result<Arc<Self>> {
        let limit = connection.deadline();
        let opening = connection.transport().open_channel();
        let OpenedChannel { channel, events } = within(limit, "opening a channel", opening).await?;
        let state = Arc::new(ChannelState::default());
        let driver = drive(Arc::clone(&state), Arc::downgrade(&channel), events);
        connection.runtime().spawn(driver);
        within(limit, "confirm.select", channel.confirm_select()).await?;
        Ok(Arc::new(Self {
            transport: channel,
            state,
            subscribing: Mutex::default(),
            tags: AtomicU64::new(0),
        }))
    }

    /// Hands a message to the transport and gives its sequence number. The number and the
    /// transport's order agree since the ledger is locked over both.
    pub(crate) fn publish(&self, publish: Publish, limit: Duration) -> Result<(u64, Handoff)> {
        let mandatory = publish.mandatory.then(|| Box::new(publish.message.clone()));
        let mut ledger = self.state.ledger();
        self.check_open()?;
        let (sequence, earliest) = ledger.open(limit, mandatory);
        let handoff = match self.transport.publish(publish) {
            Ok(handoff) => handoff,
            Err(err) => {
                ledger.take_back();
                return Err(err);
            }
        };
        drop(ledger);
        if earliest {
            self.state.nudge.notify_one();
        }
        Ok((sequence, handoff))
    }

    pub(crate) fn settle(&self, settle: Settle) -> Result<()> {
        self.check_open()?;
        self.transport.settle(settle)
    }

    /// A consumer tag that no other consumer of this channel has.
    pub(super) fn new_tag(&self) -> Result<ConsumerTag> {
        loop {
            let number = self.tags.fetch_add(1, Ordering::Relaxed) + 1;
            let tag = format!("mooq-{number}").into_checked()?;
            if !self.state.has_consumer(&tag) {
                return Ok(tag);
            }
        }
    }

    /// `basic.cancel`, and forgets the consumer once that is answered. All that came for it is in
    /// its inbox then.
    pub(crate) async fn unsubscribe(&self, tag: ConsumerTag) -> Result<()> {
        let cancelled = self.transport.cancel(tag.clone()).await;
        self.state.remove_consumer(&tag).await;
        cancelled
    }

    pub(crate) fn transport(&self) -> &dyn TransportChannel {
        &*self.transport
    }

    pub(crate) fn state(&self) -> &ChannelState {
        &self.state
    }

    fn check_open(&self) -> Result<(), Error> {
        self.state.closed().cloned().map_or(Ok(()), Err)
    }
}

impl fmt::Debug for ChannelShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelShared")
            .field("in_flight", &self.state.ledger().in_flight())
            .field("closed", &self.state.closed())
            .finish_non_exhaustive()
    }
}
