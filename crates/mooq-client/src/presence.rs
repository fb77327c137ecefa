//! State of a resource that can be lost and reopened.

use std::fmt;
use std::sync::Arc;

use mooq_core::{Error, ErrorKind, Result, TransportConnection};
use tokio::sync::watch;

/// State of a resource that can be lost and reopened: the link of a connection, or the generation
/// of a channel.
pub(crate) enum Presence<T: ?Sized> {
    /// Open.
    There(Arc<T>),
    /// Lost for this reason, and reopening.
    Away(Error),
    /// Closed for good, for this reason.
    Gone(Error),
}

/// A resource that can become useless before its loss is known.
pub(crate) trait Usable {
    /// Returns true if no end of the resource is known.
    fn is_usable(&self) -> bool;
}

impl Usable for dyn TransportConnection {
    fn is_usable(&self) -> bool {
        self.closed().is_none()
    }
}

/// A [`Presence`] that can be waited on.
pub(crate) struct Present<T: ?Sized>(watch::Sender<Presence<T>>);

impl<T: Usable + ?Sized> Present<T> {
    pub(crate) fn new(now: Presence<T>) -> Self {
        Self(watch::Sender::new(now))
    }

    pub(crate) fn now(&self) -> Presence<T> {
        self.0.borrow().clone()
    }

    /// Changes the state, unless it is closed for good.
    pub(crate) fn set(&self, now: Presence<T>) {
        let mut old = Some(now);
        self.0.send_if_modified(|present| {
            let changes = !matches!(present, Presence::Gone(_));
            if changes && let Some(now) = old.take() {
                old = Some(std::mem::replace(present, now));
            }
            changes
        });
        // The old resource is dropped here, where no lock is held: its drop may call back into this
        // code.
        drop(old);
    }

    /// Returns the resource if it is open and usable. If `wait` is true, waits while it is
    /// reopening. A resource that is not usable is about to be marked as lost.
    ///
    /// # Errors
    /// The reason why the resource is closed for good, or reopening.
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
            // The sender lives as long as `self`.
            let _ = changes.changed().await;
        }
    }

    /// Waits until the resource is not open.
    pub(crate) async fn left(&self) {
        self.until(|now| !matches!(now, Presence::There(_))).await;
    }

    /// Waits until `this` is no longer the open resource, regardless of its replacement.
    pub(crate) async fn passed(&self, this: &Arc<T>) {
        self.until(|now| !matches!(now, Presence::There(there) if Arc::ptr_eq(there, this)))
            .await;
    }

    /// Waits until the resource is closed for good.
    pub(crate) async fn gone(&self) {
        self.until(|now| matches!(now, Presence::Gone(_))).await;
    }

    async fn until(&self, wanted: impl FnMut(&Presence<T>) -> bool) {
        let mut changes = self.0.subscribe();
        // The sender lives as long as `self`.
        let _ = changes.wait_for(wanted).await;
    }
}

/// The error of a call that does not wait for a resource that is reopening.
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
