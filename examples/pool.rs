//! A service with a pool: its publishers wait during an alarm of the broker, and its consumers go on.
//!
//! ```console
//! $ cargo test --example pool
//! $ cargo run --example pool
//! ```

use std::time::Duration;

use mooq::memory::{Alarm, InMemoryBroker};
use mooq::{Delivery, Pool};

/// Begins to make an invoice of each order, while events of `pool` are processed.
async fn start(pool: &Pool) -> mooq::Result<()> {
    let chan = pool.create_channel().await?;
    chan.declare_queue("invoices").await?;
    // By the pool, and not by `chan`: the connection of `chan` only consumes.
    let publisher = pool.clone();
    chan.register_consumer("orders", "direct")
        .queue("orders")
        .callback(move |order: Delivery<u32>| {
            println!("order {}", order.msg);
            let publisher = publisher.clone();
            async move {
                let invoice = publisher.publish("", &(order.msg * 100));
                // The callback waits for room, and not for the confirm.
                invoice.routing_key("invoices").unconfirmed().await
            }
        })
        .await?;
    Ok(())
}

#[tokio::main]
async fn main() -> mooq::Result<()> {
    let broker = InMemoryBroker::new("localhost", 5672);
    broker.run();
    let pool = mooq::pool("memory://localhost:5672").consumers(2).await?;
    start(&pool).await?;
    for order in 1..=3 {
        pool.publish("orders", &order).await?;
    }

    let alarm = broker.raise_alarm(Alarm::Memory);
    let service = pool.clone();
    let service = tokio::spawn(async move { service.process_events().await });
    // Every order is taken and acked, although no invoice can be published.
    let chan = pool.create_channel().await?;
    let left = || {
        let orders = &broker.queues("orders")[0];
        orders.ready + orders.unacked
    };
    while left() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(chan.get::<u32>("invoices").await?.is_none());
    println!("all orders are done, and their invoices wait for room");

    drop(alarm);
    for _ in 1..=3 {
        let invoice = chan
            .get_one::<u32>("invoices")
            .timeout(Duration::from_secs(60));
        println!("invoice {}", invoice.await?.ack().await?);
    }
    pool.shutdown(Duration::from_secs(20)).await?;
    let ended = service.await;
    ended.unwrap_or_else(|err| std::panic::resume_unwind(err.into_panic()))
}

#[cfg(test)]
mod tests {
    use mooq::testing::TestBroker;

    use super::*;

    #[mooq::test]
    async fn order_becomes_an_invoice(broker: TestBroker) -> mooq::Result<()> {
        let pool = mooq::pool(&broker).await?;
        start(&pool).await?;
        let service = pool.clone();
        let service = tokio::spawn(async move { service.process_events().await });

        pool.publish("orders", &7).await?;

        let chan = pool.create_channel().await?;
        let invoice = chan
            .get_one::<u32>("invoices")
            .timeout(Duration::from_secs(60));
        assert_eq!(invoice.await?.ack().await?, 700);
        pool.shutdown(Duration::from_secs(60)).await?;
        let ended = service.await;
        ended.unwrap_or_else(|err| std::panic::resume_unwind(err.into_panic()))
    }
}
