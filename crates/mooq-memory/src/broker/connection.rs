//! A client's end of a connection.

use std::sync::Arc;

use async_trait::async_trait;
use mooq_core::{Error, ErrorKind, OpenedChannel, Result, ShortString, TransportConnection};

use super::channel::MemoryChannel;
use super::mailboxes::Closed;
use super::shared::{Answer, Shared};
use mooq_engine::{Command, ConnectionId, Method};

#[derive(Debug)]
pub(super) struct MemoryConnection {
    link: Arc<Link>,
    announces_blocked: bool,
    frame_max: u32,
}

/// State that a connection and its channels share. The connection ends when the last of them is
/// dropped.
pub(super) struct Link {
    pub(super) broker: Arc<Shared>,
    pub(super) id: ConnectionId,
    closed: Closed,
}

impl MemoryConnection {
    pub(super) fn new(
        broker: Arc<Shared>,
        id: ConnectionId,
        closed: Closed,
        announces_blocked: bool,
    ) -> Arc<Self> {
        let frame_max = broker.with_engine(|engine| engine.options().frame_max);
        let link = Link { broker, id, closed };
        Arc::new(Self {
            link: link.into(),
            announces_blocked,
            frame_max,
        })
    }
}

#[async_trait]
impl TransportConnection for MemoryConnection {
    async fn open_channel(&self) -> Result<OpenedChannel> {
        let Link { broker, id, closed } = &*self.link;
        let (opened, answer) = broker.open_channel(*id, closed)?;
        if answer.reply().await.is_none() {
            return Err(closed.get().cloned().unwrap_or_else(gone));
        }
        Ok(OpenedChannel {
            events: opened.events,
            channel: MemoryChannel::new(Arc::clone(&self.link), opened.id, opened.closed),
        })
    }

    fn closed(&self) -> Option<Error> {
        self.link.closed.get().cloned()
    }

    fn frame_max(&self) -> u32 {
        self.frame_max
    }

    fn announces_blocked(&self) -> bool {
        self.announces_blocked
    }

    async fn update_secret(&self, _secret: &str, _reason: &ShortString) -> Result<()> {
        let Link { broker, id, closed } = &*self.link;
        let command = Command {
            connection: *id,
            channel: 0,
            method: Method::UpdateSecret,
        };
        match broker.call(closed, command)?.reply().await {
            Some(_) => Ok(()),
            None => Err(closed.get().cloned().unwrap_or_else(gone)),
        }
    }

    async fn close(&self) -> Result<()> {
        self.link.close().reply().await;
        Ok(())
    }
}

/// The reason of a connection that has none.
fn gone() -> Error {
    Error::connection(ErrorKind::ConnectionLost, "the connection is gone")
}

impl Link {
    fn close(&self) -> Answer {
        self.broker.close_connection(self.id, &self.closed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("id", &self.id)
            .field("closed", &self.closed.get())
            .finish_non_exhaustive()
    }
}
