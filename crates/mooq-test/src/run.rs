//! Running a test: with its broker, on a runtime of its own, within a limit.

use std::env;
use std::fmt::Display;
use std::future::Future;
use std::iter;
use std::ops::Range;
use std::panic;
use std::process::{ExitCode, Termination};
use std::sync::Arc;
use std::time::Duration;

use mooq_core::{Error, ErrorKind, Result};
use mooq_memory::Options;
use tokio::runtime::{Builder, Runtime};

use crate::broker::TestBroker;
use crate::choice::{Choice, VARIABLE};
use crate::limit::{self, Outcome};

/// The one seed to run.
const SEED_VARIABLE: &str = "MOOQ_SEED";

/// A test that has a broker of its own: what `#[mooq::test]` expands to, whose options are the
/// methods here.
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
///     let chan = broker.connect().await?.create_channel().await?;
///     chan.declare_queue("offers").await?;
///     tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
///     chan.publish("", "half price").routing_key("offers").await
/// });
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `run`"]
pub struct Test {
    /// As `cargo test` calls it.
    name: &'static str,
    limit: Duration,
    memory: bool,
    paused: bool,
    multi_thread: bool,
    seeds: Option<Range<u64>>,
}

impl Test {
    /// How long a test may take unless it says otherwise.
    pub const DEFAULT_LIMIT: Duration = Duration::from_secs(60);

    /// A test of this name, which may be a path that begins with the crate's name.
    pub fn new(name: &'static str) -> Self {
        Self {
            name: name.split_once("::").map_or(name, |(_, name)| name),
            limit: Self::DEFAULT_LIMIT,
            memory: false,
            paused: false,
            multi_thread: false,
            seeds: None,
        }
    }

    /// How long it may take, by the wall's clock, without the time that the start of a container
    /// takes.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// It needs the in-memory broker.
    pub fn in_memory(mut self) -> Self {
        self.memory = true;
        self
    }

    /// Tokio's clock is paused. It needs the in-memory broker then.
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self.in_memory()
    }

    /// It runs on a multi-thread runtime.
    pub fn multi_thread(mut self) -> Self {
        self.multi_thread = true;
        self
    }

    /// It runs once with each of these seeds, or with the one that `MOOQ_SEED` names: see
    /// [`seeds`](mooq_memory::seeds). It needs the in-memory broker then. The limit is for each
    /// run.
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.seeds = Some(seeds);
        self.in_memory()
    }

    /// Runs it in a thread of its own, with a runtime of its own. What it returns is what a
    /// `#[test]` returns: a failure if the test returned an error.
    ///
    /// # Panics
    /// If the test does, if it takes too long, and if there is no broker for it as
    /// `MOOQ_TEST_BROKER` asks for. With seeds the output's last line runs the test again with the
    /// one that failed.
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
            return self.run_once(Options::default(), limit, test);
        };
        for seed in seeds {
            let mut options = Options::default();
            options.seed = Some(seed);
            let outcome = self.run_once(options, limit, test)?;
            if !outcome.is_success() {
                eprintln!("{SEED_VARIABLE}={seed} cargo test {}", self.name);
                return Ok(outcome);
            }
        }
        Ok(Outcome::Returned(ExitCode::SUCCESS))
    }

    /// Those that need memory are ignored where they are compiled for another broker. All that is
    /// left otherwise is to fail, since they cannot be passed.
    fn check_place(&self) -> Result<()> {
        if !self.memory || Choice::from_env()? == Choice::Memory {
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
        let Ok(only) = env::var(SEED_VARIABLE) else {
            return Ok(Some(Box::new(seeds)));
        };
        let seed = only.parse().map_err(|e| {
            let message = format!("{SEED_VARIABLE} is '{only}', expected a number");
            Error::new(ErrorKind::InvalidArgument, message).with_source(e)
        })?;
        Ok(Some(Box::new(iter::once(seed))))
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
        let broker = TestBroker::start_for(self.name, options)?;
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

/// Fails the test.
#[track_caller]
#[allow(clippy::panic, reason = "this is how a test fails")]
pub(crate) fn fail(problem: impl Display) -> ! {
    panic!("{problem}");
}
