//! A service that is written with amqprs: it bills orders. Its tests run on mooq's in-memory broker,
//! which loses a confirm, and restarts.
//!
//! ```console
//! $ cargo test
//! $ cargo run -- amqp://guest:guest@127.0.0.1:5672
//! ```

use std::error::Error;
use std::time::Duration;

use amqprs::callbacks::ChannelCallback;
use amqprs::channel::{
    BasicAckArguments, BasicConsumeArguments, BasicPublishArguments, BasicQosArguments, Channel,
    ConfirmSelectArguments, QueueDeclareArguments,
};
use amqprs::connection::{Connection, OpenConnectionArguments};
use amqprs::{Ack, BasicProperties, Cancel, CloseChannel, DELIVERY_MODE_PERSISTENT, Nack, Return};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Pause before the next connection.
const PAUSE: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1);
    let url = url.unwrap_or_else(|| "amqp://guest:guest@127.0.0.1:5672".into());
    bill(&url, Duration::from_secs(10)).await;
}

/// Bills the orders in the queue `orders`, by invoices in the queue `invoices`.
///
/// An order is acknowledged once its invoice is confirmed, within the time limit. Until then nothing
/// is lost: the service connects again, and bills the order once more.
async fn bill(url: &str, confirm_limit: Duration) {
    loop {
        if let Err(error) = bill_until_lost(url, confirm_limit).await {
            eprintln!("connecting again: {error}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn bill_until_lost(
    url: &str,
    confirm_limit: Duration,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments = OpenConnectionArguments::try_from(url)?;
    let connection = Connection::open(&arguments).await?;
    let channel = connection.open_channel(None).await?;
    let (sender, mut confirms) = unbounded_channel();
    channel.register_callback(Confirms(sender)).await?;
    channel
        .confirm_select(ConfirmSelectArguments::default())
        .await?;
    for queue in ["orders", "invoices"] {
        channel
            .queue_declare(QueueDeclareArguments::durable_client_named(queue))
            .await?;
    }
    channel
        .basic_qos(BasicQosArguments::new(0, 10, false))
        .await?;
    let consume = BasicConsumeArguments::new("orders", "billing");
    let (_, mut orders) = channel.basic_consume_rx(consume).await?;
    while let Some(order) = orders.recv().await {
        let (Some(deliver), Some(body)) = (order.deliver, order.content) else {
            continue;
        };
        let invoice = format!("invoice for {}", String::from_utf8_lossy(&body));
        let persistent = BasicProperties::default()
            .with_delivery_mode(DELIVERY_MODE_PERSISTENT)
            .finish();
        let publish = BasicPublishArguments::new("", "invoices");
        channel
            .basic_publish(persistent, invoice.into_bytes(), publish)
            .await?;
        // One at a time, so that it is the answer to this one.
        match tokio::time::timeout(confirm_limit, confirms.recv()).await? {
            Some(Confirm::Taken) => {}
            other => return Err(format!("the invoice is not taken: {other:?}").into()),
        }
        channel
            .basic_ack(BasicAckArguments::new(deliver.delivery_tag(), false))
            .await?;
    }
    Ok(())
}

#[derive(Debug)]
enum Confirm {
    Taken,
    Refused,
}

/// Passes on the broker's answers to publishes.
struct Confirms(UnboundedSender<Confirm>);

#[async_trait::async_trait]
impl ChannelCallback for Confirms {
    async fn close(&mut self, _: &Channel, _: CloseChannel) -> Result<(), amqprs::error::Error> {
        Ok(())
    }

    async fn cancel(&mut self, _: &Channel, _: Cancel) -> Result<(), amqprs::error::Error> {
        Ok(())
    }

    async fn flow(&mut self, _: &Channel, active: bool) -> Result<bool, amqprs::error::Error> {
        Ok(active)
    }

    async fn publish_ack(&mut self, _: &Channel, _: Ack) {
        // An error means that the service has given up the channel.
        let _ = self.0.send(Confirm::Taken);
    }

    async fn publish_nack(&mut self, _: &Channel, _: Nack) {
        let _ = self.0.send(Confirm::Refused);
    }

    async fn publish_return(&mut self, _: &Channel, _: Return, _: BasicProperties, _: Vec<u8>) {}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mooq::memory::InMemoryBroker;
    use mooq::testing::TestBroker;
    use mooq::{Channel, Text};

    use super::*;

    /// Starts the service, with the queue that the tests publish to.
    async fn start(broker: &TestBroker, chan: &Channel) -> mooq::Result<()> {
        chan.declare_queue("orders").await?;
        chan.declare_queue("invoices").await?;
        let url = broker.url().to_owned();
        tokio::spawn(async move { bill(&url, Duration::from_secs(1)).await });
        Ok(())
    }

    async fn order(chan: &Channel, item: &str) -> mooq::Result<()> {
        let order = chan.publish_with("", item, Text).routing_key("orders");
        order.await.map(drop)
    }

    async fn invoice(chan: &Channel) -> mooq::Result<String> {
        let limit = Duration::from_secs(30);
        let invoice = chan
            .get_one::<String>("invoices")
            .codec(Text)
            .timeout(limit);
        invoice.await?.ack().await
    }

    #[mooq::test(wire)]
    async fn an_order_is_billed(broker: TestBroker, chan: Channel) -> mooq::Result<()> {
        start(&broker, &chan).await?;
        order(&chan, "a pencil").await?;
        assert_eq!(invoice(&chan).await?, "invoice for a pencil");
        Ok(())
    }

    /// The broker has the invoice, and the service cannot know.
    #[mooq::test(wire, memory)]
    async fn an_order_whose_confirm_is_lost_is_billed_again(
        at: TestBroker,
        broker: InMemoryBroker,
        chan: Channel,
    ) -> mooq::Result<()> {
        let fault = broker.faults().queue("invoices").lose_confirms(1);
        start(&at, &chan).await?;
        order(&chan, "a pencil").await?;
        assert_eq!(invoice(&chan).await?, "invoice for a pencil");
        assert_eq!(invoice(&chan).await?, "invoice for a pencil");
        assert_eq!(fault.strikes(), 1);
        Ok(())
    }

    #[mooq::test(wire, memory)]
    async fn orders_outlive_a_restart_of_the_broker(
        at: TestBroker,
        broker: InMemoryBroker,
        chan: Channel,
    ) -> mooq::Result<()> {
        start(&at, &chan).await?;
        order(&chan, "a pencil").await?;
        assert_eq!(invoice(&chan).await?, "invoice for a pencil");

        broker.faults().restart();
        let items = ["an eraser", "a pen"];
        for item in items {
            order(&chan, item).await?;
        }
        let expected = BTreeSet::from(items.map(|item| format!("invoice for {item}")));
        let mut billed = BTreeSet::new();
        // Some may be billed twice, the first one too.
        while !expected.is_subset(&billed) {
            billed.insert(invoice(&chan).await?);
        }
        Ok(())
    }
}
