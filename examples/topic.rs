//! A topic exchange: a message goes to the queues whose pattern matches its routing key, word by
//! word. `*` stands for one word, `#` for any number, none included.

use clap::Parser;
use mooq::Delivery;
use mooq::ExchangeKind::Topic;
use mooq::memory::InMemoryBroker;

/// Publishes three things, and prints the patterns that match each.
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
    for pattern in ["*.red", "ball.*", "ball.#"] {
        chan.register_consumer("example_topic", Topic)
            .routing_key(pattern)
            .callback(move |thing: Delivery<String>| async move {
                println!("{pattern} matches {}: {}", thing.routing_key, thing.msg);
            })
            .await?;
    }

    for (key, thing) in [
        ("ball.red", "a red ball"),
        ("apple.red", "a red apple"),
        ("ball.red.large", "a large red ball"),
    ] {
        chan.publish("example_topic", thing)
            .routing_key(key)
            .await?;
    }

    conn.process_events().until_idle().await?;
    chan.delete_exchange("example_topic").await?;
    conn.close().await
}
