//! A consistent hash exchange: several workers share the messages, and those of one customer always
//! reach the same worker, in order.

use clap::Parser;
use mooq::Delivery;
use mooq::ExchangeKind::ConsistentHash;
use mooq::memory::{InMemoryBroker, Options, Plugin};

/// Publishes two orders of each of five customers, and prints which worker gets them.
#[derive(Parser)]
struct Args {
    /// URL of the broker, for example amqp://localhost:5672. RabbitMQ must have its plugin
    /// rabbitmq_consistent_hash_exchange enabled.
    #[arg(long, default_value = "memory://localhost:5672")]
    url: String,
}

#[tokio::main]
async fn main() -> mooq::Result<()> {
    let args = Args::parse();
    let options = Options::default().plugin(Plugin::ConsistentHashExchange);
    let broker = InMemoryBroker::with_options("localhost", 5672, options);
    broker.run(); // memory://localhost:5672 leads here.

    let conn = mooq::connect(&args.url).await?;
    let chan = conn.create_channel().await?;
    for worker in ["north", "south"] {
        // The routing key of a binding is a weight: equal weights share equally.
        chan.register_consumer("example_orders", ConsistentHash)
            .queue(worker)
            .routing_key("10")
            .callback(move |order: Delivery<String>| async move {
                println!("{worker}: {} of {}", order.msg, order.routing_key);
            })
            .await?;
    }

    for order in ["first order", "second order"] {
        for customer in ["Ada", "Barbara", "Donald", "Edsger", "Grace"] {
            chan.publish("example_orders", order)
                .routing_key(customer)
                .await?;
        }
    }

    conn.process_events().until_idle().await?;
    for worker in ["north", "south"] {
        chan.delete_queue(worker).await?;
    }
    chan.delete_exchange("example_orders").await?;
    conn.close().await
}
