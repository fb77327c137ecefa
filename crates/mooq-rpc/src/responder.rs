//! A request's way through a responder, up to its ack.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::FutureExt;
use mooq_client::hooks::{InnerChannel, panic_text};
use mooq_client::{CallbackError, Consumer, Delivery};
use mooq_codecs::{Decode, Encode};
use mooq_core::{ConsumerTag, ErrorKind, Properties, QueueName, Result, ShortString};

use crate::encoded::{AsIs, properties_of};
use crate::remote_error::RemoteError;

/// Beginning of the addresses of direct reply-to.
const DIRECT: &str = "amq.rabbitmq.reply-to.";

/// A registered responder. Dropping the handle changes nothing: the responder stays until it is
/// cancelled or its channel is closed.
#[derive(Debug)]
pub struct Responder {
    consumer: Consumer,
    unroutable: Arc<AtomicU64>,
}

impl Responder {
    pub(crate) fn new(consumer: Consumer, unroutable: Arc<AtomicU64>) -> Self {
        Self {
            consumer,
            unroutable,
        }
    }

    /// Returns the tag of the responder's consumer.
    #[must_use]
    pub fn tag(&self) -> &ConsumerTag {
        self.consumer.tag()
    }

    /// Returns the queue that the requests come from: see [`Consumer::queue`].
    #[must_use]
    pub fn queue(&self) -> QueueName {
        self.consumer.queue()
    }

    /// Number of replies whose queue was gone or refused them. Replies to a direct reply-to address
    /// are not among them: the broker drops and confirms one whose caller is gone.
    #[must_use]
    pub fn unroutable_replies(&self) -> u64 {
        self.unroutable.load(Ordering::Relaxed)
    }

    /// Cancels the responder. Running callbacks finish and their replies are sent; the other
    /// requests are requeued: see [`Consumer::cancel`].
    ///
    /// # Errors
    /// As [`Consumer::cancel`].
    ///
    /// # Cancel safety
    /// As [`Consumer::cancel`].
    pub async fn cancel(self) -> Result<()> {
        self.consumer.cancel().await
    }
}

/// A responder's callback, with what it needs to answer.
pub(crate) struct Answering<C, D, F> {
    pub(crate) channel: InnerChannel,
    pub(crate) codec: C,
    pub(crate) reply_codec: D,
    pub(crate) callback: F,
    pub(crate) unroutable: Arc<AtomicU64>,
}

/// The reply of a request.
struct Reply {
    properties: Properties,
    body: Bytes,
}

impl<C, D, F> Answering<C, D, F> {
    /// Handles a request, answers it and acknowledges it.
    ///
    /// # Errors
    /// The reply could not be sent; or the request could not be handled, and no caller waits.
    pub(crate) async fn answer<T, R, E, Fut>(
        &self,
        request: Delivery<Bytes>,
    ) -> Result<(), CallbackError>
    where
        T: Send,
        E: Into<RemoteError>,
        C: Decode<T>,
        D: Encode<R>,
        F: Fn(Delivery<T>) -> Fut,
        Fut: Future<Output = Result<R, E>>,
    {
        let handled = AssertUnwindSafe(self.handle(&request)).catch_unwind().await;
        let handled = handled.unwrap_or_else(|panic| {
            let text = panic_text(&*panic);
            tracing::error!(
                queue = request.queue.as_str(),
                panic = text,
                "a responder panicked"
            );
            Err(RemoteError::new(RemoteError::PANICKED, text))
        });
        let reply_to = request.properties.reply_to.as_ref();
        match (reply_to.filter(|to| !to.is_empty()), handled) {
            (Some(to), handled) => {
                let reply = handled.unwrap_or_else(|err| {
                    tracing::debug!(queue = request.queue.as_str(), %err, "answered with an error");
                    Reply::error(&err)
                });
                self.send(to, &request, reply).await?;
            }
            (None, Ok(_)) => {}
            (None, Err(err)) => return Err(err.into()),
        }
        acknowledge(request).await;
        Ok(())
    }

    async fn handle<T, R, E, Fut>(&self, request: &Delivery<Bytes>) -> Result<Reply, RemoteError>
    where
        E: Into<RemoteError>,
        C: Decode<T>,
        D: Encode<R>,
        F: Fn(Delivery<T>) -> Fut,
        Fut: Future<Output = Result<R, E>>,
    {
        let msg = self
            .codec
            .decode(&request.msg, &request.properties)
            .map_err(|err| {
                tracing::warn!(queue = request.queue.as_str(), %err, "a request does not decode");
                RemoteError::new(RemoteError::DECODE, err.to_string())
            })?;
        // Settled by the responder, not by its holder.
        let mut delivery = Delivery::new(msg).with_body(request.msg.clone());
        delivery.routing_key = request.routing_key.clone();
        delivery.exchange = request.exchange.clone();
        delivery.queue = request.queue.clone();
        delivery.redelivered = request.redelivered;
        delivery.delivery_tag = request.delivery_tag;
        delivery.properties = Arc::clone(&request.properties);
        let answered = (self.callback)(delivery).await;
        let value = answered.map_err(|err| -> RemoteError { err.into() })?;
        let encoded = self.reply_codec.encode(&value).map_err(|err| {
            tracing::error!(queue = request.queue.as_str(), %err, "a reply does not encode");
            RemoteError::new(RemoteError::ENCODE, err.to_string())
        })?;
        Ok(Reply {
            properties: properties_of(&encoded),
            body: encoded.body,
        })
    }

    /// Publishes a reply, and waits for its confirm.
    async fn send(
        &self,
        to: &ShortString,
        request: &Delivery<Bytes>,
        reply: Reply,
    ) -> Result<(), CallbackError> {
        let Some(channel) = self.channel.get() else {
            return Err("the connection's last handle was dropped before the reply".into());
        };
        let Reply {
            mut properties,
            body,
        } = reply;
        properties
            .correlation_id
            .clone_from(&request.properties.correlation_id);
        let mut publish = channel
            .publish_with("", &body, AsIs)
            .routing_key(to.as_str())
            .properties(properties);
        // RabbitMQ before 4.2 returns every mandatory direct reply, and later versions none.
        if !to.starts_with(DIRECT) {
            publish = publish.mandatory();
        }
        match publish.await {
            Err(err) if matches!(err.kind(), ErrorKind::Returned | ErrorKind::Nacked) => {
                self.unroutable.fetch_add(1, Ordering::Relaxed);
                let queue = request.queue.as_str();
                tracing::warn!(queue, reply_to = to.as_str(), %err, "a reply reached no caller");
                Ok(())
            }
            published => Ok(published?),
        }
    }
}

/// Acknowledges an answered request. Not left to the outcome of the callback, so that a request is
/// acknowledged by hand as well.
async fn acknowledge(request: Delivery<Bytes>) {
    let (queue, tag) = (request.queue.clone(), request.delivery_tag);
    match request.ack().await {
        // Acknowledged automatically.
        Err(err) if err.kind() == ErrorKind::NotAllowed => {}
        Err(err) => tracing::warn!(
            queue = queue.as_str(),
            delivery_tag = tag,
            %err,
            "an answered request could not be acknowledged: it will come again"
        ),
        Ok(_) => {}
    }
}

impl Reply {
    fn error(err: &RemoteError) -> Self {
        let (header, name) = err.header();
        let mut properties = Properties::default();
        properties.content_type = "application/json".try_into().ok();
        if let Ok(header) = header.try_into() {
            properties.headers.insert(header, name);
        }
        Self {
            properties,
            body: err.body(),
        }
    }
}
