//! Registration of a callback on an existing queue.

use std::fmt;
use std::future::IntoFuture;

use futures_util::future::BoxFuture;
use mooq_codecs::{Decode, Json};
use mooq_core::{IntoChecked, QueueName, Result};

use super::channel::Channel;
use super::consumer::Consumer;
use super::consumer_options::{ConsumerOptions, callback_options, consumer_options};
use super::outcome::Callback;
use super::register::{NoCallback, RegisterConsumer, WithCallback};
use super::registration::Registration;

/// A callback to register on an existing queue: made by
/// [`Channel::register_callback`](crate::Channel::register_callback). Give it a
/// [`callback`](Self::callback), and await it. Everything else about callbacks is the same as with
/// [`RegisterConsumer`].
#[must_use = "the callback is registered when this is awaited"]
pub struct RegisterCallback<C, K>(RegisterConsumer<C, K>);

impl<C: fmt::Debug, K: fmt::Debug> fmt::Debug for RegisterCallback<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RegisterCallback").field(&self.0).finish()
    }
}

impl Channel {
    /// Runs a callback for each message of an existing queue, while
    /// [`process_events`](crate::Connection::process_events) runs. It declares and binds nothing,
    /// so permission to read suffices: use it for queues that others declare, operators for
    /// example.
    ///
    /// # Examples
    /// ```
    /// use mooq::Delivery;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// # let chan = conn.create_channel().await?;
    /// # chan.declare_queue("greetings").await?;
    /// chan.register_callback("greetings")
    ///     .callback(|greeting: Delivery<String>| async move { println!("{}", greeting.msg) })
    ///     .await?;
    /// chan.publish("", "Hello World!").routing_key("greetings").await?;
    /// conn.process_events().cycles(1).await?; // Hello World!
    /// # Ok(())
    /// # }
    /// ```
    pub fn register_callback(
        &self,
        queue: impl IntoChecked<QueueName>,
    ) -> RegisterCallback<Json, NoCallback> {
        RegisterCallback::new(self, queue)
    }
}

impl RegisterCallback<Json, NoCallback> {
    pub(crate) fn new(channel: &Channel, queue: impl IntoChecked<QueueName>) -> Self {
        Self(RegisterConsumer::on_queue(channel, queue))
    }
}

impl<C> RegisterCallback<C, NoCallback> {
    /// Decodes bodies with `codec` instead of as JSON.
    pub fn codec<D>(self, codec: D) -> RegisterCallback<D, NoCallback> {
        RegisterCallback(self.0.codec(codec))
    }

    /// Runs `callback` for each delivery: see [`RegisterConsumer::callback`].
    pub fn callback<T, F>(self, callback: F) -> RegisterCallback<(), WithCallback>
    where
        T: Send + 'static,
        C: Decode<T> + Send + Sync + 'static,
        F: Callback<T>,
    {
        RegisterCallback(self.0.callback(callback))
    }
}

impl<C, K> RegisterCallback<C, K> {
    callback_options!();
    consumer_options!();

    fn options(&mut self) -> &mut ConsumerOptions {
        &mut self.registration().options
    }

    fn registration(&mut self) -> &mut Registration {
        self.0.registration()
    }
}

impl IntoFuture for RegisterCallback<(), WithCallback> {
    type Output = Result<Consumer>;
    type IntoFuture = BoxFuture<'static, Result<Consumer>>;

    /// # Errors
    /// `QueueNotFound` if there is no such queue, `AccessRefused` without read permission
    /// or if the queue has an exclusive consumer, `ResourceLocked` if the queue is exclusive to
    /// another connection; `NotAllowed` if the broker allows no further channel for
    /// [`own_channel`](Self::own_channel) or to declare delay queues; `InvalidName`,
    /// `InvalidArgument`; `ConnectionLost` if the connection is lost meanwhile; `TimedOut`; the
    /// channel's close if the channel is closed.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, no consumer stays registered.
    fn into_future(self) -> Self::IntoFuture {
        self.0.into_future()
    }
}
