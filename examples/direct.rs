//! A direct exchange: a message goes to the queues that are bound with its very routing key.

use clap::Parser;
use mooq::Delivery;
use mooq::ExchangeKind::Direct;
use mooq::memory::InMemoryBroker;

/// Publishes four log lines, and prints the two whose routing key is asked for.
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
    let chan = conn.create_channel().await?;
    chan.register_consumer("example_direct", Direct)
        .routing_keys(["warning", "error"])
        .callback(|log: Delivery<String>| async move {
            println!("{}: {}", log.routing_key, log.msg);
        })
        .await?;

    for (severity, line) in [
        ("info", "listening on port 80"),
        ("warning", "the disk is nearly full"),
        ("error", "the disk is full"),
        ("debug", "42"),
    ] {
        chan.publish("example_direct", line)
            .routing_key(severity)
            .await?;
    }

    conn.process_events().until_idle().await?;
    chan.delete_exchange("example_direct").await?;
    conn.close().await
}
