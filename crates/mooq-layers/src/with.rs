//! The layers as methods of a registration.

use mooq_client::{RegisterCallback, RegisterConsumer};

use crate::ack_first::AckFirst;
use crate::deduplicate::Deduplicate;
use crate::seen::Seen;

/// Layers of a consumer, as methods of
/// [`register_consumer`](mooq_client::Channel::register_consumer) and
/// [`register_callback`](mooq_client::Channel::register_callback). Each is a
/// [`layer`](RegisterConsumer::layer), within those that were added before.
pub trait WithLayers: sealed::Layered {
    /// Acknowledges a message without calling the callback if one with the same `message_id` was
    /// handled from the same queue: see [`Deduplicate`].
    ///
    /// A message is delivered again after a lost connection, by a publisher that tries again, or
    /// after a retry whose ack was lost. With this layer its callback takes effect once, but for
    /// one gap: if the process ends after the effect and before the id is recorded, the message is
    /// handled again. A callback that writes to the database in which the ids are kept closes the
    /// gap by recording the id in the same transaction.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use mooq::layers::{SeenInMemory, WithLayers};
    /// use mooq::{Delivery, ExchangeKind::Direct};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// # let chan = conn.create_channel().await?;
    /// let day = Duration::from_secs(24 * 60 * 60);
    /// chan.register_consumer("payments", Direct)
    ///     .queue("to-book")
    ///     .deduplicate(SeenInMemory::new(100_000, day))
    ///     .callback(|payment: Delivery<u32>| async move { println!("{} pence", payment.msg) })
    ///     .await?;
    ///
    /// for _ in 0..2 {
    ///     chan.publish("payments", &250).message_id("payment-17").await?;
    /// }
    /// conn.process_events().until_idle().await?; // 250 pence, once
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    fn deduplicate(self, seen: impl Seen) -> Self {
        self.with_layer(Deduplicate::new(seen))
    }

    /// Acknowledges each message just before its callback is called: at most once, instead of the
    /// usual at least once. A message whose callback fails, panics or is cut off is gone, and so
    /// is one whose process ends. Unlike with [`auto_ack`](RegisterConsumer::auto_ack), the broker
    /// keeps what no callback has begun with, and sends no more than the prefetch.
    #[must_use]
    fn ack_first(self) -> Self {
        self.with_layer(AckFirst(()))
    }
}

impl<C, K> WithLayers for RegisterConsumer<C, K> {}

impl<C, K> WithLayers for RegisterCallback<C, K> {}

mod sealed {
    use mooq_client::layers::CallbackLayer;

    use super::{RegisterCallback, RegisterConsumer};

    /// A registration that layers are added to.
    pub trait Layered: Sized {
        fn with_layer(self, layer: impl CallbackLayer) -> Self;
    }

    impl<C, K> Layered for RegisterConsumer<C, K> {
        fn with_layer(self, layer: impl CallbackLayer) -> Self {
            self.layer(layer)
        }
    }

    impl<C, K> Layered for RegisterCallback<C, K> {
        fn with_layer(self, layer: impl CallbackLayer) -> Self {
            self.layer(layer)
        }
    }
}
