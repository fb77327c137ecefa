//! Running a test: with its broker, on a runtime of its own, within a limit.

use std::fmt::Display;
use std::future::Future;
use std::iter;
use std::ops::Range;
use std::panic;
use std::process::{ExitCode, Termination};
use std::sync::Arc;
use std::time::Duration;

use mooq_core::{Error, ErrorKind, Result};
use mooq_memory::{Options, Profile};
use tokio::runtime::{Builder, Runtime};

use crate::broker::TestBroker;
use crate::choice::{self, Choice, VARIABLE};
use crate::limit::{self, Outcome};
use crate::seeds;

/// A test with a broker of its own: `#[mooq::test]` expands to it, and the attribute's options are
/// the methods here.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use mooq::testing::Test;
///
/// // In a #[test]:
/// let test = Test::new("a_day_is_short").paused().limit(Duration::from_secs(5));
/// test.run(|broker| async move {
///     let chan = mooq::connect(&broker).await?.create_channel().await?;
///     chan.declare_queue("offers").await?;
///     tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
///     chan.publish("", "half price").routing_key("offers").await
/// });
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `run`"]
pub struct Test {
    /// The test's name, as `cargo test` calls it.
    name: &'static str,
    limit: Duration,
    memory: bool,
    wire: bool,
    paused: bool,
    multi_thread: bool,
    seeds: Option<Range<u64>>,
    profile: Option<Profile>,
}

impl Test {
    /// Default time limit of a test.
    pub const DEFAULT_LIMIT: Duration = Duration::from_secs(60);

    /// A test of this name, which may be a path that begins with the crate's name.
    pub fn new(name: &'static str) -> Self {
        Self {
            name: name.split_once("::").map_or(name, |(_, name)| name),
            limit: Self::DEFAULT_LIMIT,
            memory: false,
            wire: false,
            paused: false,
            multi_thread: false,
            seeds: None,
            profile: None,
        }
    }

    /// Sets the time limit, in wall-clock time and without the time that the start of a container
    /// takes.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs the test on the in-memory broker only.
    pub fn in_memory(mut self) -> Self {
        self.memory = true;
        self
    }

    /// Gives the broker an `amqp://` URL ([`TestBroker::url`]), for services that use another client.
    /// In memory it listens on a socket, which needs the feature `server`.
    pub fn wire(mut self) -> Self {
        self.wire = true;
        self
    }

