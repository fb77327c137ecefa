//! The second half of in2com, the tutorial: yells what `hello` says.
//!
//! ```console
//! $ cargo run --example loud
//! $ cargo run --example hello
//! ```

use std::future::pending;
use std::time::Duration;

use clap::Parser;
use mooq::Delivery;
use mooq::ExchangeKind::Direct;
use tokio::signal::ctrl_c;
use tokio::time::{interval, sleep};

/// Yells what `hello` says.
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
    chan.register_consumer("in2com_log", Direct)
        .routing_keys(["greetings", "goodbyes"])
        .callback(yell_it)
        .await?;

    tokio::select! {
        // Callbacks run during this call. On shutdown it waits for the running ones.
        result = conn.process_events().with_graceful_shutdown(stop(args.seconds)) => result?,
        () = tick_every_second() => {}
    }
    conn.close().await
}

async fn yell_it(resp: Delivery<String>) {
    println!("{}", resp.msg.to_uppercase());
}

async fn tick_every_second() {
    let mut every_second = interval(Duration::from_secs(1));
    for count in 0_u64.. {
        every_second.tick().await;
        println!("tick loud {count}");
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
