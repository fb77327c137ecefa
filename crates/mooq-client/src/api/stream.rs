//! Consuming as a stream.

use std::future::IntoFuture;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use futures_util::future::BoxFuture;
use mooq_codecs::{Decode, Json};
use mooq_core::{ConsumerTag, IntoChecked, QueueName, Result};
use mooq_retry::Retry;

use super::channel::Channel;
use super::consumer_options::{ConsumerOptions, consumer_options};
use super::delivery::{Delivery, SettledBy};
use super::subscription::Subscription;
use crate::runtime::handler::settle;
use crate::runtime::timeout::within;
use crate::runtime::{Unsettled, WireRef};
use mooq_session::Handed;
use mooq_session::reasons::is_local_close;

/// A stream to open: made by [`Channel::consume`](crate::Channel::consume), opened by awaiting it.
#[derive(Debug)]
#[must_use = "nothing is consumed until it is awaited"]
pub struct ConsumeQueue<T, C = Json> {
    channel: Channel,
    options: ConsumerOptions,
    codec: C,
    on_decode_error: Retry,
    message: PhantomData<fn(T)>,
}

impl Channel {
    /// Consumes an existing queue, as a stream of deliveries.
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
    /// for number in [1, 2, 3] {
    ///     chan.publish("", &number).routing_key("numbers").await?;
    /// }
    ///
    /// let mut numbers = chan.consume::<i32>("numbers").await?;
    /// let mut sum = 0;
    /// while let Some(number) = numbers.next().await {
    ///     sum += number?.ack().await?; // Unsettled, it would go back.
    ///     if sum == 6 {
    ///         break;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn consume<T>(&self, queue: impl IntoChecked<QueueName>) -> ConsumeQueue<T, Json> {
        ConsumeQueue::new(self, queue)
    }
}

impl<T> ConsumeQueue<T> {
    pub(crate) fn new(channel: &Channel, queue: impl IntoChecked<QueueName>) -> Self {
        Self {
            channel: channel.clone(),
            options: ConsumerOptions::of(queue),
            codec: Json,
            on_decode_error: Retry::default(),
            message: PhantomData,
        }
    }
}

impl<T, C> ConsumeQueue<T, C> {
    /// Decodes bodies with `codec` instead of as JSON.
    pub fn codec<D>(self, codec: D) -> ConsumeQueue<T, D> {
        ConsumeQueue {
            channel: self.channel,
            options: self.options,
            codec,
            on_decode_error: self.on_decode_error,
            message: PhantomData,
        }
    }

    /// Acknowledges automatically: the broker counts each message as done when it sends it. A
    /// message that has not been processed when the stream, the channel or the process ends is
    /// lost. The prefetch has no effect then.
    pub fn auto_ack(mut self) -> Self {
        self.options.consume.no_ack = true;
        self
    }

    /// Policy for a delivery whose body does not decode, while the stream yields the error in its
    /// place. By default the delivery is rejected if a dead-letter exchange is known to take it.
    /// Otherwise it is kept unacked, counts towards the prefetch, and is requeued when the stream
    /// ends.
    ///
    /// A stream moves no messages: opening it fails with `InvalidArgument` if the policy would move
    /// such a delivery to a delay queue or park it.
    pub fn on_decode_error(mut self, policy: Retry) -> Self {
        self.on_decode_error = policy;
        self
    }

    consumer_options!();

    fn options(&mut self) -> &mut ConsumerOptions {
        &mut self.options
    }
}

impl<T, C> IntoFuture for ConsumeQueue<T, C>
where
    T: Send + 'static,
    C: Send + 'static,
{
    type Output = Result<Deliveries<T, C>>;
    type IntoFuture = BoxFuture<'static, Result<Deliveries<T, C>>>;

    /// # Errors
    /// `QueueNotFound`, `AccessRefused` if the queue is in exclusive use, `ResourceLocked`
    /// if the queue is exclusive to another connection; `NotAllowed` if the broker allows no further
    /// channel for [`own_channel`](Self::own_channel); `InvalidArgument` for a policy that moves
    /// messages; the channel's close if the channel is closed.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, no consumer stays registered and no message is lost.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let ConsumerOptions {
                consume,
                prefetch,
                place,
                deferred,
            } = self.options;
            deferred.finish()?;
            self.on_decode_error.check_moves_no_undecodable()?;
            let what = format!("consuming queue '{}'", consume.queue);
            let subscribing = Subscription::open(&self.channel, consume, prefetch, place);
            let subscription = within(self.channel.timeout(), &what, subscribing).await?;
            Ok(Deliveries {
                subscription,
                codec: self.codec,
                on_decode_error: self.on_decode_error,
                undecodable: Vec::new(),
                over: false,
                message: PhantomData,
            })
        })
    }
}

