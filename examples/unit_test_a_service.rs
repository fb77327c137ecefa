//! A service, and its unit tests on the in-memory broker: no container, no sleep, no mock.
//!
//! ```console
//! $ cargo test --example unit_test_a_service
//! $ cargo run --example unit_test_a_service
//! ```
//!
//! The service is `start` and `bill`. It needs a connection and knows no broker: `main` connects it
//! to the broker of `--url`, RabbitMQ or in memory, each test to a broker of the test's own.

use std::error::Error;

use clap::Parser;
use mooq::ExchangeKind::{Direct, Topic};
use mooq::memory::InMemoryBroker;
use mooq::{Channel, Connection, Delivery};
use serde::{Deserialize, Serialize};

/// An order from a shop.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    number: u32,
    country: String,
    pieces: u32,
    cents_each: u32,
}

/// The invoice for an order.
#[derive(Debug, Serialize, Deserialize)]
struct Invoice {
    order: u32,
    cents: u32,
}

/// Begins to bill the orders that come to `conn`, while the connection's events are processed.
async fn start(conn: &Connection) -> mooq::Result<()> {
    let chan = conn.create_channel().await?;
    chan.declare_exchange("invoices", Topic).await?;
    chan.register_consumer("orders", Direct)
        .queue("orders-to-bill")
        .routing_key("placed")
        .callback({
            let chan = chan.clone();
            move |order: Delivery<Order>| bill(chan.clone(), order.msg)
        })
        .await?;
    Ok(())
}

/// Bills an order. The order is acked once the broker has its invoice; after an error it is
/// retried.
async fn bill(chan: Channel, order: Order) -> Result<(), Box<dyn Error + Send + Sync>> {
    let cents = order
        .pieces
        .checked_mul(order.cents_each)
        .ok_or("the total does not fit on an invoice")?;
    let invoice = Invoice {
        order: order.number,
        cents,
    };
    chan.publish("invoices", &invoice)
        .routing_key(format!("invoice.{}", order.country))
        .await?;
    Ok(())
}

/// Bills one order.
#[derive(Parser)]
struct Args {
    /// URL of the broker, for example amqp://localhost:5672
    #[arg(long, default_value = "memory://localhost:5672")]
    url: String,
}

#[tokio::main]
async fn main() -> mooq::Result<()> {
    let args = Args::parse();
    let broker = InMemoryBroker::new("localhost", 5672);
    broker.run(); // memory://localhost:5672 leads here.

    let conn = mooq::connect(&args.url).await?;
    start(&conn).await?;

    let shop = conn.create_channel().await?;
    shop.register_consumer("invoices", Topic)
        .routing_key("invoice.#")
        .callback(|invoice: Delivery<Invoice>| async move { println!("{:?}", invoice.msg) })
        .await?;
    let order = Order {
        number: 1,
        country: "fr".into(),
        pieces: 3,
        cents_each: 250,
    };
    shop.publish("orders", &order).routing_key("placed").await?;

    // A service that keeps running has `.with_graceful_shutdown(…)` instead.
    conn.process_events().until_idle().await?;
    conn.close().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The service, and a shop on a connection of its own: its invoices go to the queue "shop".
    async fn set_up() -> (Connection, Channel) {
        let broker = InMemoryBroker::start();
        let service = mooq::connect(&broker).await.unwrap();
        start(&service).await.unwrap();

        let conn = mooq::connect(&broker).await.unwrap();
        let shop = conn.create_channel().await.unwrap();
        shop.declare_queue("shop").await.unwrap();
        let bind = shop.bind_queue("shop", "invoices", "invoice.fr");
        bind.await.unwrap();
        (service, shop)
    }

    async fn place(shop: &Channel, country: &str, pieces: u32) {
        let order = Order {
            number: 7,
            country: country.into(),
            pieces,
            cents_each: 250,
        };
        let place = shop.publish("orders", &order).routing_key("placed");
        place.await.unwrap();
    }

    #[tokio::test]
    async fn an_order_gives_an_invoice() {
        let (service, shop) = set_up().await;
        place(&shop, "fr", 3).await;

        // One cycle is one callback for each consumer that has a message.
        service.process_events().cycles(1).await.unwrap();

        let invoice = shop.get_one::<Invoice>("shop").await.unwrap();
        assert_eq!((invoice.msg.order, invoice.msg.cents), (7, 750));
    }

    #[tokio::test]
    async fn an_invoice_goes_to_its_own_country() {
        let (service, shop) = set_up().await;
        place(&shop, "de", 3).await;

        service.process_events().cycles(1).await.unwrap();

        assert!(shop.get::<Invoice>("shop").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_order_stays_until_its_invoice_is_published() {
        let (service, shop) = set_up().await;
        place(&shop, "fr", 3).await;

        service.close().await.unwrap();

        let order = shop.get_one::<Order>("orders-to-bill").await.unwrap();
        assert_eq!(order.msg.number, 7);
    }

    #[tokio::test]
    async fn an_order_that_cannot_be_billed_is_not_lost() {
        let (service, shop) = set_up().await;
        place(&shop, "fr", u32::MAX).await;

        service.process_events().until_idle().await.unwrap();
        service.close().await.unwrap();

        let order = shop.get_one::<Order>("orders-to-bill").await.unwrap();
        assert_eq!(order.msg.number, 7);
    }

    #[tokio::test]
    async fn message_that_is_no_order_stops_nothing() {
        let (service, shop) = set_up().await;
        let nonsense = shop.publish("orders", "two pencils").routing_key("placed");
        nonsense.await.unwrap();
        place(&shop, "fr", 3).await;

        service.process_events().cycles(2).await.unwrap();

        shop.get_one::<Invoice>("shop").await.unwrap();
    }
}
