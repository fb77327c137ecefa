//! Hooks for crates that build on this one.
//!
//! The facade does not re-export them: users have no need of them.

use std::any::Any;
use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use mooq_codecs::{Draft, Encode};
use mooq_core::mailbox::mailbox;
use mooq_core::{Consume, ExchangeName, IntoChecked, Result, Settlement};
use mooq_session::Sink;

use super::channel::Channel;
use super::confirmation::Confirmation;
use super::consumer_options::DEFAULT_PREFETCH;
use super::delivery::{Delivery, SettledBy};
use super::layers::Layers;
use super::options::ConnectOptions;
use super::publish::Publish;
use super::subscription::Place;
use crate::runtime::{ChannelRef, ConnectionRef};

pub use crate::runtime::handler::panic_text;
pub use crate::runtime::polling::in_same_callback;
pub use mooq_session::Direct;

/// Returns the state that a crate keeps for a channel, one for each type. Clones of a channel share
/// it. It must not own the channel.
#[must_use]
pub fn state<T: Any + Default + Send + Sync>(channel: &Channel) -> Arc<T> {
    channel.shared().state()
}

/// Returns the time limit of the connection's calls.
#[must_use]
pub fn timeout(channel: &Channel) -> Duration {
    channel.timeout()
}

/// Returns the time limit of calls on a connection with these options.
#[must_use]
pub fn timeout_of(options: &ConnectOptions) -> Duration {
    options.timeout
}

/// Makes a publish of `msg` on a channel that another handle keeps open.
pub fn publish<'a, T: ?Sized>(
    channel: &Channel,
    exchange: impl IntoChecked<ExchangeName>,
    msg: &T,
    codec: &impl Encode<T>,
) -> Publish<'a> {
    Publish::new(channel, Draft::encoded(exchange, msg, codec))
}

/// Registers a consumer that does not acknowledge, on this channel itself, and passes its
/// deliveries and its losses to `take` as they come, in a task on the connection's runtime. The
/// consumer is registered again with its channel, before the publishes that wait for the channel
/// are sent. It ends with its channel, which it does not keep open; `take` is dropped then.
///
/// # Errors
/// As [`Channel::consume`].
///
/// # Cancel safety
/// If the future is dropped midway, no consumer stays registered.
pub async fn consume_direct(
    channel: &Channel,
    consume: Consume,
    mut take: impl FnMut(Direct) + Send + 'static,
) -> Result<()> {
    let (sender, mut receiver) = mailbox();
    let consume = Consume {
        no_ack: true,
        ..consume
    };
    let runtime = channel.shared().inner().runtime();
    runtime.spawn(async move {
        while let Some(news) = receiver.next().await {
            take(news);
        }
    });
    let sink = Sink::Direct(sender);
    channel
        .subscribe(consume, DEFAULT_PREFETCH, Place::ByQueue, sink)
        .await
        .map(drop)
}

/// Waits for the broker's confirm, and returns a number for the incarnation of the channel on which
/// it came: the one in [`Direct::Lost`] if that is lost.
///
/// # Errors
/// As the confirmation.
pub async fn confirmed_on(mut confirmation: Confirmation) -> Result<u64> {
    poll_fn(|cx| confirmation.poll_on(cx)).await
}

/// Keeps `guard` until a delivery of a callback is settled: over retries in place, and also if it is
/// put off, rejected or moved. Returns it if the delivery is settled already, or by nobody.
///
/// # Errors
/// The guard.
pub fn keep_until_settled<T, G: Any + Send + Sync>(
    delivery: &Delivery<T>,
    guard: G,
) -> std::result::Result<(), G> {
    let mut guard = Some(guard);
    if let SettledBy::Callback(held) = &delivery.settled_by {
        held.with(|unsettled| unsettled.kept = guard.take().map(|guard| Box::new(guard) as _));
    }
    guard.map_or(Ok(()), Err)
}

/// Returns true if a guard of type `G` is kept until this delivery is settled.
pub fn is_kept<T, G: Any>(delivery: &Delivery<T>) -> bool {
    let SettledBy::Callback(held) = &delivery.settled_by else {
        return false;
    };
    let kept = held.with(|unsettled| unsettled.kept.as_ref().is_some_and(|kept| kept.is::<G>()));
    kept.unwrap_or(false)
}

/// Acknowledges a delivery before its callback has ended.
///
/// # Errors
/// As [`Delivery::ack`].
pub fn ack_early<T>(delivery: &Delivery<T>) -> Result<()> {
    let SettledBy::Callback(held) = &delivery.settled_by else {
        return Ok(());
    };
    let unsettled = held.take();
    unsettled.map_or(Ok(()), |unsettled| unsettled.settle(Settlement::Ack))
}

/// A channel for code that the connection owns, such as a callback: it keeps the channel open, but
/// not the connection.
#[derive(Debug, Clone)]
pub struct InnerChannel {
    channel: Arc<ChannelRef>,
    connection: Weak<ConnectionRef>,
    layers: Arc<Layers>,
}

impl InnerChannel {
    /// A handle of this channel.
    #[must_use]
    pub fn of(channel: &Channel) -> Self {
        Self {
            channel: Arc::clone(&channel.channel),
            connection: Arc::downgrade(&channel.connection),
            layers: Arc::clone(&channel.layers),
        }
    }

    /// Returns the channel, unless no handle of its connection is left.
    #[must_use]
    pub fn get(&self) -> Option<Channel> {
        Some(Channel {
            channel: Arc::clone(&self.channel),
            connection: self.connection.upgrade()?,
            layers: Arc::clone(&self.layers),
        })
    }
}
