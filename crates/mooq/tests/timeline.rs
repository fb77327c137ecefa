//! The output of tests that fail: the timeline of their broker. This program runs itself again for
//! some of its tests, with a variable set that makes them fail.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use mooq::memory::{InMemoryBroker, Profile};
use mooq::testing::{Test, TestBroker};
use mooq::{Channel, Error, ErrorKind};

/// The variable that makes tests fail.
const ON_PURPOSE: &str = "MOOQ_FAIL_ON_PURPOSE";

fn fails_on_purpose() -> bool {
    env::var_os(ON_PURPOSE).is_some()
}

fn panic_on_purpose() {
    assert!(!fails_on_purpose(), "a failure on purpose");
}

/// Queues an order.
async fn order(chan: &Channel) -> mooq::Result<()> {
    chan.declare_queue("orders").await?;
    chan.publish("", "a pencil").routing_key("orders").await
}

#[mooq::test(paused)]
async fn failing_by_a_panic(chan: Channel) -> mooq::Result<()> {
    order(&chan).await?;
    panic_on_purpose();
    Ok(())
}

#[mooq::test(paused)]
async fn failing_by_an_error(chan: Channel) -> mooq::Result<()> {
    order(&chan).await?;
    match fails_on_purpose() {
        true => Err(Error::new(
            ErrorKind::InvalidArgument,
            "a failure on purpose",
        )),
        false => Ok(()),
    }
}

#[mooq::test(memory)]
async fn failing_by_its_limit(chan: Channel) -> mooq::Result<()> {
    order(&chan).await?;
    if fails_on_purpose() {
        std::future::pending::<()>().await;
    }
    Ok(())
}

#[mooq::test(paused, seeds = 4..6)]
async fn failing_with_a_seed(chan: Channel) -> mooq::Result<()> {
    order(&chan).await?;
    panic_on_purpose();
    Ok(())
}

#[mooq::test(memory)]
#[should_panic(expected = "as it should")]
async fn panicking_as_it_should(chan: Channel) {
    order(&chan).await.unwrap();
    panic!("as it should");
}

/// RabbitMQ 4.3 denies transient queues that are not exclusive.
#[mooq::test(paused, profiles = [V4_0, V4_3])]
async fn failing_after_an_upgrade(chan: Channel) -> mooq::Result<()> {
    if fails_on_purpose() {
        chan.declare_queue("orders").transient().await?;
    }
    Ok(())
}

#[mooq::test(profiles = all)]
async fn every_version_has_a_test(chan: Channel) -> mooq::Result<()> {
    order(&chan).await
}

#[test]
fn failing_in_a_row_of_versions() {
    let test = Test::new("timeline::failing_in_a_row_of_versions");
    let code = test
        .in_memory()
        .profiles(Profile::ALL)
        .run(|broker| async move {
            let chan = mooq::connect(&broker).await?.create_channel().await?;
            match fails_on_purpose() {
                true => chan.declare_queue("orders").transient().await.map(drop),
                false => chan.declare_queue("orders").await.map(drop),
            }
        });
    assert_eq!(code, std::process::ExitCode::SUCCESS);
}

#[tokio::test]
async fn failing_with_a_broker_of_its_own() {
    let broker = InMemoryBroker::start();
    let _timeline = broker.timeline(100).print_on_panic();
    let chan = mooq::connect(&broker).await.unwrap();
    order(&chan.create_channel().await.unwrap()).await.unwrap();
    panic_on_purpose();
}

#[tokio::test]
async fn failing_with_a_test_broker() {
    let broker = TestBroker::start().unwrap();
    let chan = mooq::connect(&broker).await.unwrap();
    order(&chan.create_channel().await.unwrap()).await.unwrap();
    panic_on_purpose();
}

/// A run of tests of this program.
struct Run {
    output: String,
    is_success: bool,
    /// The directory of the timelines.
    directory: PathBuf,
}