    /// Pauses tokio's clock, which needs the in-memory broker.
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self.in_memory()
    }

    /// Runs the test on a multi-thread runtime.
    pub fn multi_thread(mut self) -> Self {
        self.multi_thread = true;
        self
    }

    /// Runs the test once with each of these seeds, or with the one that `MOOQ_SEED` names: see
    /// [`start_seeded`](mooq_memory::InMemoryBroker::start_seeded). This needs the in-memory broker. The limit is for each run.
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.seeds = Some(seeds);
        self.in_memory()
    }

    /// Sets the version of RabbitMQ that the broker behaves as in memory, regardless of
    /// `MOOQ_TEST_PROFILE`. A real RabbitMQ keeps its own version.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// Runs the test in a thread of its own, with a runtime of its own. Returns the exit code of a
    /// `#[test]`: a failure if the test returned an error.
    ///
    /// # Panics
    /// If the test panics, if it takes too long, or if the broker that `MOOQ_TEST_BROKER` names is
    /// not available. With seeds, the output's last line is the command that repeats the test with
    /// the failed seed.
    #[track_caller]
    pub fn run<F>(self, test: impl Fn(TestBroker) -> F + Send + Sync + 'static) -> ExitCode
    where
        F: Future<Output: Termination>,
    {
        match self.try_run(&Arc::new(test)) {
            Ok(Outcome::Returned(code)) => code,
            Ok(Outcome::Panicked(panic)) => panic::resume_unwind(panic),
            Ok(Outcome::TookTooLong(told)) => fail(told),
            Err(no_broker) => fail(no_broker),
        }
    }

    fn try_run<F, T>(&self, test: &Arc<T>) -> Result<Outcome>
    where
        F: Future<Output: Termination>,
        T: Fn(TestBroker) -> F + Send + Sync + 'static,
    {
        self.check_place()?;
        let limit = limit::from_env()?.unwrap_or(Some(self.limit));
        let Some(seeds) = self.seeds_to_run()? else {
            return self.run_once(self.options()?, limit, test);
        };
        for seed in seeds {
            let mut options = self.options()?;
            options.seed = Some(seed);
            let outcome = self.run_once(options, limit, test)?;
            if !outcome.is_success() {
                eprintln!("{}={seed} cargo test {}", seeds::VARIABLE, self.name);
                return Ok(outcome);
            }
        }
        Ok(Outcome::Returned(ExitCode::SUCCESS))
    }

    /// The options of the test's broker, in memory.
    fn options(&self) -> Result<Options> {
        let mut options = choice::memory_options()?;
        if let Some(profile) = self.profile {
            options.profile = profile;
        }
        Ok(options)
    }

    /// Fails a test that needs memory but runs elsewhere. Tests that were compiled for another
    /// broker are ignored and do not get here. A binary that was compiled for memory cannot skip
    /// them, so they fail.
    fn check_place(&self) -> Result<()> {
        if self.paused && self.wire {
            let message = "a paused clock does not wait for sockets: a test is paused or wire";
            return Err(Error::new(ErrorKind::NotAllowed, message));
        }
        if !self.memory || Choice::from_env()?.is_in_memory() {
            return Ok(());
        }
        let message = format!(
            "this test needs the in-memory broker, and {VARIABLE} names another. \
             It is shown as ignored if the variable is set when it is compiled, too"
        );
        Err(Error::new(ErrorKind::NotAllowed, message))
    }

    fn seeds_to_run(&self) -> Result<Option<Box<dyn Iterator<Item = u64>>>> {
        let Some(seeds) = self.seeds.clone() else {
            return Ok(None);
        };
        Ok(Some(match seeds::the_one()? {
            Some(seed) => Box::new(iter::once(seed)),
            None => Box::new(seeds),
        }))
    }

    fn run_once<F, T>(
        &self,
        options: Options,
        limit: Option<Duration>,
        test: &Arc<T>,
    ) -> Result<Outcome>
    where
        F: Future<Output: Termination>,
        T: Fn(TestBroker) -> F + Send + Sync + 'static,
    {
        let broker = match self.memory {
            true => TestBroker::start_in_memory(options, self.wire)?,
            false => TestBroker::start_for(self.name, options, self.wire)?,
        };
        let runtime = self.runtime()?;
        let (test, given) = (Arc::clone(test), broker.clone());
        // The runtime ends before its broker does, with the connections that are on it.
        let run = move || runtime.block_on(async { test(given).await }).report();
        let outcome = limit::run(self.name, limit, run)?;
        Ok(match outcome {
            Outcome::TookTooLong(told) => {
                let told = match broker.memory() {
                    Some(memory) => format!("{told}. At its broker: {}", memory.activity()),
                    None => told,
                };
                broker.end();
                Outcome::TookTooLong(told)
            }
            ended => ended,
        })
    }

    fn runtime(&self) -> Result<Runtime> {
        let mut builder = if self.multi_thread {
            Builder::new_multi_thread()
        } else {
            Builder::new_current_thread()
        };
        let built = builder.enable_all().start_paused(self.paused).build();
        built.map_err(|e| Error::new(ErrorKind::ResourceError, "no runtime starts").with_source(e))
    }
}

/// Fails if tests run in memory: `#[mooq::test]` puts this beside a test that needs the in-memory
/// broker and is ignored, because it was compiled for another. Otherwise a binary that was compiled
/// with `MOOQ_TEST_BROKER` set and runs without it would skip `name` silently.
///
/// # Panics
/// If the tests run in memory, or the value of `MOOQ_TEST_BROKER` is invalid.
#[track_caller]
pub fn expect_no_memory(name: &str) {
    match Choice::from_env() {
        Ok(choice) => {
            if let Some(told) = passed_over(name, &choice) {
                fail(told);
            }
        }
        Err(err) => fail(err),
    }
}

/// The reason why a binary that was compiled for RabbitMQ must not run on `choice`.
fn passed_over(name: &str, choice: &Choice) -> Option<String> {
    choice.is_in_memory().then(|| {
        format!(
            "{name} needs the in-memory broker and is ignored here, since {VARIABLE} named another \
             broker when these tests were compiled; now it names none. Set {VARIABLE} to the same \
             value for compiling and running the tests, or compile them again without it"
        )
    })
}

/// Fails the test.
#[track_caller]
#[allow(clippy::panic, reason = "this is how a test fails")]
pub(crate) fn fail(problem: impl Display) -> ! {
    panic!("{problem}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_test_is_reported_in_memory_alone() {
        for choice in [Choice::Memory, Choice::Server] {
            let told = passed_over("audits", &choice).unwrap();
            assert!(
                told.starts_with("audits needs the in-memory broker"),
                "{told}"
            );
            assert!(told.contains("compile them again without it"), "{told}");
        }
        let running = Choice::Running("amqp://localhost".into());
        for elsewhere in [Choice::Container, running] {
            assert_eq!(passed_over("audits", &elsewhere), None);
        }
    }
}
