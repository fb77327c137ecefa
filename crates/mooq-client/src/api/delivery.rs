//! A message that was delivered, and its settlement.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use mooq_codecs::Decode;
use mooq_core::in_flight::InFlight;
use mooq_core::{
    Deliver, Error, ErrorKind, ExchangeName, FieldTable, Properties, QueueName, Result, RoutingKey,
    Settlement,
};
use mooq_retry::Trail;
use mooq_session::Handed;

use crate::runtime::{Unsettled, WireRef, lock};

/// A delivered message with its body as a `T`.
///
/// In a callback, the callback's return value settles the delivery. The callback may settle it
/// earlier, by [`ack`](Self::ack), [`requeue`](Self::requeue) or [`reject`](Self::reject): then its
/// return value has no effect. A delivery from a stream or from `get` is settled by these methods
/// alone, and requeued if it is dropped before.
///
/// A test of a callback needs no broker: [`Delivery::new`] makes a delivery.
///
/// ```
/// use mooq::Delivery;
///
/// async fn yell_it(resp: Delivery<String>) -> String {
///     resp.msg.to_uppercase()
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert_eq!(yell_it(Delivery::new("hello".to_string())).await, "HELLO");
/// # });
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Delivery<T> {
    /// The body.
    pub msg: T,
    /// The routing key that the message was published with.
    pub routing_key: RoutingKey,
    /// The exchange that the message was published to.
    pub exchange: ExchangeName,
    /// The queue that the message was delivered from.
    pub queue: QueueName,
    /// True if the message was delivered before, to this or another consumer, and was requeued.
    pub redelivered: bool,
    /// The delivery's number on the channel.
    pub delivery_tag: u64,
    /// The message's properties, including its headers.
    pub properties: Arc<Properties>,
    /// Number of this attempt to handle the message, 1 for the first: one more than the attempts
    /// that failed. Attempts in place count in the process that makes them; those between which the
    /// message waited in a delay queue count in its header `mooq-attempts`, whoever made them. If
    /// the policy requeues, the header `x-delivery-count` counts as well.
    pub attempt: u32,
    /// Error of the latest attempt that failed.
    pub last_error: Option<String>,
    /// None in a delivery that no broker sent.
    pub(crate) body: Option<Bytes>,
    /// The party that settles the delivery.
    pub(crate) settled_by: SettledBy,
}

/// The party that settles a delivery.
#[derive(Debug)]
pub(crate) enum SettledBy {
    /// The holder of the delivery.
    Holder(Unsettled),
    /// The callback's outcome, or the holder of the delivery before that.
    Callback(Arc<Held>),
    /// The broker, at the time it sent the delivery. A broker that counts deliveries in flight
    /// counts this one while it is kept.
    Broker(#[expect(dead_code, reason = "it counts until it is dropped")] InFlight),
    /// No party: a test made the delivery.
    Nobody,
}

impl<T> Delivery<T> {
    /// Makes a delivery that no broker sent, for tests of callbacks. Settling it does nothing; its
    /// fields can be set.
    #[must_use]
    pub fn new(msg: T) -> Self {
        Self {
            msg,
            routing_key: RoutingKey::default(),
            exchange: ExchangeName::default(),
            queue: QueueName::default(),
            redelivered: false,
            delivery_tag: 0,
            properties: Arc::default(),
            attempt: 1,
            last_error: None,
            body: None,
            settled_by: SettledBy::Nobody,
        }
    }

    /// Returns the body before it was decoded. None in a delivery that no broker sent, unless
    /// [`with_body`](Self::with_body) has set it.
    #[must_use]
    pub fn body(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }

    /// Sets the delivery's raw body, for tests of callbacks that [forward](crate::Channel::forward)
    /// their deliveries.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Number of times the message was dead-lettered from `queue`, for any reason, by the broker's
    /// count in the header [`x-death`](https://www.rabbitmq.com/docs/dlx#effects).
    ///
    /// Counts the deaths of a message that the broker itself moves by dead-lettering. From RabbitMQ
    /// 4.0 on, a message that a client publishes again or [forwards](crate::Channel::forward)
    /// starts at 0, regardless of its headers, and so does on every version one that waited in a
    /// delay queue of [`Retry`](crate::Retry), whose attempts [`attempt`](Self::attempt) counts.
    ///
    /// # Examples
    /// ```
    /// use mooq::Delivery;
    ///
    /// /// Handles what `orders` has dead-lettered.
    /// async fn handle(dead: Delivery<String>) {
    ///     println!("rejected or expired {} times", dead.death_count("orders"));
    /// }
    /// # let _ = handle;
    /// ```
    #[must_use]
    pub fn death_count(&self, queue: &str) -> u64 {
        mooq_retry::death_count(&self.properties.headers, queue)
    }

    /// Number of times the message was returned to its quorum queue after a delivery, by the
    /// queue's count in the header
    /// [`x-delivery-count`](https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling): 0
    /// the first time, and always for classic queues, which do not count. RabbitMQ 3.10 to 4.2
    /// count every return. RabbitMQ 4.3 counts only deliveries that failed: those that were
    /// rejected with requeue, or whose channel or connection ended, but not a nack.
    #[must_use]
    pub fn delivery_count(&self) -> u64 {
        mooq_retry::delivery_count(&self.properties.headers)
    }

