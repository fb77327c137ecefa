//! A fanout exchange: every bound queue gets a copy, whatever the routing key.

use clap::Parser;
use mooq::Delivery;
use mooq::ExchangeKind::Fanout;
use mooq::memory::InMemoryBroker;

/// Publishes one piece of news to three readers.
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
    for reader in ["Ada", "Grace", "Edsger"] {
        // Without a queue name, each consumer gets a queue of its own.
        chan.register_consumer("example_fanout", Fanout)
            .callback(move |news: Delivery<String>| async move {
                println!("{reader} reads: {}", news.msg);
            })
            .await?;
    }

    chan.publish("example_fanout", "it rains").await?;

    conn.process_events().until_idle().await?;
    chan.delete_exchange("example_fanout").await?;
    conn.close().await
}