impl Run {
    /// Runs the tests whose names begin with `test`. `fails` makes them fail.
    fn of(test: &str, fails: bool, variables: &[(&str, &str)]) -> Self {
        let words: Vec<_> = variables.iter().map(|(_, value)| *value).collect();
        let name = format!("{test}-{fails}-{}", words.join("-")).replace(['/', ':'], "_");
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("timelines")
            .join(name);
        // Nothing is there the first time.
        let _ = fs::remove_dir_all(&directory);
        let mut program = Command::new(env::current_exe().unwrap());
        // All output, which is in order if there is one test.
        program.args(["--show-output", "--test-threads=1", test]);
        for (variable, _) in env::vars().filter(|(name, _)| name.starts_with("MOOQ_")) {
            program.env_remove(variable);
        }
        program.env_remove("RUST_BACKTRACE");
        program.env("MOOQ_TEST_TIMELINE_DIR", &directory);
        if fails {
            program.env(ON_PURPOSE, "1");
        }
        program.envs(variables.iter().copied());
        let output = program.output().unwrap();
        Self {
            is_success: output.status.success(),
            output: String::from_utf8(output.stdout).unwrap(),
            directory,
        }
    }

    #[track_caller]
    fn failing(test: &str, variables: &[(&str, &str)]) -> Self {
        let run = Self::of(test, true, variables);
        assert!(!run.is_success, "{} passes", run.output);
        run
    }

    fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.directory.join(name)).ok()
    }
}

/// The timeline of an order. The test's channel is dropped as the test ends.
const TIMELINE: &str = r#"
timeline of the in-memory RabbitMQ 4.0: 6 events
  00:00:00.000000  client#1       connects as guest
  00:00:00.000000  client#1 ch 1  opens the channel
  00:00:00.000000  client#1 ch 1  declares queue "orders"
  00:00:00.000000  client#1 ch 1  publishes #1 to "", key "orders": "a pencil" -> "orders"
  00:00:00.000000  client#1 ch 1  is confirmed #1
  00:00:00.000000  client#1 ch 1  closes the channel
"#;

#[test]
fn timeline_of_a_panic_is_printed_and_written_to_a_file() {
    let run = Run::failing("failing_by_a_panic", &[]);
    let (before, after) = run.output.split_once(TIMELINE).unwrap_or_else(|| {
        panic!("no timeline:\n{}", run.output);
    });
    assert!(before.contains("a failure on purpose"), "{before}");
    let file = run.directory.join("timeline.failing_by_a_panic.md");
    let told = format!("all of it, and as a diagram: {}", file.display());
    assert!(after.starts_with(&told), "{after}");

    let content = run.file("timeline.failing_by_a_panic.md").unwrap();
    let diagram = r#"
```mermaid
sequenceDiagram
    participant c1 as client#35;1
    participant q1 as queue orders
    Note over c1: connects as guest
    c1->>q1: publish #35;1: "a pencil"
    Note over c1: is confirmed #35;1
```
"#;
    assert!(
        content.starts_with("# timeline::failing_by_a_panic\n"),
        "{content}"
    );
    assert!(content.contains(diagram), "{content}");
    assert!(content.contains(TIMELINE.trim_end()), "{content}");
}

#[test]
fn timeline_of_an_error_is_printed_below_the_error() {
    let run = Run::failing("failing_by_an_error", &[]);
    let error = run.output.find("a failure on purpose").unwrap();
    let timeline = run.output.find(TIMELINE.trim_start());
    assert!(timeline.is_some_and(|at| at > error), "{}", run.output);
}

#[test]
fn timeline_of_a_test_that_hangs_is_printed() {
    // On a busy machine a short limit passes before the order is there.
    for limit in ["1", "10", "60"] {
        let run = Run::failing("failing_by_its_limit", &[("MOOQ_TEST_LIMIT", limit)]);
        assert!(
            run.output.contains("the test still runs after"),
            "{}",
            run.output
        );
        if run.output.contains("is confirmed #1") {
            let ends = ["closes the connection", "is closed by the broker"];
            let is_over = ends.map(|end| run.output.contains(end));
            assert_eq!(is_over, [false; 2], "{}", run.output);
            return;
        }
    }
    panic!("the failure does not show the timeline");
}

#[test]
fn timeline_names_the_seed_above_the_command_that_repeats_it() {
    let run = Run::failing("failing_with_a_seed", &[]);
    let heading = "timeline of the in-memory RabbitMQ 4.0, seed 4: ";
    let timeline = run.output.find(heading).unwrap();
    let command = run
        .output
        .find("MOOQ_SEED=4 cargo test failing_with_a_seed");
    assert!(command.is_some_and(|at| at > timeline), "{}", run.output);
}

