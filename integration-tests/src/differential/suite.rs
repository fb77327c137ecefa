//! The whole test: many sequences by several workers, and the first failure shrunk and printed.

use std::cell::RefCell;
use std::env;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use tokio::runtime::Runtime;

use super::client::Client;
use super::lockstep::{self, Divergence, Tally};
use super::operation::Operation;
use super::{print, strategy};
use crate::backend::Backend;
use crate::container::Image;

/// How many sequences run where `MOOQ_DIFFERENTIAL_CASES` does not say.
const CASES: u64 = 200;
/// How many run at a time: they wait for RabbitMQ most of the time.
const WORKERS: usize = 8;
/// How often a sequence runs before it counts as one on which the brokers differ. What RabbitMQ
/// does in one of several ways, side by side as its processes are, it does otherwise then.
const ATTEMPTS: usize = 3;
/// How long shorter sequences are tried to find the shortest that fails, in milliseconds.
const SHRINKING: u32 = 120_000;

/// Which sequences to run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How many.
    pub cases: u64,
    /// The seed of the first. The others have those that follow.
    pub seed: u64,
}

impl Settings {
    /// Those that `MOOQ_DIFFERENTIAL_CASES` and `MOOQ_DIFFERENTIAL_SEED` ask for.
    #[must_use]
    pub fn from_env() -> Self {
        let number = |name: &str, default| match env::var(name) {
            Ok(text) => text
                .parse()
                .unwrap_or_else(|_| panic!("{name} is no number: '{text}'")),
            Err(_) => default,
        };
        Self {
            cases: number("MOOQ_DIFFERENTIAL_CASES", CASES),
            seed: number("MOOQ_DIFFERENTIAL_SEED", 1),
        }
    }
}

/// Two brokers and the sequences that are run on them.
#[derive(Debug)]
struct Suite {
    settings: Settings,
    memory: Backend,
    rabbit: Backend,
    /// The next case.
    next: AtomicU64,
    /// The next name for a run of a sequence.
    runs: AtomicU64,
    /// How many sequences the brokers agreed on only when they were run again.
    again: AtomicU64,
    tally: Mutex<Tally>,
    failed: AtomicBool,
}

/// Runs random sequences on both brokers.
///
/// # Panics
/// If they differ, with the shortest sequence found that shows it.
pub fn run(settings: Settings) {
    let (memory, rabbit) = brokers();
    let suite = Suite {
        settings,
        memory,
        rabbit,
        next: AtomicU64::new(0),
        runs: AtomicU64::new(0),
        again: AtomicU64::new(0),
        tally: Mutex::default(),
        failed: AtomicBool::new(false),
    };
    let began = Instant::now();
    let failures: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(|| suite.work())).collect();
        let failures = workers.into_iter().map(|worker| worker.join());
        failures
            .filter_map(|failure| failure.unwrap_or_else(|_| Some("a worker panicked".into())))
            .collect()
    });
    let Suite {
        rabbit,
        again,
        tally,
        ..
    } = suite;
    rabbit.stop();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    println!(
        "{} sequences from seed {} in {:.1} s, {} of them run again: {:?}",
        settings.cases,
        settings.seed,
        began.elapsed().as_secs_f64(),
        again.into_inner(),
        tally.into_inner().unwrap_or_else(PoisonError::into_inner),
    );
}

/// RabbitMQ from the usual image, and the in-memory broker as that version: with the profile that
/// comes nearest and is not newer.
fn brokers() -> (Backend, Backend) {
    let image = Image::current();
    let version = image.version();
    let profiles = Backend::memory().into_iter();
    let memory = profiles
        .filter(|memory| memory.version() <= version)
        .max_by_key(Backend::version)
        .unwrap_or_else(|| panic!("no profile is as old as RabbitMQ {version}"));
    let rabbit = Backend::rabbitmq([(version, image)]).pop();
    (memory, rabbit.expect("one image gives one backend"))
}

impl Suite {
    /// Runs one sequence after another, until all have been run or one has failed.
    fn work(&self) -> Option<String> {
        let worker = Worker {
            suite: self,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a tokio runtime starts"),
            rabbit: RefCell::new(None),
        };
        while !self.failed.load(Ordering::Relaxed) {
            let case = self.next.fetch_add(1, Ordering::Relaxed);
            if case >= self.settings.cases {
                break;
            }
            if case > 0 && case.is_multiple_of(1000) {
                println!("{case} sequences have begun");
            }
            let seed = self.settings.seed.wrapping_add(case);
            if let Some(failure) = worker.case(seed) {
                self.failed.store(true, Ordering::Relaxed);
                return Some(failure);
            }
        }
        None
    }
}

struct Worker<'a> {
    suite: &'a Suite,
    runtime: Runtime,
    /// Its connections to RabbitMQ, unless the last sequence has left them in disorder.
    rabbit: RefCell<Option<Client>>,
}

impl Worker<'_> {
    fn case(&self, seed: u64) -> Option<String> {
        let config = Config {
            max_shrink_iters: u32::MAX,
            max_shrink_time: SHRINKING,
            failure_persistence: None,
            ..Config::default()
        };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(config, rng);
        let tree = strategy::sequence()
            .new_tree(&mut runner)
            .expect("a sequence is made");
        // Shrinking ends with the shortest that failed, which is the last one that did.
        let last = RefCell::new(None);
        let outcome = runner.run_one(tree, |sequence| {
            let shrinking = last.borrow().is_some();
            self.attempt(seed, &sequence, shrinking)
                .map_err(|divergence| {
                    last.replace(Some(divergence));
                    TestCaseError::fail("the brokers differ")
                })
        });
        let error = outcome.err()?;
        Some(match last.into_inner() {
            Some(divergence) => print::divergence(seed, &divergence),
            None => format!("seed {seed}: {error}"),
        })
    }

    fn attempt(
        &self,
        seed: u64,
        sequence: &[Operation],
        shrinking: bool,
    ) -> Result<(), Box<Divergence>> {
        let mut outcome = self.run_once(sequence);
        if shrinking {
            return outcome;
        }
        for _ in 1..ATTEMPTS {
            let Err(divergence) = &outcome else {
                break;
            };
            let first = print::divergence(seed, divergence);
            outcome = self.run_once(sequence);
            match &outcome {
                Ok(()) => {
                    println!("Not so when it was run again: {first}");
                    self.suite.again.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => println!("Yet to be shrunk: {first}"),
            }
        }
        outcome
    }

    fn run_once(&self, sequence: &[Operation]) -> Result<(), Box<Divergence>> {
        let suite = self.suite;
        let prefix = format!("d{}", suite.runs.fetch_add(1, Ordering::Relaxed));
        let in_memory = suite.memory.broker(&prefix);
        let in_rabbit = suite.rabbit.broker(&prefix);
        let ready = self.rabbit.take();
        let (tally, rabbit) = self.runtime.block_on(async {
            let mut memory = Client::open(in_memory, prefix.clone()).await;
            let mut rabbit = match ready {
                Some(mut rabbit) => {
                    rabbit.begin_again(prefix).await;
                    rabbit
                }
                None => Client::open(in_rabbit, prefix).await,
            };
            let tally = lockstep::run(&mut memory, &mut rabbit, sequence).await?;
            Ok::<_, Box<Divergence>>((tally, rabbit))
        })?;
        self.rabbit.replace(Some(rabbit));
        *suite.tally.lock().unwrap_or_else(PoisonError::into_inner) += tally;
        Ok(())
    }
}
