//! Who gives a channel its next generation.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::shared::ChannelShared;

/// The right to give a channel its next generation. Ends with its drop.
pub(crate) struct Claim(Arc<ChannelShared>);

impl Claim {
    pub(crate) fn channel(&self) -> &Arc<ChannelShared> {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.claimed.store(false, Ordering::Release);
    }
}

impl ChannelShared {
    /// The right to give the channel, if it has none, its next generation. Only one at a time has
    /// it.
    pub(crate) fn claim(self: &Arc<Self>) -> Option<Claim> {
        let free = self.away().is_some() && !self.claimed.swap(true, Ordering::AcqRel);
        free.then(|| Claim(Arc::clone(self)))
    }
}
