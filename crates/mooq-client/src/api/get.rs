//! Fetching one message.

use std::future::{Future, IntoFuture, poll_fn};
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mooq_codecs::{Decode, Json};
use mooq_core::{
    Consume, Error, ErrorKind, FirstError, IntoChecked, QueueName, Result, Settlement,
};
use mooq_retry::Retry;
use mooq_session::{self as session, Handed, Reply};

use super::channel::Channel;
use super::delivery::{Delivery, SettledBy};
use super::subscription::{Place, Subscription};
use crate::runtime::handler::settle;
use crate::runtime::timeout::within;
use crate::runtime::{Unsettled, WireRef};

/// A message to fetch if the queue has one: made by [`Channel::get`], fetched by awaiting it, which
/// returns `None` if the queue is empty.
#[derive(Debug)]
#[must_use = "nothing is fetched until it is awaited"]
pub struct Get<T, C = Json>(Request<T, C>);

/// One message to fetch: made by [`Channel::get_one`] or by [`Get::timeout`], fetched by awaiting
/// it. An empty queue is an error.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use mooq::ErrorKind;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let conn = mooq::connect(&broker).await?;
/// # let chan = conn.create_channel().await?;
/// chan.declare_queue("replies").await?;
///
/// let err = chan.get_one::<String>("replies").await.unwrap_err();
/// assert_eq!(err.kind(), ErrorKind::NothingToConsume);
///
/// let reply = chan.get_one::<String>("replies").timeout(Duration::from_millis(10));
/// assert_eq!(reply.await.unwrap_err().kind(), ErrorKind::ConsumeTimeout);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is fetched until it is awaited"]
pub struct GetOne<T, C = Json> {
    request: Request<T, C>,
    timeout: Option<Duration>,
}

impl Channel {
    /// Fetches a message from an existing queue, if there is one.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// # let chan = conn.create_channel().await?;
    /// chan.declare_queue("numbers").await?;
    /// for number in [1, 2] {
    ///     chan.publish("", &number).routing_key("numbers").await?;
    /// }
    ///
    /// let mut sum = 0;
    /// while let Some(number) = chan.get::<i32>("numbers").await? {
    ///     sum += number.ack().await?; // Unsettled, it would go back.
    /// }
    /// assert_eq!(sum, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn get<T>(&self, queue: impl IntoChecked<QueueName>) -> Get<T, Json> {
        Get::new(self, queue)
    }

    /// Fetches one message from an existing queue. An empty queue is an error: `NothingToConsume`,
    /// or `ConsumeTimeout` if it stays empty for a [`timeout`](GetOne::timeout).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// # let chan = conn.create_channel().await?;
    /// chan.declare_queue("numbers").await?;
    /// chan.publish("", &42).routing_key("numbers").await?;
    ///
    /// let number = chan.get_one::<i32>("numbers").await?;
    /// assert_eq!(number.ack().await?, 42);
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_one<T>(&self, queue: impl IntoChecked<QueueName>) -> GetOne<T, Json> {
        Get::new(self, queue).one()
    }

    /// Calls `basic.get`. A message that arrives after the future was dropped is requeued.
    async fn get_now(&self, queue: QueueName, no_ack: bool) -> Result<Option<Handed<WireRef>>> {
        match self
            .shared()
            .request(session::Request::Get(queue, no_ack))
            .await?
        {
            Reply::Fetched(fetched) => Ok(fetched),
            _ => Ok(None),
        }
    }
}

/// A `basic.get` with the type of its body.
#[derive(Debug)]
struct Request<T, C> {
    channel: Channel,
    queue: QueueName,
    auto_ack: bool,
    codec: C,
    deferred: FirstError,
    message: PhantomData<fn(T)>,
}

impl<T> Get<T> {
    pub(crate) fn new(channel: &Channel, queue: impl IntoChecked<QueueName>) -> Self {
        let mut deferred = FirstError::default();
        let queue = deferred.check(queue).unwrap_or_default();
        Self(Request {
            channel: channel.clone(),
            queue,
            auto_ack: false,
            codec: Json,
            deferred,
            message: PhantomData,
        })
    }
}

impl<T, C> Get<T, C> {
    /// Decodes the body with `codec` instead of as JSON.
    pub fn codec<D>(self, codec: D) -> Get<T, D> {
        Get(self.0.codec(codec))
    }

    /// Acknowledges automatically: the broker counts the message as done when it sends it.
    pub fn auto_ack(mut self) -> Self {
        self.0.auto_ack = true;
        self
    }

    /// Waits up to `limit` for a message, and fails with `ConsumeTimeout` if none arrives: see
    /// [`GetOne::timeout`].
    pub fn timeout(self, limit: Duration) -> GetOne<T, C> {
        self.one().timeout(limit)
    }

    /// Fetches exactly one message.
    pub(crate) fn one(self) -> GetOne<T, C> {
        GetOne {
            request: self.0,
            timeout: None,
        }
    }
}

impl<T, C> GetOne<T, C> {
    /// Decodes the body with `codec` instead of as JSON.
    pub fn codec<D>(self, codec: D) -> GetOne<T, D> {
        GetOne {
            request: self.request.codec(codec),
            timeout: self.timeout,
        }
    }

    /// Acknowledges automatically: the broker counts the message as done when it sends it.
    pub fn auto_ack(mut self) -> Self {
        self.request.auto_ack = true;
        self
    }

