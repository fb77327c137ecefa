//! Two services in one process: `hello` greets every other second, `loud` yells the greetings.
//!
//! ```console
//! $ cargo run --example in2com
//! $ cargo run --example in2com -- --url amqp://localhost:5672 --seconds 60
//! ```

use std::pin::pin;
use std::time::Duration;

use clap::Parser;
use mooq::ExchangeKind::Direct;
use mooq::memory::InMemoryBroker;
use mooq::{Channel, Connection, Delivery};
use tokio::signal::ctrl_c;
use tokio::time::{interval, sleep};

/// Two services that talk over a broker: one in this process, or RabbitMQ.
#[derive(Parser)]
struct Args {
    /// URL of the broker, for example amqp://localhost:5672
    #[arg(long, default_value = "memory://localhost:5672")]
    url: String,
    /// Seconds to run, unless Ctrl-C comes first
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

#[tokio::main]
async fn main() -> mooq::Result<()> {
    let args = Args::parse();
    let broker = InMemoryBroker::new("localhost", 5672);
    broker.run(); // memory://localhost:5672 leads here.

    // `loud` starts before `hello` greets: a broker keeps no messages for queues that do not exist.
    let loud = set_up_loud(&args.url).await?;
    let hello = set_up_hello(&args.url).await?;
    tokio::try_join!(
        run_loud(&loud, args.seconds),
        run_hello(&hello, args.seconds)
    )?;
    loud.close().await
}

async fn set_up_hello(url: &str) -> mooq::Result<Channel> {
    let conn = mooq::connect(url).await?;
    let chan = conn.create_channel().await?;
    chan.register_producer("in2com_log", Direct).await?;
    Ok(chan)
}

async fn run_hello(chan: &Channel, seconds: u64) -> mooq::Result<()> {
    // One future for the whole loop: it also catches a Ctrl-C during a publish.
    let mut stop = pin!(ctrl_c());
    let mut every_second = interval(Duration::from_secs(1));
    for count in 0..seconds {
        tokio::select! {
            _ = every_second.tick() => println!("tick hello {count}"),
            _ = &mut stop => break,
        }
        if count % 2 == 0 {
            // Ready when the broker has confirmed the message.
            chan.publish("in2com_log", "Hello World!")
                .routing_key("greetings")
                .await?;
            println!("published!");
        }
    }
    Ok(())
}

async fn set_up_loud(url: &str) -> mooq::Result<Connection> {
    let conn = mooq::connect(url).await?;
    let chan = conn.create_channel().await?;
    chan.register_consumer("in2com_log", Direct)
        .routing_keys(["greetings", "goodbyes"])
        .callback(|resp: Delivery<String>| async move { println!("{}", resp.msg.to_uppercase()) })
        .await?;
    Ok(conn)
}

async fn run_loud(conn: &Connection, seconds: u64) -> mooq::Result<()> {
    let stop = async move {
        tokio::select! {
            () = sleep(Duration::from_secs(seconds)) => {}
            _ = ctrl_c() => {}
        }
    };
    tokio::select! {
        // Callbacks run during this call. On shutdown it waits for the running ones.
        result = conn.process_events().with_graceful_shutdown(stop) => result,
        () = tick_every_second("loud") => Ok(()),
    }
}

async fn tick_every_second(service: &str) {
    let mut every_second = interval(Duration::from_secs(1));
    for count in 0_u64.. {
        every_second.tick().await;
        println!("tick {service} {count}");
    }
}
