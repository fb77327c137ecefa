//! A connection for the runtime above.

use std::sync::Arc;

use async_trait::async_trait;
use mooq_core::mailbox::mailbox;
use mooq_core::{Error, ErrorKind, OpenedChannel, Result, ShortString, TransportConnection};
use mooq_wire::method::ConnectionUpdateSecret;
use tokio::sync::oneshot;

use super::channel::NativeChannel;
use super::end::End;
use super::shared::Shared;
use super::task::now;

#[derive(Debug)]
pub(super) struct NativeConnection {
    handle: Arc<ConnectionHandle>,
    frame_max: u32,
}

impl NativeConnection {
    pub(super) fn new(shared: Arc<Shared>, frame_max: u32) -> Self {
        Self {
            handle: Arc::new(ConnectionHandle(shared)),
            frame_max,
        }
    }
}

/// The handle that a connection and its channels share. The connection closes when the last of them
/// is dropped.
#[derive(Debug)]
pub(super) struct ConnectionHandle(pub(super) Arc<Shared>);

impl Drop for ConnectionHandle {
    fn drop(&mut self) {
        self.0.call(|session| session.abandon(now()));
    }
}

#[async_trait]
impl TransportConnection for NativeConnection {
    fn closed(&self) -> Option<Error> {
        self.handle.0.end.reason().cloned()
    }

    fn frame_max(&self) -> u32 {
        self.frame_max
    }

    fn announces_blocked(&self) -> bool {
        true
    }

    async fn open_channel(&self) -> Result<OpenedChannel> {
        let (sender, events) = mailbox();
        let (reply, answer) = oneshot::channel();
        let end = Arc::new(End::default());
        let shared = &self.handle.0;
        let (id, ticket) = shared.open_channel(reply, sender, Arc::clone(&end))?;
        // If this future is dropped, the channel is closed, as it is when a handle is dropped.
        let channel = NativeChannel::new(Arc::clone(&self.handle), id, end);
        channel.answer(ticket, answer).await?;
        Ok(OpenedChannel {
            channel: Arc::new(channel),
            events,
        })
    }

    async fn update_secret(&self, secret: &str, reason: &ShortString) -> Result<()> {
        let shared = &self.handle.0;
        if let Some(reason) = shared.end.reason() {
            return Err(reason.clone());
        }
        let update = ConnectionUpdateSecret {
            new_secret: secret.to_owned().into(),
            reason: reason.clone(),
        };
        let (reply, answer) = oneshot::channel();
        shared.request(reply, |session| session.update_secret(update))?;
        match answer.await {
            Ok(answer) => answer.map(drop),
            // The connection has ended in between.
            Err(_) => Err(shared.end.wait().await),
        }
    }

    async fn close(&self) -> Result<()> {
        let shared = &self.handle.0;
        if shared.end.reason().is_some() {
            return Ok(());
        }
        shared.call(|session| session.close(now()));
        let reason = shared.end.wait().await;
        match reason.kind() {
            ErrorKind::ConnectionClosed => Ok(()),
            _ => Err(reason),
        }
    }
}
