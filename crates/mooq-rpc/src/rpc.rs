//! The methods of a channel.

use mooq_client::{Channel, hooks};
use mooq_codecs::{Encode, Json, RawBytes};
use mooq_core::{ExchangeKind, ExchangeName, IntoChecked};
use serde::Serialize;

use crate::register::RegisterResponder;
use crate::replies::Replies;
use crate::request::Request;

/// Requests and replies: methods of [`Channel`](mooq_client::Channel).
///
/// A request is a message whose reply comes back to its caller, by [direct
/// reply-to](https://www.rabbitmq.com/docs/direct-reply-to). A responder is a callback whose value
/// is the reply. The [guide](https://github.com/mooq-rs/mooq/blob/main/docs/rpc.md) tells what
/// happens when something fails, and how other AMQP clients ask and answer.
///
/// # Examples
/// ```
/// use mooq::{Delivery, Rpc};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// let service = mooq::connect(&broker).await?;
/// let chan = service.create_channel().await?;
/// chan.register_responder("capitals", "direct")
///     .queue("capitals")
///     .callback(|text: Delivery<String>| async move {
///         Ok::<_, &str>(text.msg.to_uppercase())
///     })
///     .await?;
/// let running = service.clone();
/// tokio::spawn(async move { running.process_events().await });
///
/// let conn = mooq::connect(&broker).await?;
/// let chan = conn.create_channel().await?;
/// let loud: String = chan.request("capitals", "hello").await?;
/// assert_eq!(loud, "HELLO");
/// # Ok(())
/// # }
/// ```
pub trait Rpc: sealed::Sealed {
    /// Makes a request with `msg`, as JSON, to an exchange, whose reply is an `R` in JSON. The
    /// empty name is the default exchange, which routes to the queue named by the routing key.
    fn request<R>(
        &self,
        exchange: impl IntoChecked<ExchangeName>,
        msg: &(impl Serialize + ?Sized),
    ) -> Request<R, Json>;

    /// Makes a request as [`request`](Self::request) does, but encodes `msg` and decodes the reply
    /// with another codec than JSON. [`Request::codec`] sets one for the reply alone.
    ///
    /// # Examples
    /// ```
    /// use mooq::{Delivery, Rpc, Text};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let service = mooq::connect(&broker).await?;
    /// # let chan = service.create_channel().await?;
    /// chan.register_responder("capitals", "direct")
    ///     .codec(Text)
    ///     .reply_codec(Text)
    ///     .callback(|text: Delivery<String>| async move {
    ///         Ok::<_, &str>(text.msg.to_uppercase())
    ///     })
    ///     .await?;
    /// # tokio::spawn(async move { service.process_events().await });
    ///
    /// let loud: String = chan.request_with("capitals", "hello", Text).await?;
    /// assert_eq!(loud, "HELLO");
    /// # Ok(())
    /// # }
    /// ```
    fn request_with<R, T: ?Sized, C: Encode<T> + Clone>(
        &self,
        exchange: impl IntoChecked<ExchangeName>,
        msg: &T,
        codec: C,
    ) -> Request<R, C>;

    /// Declares an exchange and a queue, binds them, and answers each request that arrives with the
    /// value of a callback, while
    /// [`process_events`](mooq_client::Connection::process_events) runs.
    ///
    /// `kind` is an [`ExchangeKind`] or its name.
    fn register_responder(
        &self,
        exchange: impl IntoChecked<ExchangeName>,
        kind: impl IntoChecked<ExchangeKind>,
    ) -> RegisterResponder;

    /// Number of replies to this channel that no request waited for: their requests had timed out
    /// or were dropped, or were answered before; or the reply has no `correlation_id` of mooq's.
    fn late_replies(&self) -> u64;
}

impl Rpc for Channel {
    fn request<R>(
        &self,
        exchange: impl IntoChecked<ExchangeName>,
        msg: &(impl Serialize + ?Sized),
    ) -> Request<R, Json> {
        Request::new(self, exchange, msg, Json, &Json)
    }

    fn request_with<R, T: ?Sized, C: Encode<T> + Clone>(
        &self,
        exchange: impl IntoChecked<ExchangeName>,
        msg: &T,
        codec: C,
    ) -> Request<R, C> {
        let encode = codec.clone();
        Request::new(self, exchange, msg, codec, &encode)
    }

    fn register_responder(
        &self,
        exchange: impl IntoChecked<ExchangeName>,
        kind: impl IntoChecked<ExchangeKind>,
    ) -> RegisterResponder {
        let consumer = self.register_consumer(exchange, kind).codec(RawBytes);
        RegisterResponder::new(self, consumer)
    }

    fn late_replies(&self) -> u64 {
        hooks::state::<Replies>(self).late()
    }
}

mod sealed {
    /// Only channels have these methods.
    pub trait Sealed {}

    impl Sealed for mooq_client::Channel {}
}