    /// Acknowledges the delivery (`basic.ack`): it is done. Returns the message.
    ///
    /// # Errors
    /// `NotAllowed` if the delivery is settled already: by the outcome of its callback, which has
    /// ended, or because the consumer acknowledges automatically. `StaleDelivery` if its channel
    /// was lost after the delivery arrived, and the channel's close if the channel is closed for
    /// good: in both cases the broker redelivers the message.
    ///
    /// # Cancel safety
    /// Takes effect at the first poll.
    pub async fn ack(self) -> Result<T> {
        self.settle(Settlement::Ack)
    }

    /// Requeues a delivery that failed (`basic.reject` with requeue): the message goes back to its
    /// place in the queue. A queue's [delivery
    /// limit](https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling) counts that. To
    /// requeue a delivery that was not tried, drop it.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    ///
    /// # Cancel safety
    /// Takes effect at the first poll.
    #[doc(alias = "nack")]
    pub async fn requeue(self) -> Result<T> {
        self.settle(Settlement::Reject { requeue: true })
    }

    /// Rejects the delivery (`basic.reject` without requeue): the message goes to the dead-letter
    /// exchange if the queue has one, and is dropped otherwise.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    ///
    /// # Cancel safety
    /// Takes effect at the first poll.
    #[doc(alias = "nack")]
    pub async fn reject(self) -> Result<T> {
        self.settle(Settlement::Reject { requeue: false })
    }

    fn settle(self, settlement: Settlement) -> Result<T> {
        match self.settled_by {
            SettledBy::Holder(unsettled) => unsettled.settle(settlement)?,
            SettledBy::Nobody => {}
            SettledBy::Callback(held) => match held.take() {
                Some(unsettled) => unsettled.settle(settlement)?,
                None => {
                    return Err(not_allowed(
                        "the outcome of its callback has settled this delivery; register the \
                         consumer with manual_ack() to settle deliveries later",
                    ));
                }
            },
            SettledBy::Broker(_) => {
                return Err(not_allowed(
                    "the consumer acknowledges automatically: this delivery is settled",
                ));
            }
        }
        Ok(self.msg)
    }
}

impl Delivery<Bytes> {
    /// A delivery whose body is not decoded yet.
    pub(crate) fn raw(
        deliver: &Deliver,
        queue: &QueueName,
        trail: Trail,
        settled_by: SettledBy,
    ) -> Self {
        let message = &*deliver.message;
        Self {
            msg: message.body.clone(),
            routing_key: message.routing_key.clone(),
            exchange: message.exchange.clone(),
            queue: queue.clone(),
            redelivered: deliver.redelivered,
            delivery_tag: deliver.delivery_tag,
            properties: Arc::clone(&message.properties),
            attempt: trail.attempts.saturating_add(1),
            last_error: trail.error,
            body: Some(message.body.clone()),
            settled_by,
        }
    }

    /// A delivery that a stream or `get` hands out.
    pub(crate) fn handed(mut handed: Handed<WireRef>) -> Self {
        let settled_by = match Unsettled::of(&mut handed) {
            Some(unsettled) => SettledBy::Holder(unsettled),
            None => SettledBy::Broker(handed.deliver.in_flight.clone()),
        };
        let trail = Trail::restore(&mut handed.deliver.message, &handed.queue);
        Self::raw(&handed.deliver, &handed.queue, trail, settled_by)
    }

    /// Decodes the body. A message that was not taken in full has no value.
    ///
    /// # Errors
    /// `Decode`, with the party that settles the delivery.
    pub(crate) fn decode<T>(
        self,
        codec: &impl Decode<T>,
    ) -> std::result::Result<Delivery<T>, (Error, SettledBy)> {
        let decoded = match self.properties.headers.too_deep() {
            None => codec.decode(&self.msg, &self.properties),
            Some(header) => Err(Error::new(
                ErrorKind::Decode,
                format!(
                    "the message's header '{header}' nests deeper than {} levels of tables and \
                     arrays, and was not taken",
                    FieldTable::MAX_DEPTH
                ),
            )),
        };
        match decoded {
            Ok(msg) => Ok(Delivery {
                msg,
                routing_key: self.routing_key,
                exchange: self.exchange,
                queue: self.queue,
                redelivered: self.redelivered,
                delivery_tag: self.delivery_tag,
                properties: self.properties,
                attempt: self.attempt,
                last_error: self.last_error,
                body: self.body,
                settled_by: self.settled_by,
            }),
            Err(err) => Err((err, self.settled_by)),
        }
    }
}

fn not_allowed(message: &str) -> Error {
    Error::new(ErrorKind::NotAllowed, message)
}

/// A delivery in a callback, settled by hand or by the callback's outcome.
#[derive(Debug)]
pub(crate) struct Held(Mutex<Option<Unsettled>>);

impl Held {
    pub(crate) fn new(unsettled: Unsettled) -> Self {
        Self(Mutex::new(Some(unsettled)))
    }

    /// Takes the right to settle the delivery, unless it was taken before.
    pub(crate) fn take(&self) -> Option<Unsettled> {
        lock(&self.0).take()
    }

    /// Calls `f` with the right to settle the delivery, unless it was taken before.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Unsettled) -> R) -> Option<R> {
        lock(&self.0).as_mut().map(f)
    }
}
