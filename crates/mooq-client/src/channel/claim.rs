//! Exclusive right to reopen a channel.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::shared::ChannelShared;

/// The right to give a channel its next generation. The right ends when the claim is dropped.
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
    /// Claims the right to give the channel its next generation. None if the channel has a
    /// generation or is closed for good, or if another claim exists.
    pub(crate) fn claim(self: &Arc<Self>) -> Option<Claim> {
        let free = self.away().is_some() && !self.claimed.swap(true, Ordering::AcqRel);
        free.then(|| Claim(Arc::clone(self)))
    }
}
