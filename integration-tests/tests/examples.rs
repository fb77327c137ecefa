//! The examples, run unchanged on the in-memory broker.

use std::path::Path;

use mooq_conformance::within;
use mooq_integration_tests::example;
use mooq_integration_tests::example::Service;
use tokio::process::Command;

/// Runs an example to its end, and returns its lines of output, sorted.
async fn output_of(name: &str, arguments: &[&str]) -> Vec<String> {
    let run = Command::new(example::build(name))
        .args(arguments)
        .kill_on_drop(true)
        .output();
    let output = within(&format!("the end of {name}"), run)
        .await
        .expect("the example starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} fails: {errors}");
    let output = String::from_utf8(output.stdout).expect("the example prints text");
    let mut lines: Vec<_> = output.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// Without a time limit: the example's speed depends on the machine.
#[tokio::test]
async fn in2com_ticks_publishes_and_yells() {
    let mut in2com = Service::start(&example::build("in2com"), &[]);
    let expected = ["tick hello 0", "published!", "tick loud 0", "HELLO WORLD!"];
    in2com.prints_all(&expected).await;
    in2com.ends_on_ctrl_c().await;
}

#[tokio::test]
async fn direct_prints_what_has_the_key() {
    assert_eq!(
        output_of("direct", &[]).await,
        [
            "error: the disk is full",
            "warning: the disk is nearly full"
        ]
    );
}

#[tokio::test]
async fn pool_consumes_during_an_alarm_and_publishes_after_it() {
    assert_eq!(
        output_of("pool", &[]).await,
        [
            "all orders are done, and their invoices wait for room",
            "invoice 100",
            "invoice 200",
            "invoice 300",
            "order 1",
            "order 2",
            "order 3",
        ]
    );
}

#[tokio::test]
async fn topic_prints_what_matches() {
    assert_eq!(
        output_of("topic", &[]).await,
        [
            "*.red matches apple.red: a red apple",
            "*.red matches ball.red: a red ball",
            "ball.# matches ball.red.large: a large red ball",
            "ball.# matches ball.red: a red ball",
            "ball.* matches ball.red: a red ball",
        ]
    );
}

#[tokio::test]
async fn fanout_gives_to_all() {
    assert_eq!(
        output_of("fanout", &[]).await,
        [
            "Ada reads: it rains",
            "Edsger reads: it rains",
            "Grace reads: it rains"
        ]
    );
}

#[tokio::test]
async fn headers_gives_by_header() {
    assert_eq!(
        output_of("headers", &[]).await,
        [
            "the archive gets a colour PDF",
            "the archive gets a grey PDF",
            "the colour printer gets a colour PDF",
        ]
    );
}

#[tokio::test]
async fn unit_test_a_service_bills_an_order() {
    assert_eq!(
        output_of("unit_test_a_service", &[]).await,
        ["Invoice { order: 1, cents: 750 }"]
    );
}

#[tokio::test]
async fn retry_for_a_day_tries_five_times() {
    assert_eq!(
        output_of("retry_for_a_day", &[]).await,
        [
            "after 86400s 1 given up",
            "tried after 0ns",
            "tried after 1s",
            "tried after 3661s",
            "tried after 39661s",
            "tried after 61s",
        ]
    );
}

#[tokio::test]
async fn faults_ships_what_comes_twice_once() {
    assert_eq!(
        output_of("faults", &[]).await,
        ["order 1 came 2 times, and was shipped 1 time"]
    );
}

#[tokio::test]
async fn worker_tries_three_times_and_parks() {
    assert_eq!(
        output_of("worker", &[]).await,
        [
            "parked: to nobody",
            "to ada",
            "to nobody",
            "to nobody",
            "to nobody",
        ]
    );
}

#[tokio::test]
async fn request_reply_answers_with_a_total_or_a_reason() {
    assert_eq!(
        output_of("request_reply", &[]).await,
        [
            "3 pieces: 750 cents",
            "4294967295 pieces: that is more than we can count",
        ]
    );
}

#[tokio::test]
async fn topology_replaces_a_queue_and_keeps_its_message() {
    let lines = output_of("topology", &[]).await;
    for line in [
        "exchange 'orders' is missing",
        "still there: an unpaid order",
        "    q0 -.->|\"dead\"| q1",
    ] {
        assert!(lines.iter().any(|one| one == line), "{line}: {lines:#?}");
    }
}

#[tokio::test]
async fn codecs_collects_both_formats_and_rejects_a_third() {
    assert_eq!(
        output_of("codecs", &[]).await,
        [
            "attic readings: 1",
            "attic readings: 1",
            "cellar readings: 1440",
            "rejected: reading.v9",
        ]
    );
}

#[tokio::test]
async fn event_fanout_tells_each_service() {
    assert_eq!(
        output_of("event_fanout", &[]).await,
        [
            "Dear Ada, enjoy your pencil!",
            "Dear Edsger, enjoy your pencil!",
            "Dear Grace, enjoy your paper!",
            "paper: 1 sold",
            "pencil: 2 sold",
        ]
    );
}

#[tokio::test]
async fn shop_sells_three_pencils_and_everyone_reads_it() {
    let reads = |name: &str| format!("{name} reads: 3 of pencil for 750 cents");
    assert_eq!(output_of("shop", &[]).await, [reads("Ada"), reads("Bob")]);
}

/// Lines of code, without comments and tests.
fn code_lines(example: &str) -> usize {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let source = std::fs::read_to_string(examples.join(example)).expect("the example is there");
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    code.lines().filter(is_code).count()
}

#[test]
fn shop_is_at_most_half_as_long_as_with_lapin() {
    let [own, lapin] = ["shop.rs", "lapin-shop/src/main.rs"].map(code_lines);
    assert!(2 * own <= lapin, "{own} lines, and {lapin} with lapin");
}
