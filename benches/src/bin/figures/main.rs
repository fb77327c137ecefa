//! Prints mooq's speed, as ratios measured in one run, and exits with 1 if a ratio misses its bar.
//!
//! `cargo run --release -p mooq-benches --bin figures`; with `MOOQ_URL=amqp://…` also the workloads
//! on RabbitMQ, against raw amqprs and lapin, and mooq-server against RabbitMQ.

mod wire;

use std::borrow::Cow;
use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use mooq::Endpoint;
use mooq_benches::scaling::{Crowd, Crowded};
use mooq_benches::{pipeline, rabbit, routing, seeds, waiting};
use tokio::runtime::Builder;

/// Number of runs of each workload, in turn with its baseline: the best counts, since other work of
/// the machine only slows a run down.
const ROUNDS: usize = 5;

/// Messages of one round in memory, and against RabbitMQ.
const MESSAGES: u64 = 300_000;
const RABBIT_MESSAGES: u64 = 40_000;

/// One line of the table.
struct Row {
    what: Cow<'static, str>,
    figure: String,
    baseline: String,
    ratio: String,
    /// Empty for a figure that is only reported.
    bar: &'static str,
    ok: bool,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut rows = Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(in_memory());
    // Last of the workloads in memory, since pausing the clock affects the rest of the process.
    rows.push(day_of_retries());
    let url = env::var("MOOQ_URL").ok();
    if let Some(url) = &url {
        // On threads, as in a service, and since lapin brings its own in any case.
        let runtime = Builder::new_multi_thread().enable_all().build()?;
        rows.extend(runtime.block_on(against_rabbitmq(url))?);
    }
    let rabbitmq = url.map(|url| url.parse()).transpose()?;
    rows.extend(wire::rows(rabbitmq.as_ref())?);
    print(&rows);
    let short = rows.iter().any(|row| !row.ok);
    Ok(ExitCode::from(u8::from(short)))
}

async fn in_memory() -> Vec<Row> {
    // First, while the process's memory is still empty.
    let mut rows: Vec<Row> = queued_messages().await.into_iter().collect();
    rows.push(publish_callback_ack().await);
    rows.push(rounds_until_idle().await);
    rows.extend(topic_routing());
    rows.extend(fresh_brokers().await);
    rows.push(small_tests_with_seeds());
    rows.extend(Crowd::ALL.map(crowded));
    rows
}

fn print(rows: &[Row]) {
    println!(
        "{:<54} {:>14} {:>26} {:>8} {:>22}",
        "what", "figure", "baseline", "ratio", "bar"
    );
    for row in rows {
        let verdict = match (row.bar, row.ok) {
            ("", _) => "",
            (_, true) => "ok",
            (_, false) => "short",
        };
        println!(
            "{:<54} {:>14} {:>26} {:>8} {:>22} {verdict}",
            row.what, row.figure, row.baseline, row.ratio, row.bar
        );
    }
}

async fn queued_messages() -> Option<Row> {
    const COUNT: u64 = 1_000_000;
    let bytes = pipeline::queued_overhead(COUNT).await?;
    Some(Row {
        what: "memory: 1 M queued messages, beyond the body".into(),
        figure: format!("{bytes:.0} B each"),
        baseline: "64 B body".into(),
        ratio: format!("{:.2}", bytes / 64.0),
        bar: "at most 250 B",
        ok: bytes <= 250.0,
    })
}

async fn publish_callback_ack() -> Row {
    let (mut ours, mut mpsc) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        ours = ours.min(pipeline::publish_callback_ack(MESSAGES).await);
        mpsc = mpsc.min(pipeline::bounded_mpsc(MESSAGES).await);
    }
    let rate = MESSAGES as f64 / ours.as_secs_f64();
    Row {
        what: "memory: publish, callback, ack".into(),
        figure: format!("{:.0} k/s", rate / 1e3),
        baseline: format!("mpsc {:.0} ns", nanos(mpsc, MESSAGES)),
        ratio: format!("{:.2}", ours.as_secs_f64() / mpsc.as_secs_f64()),
        bar: "at least 1000 k/s",
        ok: rate >= 1e6,
    }
}

