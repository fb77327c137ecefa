//! The first half of in2com, the tutorial: greets every other second.
//!
//! Needs RabbitMQ, and `loud` in another terminal to hear it:
//!
//! ```console
//! $ cargo run --example loud
//! $ cargo run --example hello
//! ```

use std::pin::pin;
use std::time::Duration;

use clap::Parser;
use mooq::ExchangeKind::Direct;
use tokio::signal::ctrl_c;
use tokio::time::interval;

/// Greets every other second.
#[derive(Parser)]
struct Args {
    /// Where RabbitMQ is
    #[arg(long, default_value = "amqp://localhost:5672")]
    url: String,
    /// How long to run; until Ctrl-C unless given
    #[arg(long)]
    seconds: Option<u64>,
}

#[tokio::main]
async fn main() -> mooq::Result<()> {
    let args = Args::parse();
    let conn = mooq::connect(&args.url).await?;
    let chan = conn.create_channel().await?;
    chan.register_producer("in2com_log", Direct).await?;

    // One for the whole loop: it also hears a Ctrl-C that comes while a message is published.
    let mut stop = pin!(ctrl_c());
    let mut every_second = interval(Duration::from_secs(1));
    for count in 0..args.seconds.unwrap_or(u64::MAX) {
        tokio::select! {
            _ = every_second.tick() => println!("tick hello {count}"),
            _ = &mut stop => break,
        }
        if count % 2 == 0 {
            // Ready when RabbitMQ has confirmed the message.
            chan.publish("in2com_log", "Hello World!")
                .routing_key("greetings")
                .await?;
            println!("published!");
        }
    }
    conn.close().await
}
