//! A headers exchange: a message goes to the queues whose headers it has. With `x-match` `all`, the
//! default, it needs all of them; with `any`, one is enough.

use clap::Parser;
use mooq::Delivery;
use mooq::ExchangeKind::Headers;
use mooq::memory::InMemoryBroker;

/// Publishes three documents, and prints the readers of each.
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
    for (reader, x_match) in [("the colour printer", "all"), ("the archive", "any")] {
        chan.register_consumer("example_headers", Headers)
            .header("x-match", x_match)
            .header("format", "pdf")
            .header("colour", true)
            .callback(move |doc: Delivery<String>| async move {
                println!("{reader} gets {}", doc.msg);
            })
            .await?;
    }

    for (doc, format, colour) in [
        ("a colour PDF", "pdf", true),
        ("a grey PDF", "pdf", false),
        ("a grey text", "text", false),
    ] {
        chan.publish("example_headers", doc)
            .header("format", format)
            .header("colour", colour)
            .await?;
    }

    conn.process_events().until_idle().await?;
    chan.delete_exchange("example_headers").await?;
    conn.close().await
}
