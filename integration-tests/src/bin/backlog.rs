//! Memory of a slow consumer with a large backlog:
//!
//! ```console
//! $ cargo run --release -p mooq-integration-tests --bin backlog
//! ```
//!
//! Exits with 1 if the memory is over twice the bytes of the prefetch plus 64 MB.

use std::env;
use std::process::{Command, ExitCode};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mooq::{Channel, ConnectOptions, Connection, RawBytes};
use mooq_integration_tests::faults::Site;
use mooq_integration_tests::rabbitmq::container::Image;
use tokio::time::{MissedTickBehavior, interval};

const QUEUE: &str = "backlog";

/// 2 GB in all.
const MESSAGES: usize = 20_000;
const BODY: usize = 100_000;
const PREFETCH: usize = 200;

/// Interval at which the consumer takes a message: far longer than RabbitMQ needs to send one.
const PACE: Duration = Duration::from_millis(2);

/// Memory of a process beside its messages, in bytes.
const ALLOWANCE: usize = 64 * 1024 * 1024;

/// Number of publishes in flight.
const WINDOW: usize = 64;

/// Variable with the broker's port, for the measured process.
const CONSUME: &str = "MOOQ_BACKLOG_PORT";

#[tokio::main]
async fn main() -> ExitCode {
    if let Ok(port) = env::var(CONSUME) {
        let port = port.parse().expect("the port is a number");
        consume(&connect(ConnectOptions::new().host("127.0.0.1").port(port)).await).await;
        println!("{}", peak_memory());
        return ExitCode::SUCCESS;
    }
    let site = Site::rabbitmq(&Image::current()).await;
    let options = site.options();
    let port = options.endpoint().expect("the options are valid").port;
    fill(&connect(options).await).await;
    println!("{MESSAGES} messages of {BODY} bytes are in the queue");

    // In a process of its own: the memory for publishing does not count.
    let program = env::current_exe().expect("the path of this program is known");
    let mut measured = Command::new(program);
    measured.env(CONSUME, port.to_string());
    let output = tokio::task::spawn_blocking(move || measured.output());
    let output = output
        .await
        .expect("the measuring task ends")
        .expect("the consumer process starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let peak: usize = said
        .trim()
        .parse()
        .expect("the consumer process prints its peak memory");
    let bar = 2 * PREFETCH * BODY + ALLOWANCE;
    println!("prefetch {PREFETCH}: {peak} bytes at most, {bar} allowed");
    match peak <= bar {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

async fn connect(options: ConnectOptions) -> (Connection, Channel) {
    let conn = mooq::connect(options).await.expect("the broker answers");
    let chan = conn.create_channel().await.expect("a channel opens");
    (conn, chan)
}

async fn fill((_conn, chan): &(Connection, Channel)) {
    chan.declare_queue(QUEUE)
        .await
        .expect("declaring the queue succeeds");
    let body = vec![7; BODY];
    let mut confirmations = FuturesUnordered::new();
    for _ in 0..MESSAGES {
        let publish = chan.publish_with("", &body[..], RawBytes);
        let sent = publish.routing_key(QUEUE).send().await;
        confirmations.push(sent.expect("the message is sent"));
        if confirmations.len() == WINDOW
            && let Some(confirmed) = confirmations.next().await
        {
            confirmed.expect("the message is confirmed");
        }
    }
    while let Some(confirmed) = confirmations.next().await {
        confirmed.expect("the message is confirmed");
    }
}

async fn consume((_conn, chan): &(Connection, Channel)) {
    let consume = chan.consume::<Bytes>(QUEUE).codec(RawBytes);
    let prefetch = PREFETCH.try_into().expect("the prefetch fits in 16 bits");
    let opened = consume.prefetch(prefetch).await;
    let mut deliveries = opened.expect("the queue can be consumed");
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..MESSAGES {
        pace.tick().await;
        let next = deliveries.next().await.expect("the stream goes on");
        let delivery = next.expect("the stream gives a delivery");
        let body = delivery.ack().await.expect("the channel is open");
        assert_eq!(body.len(), BODY);
    }
}

/// The most memory that this process has had so far, in bytes, as Linux counts it.
fn peak_memory() -> usize {
    let status =
        std::fs::read_to_string("/proc/self/status").expect("/proc/self/status can be read");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let line = line.expect("/proc/self/status has the peak");
    let kib = line.trim().trim_end_matches(" kB").trim();
    kib.parse::<usize>().expect("the peak is a number") * 1024
}
