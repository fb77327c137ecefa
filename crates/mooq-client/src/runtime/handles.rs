//! References that keep a connection and a channel open.

use std::any::Any;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use mooq_core::{Publish, Result};
use mooq_session::{ChannelId, PortCell, PublishId, PublishTerms, Reply, Request, Session, Taken};
use tokio::time::Instant;

use super::inner::{ConnectionInner, PortRef, Tokio};
use super::lock::lock;
use super::timeout::within;

/// Keeps a connection open: the connection closes when the last one is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionRef(Arc<ConnectionInner>);

impl ConnectionRef {
    pub(crate) fn new(inner: Arc<ConnectionInner>) -> Self {
        Self(inner)
    }
}

impl Deref for ConnectionRef {
    type Target = Arc<ConnectionInner>;

    fn deref(&self) -> &Arc<ConnectionInner> {
        &self.0
    }
}

impl Drop for ConnectionRef {
    fn drop(&mut self) {
        self.0.with(|session| {
            session.drop_callbacks();
            session.close(None, Instant::now().into_std());
        });
    }
}

/// Keeps a channel open: the channel ends when the last one is dropped, unless it has callbacks.
#[derive(Debug)]
pub(crate) struct ChannelRef {
    inner: Arc<ConnectionInner>,
    id: ChannelId,
    port: PortRef,
    /// States that the crates above keep, each of another type.
    states: Mutex<Vec<Arc<dyn Any + Send + Sync>>>,
}

impl ChannelRef {
    /// Opens a channel.
    pub(crate) async fn open(inner: &Arc<ConnectionInner>) -> Result<Arc<Self>> {
        let port = inner.new_port();
        let mut opened = None;
        let opening = inner.call(|session, caller| {
            let (id, call) = session.open_channel(port.clone(), caller);
            opened = Some(Self {
                inner: Arc::clone(inner),
                id,
                port: port.clone(),
                states: Mutex::default(),
            });
            call
        });
        // If this is dropped midway, or fails, so is the channel.
        let result = within(inner.timeout(), "opening a channel", opening).await;
        match (result, opened) {
            (Ok(_), Some(opened)) => Ok(Arc::new(opened)),
            (Ok(_), None) => Err(mooq_session::reasons::closed_locally()),
            (Err(err), _) => Err(err),
        }
    }

    pub(crate) fn inner(&self) -> &Arc<ConnectionInner> {
        &self.inner
    }

    pub(crate) fn id(&self) -> ChannelId {
        self.id
    }

    pub(crate) fn port(&self) -> &PortRef {
        &self.port
    }

    /// Returns the channel's state of type `T`.
    pub(crate) fn state<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        let mut states = lock(&self.states);
        let found = states.iter().find(|state| state.is::<T>()).cloned();
        if let Some(Ok(state)) = found.map(Arc::downcast) {
            return state;
        }
        let state = Arc::<T>::default();
        states.push(Arc::clone(&state) as Arc<dyn Any + Send + Sync>);
        state
    }

    /// Calls `f` with the session.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Session<Tokio>) -> T) -> T {
        self.inner.with(f)
    }

    /// Makes a request once the channel is open, within the connection's timeout.
    pub(crate) async fn request(&self, request: Request) -> Result<Reply<super::WireRef>> {
        // The answer may always be there at once: a loop of calls has to leave other tasks their
        // turn.
        tokio::task::consume_budget().await;
        let what = mooq_session::described(&request);
        let call = self
            .inner
            .call(|session, caller| session.request(self.id, request, caller));
        within(self.inner.timeout(), &what, call).await
    }

    /// Hands a message to the transport, or keeps it until the channel is open.
    pub(crate) fn publish(&self, publish: Publish, terms: PublishTerms) -> Result<Taken> {
        let now = Instant::now().into_std();
        let taken = self.port.with(|port| {
            port.publish(publish, terms, now, |message| self.inner.room_for(message))
        })?;
        if taken.earliest.is_some() {
            self.with(|session| session.arm_publishes(self.id));
        }
        Ok(taken)
    }

    /// Drops the outcome of a publish that is no longer awaited.
    pub(crate) fn abandon(&self, id: PublishId) {
        self.port.with(|port| port.abandon(id));
    }
}

impl Drop for ChannelRef {
    fn drop(&mut self) {
        self.inner.with(|session| session.drop_channel(self.id));
    }
}
