//! Channels.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use mooq_core::{
    Binding, ExchangeDeclare, ExchangeName, QueueDeclare, QueueDeclared, QueueName, Result,
};
use mooq_session::{PortCell, Reply, Request, check_arguments};

use super::layers::{CallbackLayer, Layers, PublishLayer};
use crate::runtime::timeout::within;
use crate::runtime::{ChannelRef, ConnectionRef, WireRef};

/// A channel: exchanges, queues and consumers are registered on it, and messages published. Cloning
/// a channel is cheap; all clones are the same channel.
///
/// If the broker closes the channel because of an error (an exchange that is missing, options that
/// do not fit), all calls in flight on the channel fail with that reason. The channel is then
/// reopened with its consumers, and later calls wait for that. With
/// [`Recovery::off`](crate::Recovery::off) the channel stays closed.
///
/// # Examples
/// ```
/// use mooq::{ErrorKind, ErrorScope};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let conn = mooq::connect(&broker).await?;
/// # let chan = conn.create_channel().await?;
/// let err = chan.publish("no-such-exchange", "hello").await.unwrap_err();
/// assert_eq!(err.kind(), ErrorKind::ExchangeNotFound);
/// assert_eq!(err.scope(), ErrorScope::Channel);
///
/// // The broker has closed the channel, and mooq has opened it again.
/// chan.declare_queue("orders").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Channel {
    pub(super) channel: Arc<ChannelRef>,
    /// Keeps the connection open while a channel is in use.
    pub(super) connection: Arc<ConnectionRef>,
    pub(super) layers: Arc<Layers>,
}

impl Channel {
    pub(crate) async fn open(
        connection: &Arc<ConnectionRef>,
        layers: &Arc<Layers>,
    ) -> Result<Self> {
        Ok(Self {
            channel: ChannelRef::open(connection).await?,
            connection: Arc::clone(connection),
            layers: Arc::clone(layers),
        })
    }

    /// Opens another channel on the same connection.
    pub(crate) async fn sibling(&self) -> Result<Self> {
        Self::open(&self.connection, &self.layers).await
    }

    /// Returns a handle of this channel that wraps `layer` around the callbacks of the consumers
    /// that are registered through it or its clones, within the layers that it has: see
    /// [`layers`](crate::layers).
    #[must_use = "the layer is around what is registered through the returned handle"]
    pub fn callback_layer(mut self, layer: impl CallbackLayer) -> Self {
        Arc::make_mut(&mut self.layers).callbacks.push(layer);
        self
    }

    /// Returns a handle of this channel that wraps `layer` around the publishes that are made
    /// through it or its clones, within the layers that it has: see [`layers`](crate::layers).
    #[must_use = "the layer is around what is published through the returned handle"]
    pub fn publish_layer(mut self, layer: impl PublishLayer) -> Self {
        Arc::make_mut(&mut self.layers).push_publish(layer);
        self
    }

    pub(crate) fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Number of publishes that the broker has neither confirmed nor refused yet, including those
    /// whose confirm is no longer awaited.
    #[must_use]
    pub fn unconfirmed_count(&self) -> usize {
        self.channel.port().with(|port| port.in_flight())
    }

    /// Waits until the broker has answered every publish of this channel. Use it for publishes
    /// whose confirm is not awaited otherwise, for example
    /// [`unconfirmed`](crate::Publish::unconfirmed) ones. It does not report outcomes: await the
    /// [`Confirmation`](crate::Confirmation) of a publish for those.
    ///
    /// # Errors
    /// `TimedOut` after the connection's timeout.
    ///
    /// # Cancel safety
    /// Safe to drop at any point.
    pub async fn wait_for_confirms(&self) -> Result<()> {
        let port = self.channel.port();
        let confirms = async {
            poll_fn(|cx| port.with(|port| port.poll_drained(cx))).await;
            Ok(())
        };
        within(self.timeout(), "waiting for confirms", confirms).await
    }

    /// Closes the channel: its consumers end, and its unacked deliveries are requeued. Closing a
    /// channel twice is no error.
    ///
    /// # Errors
    /// `ConnectionLost` if the broker went away before it answered; `TimedOut`.
    ///
    /// # Cancel safety
    /// Once polled, the channel is closed even if the future is dropped.
    pub async fn close(&self) -> Result<()> {
        let channel = &self.channel;
        let closing = channel
            .inner()
            .call(|session, caller| session.close_channel(channel.id(), caller));
        within(self.timeout(), "closing the channel", closing)
            .await
            .map(drop)
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.connection.timeout()
    }

    pub(crate) fn shared(&self) -> &Arc<ChannelRef> {
        &self.channel
    }

    pub(crate) async fn exchange_declare(&self, declare: ExchangeDeclare) -> Result<()> {
        check_arguments(&declare.arguments, self.frame_max())?;
        self.request(Request::DeclareExchange(declare))
            .await
            .map(drop)
    }

    pub(crate) async fn queue_declare(&self, declare: QueueDeclare) -> Result<QueueDeclared> {
        check_arguments(&declare.arguments, self.frame_max())?;
        let name = declare.name.clone();
        match self.request(Request::DeclareQueue(declare)).await? {
            Reply::Queue(declared) => Ok(declared),
            _ => Ok(QueueDeclared {
                name,
                message_count: 0,
                consumer_count: 0,
            }),
        }
    }

    pub(crate) async fn bind(&self, binding: Binding) -> Result<()> {
        check_arguments(&binding.arguments, self.frame_max())?;
        self.request(Request::Bind(binding)).await.map(drop)
    }

    pub(crate) async fn unbind(&self, binding: Binding) -> Result<()> {
        check_arguments(&binding.arguments, self.frame_max())?;
        self.request(Request::Unbind(binding)).await.map(drop)
    }

    pub(crate) async fn exchange_delete(&self, name: ExchangeName, if_unused: bool) -> Result<()> {
        let delete = Request::DeleteExchange { name, if_unused };
        self.request(delete).await.map(drop)
    }

    pub(crate) async fn queue_delete(
        &self,
        name: QueueName,
        if_unused: bool,
        if_empty: bool,
    ) -> Result<u32> {
        let delete = Request::DeleteQueue {
            name,
            if_unused,
            if_empty,
        };
        self.request(delete).await.map(|reply| count(&reply))
    }

    pub(crate) async fn queue_purge(&self, name: QueueName) -> Result<u32> {
        let purged = self.request(Request::PurgeQueue(name)).await;
        purged.map(|reply| count(&reply))
    }

    pub(crate) fn frame_max(&self) -> u32 {
        self.channel.with(|session| session.frame_max())
    }

    async fn request(&self, request: Request) -> Result<Reply<WireRef>> {
        self.channel.request(request).await
    }
}

fn count(reply: &Reply<WireRef>) -> u32 {
    match reply {
        Reply::Count(count) => *count,
        _ => 0,
    }
}
