//! The builder of a publish.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use mooq_codecs::{Draft, Encode, Json};
use mooq_core::{
    DeliveryMode, ExchangeName, FieldTable, FieldValue, IntoChecked, Properties, Result,
    RoutingKey, ShortString,
};
use serde::Serialize;

use super::channel::Channel;
use super::confirmation::{Confirmation, Outgoing};
use super::layers::PublishService;
use super::published::{Prepared, Published};
use crate::runtime::ChannelRef;
use mooq_session::{OnLoss, PublishTerms};

/// A message to publish: made by [`Channel::publish`](crate::Channel::publish).
///
/// | Finished by | Waits for | `Ok` means |
/// |---|---|---|
/// | `.await` | the broker's confirm | the broker has the message |
/// | [`.send().await`](Self::send) | room to send | in flight; the [`Confirmation`] gives the outcome |
/// | [`.unconfirmed().await`](Self::unconfirmed) | room to send | in flight, and its outcome stays unknown |
/// | [`.publish_now()`](Self::publish_now) | nothing | in flight; the [`Confirmation`] gives the outcome |
///
/// The first three are lazy: the message is handed over at the future's first poll, and a future
/// that is dropped before that has published nothing. Messages of a channel are sent in the order
/// of these first polls and of the calls of `publish_now`. The body is encoded when the publish is
/// made. So none of the futures borrows the message or the channel, and all of them can be spawned.
///
/// Messages are persistent unless [`transient`](Self::transient) is called.
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
/// chan.declare_exchange("orders", "direct").await?;
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
#[derive(Debug)]
#[must_use = "nothing is published until it is awaited"]
pub struct Publish<'a> {
    channel: Arc<ChannelRef>,
    /// The layers that the message goes through.
    through: Option<PublishService>,
    /// The handle that keeps the channel's connection open.
    _handle: PhantomData<&'a Channel>,
    draft: Draft,
    mandatory: bool,
    timeout: Duration,
    on_loss: OnLoss,
    expires: bool,
}

impl Channel {
    /// Publishes `msg`, as JSON, to an exchange. The empty name is the default exchange, which
    /// routes to the queue named by the routing key.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// # let chan = conn.create_channel().await?;
    /// #[derive(serde::Serialize)]
    /// struct Order {
    ///     pieces: u32,
    /// }
    ///
    /// chan.declare_exchange("orders", "topic").await?;
    /// chan.publish("orders", &Order { pieces: 3 })
    ///     .routing_key("order.new")
    ///     .await?;
    ///
    /// // To a queue by its name, through the default exchange.
    /// chan.declare_queue("greetings").await?;
    /// chan.publish("", "Hello World!").routing_key("greetings").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish<T: Serialize + ?Sized>(
        &self,
        exchange: impl IntoChecked<ExchangeName>,
        msg: &T,
    ) -> Publish<'_> {
        Publish::new(self, Draft::encoded(exchange, msg, &Json))
    }

    /// Publishes `msg` as [`publish`](Self::publish) does, but encodes its body with a codec other
    /// than JSON: [`RawBytes`](mooq_codecs::RawBytes), one that a feature adds, or your own.
    ///
    /// # Examples
    /// ```
    /// use mooq::RawBytes;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// # let chan = conn.create_channel().await?;
    /// chan.declare_queue("pictures").await?;
    /// chan.publish_with("", &[0xff_u8, 0xd8], RawBytes)
    ///     .routing_key("pictures")
    ///     .content_type("image/jpeg")
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    #[allow(
        clippy::needless_pass_by_value,
        reason = "codecs are given by value everywhere"
    )]
    pub fn publish_with<T: ?Sized>(
        &self,
        exchange: impl IntoChecked<ExchangeName>,
        msg: &T,
        codec: impl Encode<T>,
    ) -> Publish<'_> {
        Publish::new(self, Draft::encoded(exchange, msg, &codec))
    }
}

impl Publish<'_> {
    pub(crate) fn new(channel: &Channel, draft: Draft) -> Self {
        Self {
            channel: Arc::clone(channel.shared()),
            through: channel.layers().publishing.clone(),
            _handle: PhantomData,
            draft,
            mandatory: false,
            timeout: channel.timeout(),
            on_loss: OnLoss::default(),
            expires: false,
        }
    }
}

