//! The examples, run as they come: on the in-memory broker.

use std::process::Command;

use mooq_integration_tests::example;

/// Runs an example to its end, and gives the lines that it printed, sorted.
fn output_of(name: &str, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(example::build(name))
        .args(arguments)
        .output()
        .expect("the example starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} fails: {errors}");
    let output = String::from_utf8(output.stdout).expect("it prints text");
    let mut lines: Vec<_> = output.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn in2com_ticks_publishes_and_yells() {
    let lines = output_of("in2com", &["--seconds", "2"]);
    for line in ["tick hello 0", "published!", "tick loud 0", "HELLO WORLD!"] {
        assert!(lines.iter().any(|l| l == line), "'{line}' in {lines:?}");
    }
}

#[test]
fn direct_prints_what_has_the_key() {
    assert_eq!(
        output_of("direct", &[]),
        [
            "error: the disk is full",
            "warning: the disk is nearly full"
        ]
    );
}

#[test]
fn topic_prints_what_matches() {
    assert_eq!(
        output_of("topic", &[]),
        [
            "*.red matches apple.red: a red apple",
            "*.red matches ball.red: a red ball",
            "ball.# matches ball.red.large: a large red ball",
            "ball.# matches ball.red: a red ball",
            "ball.* matches ball.red: a red ball",
        ]
    );
}

#[test]
fn fanout_gives_to_all() {
    assert_eq!(
        output_of("fanout", &[]),
        [
            "Ada reads: it rains",
            "Edsger reads: it rains",
            "Grace reads: it rains"
        ]
    );
}

#[test]
fn headers_gives_by_header() {
    assert_eq!(
        output_of("headers", &[]),
        [
            "the archive gets a colour PDF",
            "the archive gets a grey PDF",
            "the colour printer gets a colour PDF",
        ]
    );
}

#[test]
fn unit_test_a_service_bills_an_order() {
    assert_eq!(
        output_of("unit_test_a_service", &[]),
        ["Invoice { order: 1, cents: 750 }"]
    );
}