async fn rounds_until_idle() -> Row {
    const IDLE_ROUNDS: u64 = 30_000;
    let (mut idle, mut told) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        idle = idle.min(waiting::rounds_until_idle(IDLE_ROUNDS).await);
        told = told.min(waiting::rounds_until_told(IDLE_ROUNDS).await);
    }
    let (idle, told) = (nanos(idle, IDLE_ROUNDS), nanos(told, IDLE_ROUNDS));
    Row {
        what: "memory: publish, callback, wait_idle".into(),
        figure: format!("{:.1} us", idle / 1e3),
        baseline: format!("told by it {:.1} us", told / 1e3),
        ratio: format!("{:.2}", idle / told),
        bar: "at most 1.5",
        ok: idle <= 1.5 * told,
    }
}

fn day_of_retries() -> Row {
    const DAYS: usize = 100;
    let mut days: Vec<_> = (0..DAYS).map(|_| waiting::day_of_retries()).collect();
    days.sort();
    let median = days[DAYS / 2];
    Row {
        what: "memory: a day of retries, median".into(),
        figure: format!("{:.2} ms", median.as_secs_f64() * 1e3),
        baseline: "5 ms".into(),
        ratio: format!("{:.2}", median.as_secs_f64() * 1e3 / 5.0),
        bar: "at most 5 ms",
        ok: median <= Duration::from_millis(5),
    }
}

/// The cost of routing is the time of a publish to a topic exchange, less that of the same publish
/// to a fanout exchange with one binding, which needs no search.
fn topic_routing() -> Vec<Row> {
    const ROUTES: u64 = 1_000_000;
    // A scan is slow, so fewer of them.
    const SCANS: u64 = 200;
    let mut plain = routing::Routing::fanout(1);
    let mut few = routing::Topic::new(100);
    let mut many = routing::Topic::new(100_000);
    let mut best = [Duration::MAX; 4];
    for _ in 0..ROUNDS {
        let round = [
            plain.route(ROUTES),
            few.route(ROUTES),
            many.route(ROUTES),
            many.scan(SCANS),
        ];
        for (best, taken) in best.iter_mut().zip(round) {
            *best = taken.min(*best);
        }
    }
    let [plain, few, many] = [best[0], best[1], best[2]].map(|taken| nanos(taken, ROUTES));
    let (few, many) = (few - plain, many - plain);
    let scan = nanos(best[3], SCANS);
    vec![
        Row {
            what: "topic route, 100,000 bindings".into(),
            figure: format!("{many:.0} ns"),
            baseline: format!("glob-match scan {:.0} us", scan / 1e3),
            ratio: format!("{:.5}", many / scan),
            bar: "at most 200 ns",
            ok: many <= 200.0,
        },
        Row {
            what: "topic route, 100,000 bindings against 100".into(),
            figure: format!("{many:.0} ns"),
            baseline: format!("{few:.0} ns"),
            ratio: format!("{:.2}", many / few),
            bar: "at most 1.5",
            ok: many <= 1.5 * few,
        },
    ]
}

async fn fresh_brokers() -> Vec<Row> {
    const BROKERS: usize = 1000;
    let (mut each, mut alive) = (Vec::new(), Vec::new());
    for _ in 0..BROKERS {
        let (taken, broker) = pipeline::fresh_broker().await;
        each.push(taken);
        alive.push(broker);
    }
    let total: Duration = each.iter().sum();
    each.sort();
    let median = each[BROKERS / 2];
    vec![
        Row {
            what: "broker, connection and channel, median".into(),
            figure: format!("{:.1} us", micros(median)),
            baseline: "100 us".into(),
            ratio: format!("{:.2}", micros(median) / 100.0),
            bar: "at most 100 us",
            ok: median <= Duration::from_micros(100),
        },
        Row {
            what: "1,000 isolated brokers, all alive".into(),
            figure: format!("{:.0} ms", total.as_secs_f64() * 1e3),
            baseline: "1000 ms".into(),
            ratio: format!("{:.2}", total.as_secs_f64()),
            bar: "at most 1000 ms",
            ok: total <= Duration::from_secs(1),
        },
    ]
}

/// A test that takes a millisecond for a seed can run with many seeds.
fn small_tests_with_seeds() -> Row {
    const SEEDS: u64 = 1000;
    let taken = (0..ROUNDS).map(|_| seeds::small_tests(SEEDS)).min();
    let taken = taken.unwrap_or(Duration::MAX);
    Row {
        what: "a small test with 1,000 seeds".into(),
        figure: format!("{:.0} ms", taken.as_secs_f64() * 1e3),
        baseline: "1000 ms".into(),
        ratio: format!("{:.2}", taken.as_secs_f64()),
        bar: "at most 1000 ms",
        ok: taken <= Duration::from_secs(1),
    }
}

