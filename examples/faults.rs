//! Faults on demand, and seeds: tests of a service under failures.
//!
//! ```console
//! $ cargo test --example faults
//! $ cargo run --example faults
//! ```
//!
//! The service ships every order once: RabbitMQ may deliver an order again after a lost connection,
//! so the service knows orders by their numbers. Every fault is in `mooq::faults`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use mooq::ExchangeKind::Direct;
use mooq::memory::InMemoryBroker;
use mooq::{Connection, Delivery};

/// The numbers of the orders that are shipped. A real service has them in its database.
type Shipped = Arc<Mutex<HashSet<u32>>>;

/// Begins to ship orders, while the connection's events are processed.
async fn start(conn: &Connection, shipped: &Shipped) -> mooq::Result<()> {
    let chan = conn.create_channel().await?;
    chan.declare_exchange("parcels", Direct).await?;
    let (out, shipped) = (chan.clone(), Arc::clone(shipped));
    chan.register_consumer("orders", Direct)
        .queue("orders-to-ship")
        .callback(move |order: Delivery<u32>| {
            let (out, shipped) = (out.clone(), Arc::clone(&shipped));
            async move {
                let number = order.msg;
                if shipped
                    .lock()
                    .is_ok_and(|shipped| shipped.contains(&number))
                {
                    return Ok(()); // The order was shipped before.
                }
                // An order counts as shipped once the broker has its parcel: after an error the
                // order comes again.
                out.publish("parcels", &number).await?;
                if let Ok(mut shipped) = shipped.lock() {
                    shipped.insert(number);
                }
                Ok::<_, mooq::Error>(())
            }
        })
        .await?;
    Ok(())
}

/// Starts the service on a broker, with a queue for the parcels. Returns a channel to order by.
async fn warehouse(broker: &InMemoryBroker) -> mooq::Result<mooq::Channel> {
    let conn = mooq::connect(broker).await?;
    start(&conn, &Shipped::default()).await?;
    tokio::spawn(async move { conn.process_events().await });
    let chan = mooq::connect(broker).await?.create_channel().await?;
    chan.declare_queue("parcels").await?;
    chan.bind_queue("parcels", "parcels", "").await?;
    Ok(chan)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> mooq::Result<()> {
    let broker = InMemoryBroker::start();
    let chan = warehouse(&broker).await?;
    let duplicating = broker
        .faults()
        .queue("orders-to-ship")
        .duplicate_deliveries(1);
    chan.publish("orders", &1).await?;
    broker.wait_idle().await;
    println!(
        "order 1 came {} times, and was shipped {} time",
        1 + duplicating.strikes(),
        broker.queues("parcels")[0].ready
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of parcels.
    fn parcels(broker: &InMemoryBroker) -> u64 {
        broker.queues("parcels")[0].ready
    }

    #[tokio::test]
    async fn an_order_that_comes_twice_is_shipped_once() -> mooq::Result<()> {
        let broker = InMemoryBroker::start();
        let chan = warehouse(&broker).await?;
        let duplicating = broker.faults().duplicate_deliveries(1);
        chan.publish("orders", &1).await?;
        broker.wait_idle().await;
        assert_eq!(duplicating.strikes(), 1);
        assert_eq!(parcels(&broker), 1);
        Ok(())
    }

    #[tokio::test]
    async fn an_order_whose_parcel_is_refused_is_tried_again() -> mooq::Result<()> {
        let broker = InMemoryBroker::start();
        let chan = warehouse(&broker).await?;
        let nacking = broker.faults().exchange("parcels").nack_publishes(1);
        chan.publish("orders", &1).await?;
        broker.wait_idle().await;
        assert_eq!(nacking.strikes(), 1);
        assert_eq!(parcels(&broker), 1);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_broker_only_takes_longer() -> mooq::Result<()> {
        let broker = InMemoryBroker::start();
        let chan = warehouse(&broker).await?;
        let _slow = broker.faults().slow(std::time::Duration::from_secs(2));
        chan.publish("orders", &1).await?; // Takes about ten seconds of paused time.
        broker.wait_idle().await;
        assert_eq!(parcels(&broker), 1);
        Ok(())
    }

    #[test]
    fn orders_are_shipped_once_in_every_order_of_events() {
        mooq::testing::for_each_seed(0..50, |seed| async move {
            let broker = InMemoryBroker::start_seeded(seed);
            let chan = warehouse(&broker).await?;
            let _duplicating = broker.faults().duplicate_deliveries(2);
            for number in 0..5 {
                chan.publish("orders", &number).await?;
            }
            broker.wait_idle().await;
            assert_eq!(parcels(&broker), 5);
            Ok::<(), mooq::Error>(())
        });
    }
}
