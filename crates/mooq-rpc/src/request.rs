//! The builder of a request.

use std::future::IntoFuture;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mooq_client::{Channel, OnLoss, hooks};
use mooq_codecs::{Decode, Encode, Encoded, Json};
use mooq_core::{
    Error, ErrorKind, ExchangeName, FieldTable, FieldValue, FirstError, IntoChecked, Message,
    Properties, Result, RoutingKey, ShortString,
};

use crate::attempt;
use crate::encoded::properties_of;
use crate::remote_error::RemoteError;

/// A request, whose reply is an `R`: made by [`Rpc::request`](crate::Rpc::request), and sent by
/// awaiting it.
///
/// The reply reaches the request without [`process_events`](mooq_client::Connection::process_events).
/// Many requests of one channel may be in flight at once, and are answered in any order.
///
/// The message is transient, mandatory, and [expires with the request's
/// timeout](mooq_client::Publish::expires_with_timeout), so that no responder gets it later. It has
/// a `correlation_id` of mooq's, and the `reply_to` of the channel.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use mooq::{Delivery, ErrorKind, RemoteError, Rpc};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let service = mooq::connect(&broker).await?;
/// # let answers = service.create_channel().await?;
/// # answers
/// #     .register_responder("quotes", "direct")
/// #     .callback(|pieces: Delivery<u32>| async move {
/// #         pieces.msg.checked_mul(250).ok_or_else(|| RemoteError::new("TooMany", "no"))
/// #     })
/// #     .await?;
/// # tokio::spawn(async move { service.process_events().await });
/// # let conn = mooq::connect(&broker).await?;
/// # let chan = conn.create_channel().await?;
/// let cents: u32 = chan
///     .request("quotes", &3)
///     .timeout(Duration::from_secs(5))
///     .await?;
/// assert_eq!(cents, 750);
///
/// let err = chan.request::<u32>("quotes", &u32::MAX).await.unwrap_err();
/// assert_eq!(err.kind(), ErrorKind::Remote);
/// assert_eq!(RemoteError::of(&err).unwrap().name(), "TooMany");
///
/// let err = chan.request::<u32>("quotes", &3).routing_key("nobody").await.unwrap_err();
/// assert_eq!(err.kind(), ErrorKind::NoResponder);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Request<R, C = Json> {
    sending: Sending,
    /// The reply's.
    codec: C,
    deferred: FirstError,
    reply: PhantomData<fn() -> R>,
}

/// What a request sends, and how.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) channel: Channel,
    pub(crate) exchange: ExchangeName,
    pub(crate) routing_key: RoutingKey,
    pub(crate) properties: Properties,
    pub(crate) body: Bytes,
    pub(crate) timeout: Duration,
    pub(crate) on_loss: OnLoss,
}

impl<R, C> Request<R, C> {
    /// A request with a body that was encoded as this type, whose reply `codec` decodes.
    pub(crate) fn new<T: ?Sized>(
        channel: &Channel,
        exchange: impl IntoChecked<ExchangeName>,
        msg: &T,
        codec: C,
        encode: &impl Encode<T>,
    ) -> Self {
        let mut deferred = FirstError::default();
        let exchange = deferred.check(exchange).unwrap_or_default();
        let encoded = deferred.note(encode.encode(msg));
        let encoded = encoded.unwrap_or_else(|| Encoded::new(Bytes::new(), ""));
        let properties = properties_of(&encoded);
        Self {
            sending: Sending {
                channel: channel.clone(),
                exchange,
                routing_key: RoutingKey::default(),
                properties,
                body: encoded.body,
                timeout: hooks::timeout(channel),
                on_loss: OnLoss::default(),
            },
            codec,
            deferred,
            reply: PhantomData,
        }
    }

    /// The routing key, at most 255 bytes; empty by default.
    pub fn routing_key(mut self, key: impl IntoChecked<RoutingKey>) -> Self {
        if let Some(key) = self.deferred.check(key) {
            self.sending.routing_key = key;
        }
        self
    }

