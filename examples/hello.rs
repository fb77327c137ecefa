//! The first half of in2com, the tutorial: greets now and then.
//!
//! Needs RabbitMQ, and `loud` in another terminal:
//!
//! ```console
//! $ cargo run --example loud
//! $ cargo run --example hello
//! ```

use std::future::pending;
use std::time::Duration;

use clap::Parser;
use mooq::Channel;
use mooq::ExchangeKind::Direct;
use tokio::signal::ctrl_c;
use tokio::time::{interval, sleep};

/// Greets after one to ten seconds, again and again.
#[derive(Parser)]
struct Args {
    /// URL of RabbitMQ
    #[arg(long, default_value = "amqp://localhost:5672")]
    url: String,
    /// Seconds to run; until Ctrl-C unless given
    #[arg(long)]
    seconds: Option<u64>,
}

#[tokio::main]
async fn main() -> mooq::Result<()> {
    let args = Args::parse();
    let conn = mooq::connect(&args.url).await?;
    let chan = conn.create_channel().await?;
    chan.register_producer("in2com_log", Direct).await?;

    // Concurrently, until one of them ends.
    tokio::select! {
        // This service gets no messages: processing only ends the select on a shutdown.
        result = conn.process_events().with_graceful_shutdown(stop(args.seconds)) => result?,
        result = publish_now_and_then(&chan) => result?,
        () = tick_every_second() => {}
    }
    conn.close().await
}

async fn publish_now_and_then(chan: &Channel) -> mooq::Result<()> {
    loop {
        sleep(Duration::from_secs(fastrand::u64(1..=10))).await;
        // Ready when RabbitMQ has confirmed the message.
        chan.publish("in2com_log", "Hello World!")
            .routing_key("greetings")
            .await?;
        println!("published!");
    }
}

async fn tick_every_second() {
    let mut every_second = interval(Duration::from_secs(1));
    for count in 0_u64.. {
        every_second.tick().await;
        println!("tick hello {count}");
    }
}

async fn stop(seconds: Option<u64>) {
    let time_is_up = async {
        match seconds {
            Some(seconds) => sleep(Duration::from_secs(seconds)).await,
            None => pending().await,
        }
    };
    tokio::select! {
        () = time_is_up => {}
        _ = ctrl_c() => {}
    }
}
