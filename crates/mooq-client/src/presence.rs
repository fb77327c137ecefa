//! Whether something is there that can be lost and come back.

use std::fmt;
use std::sync::Arc;

use mooq_core::{Error, ErrorKind, Result, TransportConnection};
use tokio::sync::watch;

/// What can be lost and come back: the link of a connection, the generation of a channel.
pub(crate) enum Presence<T: ?Sized> {
    /// In use.
    There(Arc<T>),
    /// Lost for this reason, and on its way back.
    Away(Error),
    /// Gone for good, for this reason.
    Gone(Error),
}

/// What can turn out to be of no use any more before its loss has come through.
pub(crate) trait Usable {
    /// Whether nothing is known that would have ended it.
    fn is_usable(&self) -> bool;
}

impl Usable for dyn TransportConnection {
    fn is_usable(&self) -> bool {
        self.closed().is_none()
    }
}

/// A [`Presence`] that can be waited for.
pub(crate) struct Present<T: ?Sized>(watch::Sender<Presence<T>>);

impl<T: Usable + ?Sized> Present<T> {
    pub(crate) fn new(now: Presence<T>) -> Self {
        Self(watch::Sender::new(now))
    }

    pub(crate) fn now(&self) -> Presence<T> {
        self.0.borrow().clone()
    }

    /// Changes what is there, unless it is gone for good.
    pub(crate) fn set(&self, now: Presence<T>) {
        let mut old = Some(now);
        self.0.send_if_modified(|present| {
            let changes = !matches!(present, Presence::Gone(_));
            if changes && let Some(now) = old.take() {
                old = Some(std::mem::replace(present, now));
            }
            changes
        });
        // What it held is dropped here, where nothing is locked: its drop may come back.
        drop(old);
    }

    /// What is there and usable, waiting for it while it is away if `wait`. What is not usable is
    /// about to leave.
    ///
    /// # Errors
    /// Why it is gone for good, or away.
    pub(crate) async fn get(&self, wait: bool) -> Result<Arc<T>> {
        let mut changes = self.0.subscribe();
        loop {
            match &*changes.borrow_and_update() {
                Presence::There(there) if there.is_usable() => return Ok(Arc::clone(there)),
                Presence::There(_) => {}
                Presence::Away(reason) if !wait => return Err(not_connected(reason)),
                Presence::Away(_) => {}
                Presence::Gone(reason) => return Err(reason.clone()),
            }
            // The sender lives as long as this does.
            let _ = changes.changed().await;
        }
    }

    /// Waits until it is not there.
    pub(crate) async fn left(&self) {
        self.until(|now| !matches!(now, Presence::There(_))).await;
    }

    /// Waits until `this` is not there, whatever is in its place.
    pub(crate) async fn passed(&self, this: &Arc<T>) {
        self.until(|now| !matches!(now, Presence::There(there) if Arc::ptr_eq(there, this)))
            .await;
    }

    /// Waits until it is gone for good.
    pub(crate) async fn gone(&self) {
        self.until(|now| matches!(now, Presence::Gone(_))).await;
    }

    async fn until(&self, wanted: impl FnMut(&Presence<T>) -> bool) {
        let mut changes = self.0.subscribe();
        // The sender lives as long as this does.
        let _ = changes.wait_for(wanted).await;
    }
}

/// The error of a call that does not wait for what is away.
pub(crate) fn not_connected(reason: &Error) -> Error {
    let message = format!("not connected at present: {reason}");
    Error::connection(ErrorKind::ConnectionLost, message).with_source(reason.clone())
}

impl<T: ?Sized> Clone for Presence<T> {
    fn clone(&self) -> Self {
        match self {
            Self::There(there) => Self::There(Arc::clone(there)),
            Self::Away(reason) => Self::Away(reason.clone()),
            Self::Gone(reason) => Self::Gone(reason.clone()),
        }
    }
}

impl<T: ?Sized> fmt::Debug for Presence<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::There(_) => f.write_str("There"),
            Self::Away(reason) => f.debug_tuple("Away").field(reason).finish(),
            Self::Gone(reason) => f.debug_tuple("Gone").field(reason).finish(),
        }
    }
}

impl<T: ?Sized> fmt::Debug for Present<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.borrow().fmt(f)
    }
}
