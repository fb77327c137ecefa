//! The same seed gives the same run, and a failing test prints how to run it again.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mooq_memory::InMemoryBroker;
use mooq_test::for_each_seed;

use crate::chatter::run;

#[test]
fn the_same_seed_gives_the_same_run_a_thousand_times_of_a_thousand() {
    let first = RefCell::new(None);
    for_each_seed(std::iter::repeat_n(17, 1_000), |seed| {
        let first = &first;
        async move {
            let trace = run(&InMemoryBroker::start_seeded(seed)).await;
            let mut first = first.borrow_mut();
            assert_eq!(first.get_or_insert_with(|| trace.clone()), &trace);
        }
    });
}

fn failure(test: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(test)).unwrap_err();
    panic.downcast_ref::<String>().unwrap().clone()
}

#[test]
fn the_seed_that_failed_is_the_last_line() {
    let seen = RefCell::new(Vec::new());
    let message = failure(|| {
        for_each_seed(3..10, |seed| {
            seen.borrow_mut().push(seed);
            async move { assert_ne!(seed, 5, "there it is") }
        });
    });
    assert_eq!(*seen.borrow(), [3, 4, 5]);
    assert!(message.starts_with("seed 5: "), "{message}");
    assert!(message.contains("there it is"), "{message}");
    let last = message.lines().last().unwrap();
    let name = std::thread::current().name().unwrap().to_owned();
    assert_eq!(last, format!("MOOQ_SEED=5 cargo test {name}"));
}

#[test]
fn a_test_may_fail_by_an_error() {
    let message = failure(|| for_each_seed([8], |_| async { Err::<(), _>("no") }));
    assert!(
        message.starts_with("seed 8: the test returned an error"),
        "{message}"
    );
    for_each_seed([8], |_| async { Ok::<(), &str>(()) });
}

/// Variable that marks the process in which a test runs itself again.
const INNER: &str = "MOOQ_TEST_INNER";

#[test]
fn the_variable_names_the_one_seed_to_run() {
    if std::env::var(INNER).is_ok() {
        for_each_seed(0..3, |seed| async move { panic!("ran with {seed}") });
    }
    for (value, expected) in [
        ("7", "seed 7: ran with 7\nMOOQ_SEED=7 cargo test"),
        ("x", "MOOQ_SEED is 'x', expected a number"),
    ] {
        let name = "replaying::the_variable_names_the_one_seed_to_run";
        let inner = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(INNER, "1")
            .env("MOOQ_SEED", value)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&inner.stderr);
        assert!(!inner.status.success());
        assert!(said.contains(expected), "{said}");
    }
}
