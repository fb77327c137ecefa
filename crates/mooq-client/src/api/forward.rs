//! Forwarding: publishing a delivery unchanged.

use mooq_codecs::Draft;
use mooq_core::{Error, ErrorKind, ExchangeName, IntoChecked};
use mooq_retry::without_counts;

use super::channel::Channel;
use super::delivery::Delivery;
use super::publish::Publish;

impl Channel {
    /// Publishes a delivery to `exchange`, with its body unchanged byte for byte, all of its
    /// properties and headers, and its routing key. Setters of [`Publish`] change single ones. Only
    /// the queue's own counts, `x-delivery-count` and `x-acquired-count`, are left out.
    ///
    /// Forwarding does not settle the delivery: ack it once the broker has confirmed the copy.
    ///
    /// Three properties act on the broker again. A delivery with a `user_id` is refused
    /// (`PreconditionFailed`) unless that is this connection's login; the headers `CC` and `BCC`
    /// route to their keys once more; an `expiration` begins again. To leave a property out, change
    /// a copy of the delivery's [`properties`](Delivery::properties) and pass it to
    /// [`Publish::properties`].
    ///
    /// # Errors
    /// As [`Publish`]; `InvalidArgument` for a delivery that no broker sent
    /// ([`Delivery::new`]) and that has no [body](Delivery::with_body).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// # let chan = conn.create_channel().await?;
    /// # chan.declare_queue("orders").await?;
    /// # chan.declare_queue("orders-later").await?;
    /// chan.publish("", "three pencils")
    ///     .routing_key("orders")
    ///     .message_id("order-7")
    ///     .await?;
    ///
    /// let order = chan.get_one::<String>("orders").await?;
    /// chan.forward("", &order)
    ///     .routing_key("orders-later")
    ///     .header("try", 2)
    ///     .await?;
    /// order.ack().await?;
    ///
    /// let later = chan.get_one::<String>("orders-later").await?;
    /// assert_eq!(later.msg, "three pencils");
    /// assert_eq!(later.properties.message_id.as_deref(), Some("order-7"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn forward<T>(
        &self,
        exchange: impl IntoChecked<ExchangeName>,
        delivery: &Delivery<T>,
    ) -> Publish<'_> {
        let body = delivery.body().cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                "this delivery has no body to forward: it was made by Delivery::new, and \
                 Delivery::with_body gives it one",
            )
        });
        Publish::new(self, Draft::new(exchange, body))
            .routing_key(&delivery.routing_key)
            .properties(without_counts(&delivery.properties))
    }
}
