//! Saying what to publish, and handing it over.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use mooq_core::{
    DeliveryMode, ExchangeName, FieldValue, Handoff, IntoChecked, Message, Properties, Result,
    RoutingKey, ShortString,
};

use crate::channel::{Channel, Terms};
use crate::codec::{BYTES_CONTENT_TYPE, Encode, JSON_CONTENT_TYPE, Json};
use crate::confirmation::{Confirmation, Published};
use crate::deadline::within;
use crate::deferred::Deferred;
use crate::recovery::OnLoss;

/// What most messages carry, by mooq's own codecs, held once for all messages.
static USUAL: LazyLock<[Arc<Properties>; 2]> = LazyLock::new(|| {
    [JSON_CONTENT_TYPE, BYTES_CONTENT_TYPE].map(|content_type| Arc::new(persistent(content_type)))
});

fn persistent(content_type: &'static str) -> Properties {
    let mut properties = Properties::default();
    properties.content_type = content_type.try_into().ok();
    properties.delivery_mode = Some(DeliveryMode::Persistent);
    properties
}

/// A message to be published: made by [`Channel::publish`](crate::Channel::publish).
///
/// | Ended by | Waits for | `Ok` means |
/// |---|---|---|
/// | `.await` | the broker's confirm | the broker has the message |
/// | [`.send().await`](Self::send) | room to send | it is on its way; the [`Confirmation`] tells the rest |
/// | [`.unconfirmed().await`](Self::unconfirmed) | room to send | it is on its way, and nobody will tell |
///
/// Messages are persistent unless [`transient`](Self::transient) is said.
///
/// # Examples
/// ```
/// use mooq::ErrorKind;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::{ConnectInMemory, InMemoryBroker};
/// # let broker = InMemoryBroker::start();
/// # let conn = broker.connect().await?;
/// # let chan = conn.create_channel().await?;
/// chan.register_producer("orders", "direct").await?;
/// chan.declare_queue("new-orders").await?;
/// chan.bind_queue("new-orders", "orders", "new").await?;
///
/// // One at a time.
/// chan.publish("orders", &1).routing_key("new").priority(5).await?;
///
/// // Many at once.
/// let mut confirmations = Vec::new();
/// for order in 2..100 {
///     confirmations.push(chan.publish("orders", &order).routing_key("new").send().await?);
/// }
/// for confirmation in confirmations {
///     confirmation.await?;
/// }
///
/// // Only if some queue takes it.
/// let lost = chan.publish("orders", &100).routing_key("old").mandatory();
/// assert_eq!(lost.await.unwrap_err().kind(), ErrorKind::Returned);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is published until it is awaited"]
pub struct Publish<'a, T: ?Sized, C = Json> {
    channel: &'a Channel,
    exchange: ExchangeName,
    msg: &'a T,
    routing_key: RoutingKey,
    mandatory: bool,
    /// None while no setter has changed what most messages carry.
    properties: Option<Box<Properties>>,
    codec: C,
    deadline: Duration,
    on_loss: OnLoss,
    deferred: Deferred,
}

impl<T: ?Sized, C: fmt::Debug> fmt::Debug for Publish<'_, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("exchange", &self.exchange)
            .field("routing_key", &self.routing_key)
            .field("properties", &self.properties)
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

impl<'a, T: ?Sized> Publish<'a, T> {
    pub(crate) fn new(
        channel: &'a Channel,
        exchange: impl IntoChecked<ExchangeName>,
        msg: &'a T,
    ) -> Self {
        let mut deferred = Deferred::default();
        Self {
            channel,
            exchange: deferred.check(exchange).unwrap_or_default(),
            msg,
            routing_key: RoutingKey::default(),
            mandatory: false,
            properties: None,
            codec: Json,
            deadline: channel.deadline(),
            on_loss: OnLoss::default(),
            deferred,
        }
    }
}