/// Setters of text properties, which differ only in their names.
macro_rules! text_properties {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        pub fn $name(mut self, value: impl IntoChecked<ShortString>) -> Self {
            self.draft.text(value, |properties, value| properties.$name = Some(value));
            self
        }
    )+};
}

impl Publish<'_> {
    /// The routing key, at most 255 bytes; empty by default.
    pub fn routing_key(mut self, key: impl IntoChecked<RoutingKey>) -> Self {
        self.draft.routing_key(key);
        self
    }

    /// Fails with `Returned`, which carries the message, if the message reaches no queue. Without
    /// this, the broker drops such a message and confirms it.
    ///
    /// A broker returns the message, not its number. Of several in flight on one channel with the
    /// same exchange, key, properties and body, the oldest is taken for the returned one: a
    /// [`message_id`](Self::message_id) tells them apart.
    pub fn mandatory(mut self) -> Self {
        self.mandatory = true;
        self
    }

    /// The message is lost when the broker restarts.
    pub fn transient(mut self) -> Self {
        self.draft.change_properties().delivery_mode = Some(DeliveryMode::Transient);
        self
    }

    /// The message survives a restart of the broker, on a durable queue: the default.
    pub fn persistent(mut self) -> Self {
        self.draft.change_properties().delivery_mode = Some(DeliveryMode::Persistent);
        self
    }

    /// Sends `properties` and no others: a property that they lack, the message lacks as well, even
    /// a content type and a delivery mode. Replaces all properties and headers that were set
    /// before; setters called after it change single ones. A body that its codec has compressed
    /// keeps its content encoding, for it could not be read without.
    ///
    /// # Examples
    /// ```
    /// use mooq::Properties;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// # let chan = conn.create_channel().await?;
    /// chan.declare_queue("bare").await?;
    /// chan.publish("", "no properties at all")
    ///     .routing_key("bare")
    ///     .properties(Properties::default())
    ///     .await?;
    ///
    /// let bare = chan.get_one::<String>("bare").await?;
    /// assert_eq!(*bare.properties, Properties::default());
    /// # Ok(())
    /// # }
    /// ```
    pub fn properties(mut self, properties: impl Into<Arc<Properties>>) -> Self {
        self.draft.replace_properties(properties.into());
        self
    }

    /// Adds headers; a header with the same name is replaced.
    pub fn headers(mut self, headers: FieldTable) -> Self {
        self.draft.headers(headers);
        self
    }

    /// Adds a header; a header with the same name is replaced.
    pub fn header(
        mut self,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) -> Self {
        self.draft.header(key, value);
        self
    }

    /// Time that the message may wait in a queue, in whole milliseconds. A time under 1 ms delivers
    /// only to a consumer that is ready.
    pub fn expiration(mut self, after: Duration) -> Self {
        let text = after.as_millis().to_string();
        self.draft
            .text(text, |properties, text| properties.expiration = Some(text));
        self
    }

    /// The priority, for queues with `x-max-priority`.
    pub fn priority(mut self, priority: u8) -> Self {
        self.draft.change_properties().priority = Some(priority);
        self
    }

    /// The time at which the message was made, in seconds since the Unix epoch.
    pub fn timestamp(mut self, seconds: u64) -> Self {
        self.draft.change_properties().timestamp = Some(seconds);
        self
    }

    text_properties! {
        /// The id that ties a reply to its request.
        correlation_id;
        /// The queue that a reply goes to.
        reply_to;
        /// The application's id of this message.
        message_id;
        /// The application's type of this message (`type` in AMQP).
        kind;
        /// The application that publishes the message.
        app_id;
        /// The user that publishes the message: the broker refuses a name other than the login's.
        user_id;
        /// The MIME type of the body, instead of the codec's.
        content_type;
        /// The MIME encoding of the body, for example `gzip`.
        content_encoding;
    }

    /// Policy for a connection that is lost before the broker's confirm; by default the publish
    /// fails with `ConnectionLost`.
    pub fn on_loss(mut self, choice: OnLoss) -> Self {
        self.on_loss = choice;
        self
    }

    /// Time to wait for the confirm, and before that for the connection, instead of the
    /// connection's timeout.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Makes the message expire with its publish's [timeout](Self::timeout): its
    /// [expiration](Self::expiration) is what is left of the timeout when the message is sent, even
    /// if it has waited for the connection. At most 2³²−1 ms, RabbitMQ's limit.
    pub fn expires_with_timeout(mut self) -> Self {
        self.expires = true;
        self
    }

    /// Publishes without waiting for the confirm. Await the returned [`Confirmation`] later, to
    /// have many publishes in flight at once. The future waits only while the transport is full.
    ///
    /// # Errors
    /// `Encode`, `InvalidName`; `InvalidArgument` if the headers do not fit in one of the broker's
    /// frames, of 128 KiB usually; the channel's close, if it is closed; `TimedOut` if the
    /// transport stays full: the broker may still get the message.
    ///
    /// # Cancel safety
    /// The message is handed over at the first poll: a future that is dropped before that has
    /// published nothing, and dropping it later does not take the message back.
    pub fn send(self) -> impl Future<Output = Result<Confirmation>> + Send + 'static {
        let prepared = self.prepare();
        async move { prepared?.send().await }
    }

    /// Publishes and ignores the outcome: fire and forget. The future waits only while the
    /// transport is full.
    ///
    /// A message that is not yet sent when the process or its runtime ends is lost: a program that
    /// ends soon calls [`wait_for_confirms`](crate::Channel::wait_for_confirms) first, or
    /// [`Connection::close`](crate::Connection::close) or
    /// [`shutdown`](crate::Connection::shutdown).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub fn unconfirmed(self) -> impl Future<Output = Result<()>> + Send + 'static {
        let prepared = self.prepare();
        async move { prepared?.send().await.map(drop) }
    }

    /// Publishes at once, without an await: for code that is not async. The message is in flight
    /// when this returns, and the [`Confirmation`] gives its outcome.
    ///
    /// It does not wait for room in the transport, so a caller that publishes faster than the
    /// broker takes messages is not held back: bound the number of outstanding confirmations.
    ///
    /// # Errors
    /// As [`send`](Self::send), without its `TimedOut`; `NotAllowed` if a
    /// [layer](crate::Channel::publish_layer) around the channel's publishes waits.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// # let chan = conn.create_channel().await?;
    /// chan.declare_queue("readings").await?;
    /// let confirmation = chan.publish("", &21.5).routing_key("readings").publish_now()?;
    /// // Something else, and later:
    /// confirmation.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish_now(self) -> Result<Confirmation> {
        self.prepare()?.now()
    }

    /// Returns the publish ready to be handed over, or the error that a setter found.
    pub(super) fn prepare(self) -> Result<Prepared> {
        let outgoing = Outgoing {
            message: self.draft.finish()?,
            channel: self.channel,
            mandatory: self.mandatory,
            terms: PublishTerms {
                limit: self.timeout,
                resend: self.on_loss == OnLoss::Resend,
                expires: self.expires,
            },
            waits_for_room: true,
        };
        Ok(Prepared {
            outgoing,
            through: self.through,
        })
    }
}

impl IntoFuture for Publish<'_> {
    type Output = Result<()>;
    type IntoFuture = Published;

    /// # Errors
    /// `ExchangeNotFound`, `AccessRefused` and others as the broker closes the channel; `Nacked`;
    /// `Returned`, if it was mandatory; `ConnectionLost` before the confirm: the broker may have
    /// the message; `TimedOut`: likewise, unless its text says that the message was not
    /// sent; `Encode`, `InvalidName`; `InvalidArgument` if the headers do not fit in one of the
    /// broker's frames.
    ///
    /// # Cancel safety
    /// The message is handed over at the first poll: a future that is dropped before that has
    /// published nothing, and dropping it later does not take the message back.
    fn into_future(self) -> Published {
        Published::new(self.prepare())
    }
}