#[test]
fn test_that_passes_prints_no_timeline() {
    for test in [
        "failing_by_a_panic",
        "failing_with_a_seed",
        "failing_in_a_row_of_versions",
    ] {
        let run = Run::of(test, false, &[]);
        assert!(run.is_success, "{}", run.output);
        assert!(!run.output.contains("timeline of"), "{}", run.output);
        assert!(!run.directory.exists());
    }
}

#[test]
fn test_that_should_panic_writes_no_file() {
    let run = Run::of("panicking_as_it_should", false, &[]);
    assert!(run.is_success, "{}", run.output);
    assert!(!run.directory.exists());
}

#[test]
fn timeline_is_printed_as_the_variable_asks() {
    let printed = |value| {
        let run = Run::failing("failing_by_a_panic", &[("MOOQ_TEST_TIMELINE", value)]);
        let is_file = run.directory.exists();
        (run.output, is_file)
    };
    let (off, is_file) = printed("off");
    assert!(!off.contains("timeline of") && !is_file, "{off}");
    let (one, is_file) = printed("1");
    assert!(one.contains(": the last 1 of 6 events\n"), "{one}");
    assert!(!one.contains("connects as") && is_file, "{one}");
    let (both, _) = printed("mermaid");
    assert!(
        both.contains(TIMELINE) && both.contains("\nsequenceDiagram\n"),
        "{both}"
    );
    let (unknown, _) = printed("some");
    let expected = "MOOQ_TEST_TIMELINE is 'some', expected a number of events, all, mermaid or off";
    assert!(unknown.contains(expected), "{unknown}");
}

#[test]
fn versions_are_tests_of_their_own_and_the_failed_ones_are_listed() {
    let run = Run::failing("failing_after_an_upgrade", &[]);
    for line in [
        "test failing_after_an_upgrade_on_4_0 ... ok",
        "test failing_after_an_upgrade_on_4_3 ... FAILED",
        "timeline of the in-memory RabbitMQ 4.3: ",
        "failing_after_an_upgrade_on_4_3 fails on RabbitMQ 4.3",
    ] {
        assert!(run.output.contains(line), "{line} in {}", run.output);
    }
    let run = Run::of("every_version_has_a_test", false, &[]);
    for version in Profile::ALL {
        let number = version.name().replace('.', "_");
        let line = format!("test every_version_has_a_test_on_{number} ... ok");
        assert!(run.output.contains(&line), "{line} in {}", run.output);
    }
    assert!(run.output.contains("5 passed"), "{}", run.output);
}

#[test]
fn versions_in_a_row_are_all_run_and_summed_up() {
    let run = Run::failing("failing_in_a_row_of_versions", &[]);
    let told =
        "failing_in_a_row_of_versions fails on RabbitMQ 4.3, and passes on 3.10, 4.0, 4.1, 4.2";
    assert!(run.output.contains(told), "{}", run.output);
    let file = "timeline.failing_in_a_row_of_versions-on-RabbitMQ-4.3.md";
    assert!(run.file(file).is_some());
}

#[test]
fn case_of_a_version_fails_on_a_real_broker() {
    let elsewhere = [("MOOQ_TEST_BROKER", "amqp://127.0.0.1")];
    let run = Run::failing("failing_after_an_upgrade_on_4_3", &elsewhere);
    let told =
        "this is the case of RabbitMQ 4.3 in memory, and MOOQ_TEST_BROKER names another broker";
    assert!(run.output.contains(told), "{}", run.output);
}

#[test]
fn timeline_of_a_broker_that_a_test_starts_by_itself_is_printed_on_panic() {
    for test in [
        "failing_with_a_broker_of_its_own",
        "failing_with_a_test_broker",
    ] {
        let run = Run::failing(test, &[]);
        assert!(run.output.contains("is confirmed #1"), "{}", run.output);
        let run = Run::of(test, false, &[]);
        assert!(
            run.is_success && !run.output.contains("timeline of"),
            "{}",
            run.output
        );
    }
}
