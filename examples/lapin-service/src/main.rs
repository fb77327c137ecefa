//! A service that is written with lapin: it bills orders. Its tests run on mooq's in-memory broker,
//! which loses a confirm, and restarts.
//!
//! ```console
//! $ cargo test
//! $ cargo run -- amqp://guest:guest@127.0.0.1:5672
//! ```

use std::error::Error;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};

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
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    for queue in ["orders", "invoices"] {
        let durable = QueueDeclareOptions {
            durable: true,
            ..Default::default()
        };
        channel
            .queue_declare(queue.into(), durable, FieldTable::default())
            .await?;
    }
    channel.basic_qos(10, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut orders = channel
        .basic_consume(
            "orders".into(),
            "billing".into(),
            options,
            FieldTable::default(),
        )
        .await?;
    while let Some(order) = orders.next().await {
        let order = order?;
        let invoice = format!("invoice for {}", String::from_utf8_lossy(&order.data));
        let persistent = BasicProperties::default().with_delivery_mode(2);
        let published = channel
            .basic_publish(
                "".into(),
                "invoices".into(),
                BasicPublishOptions::default(),
                invoice.as_bytes(),
                persistent,
            )
            .await?;
        match tokio::time::timeout(confirm_limit, published).await?? {
            Confirmation::Ack(_) => order.acker.ack(BasicAckOptions::default()).await?,
            other => return Err(format!("the invoice is not taken: {other:?}").into()),
        };
    }
    Ok(())
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