/// The cost of a publish among a million of something, against among a hundred.
fn crowded(crowd: Crowd) -> Row {
    const MANY: usize = 1_000_000;
    const MESSAGES: u64 = 100_000;
    let (mut few, mut many) = (Crowded::new(crowd, 100), Crowded::new(crowd, MANY));
    let (mut at_few, mut at_many) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        at_few = at_few.min(few.publish_and_get(MESSAGES));
        at_many = at_many.min(many.publish_and_get(MESSAGES));
    }
    let (few, many) = (nanos(at_few, MESSAGES), nanos(at_many, MESSAGES));
    Row {
        what: format!("publish and get, 1 M {} against 100", crowd.name()).into(),
        figure: format!("{many:.0} ns"),
        baseline: format!("{few:.0} ns"),
        ratio: format!("{:.2}", many / few),
        bar: "at most 1.5",
        ok: many <= 1.5 * few,
    }
}

/// The best times of one workload, by each client.
struct Best {
    mooq: Duration,
    amqprs: Duration,
    lapin: Duration,
}

impl Best {
    fn new() -> Self {
        Self {
            mooq: Duration::MAX,
            amqprs: Duration::MAX,
            lapin: Duration::MAX,
        }
    }

    /// One row against each other client, whose bar is a multiple of that client's rate.
    fn rows(&self, what: [&'static str; 2], bars: [(&'static str, f64); 2]) -> [Row; 2] {
        let row = |what: &'static str, other: Duration, name, (bar, least): (&'static str, f64)| {
            let ratio = other.as_secs_f64() / self.mooq.as_secs_f64();
            Row {
                what: what.into(),
                figure: rate(self.mooq),
                baseline: format!("{name} {}", rate(other)),
                ratio: format!("{ratio:.2}"),
                bar,
                ok: ratio >= least,
            }
        };
        [
            row(what[0], self.amqprs, "amqprs", bars[0]),
            row(what[1], self.lapin, "lapin", bars[1]),
        ]
    }
}

async fn against_rabbitmq(url: &str) -> Result<Vec<Row>, Box<dyn Error>> {
    let endpoint: Endpoint = url.parse()?;
    let (mut publish, mut consume) = (Best::new(), Best::new());
    for _ in 0..ROUNDS {
        let count = RABBIT_MESSAGES;
        publish.mooq = publish
            .mooq
            .min(rabbit::by_mooq::publish(url, count).await?);
        consume.mooq = consume
            .mooq
            .min(rabbit::by_mooq::consume(url, count).await?);
        publish.amqprs = publish
            .amqprs
            .min(rabbit::by_amqprs::publish(&endpoint, count).await?);
        consume.amqprs = consume
            .amqprs
            .min(rabbit::by_amqprs::consume(&endpoint, count).await?);
        publish.lapin = publish
            .lapin
            .min(rabbit::by_lapin::publish(url, count).await?);
        consume.lapin = consume
            .lapin
            .min(rabbit::by_lapin::consume(url, count).await?);
    }
    rabbit::by_mooq::clean_up(url).await?;
    let mut rows = Vec::new();
    rows.extend(publish.rows(
        [
            "RabbitMQ: confirmed publish, against amqprs",
            "RabbitMQ: confirmed publish, against lapin",
        ],
        [("at least 0.85", 0.85), ("more than 1", 1.0_f64.next_up())],
    ));
    rows.extend(consume.rows(
        [
            "RabbitMQ: consume and ack, against amqprs",
            "RabbitMQ: consume and ack, against lapin",
        ],
        [("at least 0.85", 0.85), ("at least 2", 2.0)],
    ));
    Ok(rows)
}

fn rate(taken: Duration) -> String {
    format!(
        "{:.1} k/s",
        RABBIT_MESSAGES as f64 / taken.as_secs_f64() / 1e3
    )
}

fn nanos(taken: Duration, count: u64) -> f64 {
    taken.as_secs_f64() * 1e9 / count as f64
}

fn micros(taken: Duration) -> f64 {
    taken.as_secs_f64() * 1e6
}
