//! Getting one message.

use std::future::{IntoFuture, poll_fn};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use mooq_core::{Consume, Deliver, Error, ErrorKind, IntoChecked, QueueName, Result};

use super::handler::{settle, typed};
use super::outcome::Outcome;
use crate::channel::{Channel, Lasting, Source};
use crate::codec::{Decode, Json};
use crate::deadline::within;
use crate::deferred::Deferred;
use crate::delivery::{Delivery, SettledBy, Unsettled};

/// One message to be fetched: made by [`Channel::get`](crate::Channel::get), fetched by awaiting
/// it.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use mooq::ErrorKind;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::{ConnectInMemory, InMemoryBroker};
/// # let broker = InMemoryBroker::start();
/// # let conn = broker.connect().await?;
/// # let chan = conn.create_channel().await?;
/// chan.declare_queue("replies").await?;
///
/// let err = chan
///     .get::<String>("replies")
///     .timeout(Duration::from_millis(10))
///     .await
///     .unwrap_err();
/// assert_eq!(err.kind(), ErrorKind::ConsumeTimeout);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is fetched until it is awaited"]
pub struct Get<T, C = Json> {
    channel: Channel,
    queue: QueueName,
    auto_ack: bool,
    timeout: Option<Duration>,
    codec: C,
    deferred: Deferred,
    message: PhantomData<fn(T)>,
}

impl<T> Get<T> {
    pub(crate) fn new(channel: &Channel, queue: impl IntoChecked<QueueName>) -> Self {
        let mut deferred = Deferred::default();
        let queue = deferred.check(queue).unwrap_or_default();
        Self {
            channel: channel.clone(),
            queue,
            auto_ack: false,
            timeout: None,
            codec: Json,
            deferred,
            message: PhantomData,
        }
    }
}

impl<T, C> Get<T, C> {
    /// Decodes the body by `codec` instead of as JSON.
    pub fn codec<D>(self, codec: D) -> Get<T, D> {
        Get {
            channel: self.channel,
            queue: self.queue,
            auto_ack: self.auto_ack,
            timeout: self.timeout,
            codec,
            deferred: self.deferred,
            message: PhantomData,
        }
    }

    /// The broker counts the message as done as it sends it.
    pub fn auto_ack(mut self) -> Self {
        self.auto_ack = true;
        self
    }

    /// Waits up to `limit` for a message to come, instead of failing at once. The broker tells
    /// when one is there: the queue is not polled. In all it takes at most the connection's
    /// deadline more.
    ///
    /// Whoever waits is a consumer for that time. So an auto-delete queue goes when the wait is
    /// over, and a queue with an exclusive consumer cannot be waited for.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }
}

impl<T, C> IntoFuture for Get<T, C>
where
    T: Send + 'static,
    C: Decode<T> + Send + 'static,
{
    type Output = Result<Delivery<T>>;
    type IntoFuture = BoxFuture<'static, Result<Delivery<T>>>;

    /// # Errors
    /// `NothingToConsume` if the queue is empty, `ConsumeTimeout` if it stayed so for the time
    /// given; `Decode` if the body is not of this type, and the message is rejected;
    /// `ConsumerQueueNotFound`, `ResourceLocked`; with a timeout also `AccessRefused` if the queue
    /// has an exclusive consumer, and `ConsumerCancelled` if it is deleted; the channel's close if
    /// it is closed.
    ///
    /// # Cancel safety
    /// A message that was under way when this was dropped goes back to the queue, or is lost if
    /// it is acknowledged automatically.
    fn into_future(self) -> Self::IntoFuture {
        let deadline = self.channel.deadline();
        let limit = deadline.saturating_add(self.timeout.unwrap_or_default());
        Box::pin(within(limit, "getting a message", self.fetch()))
    }
}

impl<T, C: Decode<T>> Get<T, C> {
    async fn fetch(self) -> Result<Delivery<T>> {
        self.deferred.clone().finish()?;
        let fetched = self
            .channel
            .get_now(self.queue.clone(), self.auto_ack)
            .await?;
        let (deliver, unsettled) = match (fetched, self.timeout) {
            (Some(fetched), _) => fetched,
            (None, None) => {
                return Err(Error::new(
                    ErrorKind::NothingToConsume,
                    format!("queue '{}' is empty", self.queue),
                ));
            }
            (None, Some(limit)) => wait(&self.channel, &self.queue, self.auto_ack, limit).await?,
        };
        match self.codec.decode(&deliver.message.body) {
            Ok(msg) => {
                let by_broker = || SettledBy::Broker(deliver.in_flight.clone());
                let settled_by = unsettled.map_or_else(by_broker, SettledBy::Holder);
                Ok(typed(msg, &deliver, &self.queue, settled_by))
            }
            Err(err) => {
                if let Some(unsettled) = unsettled {
                    settle(unsettled, Outcome::Reject);
                }
                Err(err)
            }
        }
    }
}

/// Consumes one message, for at most `limit`.
async fn wait(
    channel: &Channel,
    queue: &QueueName,
    auto_ack: bool,
    limit: Duration,
) -> Result<(Deliver, Option<Unsettled>)> {
    // Always with acknowledgement: a consumer without has no prefetch, and would be sent the
    // whole queue for the one message asked for.
    let consume = Consume::new(queue.clone());
    let mut subscription = channel.subscribe(consume, 1, Lasting::No, None).await?;
    let inbox = Arc::clone(subscription.inbox());
    let arrived = tokio::time::timeout(limit, poll_fn(|cx| inbox.poll(cx))).await;
    let taken = |(deliver, source): (Deliver, Arc<Source>)| {
        let unsettled = Unsettled::new(source, deliver.delivery_tag);
        (deliver, unsettled)
    };
    let arrived = arrived.ok().transpose()?.map(taken);
    // One that came between the deadline and cancel-ok is as good as one in time.
    subscription.cancel().await?;
    let arrived = arrived.or_else(|| {
        inbox
            .pop()
            .map(|(deliver, source, _)| taken((deliver, source)))
    });
    let Some((deliver, unsettled)) = arrived else {
        return Err(Error::new(
            ErrorKind::ConsumeTimeout,
            format!("no message came to queue '{queue}' within {limit:?}"),
        ));
    };
    if auto_ack {
        settle(unsettled, Outcome::Ack);
        return Ok((deliver, None));
    }
    Ok((deliver, Some(unsettled)))
}