/// Setters of text properties, which differ in their names alone.
macro_rules! text_properties {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        pub fn $name(mut self, value: impl IntoChecked<ShortString>) -> Self {
            if let Some(value) = self.deferred.check(value) {
                self.properties().$name = Some(value);
            }
            self
        }
    )+};
}

impl<'a, T: ?Sized, C> Publish<'a, T, C> {
    /// Encodes the message by `codec` instead of as JSON.
    pub fn codec<D>(self, codec: D) -> Publish<'a, T, D> {
        Publish {
            channel: self.channel,
            exchange: self.exchange,
            msg: self.msg,
            routing_key: self.routing_key,
            mandatory: self.mandatory,
            properties: self.properties,
            codec,
            deadline: self.deadline,
            on_loss: self.on_loss,
            deferred: self.deferred,
        }
    }

    /// The routing key, at most 255 bytes; empty unless said otherwise.
    pub fn routing_key(mut self, key: impl IntoChecked<RoutingKey>) -> Self {
        if let Some(key) = self.deferred.check(key) {
            self.routing_key = key;
        }
        self
    }

    /// Fails with `Returned`, the message inside, if it reaches no queue. Without this a message
    /// that reaches none is dropped by the broker, and confirmed.
    ///
    /// A broker returns the message, not its number. Of several in flight on one channel with the
    /// same exchange, key, properties and body, the oldest is taken for the one that came back:
    /// a [`message_id`](Self::message_id) tells them apart.
    pub fn mandatory(mut self) -> Self {
        self.mandatory = true;
        self
    }

    /// The message is lost when the broker restarts.
    pub fn transient(mut self) -> Self {
        self.properties().delivery_mode = Some(DeliveryMode::Transient);
        self
    }

    /// The message survives a restart of the broker, on a durable queue: the default.
    pub fn persistent(mut self) -> Self {
        self.properties().delivery_mode = Some(DeliveryMode::Persistent);
        self
    }

    /// Adds a header.
    pub fn header(
        mut self,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) -> Self {
        if let Some(key) = self.deferred.check(key) {
            self.properties().headers.insert(key, value);
        }
        self
    }

    /// How long the message may wait in a queue, in whole milliseconds. With less than one it
    /// only reaches a consumer that is ready.
    pub fn expiration(self, after: Duration) -> Self {
        self.expiration_text(after.as_millis().to_string())
    }

    fn expiration_text(mut self, text: String) -> Self {
        if let Some(text) = self.deferred.check(text) {
            self.properties().expiration = Some(text);
        }
        self
    }

    /// The priority, for queues with `x-max-priority`.
    pub fn priority(mut self, priority: u8) -> Self {
        self.properties().priority = Some(priority);
        self
    }

    /// When the message was made: seconds since the Unix epoch.
    pub fn timestamp(mut self, seconds: u64) -> Self {
        self.properties().timestamp = Some(seconds);
        self
    }

    text_properties! {
        /// Ties a reply to its request.
        correlation_id;
        /// The queue that a reply goes to.
        reply_to;
        /// The application's id of this message.
        message_id;
        /// The application's type of this message (`type` in AMQP).
        kind;
        /// The application that publishes it.
        app_id;
        /// The user that publishes it: the broker refuses another name than the login's.
        user_id;
        /// The MIME type of the body, instead of the codec's.
        content_type;
        /// The MIME encoding of the body, for example `gzip`.
        content_encoding;
    }

    /// What becomes of it if the connection is lost before the broker's confirm: it ends with
    /// `ConnectionLost` unless said otherwise.
    pub fn on_loss(mut self, choice: OnLoss) -> Self {
        self.on_loss = choice;
        self
    }

    /// How long to wait for the confirm, and before for the connection, instead of the
    /// connection's deadline.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    fn properties(&mut self) -> &mut Properties {
        // The content type is the codec's, which may still be changed: it is set at the end.
        self.properties.get_or_insert_with(|| {
            let mut properties = Properties::default();
            properties.delivery_mode = Some(DeliveryMode::Persistent);
            Box::new(properties)
        })
    }
}

