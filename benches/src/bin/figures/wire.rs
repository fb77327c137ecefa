//! Rows of mooq-server: its start and its memory, and its rates against RabbitMQ's.

use std::error::Error;
use std::io;
use std::time::Duration;

use mooq::Endpoint;
use mooq_benches::wire::load::{self, Messages};
use mooq_benches::wire::peer::Peer;
use mooq_benches::wire::server::Server;
use mooq_core::{DeliveryMode, QueueName};

use crate::{ROUNDS, Row};

/// Messages of one round, and of one measurement of the time to a delivery.
const MESSAGES: u64 = 40_000;
const SINGLE_MESSAGES: u64 = 5_000;

/// The queue that both brokers use.
const QUEUE: &str = "mooq-figures-wire";

/// Number of connections and of queues whose cost is measured.
const MANY: usize = 10_000;

/// Rows that need nothing but mooq-server, and those that compare it with a RabbitMQ.
pub(crate) fn rows(rabbitmq: Option<&Endpoint>) -> Result<Vec<Row>, Box<dyn Error>> {
    let program = Server::build()?;
    let mut rows = Vec::new();
    let mut starts = Vec::new();
    for _ in 0..20 {
        starts.push(Server::start(&program)?.login);
    }
    starts.sort_unstable();
    let median = starts[starts.len() / 2];
    rows.push(Row {
        what: "mooq-server: process start to first login, median".into(),
        figure: millis(median),
        baseline: "20 ms".into(),
        ratio: format!("{:.2}", median.as_secs_f64() / 0.02),
        bar: "at most 20 ms",
        ok: median <= Duration::from_millis(20),
    });
    let server = Server::start(&program)?;
    rows.extend(memory(&server)?);
    if let Some(rabbitmq) = rabbitmq {
        // Without the ten thousand connections and queues.
        let server = Server::start(&program)?;
        rows.extend(rates(&server.endpoint, rabbitmq)?);
        rows.extend(times(&server.endpoint, rabbitmq)?);
    }
    Ok(rows)
}

/// Memory when idle, and of each connection and queue. None where there is no `/proc`.
fn memory(server: &Server) -> Result<Vec<Row>, Box<dyn Error>> {
    let Some(idle) = server.memory() else {
        return Ok(Vec::new());
    };
    let mut rows = vec![Row {
        what: "mooq-server: resident memory when idle".into(),
        figure: format!("{:.1} MB", idle as f64 / 1e6),
        baseline: "15 MB".into(),
        ratio: format!("{:.2}", idle as f64 / 15e6),
        bar: "at most 15 MB",
        ok: idle <= 15_000_000,
    }];
    let each = |before: u64| {
        let now = server.memory().unwrap_or(before);
        format!(
            "{:.1} kB each",
            now.saturating_sub(before) as f64 / MANY as f64 / 1e3
        )
    };
    let cost = |what: String, figure: String| Row {
        what: what.into(),
        figure,
        baseline: String::new(),
        ratio: String::new(),
        bar: "",
        ok: true,
    };
    // Within the limit of open files that most systems have.
    let limit = open_files().saturating_sub(100);
    if limit >= MANY {
        let connections = server.connect(MANY)?;
        rows.push(cost(
            format!("mooq-server: memory of {MANY} connections with a channel"),
            each(idle),
        ));
        drop(connections);
    }
    let before = server.memory().unwrap_or(idle);
    let mut peer = Peer::connect(&server.endpoint)?;
    for number in 0..MANY {
        peer.declare(&QueueName::try_from(format!("queue-{number}"))?)?;
    }
    rows.push(cost(
        format!("mooq-server: memory of {MANY} queues"),
        each(before),
    ));
    Ok(rows)
}

/// Number of files that this process may have open.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    soft.and_then(|soft| soft.parse().ok()).unwrap_or(0)
}

/// Rates at which both brokers take the same load, in turn.
fn rates(ours: &Endpoint, rabbitmq: &Endpoint) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut rows = Vec::new();
    for body in [64, 4096] {
        for mode in [DeliveryMode::Transient, DeliveryMode::Persistent] {
            let messages = Messages {
                count: MESSAGES,
                body,
                mode,
            };
            let (mut best, mut theirs) = ([Duration::MAX; 3], [Duration::MAX; 3]);
            for _ in 0..ROUNDS {
                round(ours, messages, &mut best)?;
                round(rabbitmq, messages, &mut theirs)?;
            }
            let has_bar = body == 64 && mode == DeliveryMode::Transient;
            let mode = match mode {
                DeliveryMode::Persistent => "persistent",
                _ => "transient",
            };
            let load = ["publish and confirm", "consume and ack", "both at once"];
            for ((load, ours), theirs) in load.into_iter().zip(best).zip(theirs) {
                let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
                let has_bar = has_bar && load != "both at once";
                rows.push(Row {
                    what: format!("mooq-server: {load}, {mode}, {body} B").into(),
                    figure: rate(ours),
                    baseline: format!("RabbitMQ {}", rate(theirs)),
                    ratio: format!("{ratio:.2}"),
                    bar: if has_bar { "at least 3" } else { "" },
                    ok: !has_bar || ratio >= 3.0,
                });
            }
        }
    }
    Ok(rows)
}

/// Publishes, consumes, and does both. Keeps the best times.
fn round(
    at: &Endpoint,
    messages: Messages,
    best: &mut [Duration; 3],
) -> Result<(), Box<dyn Error>> {
    let queue = QueueName::try_from(QUEUE)?;
    let mut peer = Peer::connect(at)?;
    peer.declare(&queue)?;
    best[0] = best[0].min(load::publish(at, &queue, messages)?);
    best[1] = best[1].min(load::consume(at, &queue, messages.count)?);
    best[2] = best[2].min(load::both(at, &queue, messages)?);
    peer.delete(&queue)?;
    Ok(())
}

/// Times from a publish to its delivery, of one message at a time.
fn times(ours: &Endpoint, rabbitmq: &Endpoint) -> Result<Vec<Row>, Box<dyn Error>> {
    let messages = Messages {
        count: SINGLE_MESSAGES,
        body: 64,
        mode: DeliveryMode::Transient,
    };
    let queue = QueueName::try_from(QUEUE)?;
    let [ours, theirs] = [ours, rabbitmq].map(|at| {
        let mut peer = Peer::connect(at)?;
        peer.declare(&queue)?;
        let times = load::latencies(at, &queue, messages)?;
        peer.delete(&queue)?;
        Ok::<_, io::Error>(times)
    });
    let (ours, theirs) = (ours?, theirs?);
    let row = |what: &'static str, per_mille: usize| {
        let at = |times: &[Duration]| times[times.len() * per_mille / 1000];
        let (ours, theirs) = (at(&ours), at(&theirs));
        Row {
            what: what.into(),
            figure: format!("{:.0} us", ours.as_secs_f64() * 1e6),
            baseline: format!("RabbitMQ {:.0} us", theirs.as_secs_f64() * 1e6),
            ratio: format!("{:.2}", ours.as_secs_f64() / theirs.as_secs_f64()),
            bar: "",
            ok: true,
        }
    };
    Ok(vec![
        row("mooq-server: publish to delivery, median", 500),
        row("mooq-server: publish to delivery, 99th percentile", 990),
    ])
}

fn rate(taken: Duration) -> String {
    format!("{:.0} k/s", MESSAGES as f64 / taken.as_secs_f64() / 1e3)
}

fn millis(taken: Duration) -> String {
    format!("{:.1} ms", taken.as_secs_f64() * 1e3)
}