/// Deliveries, in order, as a [`Stream`] of results.
///
/// An error of kind `Decode` concerns one delivery, and the stream goes on. Any other error is the
/// reason for the end of the stream, and its last item. Dropping the stream cancels the consumer
/// and requeues the deliveries that it has not yielded.
///
/// # Examples
/// ```
/// use mooq::ErrorKind;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let conn = mooq::connect(&broker).await?;
/// # let chan = conn.create_channel().await?;
/// chan.declare_queue("numbers").await?;
/// chan.publish("", &1).routing_key("numbers").await?;
/// chan.publish("", "two").routing_key("numbers").await?;
/// chan.publish("", &3).routing_key("numbers").await?;
///
/// let mut numbers = chan.consume::<i32>("numbers").prefetch(10).await?;
/// let mut seen = Vec::new();
/// while let Some(next) = numbers.next().await {
///     match next {
///         Ok(number) => seen.push(number.ack().await?),
///         Err(err) if err.kind() == ErrorKind::Decode => seen.push(-1),
///         Err(err) => return Err(err),
///     }
///     if seen.len() == 3 {
///         break;
///     }
/// }
/// assert_eq!(seen, [1, -1, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a stream does nothing unless it is polled"]
pub struct Deliveries<T, C = Json> {
    subscription: Subscription,
    codec: C,
    on_decode_error: Retry,
    /// Kept, since no user takes them.
    undecodable: Vec<Unsettled>,
    over: bool,
    message: PhantomData<fn(T)>,
}

// No field is ever pinned.
impl<T, C> Unpin for Deliveries<T, C> {}

impl<T, C> Deliveries<T, C> {
    /// Returns the consumer's tag.
    #[must_use]
    pub fn tag(&self) -> &ConsumerTag {
        self.subscription.tag()
    }
}

impl<T, C: Decode<T>> Deliveries<T, C> {
    /// Returns the next delivery, without `StreamExt`. `None` once the consumer has ended.
    ///
    /// # Errors
    /// As the stream's items.
    ///
    /// # Cancel safety
    /// No delivery is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Delivery<T>>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Cancels the consumer. Deliveries that the stream has not yielded are requeued.
    ///
    /// # Errors
    /// The channel's close, if the channel is closed.
    ///
    /// # Cancel safety
    /// Once polled, the cancellation continues even if the future is dropped.
    pub async fn cancel(mut self) -> Result<()> {
        if self.subscription.has_own_channel() {
            // The end of the channel requeues them.
            self.undecodable.drain(..).for_each(Unsettled::forget);
        }
        self.subscription.cancel().await
    }

    fn decode(&mut self, handed: Handed<WireRef>) -> Result<Delivery<T>> {
        let raw = Delivery::handed(handed);
        let queue = raw.queue.clone();
        raw.decode(&self.codec).map_err(|(err, settled_by)| {
            if let SettledBy::Holder(unsettled) = settled_by {
                let known = self.subscription.known(&queue);
                // Deliveries from before a loss are redelivered.
                self.undecodable.retain(|kept| !kept.is_stale());
                match self.on_decode_error.settlement_of_undecodable(known) {
                    Some(settlement) => {
                        // Those before it were kept until it was known where they can go.
                        let kept = self.undecodable.drain(..).chain([unsettled]);
                        kept.for_each(|unsettled| settle(unsettled, settlement));
                    }
                    None => self.undecodable.push(unsettled),
                }
            }
            err
        })
    }
}

impl<T, C: Decode<T>> Stream for Deliveries<T, C> {
    type Item = Result<Delivery<T>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let item = match ready!(self.subscription.poll(cx)) {
            Ok(handed) => Some(self.decode(handed)),
            Err(end) => {
                self.over = true;
                // A close from this side is an end, not an error.
                (!is_local_close(&end)).then_some(Err(end))
            }
        };
        Poll::Ready(item)
    }
}