impl<T: ?Sized, C: Encode<T>> Publish<'_, T, C> {
    /// Publishes without waiting for the confirm: the [`Confirmation`] that this gives is
    /// awaited later, so that many publishes are on their way at once. Waits only while the
    /// transport is full.
    ///
    /// # Errors
    /// `Encode`, `InvalidName`; `InvalidArgument` if the headers do not fit in one of the broker's
    /// frames, of 128 KiB usually; the channel's close, if it is closed; `DeadlineExceeded` if the
    /// transport stays full: the broker may still get the message.
    ///
    /// # Cancel safety
    /// The message is handed over when this is called; dropping the future takes nothing back.
    pub fn send(self) -> impl Future<Output = Result<Confirmation>> + Send + 'static {
        let limit = self.deadline;
        let sent = self.hand_over();
        async move {
            let (confirmation, handoff) = sent?;
            has_room(handoff, limit).await?;
            Ok(confirmation)
        }
    }

    /// Publishes and never learns the outcome: fire and forget. Waits only while the transport
    /// is full.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub fn unconfirmed(self) -> impl Future<Output = Result<()>> + Send + 'static {
        let sent = self.send();
        async move { sent.await.map(drop) }
    }

    fn hand_over(mut self) -> Result<(Confirmation, Handoff)> {
        self.deferred.finish()?;
        let body = self.codec.encode(self.msg)?;
        let properties = finish_properties(self.properties.take(), self.codec.content_type());
        let message = Message {
            exchange: self.exchange,
            routing_key: self.routing_key,
            properties,
            body,
        };
        let terms = Terms {
            limit: self.deadline,
            resend: self.on_loss == OnLoss::Resend,
        };
        send_message(self.channel, message, self.mandatory, terms)
    }
}

fn finish_properties(set: Option<Box<Properties>>, content_type: &'static str) -> Arc<Properties> {
    match set {
        None if content_type == JSON_CONTENT_TYPE => Arc::clone(&USUAL[0]),
        None if content_type == BYTES_CONTENT_TYPE => Arc::clone(&USUAL[1]),
        None => Arc::new(persistent(content_type)),
        Some(mut properties) => {
            if properties.content_type.is_none() {
                properties.content_type = content_type.try_into().ok();
            }
            Arc::new(*properties)
        }
    }
}

fn send_message(
    channel: &Channel,
    message: Message,
    mandatory: bool,
    terms: Terms,
) -> Result<(Confirmation, Handoff)> {
    let publish = mooq_core::Publish {
        mandatory,
        ..mooq_core::Publish::new(message)
    };
    let channel = Arc::clone(channel.shared());
    let (ticket, handoff) = channel.publish(publish, terms)?;
    Ok((Confirmation::new(channel, ticket), handoff))
}

/// Waits until the transport takes more.
async fn has_room(handoff: Handoff, limit: Duration) -> Result<()> {
    match handoff {
        Handoff::Done => Ok(()),
        Handoff::Full(room) => {
            let room = async {
                room.await;
                Ok(())
            };
            within(limit, "waiting for room to publish", room).await
        }
    }
}

impl<T: ?Sized, C: Encode<T>> IntoFuture for Publish<'_, T, C> {
    type Output = Result<()>;
    type IntoFuture = Published;

    /// # Errors
    /// `ExchangeNotFound`, `AccessRefused` and others as the broker closes the channel; `Nacked`;
    /// `Returned`, if it was mandatory; `ConnectionLost` before the confirm: the broker may have
    /// the message; `DeadlineExceeded`: likewise; `Encode`, `InvalidName`; `InvalidArgument` if the
    /// headers do not fit in one of the broker's frames.
    ///
    /// # Cancel safety
    /// The message is handed over when the await begins; dropping the future takes nothing back.
    fn into_future(self) -> Published {
        match self.hand_over() {
            Err(err) => Published::failed(err),
            // Waiting for room keeps a publisher from running ahead; this one waits for its
            // confirm, which is longer.
            Ok((confirmation, _)) => Published::sent(confirmation),
        }
    }
}