    /// Waits up to `limit` for a message, and fails with `ConsumeTimeout` if none arrives. The
    /// broker sends the message when there is one: the queue is not polled. The call takes at most
    /// the connection's timeout more than `limit`.
    ///
    /// While the call waits, it is a consumer of the queue. So an auto-delete queue is deleted when
    /// the wait is over, and a queue with an exclusive consumer cannot be waited on.
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
    type Output = Result<Option<Delivery<T>>>;
    type IntoFuture = BoxFuture<'static, Result<Option<Delivery<T>>>>;

    /// # Errors
    /// `Decode` if the body is not of this type: the message is requeued, or rejected to the
    /// dead-letter exchange that this connection declared the queue with; `QueueNotFound`,
    /// `ResourceLocked`; the channel's close if the channel is closed.
    ///
    /// # Cancel safety
    /// A message that was in flight when the future was dropped is requeued, or lost if it is
    /// acknowledged automatically.
    fn into_future(self) -> Self::IntoFuture {
        let limit = self.0.channel.timeout();
        Box::pin(within(limit, GETTING, async move {
            let fetched = self.0.fetch().await?;
            fetched.map(|fetched| self.0.decode(fetched)).transpose()
        }))
    }
}

impl<T, C> IntoFuture for GetOne<T, C>
where
    T: Send + 'static,
    C: Decode<T> + Send + 'static,
{
    type Output = Result<Delivery<T>>;
    type IntoFuture = BoxFuture<'static, Result<Delivery<T>>>;

    /// # Errors
    /// `NothingToConsume` if the queue is empty, `ConsumeTimeout` if it stays empty for the
    /// timeout; otherwise as [`Get`]; with a timeout also `AccessRefused` if the queue has an
    /// exclusive consumer, and `ConsumerCancelled` if the queue is deleted.
    ///
    /// # Cancel safety
    /// A message that was in flight when the future was dropped is requeued, or lost if it is
    /// acknowledged automatically.
    fn into_future(self) -> Self::IntoFuture {
        let Self { request, timeout } = self;
        let limit = request.channel.timeout();
        let limit = limit.saturating_add(timeout.unwrap_or_default());
        Box::pin(within(limit, GETTING, async move {
            let fetched = match (request.fetch().await?, timeout) {
                (Some(fetched), _) => fetched,
                (None, Some(limit)) => {
                    wait(&request.channel, &request.queue, request.auto_ack, limit).await?
                }
                (None, None) => {
                    return Err(Error::new(
                        ErrorKind::NothingToConsume,
                        format!("queue '{}' is empty", request.queue),
                    ));
                }
            };
            request.decode(fetched)
        }))
    }
}

const GETTING: &str = "getting a message";

impl<T, C> Request<T, C> {
    fn codec<D>(self, codec: D) -> Request<T, D> {
        Request {
            channel: self.channel,
            queue: self.queue,
            auto_ack: self.auto_ack,
            codec,
            deferred: self.deferred,
            message: PhantomData,
        }
    }

    /// Fetches the message. The future holds no reference to `self`, since a codec need not be
    /// `Sync`.
    fn fetch(&self) -> impl Future<Output = Result<Option<Delivery<Bytes>>>> + Send + use<T, C> {
        let (channel, queue) = (self.channel.clone(), self.queue.clone());
        let (deferred, auto_ack) = (self.deferred.clone(), self.auto_ack);
        async move {
            deferred.finish()?;
            let fetched = channel.get_now(queue, auto_ack).await?;
            Ok(fetched.map(Delivery::handed))
        }
    }

    fn decode(&self, fetched: Delivery<Bytes>) -> Result<Delivery<T>>
    where
        C: Decode<T>,
    {
        let queue = fetched.queue.clone();
        fetched.decode(&self.codec).map_err(|(err, settled_by)| {
            if let SettledBy::Holder(unsettled) = settled_by {
                let known = self.channel.shared().inner().known(&queue);
                let settlement = Retry::default().settlement_of_undecodable(known);
                let requeue = Settlement::Reject { requeue: true };
                settle(unsettled, settlement.unwrap_or(requeue));
            }
            err
        })
    }
}

/// Consumes one message, for at most `limit`.
async fn wait(
    channel: &Channel,
    queue: &QueueName,
    auto_ack: bool,
    limit: Duration,
) -> Result<Delivery<Bytes>> {
    // Always with acknowledgement: a consumer without it has no prefetch, and would be sent the
    // whole queue for the one message asked for.
    let consume = Consume::new(queue.clone());
    let subscription = Subscription::open(channel, consume, 1, Place::Once).await?;
    let next = || poll_fn(|cx| subscription.poll(cx));
    let arrived = tokio::time::timeout(limit, next()).await;
    let arrived = arrived.ok().transpose()?;
    // A message that arrives between the deadline and cancel-ok is as good as one in time.
    subscription.cancel().await?;
    let late = || next().now_or_never().and_then(Result::ok);
    let arrived = arrived.or_else(late);
    let Some(mut handed) = arrived else {
        return Err(Error::new(
            ErrorKind::ConsumeTimeout,
            format!("no message came to queue '{queue}' within {limit:?}"),
        ));
    };
    if auto_ack && let Some(unsettled) = Unsettled::of(&mut handed) {
        settle(unsettled, Settlement::Ack);
    }
    Ok(Delivery::handed(handed))
}
