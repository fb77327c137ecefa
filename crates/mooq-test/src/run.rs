//! Running a test: with its broker, on a runtime of its own, within a limit.

use std::fmt::Display;
use std::future::Future;
use std::iter;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::process::{ExitCode, Termination};
use std::sync::Arc;
use std::time::Duration;

use mooq_core::{Error, ErrorKind, Result};
use mooq_memory::{Options, Profile};
use tokio::runtime::{Builder, Runtime};

use crate::broker::TestBroker;
use crate::choice::{self, Choice, VARIABLE};
use crate::limit::{self, Outcome};
use crate::report::Wanted;
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
    /// The test's path, with the crate's name if it was given.
    path: &'static str,
    /// The test's name, as `cargo test` calls it.
    name: &'static str,
    limit: Duration,
    memory: bool,
    wire: bool,
    paused: bool,
    multi_thread: bool,
    seeds: Option<Range<u64>>,
    profile: Option<Profile>,
    /// Versions to run as, one after the other.
    profiles: Vec<Profile>,
    /// True if the test is the case of one version, among others of its function.
    is_case: bool,
    should_panic: bool,
}

impl Test {
    /// Default time limit of a test.
    pub const DEFAULT_LIMIT: Duration = Duration::from_secs(60);

    /// A test of this name, which may be a path that begins with the crate's name.
    pub fn new(name: &'static str) -> Self {
        Self {
            path: name,
            name: name.split_once("::").map_or(name, |(_, name)| name),
            limit: Self::DEFAULT_LIMIT,
            memory: false,
            wire: false,
            paused: false,
            multi_thread: false,
            seeds: None,
            profile: None,
            profiles: Vec::new(),
            is_case: false,
            should_panic: false,
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

    /// Runs the test once as each of these versions of RabbitMQ in memory, regardless of
    /// [`profile`](Self::profile), and once on a real RabbitMQ, which keeps its own version. The
    /// limit is for each run. A failure of one version does not keep the others from running: the
    /// output names the versions that fail and those that pass.
    ///
    /// `#[mooq::test(profiles = …)]` makes a test of each version instead, unless tests run on
    /// RabbitMQ.
    pub fn profiles(mut self, profiles: impl IntoIterator<Item = Profile>) -> Self {
        self.profiles = profiles.into_iter().collect();
        self
    }

    /// Makes this the case of one version: for `#[mooq::test(profiles = …)]`.
    #[doc(hidden)]
    pub fn case(mut self, profile: Profile) -> Self {
        self.is_case = true;
        self.profile(profile)
    }

    /// Expects the test to panic, as `#[should_panic]` says of it: no file with a timeline is
    /// written.
    pub fn should_panic(mut self) -> Self {
        self.should_panic = true;
        self
    }

    /// Runs the test in a thread of its own, with a runtime of its own. Returns the exit code of a
    /// `#[test]`: a failure if the test returned an error.
    ///
    /// If the test fails on an in-memory broker, by a panic, an error or its limit, the last events
    /// of the broker are printed to standard error: see [`Timeline`](mooq_memory::Timeline).
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
        if self.profiles.is_empty() || !Choice::from_env()?.is_in_memory() {
            return self.run_as(&self.options()?, test);
        }
        self.run_as_each(test)
    }

    /// Runs the test as each version. Returns the first failure, if there is one.
    fn run_as_each<F, T>(&self, test: &Arc<T>) -> Result<Outcome>
    where
        F: Future<Output: Termination>,
        T: Fn(TestBroker) -> F + Send + Sync + 'static,
    {
        let (mut passes, mut fails) = (Vec::new(), Vec::new());
        let mut first = None;
        for profile in &self.profiles {
            let mut options = self.options()?;
            options.profile = *profile;
            let outcome = self.run_as(&options, test)?;
            if outcome.is_success() {
                passes.push(profile.name());
            } else {
                fails.push(profile.name());
                first = first.or(Some(outcome));
            }
        }
        if let Some(outcome) = first {
            eprintln!("{}", versions_in_words(self.name, &fails, &passes));
            return Ok(outcome);
        }
        Ok(Outcome::Returned(ExitCode::SUCCESS))
    }

    /// Runs the test with each of its seeds, or once. Returns the first failure, if there is one.
    fn run_as<F, T>(&self, options: &Options, test: &Arc<T>) -> Result<Outcome>
    where
        F: Future<Output: Termination>,
        T: Fn(TestBroker) -> F + Send + Sync + 'static,
    {
        let Some(seeds) = self.seeds_to_run()? else {
            return self.run_once(options.clone(), test);
        };
        for seed in seeds {
            let mut options = options.clone();
            options.seed = Some(seed);
            let outcome = self.run_once(options, test)?;
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
        if Choice::from_env()?.is_in_memory() {
            return Ok(());
        }
        if let Some(profile) = self.profile.filter(|_| self.is_case) {
            let message = format!(
                "this is the case of RabbitMQ {profile} in memory, and {VARIABLE} names another \
                 broker. If the variable is set when the test is compiled, too, it runs there once"
            );
            return Err(Error::new(ErrorKind::NotAllowed, message));
        }
        if !self.memory {
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

    fn run_once<F, T>(&self, options: Options, test: &Arc<T>) -> Result<Outcome>
    where
        F: Future<Output: Termination>,
        T: Fn(TestBroker) -> F + Send + Sync + 'static,
    {
        let limit = limit::from_env()?.unwrap_or(Some(self.limit));
        let wanted = Wanted::from_env()?;
        let profile = options.profile;
        let runtime = self.runtime()?;
        let broker = match self.memory {
            true => {
                // The broker's time begins with that of the runtime, which may have a paused clock.
                let _on_it = runtime.enter();
                TestBroker::start_in_memory(options, self.wire)?
            }
            false => TestBroker::start_for(self.name, options, self.wire)?,
        };
        let (test, given, watched) = (Arc::clone(test), broker.clone(), broker.clone());
        // The runtime ends before its broker does, with the connections that are on it.
        let run = move || {
            let runtime = runtime;
            // The end of the test's connections, which comes with that of the runtime, is left out.
            let ended = panic::catch_unwind(AssertUnwindSafe(|| {
                runtime.block_on(async { test(given).await })
            }));
            match ended {
                Ok(returned) => {
                    watched.stop_timeline();
                    returned.report()
                }
                Err(panic) => {
                    watched.stop_timeline();
                    panic::resume_unwind(panic)
                }
            }
        };
        let outcome = limit::run(self.name, limit, run)?;
        if !outcome.is_success() {
            broker.stop_timeline();
            broker.print_timeline(wanted, self.file(profile).as_deref());
            if self.is_case {
                eprintln!("{} fails on RabbitMQ {profile}", self.name);
            }
        }
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

    /// The name of the file for the timeline, if there is to be one.
    fn file(&self, profile: Profile) -> Option<String> {
        match self.profiles.is_empty() {
            _ if self.should_panic => None,
            true => Some(self.path.to_owned()),
            false => Some(format!("{} on RabbitMQ {profile}", self.path)),
        }
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

/// The versions on which a test fails, and those on which it passes.
fn versions_in_words(name: &str, fails: &[&str], passes: &[&str]) -> String {
    let mut told = format!("{name} fails on RabbitMQ {}", fails.join(", "));
    if !passes.is_empty() {
        told = format!("{told}, and passes on {}", passes.join(", "));
    }
    told
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
    fn versions_that_fail_are_named_with_those_that_pass() {
        assert_eq!(
            versions_in_words("shop::bills", &["4.2", "4.3"], &["3.10"]),
            "shop::bills fails on RabbitMQ 4.2, 4.3, and passes on 3.10"
        );
        assert_eq!(
            versions_in_words("shop::bills", &["4.3"], &[]),
            "shop::bills fails on RabbitMQ 4.3"
        );
    }

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
