//! The builder of a responder.

use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mooq_client::hooks::InnerChannel;
use mooq_client::{Channel, Delivery, NoCallback, RegisterConsumer, WithCallback};
use mooq_codecs::{Decode, Encode, Json, RawBytes};
use mooq_core::{IntoChecked, QueueName, Result, RoutingKey};

use crate::remote_error::RemoteError;
use crate::responder::{Answering, Responder};

/// A responder to register: made by [`Rpc::register_responder`](crate::Rpc::register_responder).
/// Give it a [`callback`](Self::callback), and await it.
///
/// Its queue decides what happens to requests while no responder runs:
///
/// | Queue | Requests | Without a responder |
/// |---|---|---|
/// | without a name | are answered by each such responder | fail at once with `NoResponder` |
/// | with a name | are shared by the responders of that queue | wait for a responder until their timeout |
/// | with a name, and [`auto_delete`](RegisterConsumer::auto_delete) | likewise | fail at once with `NoResponder` |
///
/// With an auto-delete queue, the requests in it are lost with the last responder's connection.
#[derive(Debug)]
#[must_use = "the responder is registered when it has a callback and is awaited"]
pub struct RegisterResponder<C = Json, D = Json> {
    channel: InnerChannel,
    consumer: RegisterConsumer<RawBytes, NoCallback>,
    codec: C,
    reply_codec: D,
}

impl RegisterResponder {
    pub(crate) fn new(channel: &Channel, consumer: RegisterConsumer<RawBytes, NoCallback>) -> Self {
        Self {
            channel: InnerChannel::of(channel),
            consumer,
            codec: Json,
            reply_codec: Json,
        }
    }
}

impl<C, D> RegisterResponder<C, D> {
    /// Answers the requests of the queue of this name: see [`RegisterConsumer::queue`].
    pub fn queue(self, name: impl IntoChecked<QueueName>) -> Self {
        self.consumer(|consumer| consumer.queue(name))
    }

    /// Binds the queue with one more key: see [`RegisterConsumer::routing_key`].
    pub fn routing_key(self, key: impl IntoChecked<RoutingKey>) -> Self {
        self.consumer(|consumer| consumer.routing_key(key))
    }

    /// Holds at most `n` requests: see [`RegisterConsumer::prefetch`].
    pub fn prefetch(self, n: u16) -> Self {
        self.consumer(|consumer| consumer.prefetch(n))
    }

    /// Answers at most `n` requests at once: see [`RegisterConsumer::concurrency`].
    pub fn concurrency(self, n: usize) -> Self {
        self.consumer(|consumer| consumer.concurrency(n))
    }

    /// Sets other options of the responder's consumer, of its queue and of its exchange, for example
    /// `.consumer(|consumer| consumer.quorum())`.
    ///
    /// With [`auto_ack`](RegisterConsumer::auto_ack) each request is handled at most once, and is
    /// lost if the responder's connection is.
    /// [`retry`](RegisterConsumer::retry) is the policy for a reply that could not be
    /// published, and for an error that no caller waits for.
    pub fn consumer<F>(mut self, set: F) -> Self
    where
        F: FnOnce(RegisterConsumer<RawBytes, NoCallback>) -> RegisterConsumer<RawBytes, NoCallback>,
    {
        self.consumer = set(self.consumer);
        self
    }

    /// Decodes requests with `codec` instead of as JSON.
    pub fn codec<E>(self, codec: E) -> RegisterResponder<E, D> {
        RegisterResponder {
            channel: self.channel,
            consumer: self.consumer,
            codec,
            reply_codec: self.reply_codec,
        }
    }

    /// Encodes replies with `codec` instead of as JSON.
    pub fn reply_codec<E>(self, codec: E) -> RegisterResponder<C, E> {
        RegisterResponder {
            channel: self.channel,
            consumer: self.consumer,
            codec: self.codec,
            reply_codec: codec,
        }
    }

    /// Answers each request with what `callback` returns for it, while
    /// [`process_events`](mooq_client::Connection::process_events) runs: a value, or an error that
    /// converts into a [`RemoteError`]. This comes last, after the other setters.
    ///
    /// The request is acknowledged once the broker has confirmed the reply. If the connection is
    /// lost before, the request is redelivered, and handled once more: at least once. A request that
    /// does not decode is answered with the error [`Decode`](RemoteError::DECODE), and one whose
    /// callback panics with [`Panicked`](RemoteError::PANICKED).
    ///
    /// Settling the delivery in the callback does nothing: the responder does it.
    ///
    /// A message without `reply_to` is handled as well, and its value dropped. An error is then one
    /// of the callback: the consumer's [`retry`](RegisterConsumer::retry) decides.
    pub fn callback<T, R, E, F, Fut>(self, callback: F) -> ResponderRegistration
    where
        T: Send + 'static,
        R: Send + 'static,
        E: Into<RemoteError> + Send + 'static,
        C: Decode<T> + Send + Sync + 'static,
        D: Encode<R> + Send + Sync + 'static,
        F: Fn(Delivery<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        let unroutable = Arc::<AtomicU64>::default();
        let answering = Arc::new(Answering {
            channel: self.channel,
            codec: self.codec,
            reply_codec: self.reply_codec,
            callback,
            unroutable: Arc::clone(&unroutable),
        });
        let consumer = self.consumer.callback(move |request: Delivery<Bytes>| {
            let answering = Arc::clone(&answering);
            async move { answering.answer::<T, R, E, Fut>(request).await }
        });
        ResponderRegistration {
            consumer,
            unroutable,
        }
    }
}

/// A responder that has its callback: it is registered by awaiting it.
#[derive(Debug)]
#[must_use = "the responder is registered when this is awaited"]
pub struct ResponderRegistration {
    consumer: RegisterConsumer<(), WithCallback>,
    unroutable: Arc<AtomicU64>,
}

impl IntoFuture for ResponderRegistration {
    type Output = Result<Responder>;
    type IntoFuture = BoxFuture<'static, Result<Responder>>;

    /// # Errors
    /// As of a [`RegisterConsumer`].
    ///
    /// # Cancel safety
    /// As of a [`RegisterConsumer`].
    fn into_future(self) -> Self::IntoFuture {
        let unroutable = self.unroutable;
        let registering = self.consumer.into_future();
        Box::pin(async move { Ok(Responder::new(registering.await?, unroutable)) })
    }
}
