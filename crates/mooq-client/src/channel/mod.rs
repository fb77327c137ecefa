//! Channels.

mod claim;
mod consumers;
mod consuming;
mod driver;
mod generation;
mod inbox;
mod ledger;
mod numbering;
mod producer;
mod shared;
mod subscription;
mod topology;
mod verbs;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mooq_core::Result;

use crate::connection::ConnectionShared;
use crate::consumer::Dispatch;
use crate::recovery::open_generation;
use crate::timeout::within;

pub(crate) use claim::Claim;
pub(crate) use consumers::{Restorable, Restorables};
pub(crate) use generation::{Generation, Source};
pub(crate) use inbox::{Addressee, Inbox, Next};
pub(crate) use ledger::asked_twice;
pub use producer::RegisterProducer;
pub(crate) use shared::{ChannelShared, Terms};
pub(crate) use subscription::{Lasting, Subscription};
pub use topology::{Bind, DeclareQueue, DeleteExchange, DeleteQueue};

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
/// # use mooq::{ConnectInMemory, InMemoryBroker};
/// # let broker = InMemoryBroker::start();
/// # let conn = broker.connect().await?;
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
    shared: Arc<ChannelShared>,
    /// Keeps the connection open while a channel is in use.
    connection: Arc<ConnectionShared>,
}

impl Channel {
    pub(crate) async fn open(connection: &Arc<ConnectionShared>) -> Result<Self> {
        let shared = ChannelShared::new(connection);
        within(connection.timeout(), "opening a channel", async {
            let link = connection.link().await?;
            open_generation(&shared, &*link).await
        })
        .await?;
        shared.join_connection();
        Ok(Self {
            shared,
            connection: Arc::clone(connection),
        })
    }

    /// Opens another channel on the same connection.
    pub(crate) async fn sibling(&self) -> Result<Self> {
        Self::open(&self.connection).await
    }

    /// Number of publishes that the broker has neither confirmed nor refused yet, including those
    /// whose confirm is no longer awaited.
    #[must_use]
    pub fn unconfirmed(&self) -> usize {
        self.shared.ledger(|ledger| ledger.in_flight())
    }

    /// Waits until the broker has answered every publish of this channel. Use it for publishes
    /// whose confirm is not awaited otherwise, for example
    /// [`unconfirmed`](crate::Publish::unconfirmed) ones. The answer itself goes to each publish
    /// alone.
    ///
    /// # Errors
    /// `TimedOut` after the connection's timeout.
    ///
    /// # Cancel safety
    /// Safe to drop at any point.
    pub async fn wait_for_confirms(&self) -> Result<()> {
        let confirms = async {
            self.shared.wait_for_confirms().await;
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
        let shared = Arc::clone(&self.shared);
        self.run_to_end("closing the channel", async move { shared.close().await })
            .await
    }

    /// Makes a call to the broker that goes on even if the future is dropped.
    pub(crate) async fn run_to_end<T: Send + 'static>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.connection.run_to_end(what, call).await
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.connection.timeout()
    }

    pub(crate) fn shared(&self) -> &Arc<ChannelShared> {
        &self.shared
    }

    pub(crate) fn dispatch(&self) -> &Arc<Dispatch> {
        self.connection.dispatch()
    }
}
