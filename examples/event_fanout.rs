//! An event for several services, each at its own pace.
//!
//! ```console
//! $ cargo test --example event_fanout
//! $ MOOQ_TEST_BROKER=rabbitmq cargo test --example event_fanout --features testcontainers
//! $ cargo run --example event_fanout
//! ```
//!
//! The shop publishes events to a fanout exchange, and need not know the services behind it. Each
//! service has a queue of its own there, in which events wait while the service is down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use clap::Parser;
use mooq::ExchangeKind::Fanout;
use mooq::memory::InMemoryBroker;
use mooq::{Channel, Connection, Delivery};
use serde::{Deserialize, Serialize};

/// An event: something was sold.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sold {
    thing: String,
    to: String,
}

/// The shop: publishes that something was sold.
async fn tell(chan: &Channel, thing: &str, to: &str) -> mooq::Result<()> {
    let sold = Sold {
        thing: thing.into(),
        to: to.into(),
    };
    chan.publish("sold", &sold).await
}

/// The number of sales of each thing.
#[derive(Debug, Default, Clone)]
struct Statistics(Arc<Mutex<BTreeMap<String, u32>>>);

impl Statistics {
    async fn start(&self, conn: &Connection) -> mooq::Result<()> {
        let statistics = self.clone();
        let chan = conn.create_channel().await?;
        chan.register_consumer("sold", Fanout)
            .queue("sold-for-statistics")
            .callback(move |sold: Delivery<Sold>| {
                statistics.count(sold.msg);
                async {}
            })
            .await?;
        Ok(())
    }

    fn count(&self, sold: Sold) {
        // The lock is never poisoned: its holders only count.
        if let Ok(mut counts) = self.0.lock() {
            *counts.entry(sold.thing).or_default() += 1;
        }
    }
}

/// Thanks every buyer by a mail, through another service's queue.
async fn start_to_thank(conn: &Connection) -> mooq::Result<()> {
    let chan = conn.create_channel().await?;
    chan.declare_queue("mails").await?;
    chan.register_consumer("sold", Fanout)
        .queue("sold-for-thanks")
        .callback({
            let chan = chan.clone();
            move |sold: Delivery<Sold>| thank(chan.clone(), sold.msg)
        })
        .await?;
    Ok(())
}

async fn thank(chan: Channel, sold: Sold) -> mooq::Result<()> {
    let mail = format!("Dear {}, enjoy your {}!", sold.to, sold.thing);
    chan.publish("", &mail)
        .routing_key("mails")
        .mandatory()
        .await
}

/// Sells three things.
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
    let statistics = Statistics::default();
    statistics.start(&conn).await?;
    start_to_thank(&conn).await?;

    let chan = conn.create_channel().await?;
    for (thing, to) in [("pencil", "Ada"), ("paper", "Grace"), ("pencil", "Edsger")] {
        tell(&chan, thing, to).await?;
    }
    // A service that keeps running has `.with_graceful_shutdown(…)` instead.
    conn.process_events().until_idle().await?;

    for _ in 0..3 {
        println!("{}", chan.get_one::<String>("mails").await?.ack().await?);
    }
    if let Ok(counts) = statistics.0.lock() {
        for (thing, count) in counts.iter() {
            println!("{thing}: {count} sold");
        }
    }
    conn.close().await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mooq::memory::InMemoryBroker;
    use mooq::testing::TestBroker;

    use super::*;

    /// Time limit for a message on a busy RabbitMQ. Only a failing test waits that long.
    const SOON: Duration = Duration::from_secs(20);

    /// Both services, each on a connection of its own, which does not process events yet.
    async fn services(broker: &TestBroker) -> mooq::Result<(Statistics, Connection, Connection)> {
        let (counting, thanking) = (mooq::connect(broker).await?, mooq::connect(broker).await?);
        let statistics = Statistics::default();
        statistics.start(&counting).await?;
        start_to_thank(&thanking).await?;
        Ok((statistics, counting, thanking))
    }

    fn run(conn: Connection) {
        tokio::spawn(async move { conn.process_events().await });
    }

    async fn next_mail(chan: &Channel) -> mooq::Result<String> {
        let mail = chan.get::<String>("mails").timeout(SOON).await?;
        mail.ack().await
    }

    #[mooq::test]
    async fn buyer_is_thanked(broker: TestBroker, shop: Channel) -> mooq::Result<()> {
        let (_statistics, _counting, thanking) = services(&broker).await?;
        run(thanking);

        tell(&shop, "pencil", "Ada").await?;
        assert_eq!(next_mail(&shop).await?, "Dear Ada, enjoy your pencil!");
        Ok(())
    }

    #[mooq::test]
    async fn each_service_hears_of_everything(
        broker: TestBroker,
        shop: Channel,
    ) -> mooq::Result<()> {
        let (statistics, counting, thanking) = services(&broker).await?;
        for (thing, to) in [("pencil", "Ada"), ("paper", "Grace"), ("pencil", "Edsger")] {
            tell(&shop, thing, to).await?;
        }

        let sold = || statistics.0.lock().unwrap().values().sum::<u32>();
        while sold() < 3 {
            counting.process_events().cycles(1).await?;
        }
        let counts = statistics.0.lock().unwrap().clone();
        assert_eq!(
            counts,
            BTreeMap::from([("paper".into(), 1), ("pencil".into(), 2)])
        );

        // A service that starts later has missed no event.
        run(thanking);
        for to in ["Ada", "Grace", "Edsger"] {
            assert!(next_mail(&shop).await?.contains(to));
        }
        Ok(())
    }

    #[mooq::test]
    async fn events_wait_for_a_service_that_is_down(
        broker: TestBroker,
        shop: Channel,
    ) -> mooq::Result<()> {
        let (_statistics, _counting, thanking) = services(&broker).await?;
        thanking.close().await?;
        tell(&shop, "pencil", "Ada").await?;

        let again = mooq::connect(&broker).await?;
        start_to_thank(&again).await?;
        run(again);
        assert_eq!(next_mail(&shop).await?, "Dear Ada, enjoy your pencil!");
        Ok(())
    }

    /// A lost connection is rare, and a test in memory can cause one.
    #[mooq::test(memory)]
    async fn a_lost_connection_costs_no_thanks(
        broker: TestBroker,
        memory: InMemoryBroker,
        shop: Channel,
    ) -> mooq::Result<()> {
        let (_statistics, counting, thanking) = services(&broker).await?;
        run(counting);
        run(thanking);

        memory.faults().drop_connections();
        for to in ["Ada", "Grace"] {
            tell(&shop, "pencil", to).await?;
        }
        for to in ["Ada", "Grace"] {
            assert!(next_mail(&shop).await?.contains(to));
        }
        Ok(())
    }
}