    /// Adds a header; a header with the same name is replaced.
    pub fn header(
        mut self,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) -> Self {
        let headers = &mut self.sending.properties.headers;
        self.deferred.insert(headers, key, value);
        self
    }

    /// Sets all properties, except those that make a message a request: `reply_to`,
    /// `correlation_id` and `expiration`. A content type, content encoding or type that is not set
    /// is the codec's.
    pub fn properties(mut self, properties: Properties) -> Self {
        let codec = std::mem::replace(&mut self.sending.properties, properties);
        let own = &mut self.sending.properties;
        own.content_type = own.content_type.take().or(codec.content_type);
        own.content_encoding = own.content_encoding.take().or(codec.content_encoding);
        own.kind = own.kind.take().or(codec.kind);
        self
    }

    /// Decodes the reply with `codec`.
    pub fn codec<D>(self, codec: D) -> Request<R, D> {
        Request {
            sending: self.sending,
            codec,
            deferred: self.deferred,
            reply: PhantomData,
        }
    }

    /// Time to wait for the reply, and before that for the connection, instead of the connection's
    /// timeout.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.sending.timeout = limit;
        self
    }

    /// Policy for a connection that is lost before the reply: by default the request fails with
    /// `ConnectionLost`. The reply's address is lost with the connection, so
    /// [`Resend`](OnLoss::Resend) sends the request again, with the same `correlation_id` and what
    /// is left of its timeout: a responder may handle the request more than once.
    ///
    /// If the broker closes the channel because of another call, a request that is in its queue is
    /// sent again likewise.
    pub fn on_loss(mut self, choice: OnLoss) -> Self {
        self.sending.on_loss = choice;
        self
    }
}

impl<R, C> IntoFuture for Request<R, C>
where
    R: 'static,
    C: Decode<R> + Send + 'static,
{
    type Output = Result<R>;
    type IntoFuture = BoxFuture<'static, Result<R>>;

    /// # Errors
    /// `Remote`, if the responder answered with an error ([`RemoteError::of`]); `Decode`, if the
    /// reply is not an `R`; `NoResponder`, if no queue takes the request; `TimedOut`, if there is no
    /// reply in time; `ConnectionLost`, if the connection was lost before the reply: the request may
    /// have been handled; `Nacked`; `ExchangeNotFound`, `AccessRefused` and others as the broker
    /// closes the channel; `PreconditionFailed`, if the channel has a consumer of
    /// `amq.rabbitmq.reply-to` that is not mooq's; the channel's close, if it is closed; `Encode`,
    /// `InvalidName`, `InvalidArgument`, as a publish.
    ///
    /// # Cancel safety
    /// Nothing is sent before the first poll. If the future is dropped later, the request is not
    /// taken back, and its reply is dropped and counted
    /// ([`late_replies`](crate::Rpc::late_replies)).
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.deferred.finish()?;
            let to = describe(&self.sending);
            let deliver = attempt::reply_to(self.sending, &to).await?;
            decode(&self.codec, &deliver.message, &to)
        })
    }
}

/// Names the request in errors.
fn describe(sending: &Sending) -> String {
    let (exchange, key) = (&sending.exchange, &sending.routing_key);
    format!("the request to exchange '{exchange}' with routing key '{key}'")
}

/// Decodes a reply.
///
/// # Errors
/// `Remote`, `Decode`.
fn decode<R>(codec: &impl Decode<R>, reply: &Message, to: &str) -> Result<R> {
    if let Some(remote) = RemoteError::in_reply(reply) {
        return Err(remote.into());
    }
    let properties = &reply.properties;
    let failed = |why: &str| {
        let content_type = properties.content_type.as_deref();
        let content_type = content_type.unwrap_or("no content type");
        let message = format!("the reply to {to}, with {content_type}, does not decode: {why}");
        Error::new(ErrorKind::Decode, message)
    };
    if let Some(header) = properties.headers.too_deep() {
        let levels = FieldTable::MAX_DEPTH;
        let why = format!("its header '{header}' nests deeper than {levels} levels");
        return Err(failed(&why));
    }
    codec
        .decode(&reply.body, properties)
        .map_err(|err| failed(&err.to_string()).with_source(err))
}
