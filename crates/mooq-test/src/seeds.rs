//! Runs of a test with many seeds.

use std::any::Any;
use std::env;
use std::fmt::Display;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{ExitCode, Termination};
use std::thread;

use mooq_core::{Error, ErrorKind, Result};
use tokio::runtime::Builder;

/// The variable that names the one seed to run.
pub(crate) const VARIABLE: &str = "MOOQ_SEED";

/// Runs a test once with each seed, on a current-thread runtime of its own. If the environment
/// variable `MOOQ_SEED` is set, the test runs with that seed alone.
///
/// The attribute `#[mooq::test(seeds = 0..20)]` does the same with a broker that it starts: this
/// function is for tests with another attribute, or with brokers of their own.
/// [`start_seeded`](mooq_memory::InMemoryBroker::start_seeded) tells what a seed decides.
///
/// # Panics
/// If the test panics or returns an error, at the first seed for which it does. The message's last
/// line is the command that repeats the test with that seed: `MOOQ_SEED=17 cargo test
/// name_of_the_test`. Also if `MOOQ_SEED` is not a number.
///
/// # Examples
/// ```
/// use mooq::memory::InMemoryBroker;
///
/// // In a #[test]:
/// mooq::testing::for_each_seed(0..20, |seed| async move {
///     let broker = InMemoryBroker::start_seeded(seed);
///     let chan = mooq::connect(&broker).await?.create_channel().await?;
///     chan.declare_queue("orders").await?;
///     chan.publish("", "book").routing_key("orders").await?;
///     assert_eq!(broker.queues("orders")[0].ready, 1);
///     Ok::<(), mooq::Error>(())
/// });
/// ```
///
/// The message names the seed for which a test fails:
/// ```should_panic
/// mooq::testing::for_each_seed(0..100, |seed| async move {
///     assert_ne!(seed, 17);
/// });
/// // seed 17: assertion `left != right` failed …
/// // MOOQ_SEED=17 cargo test …
/// ```
#[track_caller]
pub fn for_each_seed<F>(seeds: impl IntoIterator<Item = u64>, test: impl Fn(u64) -> F)
where
    F: Future<Output: Termination>,
{
    match the_one() {
        Ok(Some(seed)) => run(seed, &test),
        Ok(None) => seeds.into_iter().for_each(|seed| run(seed, &test)),
        Err(err) => fail(err),
    }
}

/// The seed that `MOOQ_SEED` names.
///
/// # Errors
/// `InvalidArgument` if the variable's value is not a number.
pub(crate) fn the_one() -> Result<Option<u64>> {
    let Ok(seed) = env::var(VARIABLE) else {
        return Ok(None);
    };
    seed.parse().map(Some).map_err(|e| {
        let message = format!("{VARIABLE} is '{seed}', expected a number");
        Error::new(ErrorKind::InvalidArgument, message).with_source(e)
    })
}

#[track_caller]
fn run<F>(seed: u64, test: impl Fn(u64) -> F)
where
    F: Future<Output: Termination>,
{
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.map(|runtime| runtime.block_on(async { test(seed).await }).report())
    }));
    let problem = match outcome {
        Ok(Ok(code)) if code == ExitCode::SUCCESS => return,
        Ok(Ok(_)) => "the test returned an error, which is printed above".to_owned(),
        Ok(Err(no_runtime)) => format!("there is no runtime: {no_runtime}"),
        Err(panic) => message(&*panic).to_owned(),
    };
    fail(with_replay(seed, problem));
}

/// The message of a panic, if the message is text.
fn message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "a panic without a message",
    }
}

fn with_replay(seed: u64, problem: impl Display) -> String {
    // A test's thread has the test's name, unless all tests share the main thread.
    let thread = thread::current();
    let name = thread.name().filter(|name| *name != "main");
    let name = name.map_or_else(String::new, |name| format!(" {name}"));
    format!("seed {seed}: {problem}\n{VARIABLE}={seed} cargo test{name}")
}

#[track_caller]
#[allow(clippy::panic, reason = "this is how a test fails")]
fn fail(message: impl Display) {
    panic!("{message}");
}
