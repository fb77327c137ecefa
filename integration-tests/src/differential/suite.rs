//! The whole test: many sequences by several workers, and the first failure shrunk and printed.

use std::cell::RefCell;
use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use tokio::runtime::Runtime;

use super::client::Client;
use super::lockstep::{self, Divergence, Tally};
use super::operation::Operation;
use super::{alarms, print, strategy};
use crate::rabbitmq::RabbitMq;
use crate::rabbitmq::container::{self, Image};
use mooq_conformance::suite::Turns;
use mooq_conformance::{Backend, in_memory};

/// Default of `MOOQ_DIFFERENTIAL_CASES`: number of sequences.
const CASES: u64 = 200;
/// Default of `MOOQ_DIFFERENTIAL_ALARMS`: one of so many sequences has alarms, and runs alone.
const ALARMS: u64 = 25;
/// Default of `MOOQ_DIFFERENTIAL_AT_ONCE`: number of concurrent sequences, which wait for RabbitMQ
/// most of the time.
const AT_ONCE: u64 = 8;
/// Configuration that turns off costly features invisible to sequences: RabbitMQ's log of
/// connections and channels that end with an error, and the management plugin's statistics.
const SPARING: &str = "log.connection.level = none\nlog.channel.level = none\n\
    log.queue.level = none\nmanagement_agent.disable_metrics_collector = true\n";
/// Number of runs of a sequence before it counts as one on which the brokers differ. RabbitMQ's
/// processes are concurrent: an outcome that it leaves open may be another in the next run.
const ATTEMPTS: usize = 3;
/// Time limit for shrinking a failing sequence, in milliseconds.
const SHRINKING: u32 = 120_000;

/// Selection of sequences to run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Number of sequences.
    pub cases: u64,
    /// Seed of the first sequence. The others have the seeds that follow.
    pub seed: u64,
    /// Number of failures after which to stop.
    pub failures: u64,
    /// Number of concurrent sequences. No sequence depends on it.
    pub at_once: u64,
    /// Divisor of the seeds of sequences with alarms, or zero for none. The other sequences do not
    /// depend on it.
    pub alarms: u64,
}

impl Settings {
    /// Settings from `MOOQ_DIFFERENTIAL_CASES`, `MOOQ_DIFFERENTIAL_SEED`,
    /// `MOOQ_DIFFERENTIAL_FAILURES`, `MOOQ_DIFFERENTIAL_AT_ONCE` and `MOOQ_DIFFERENTIAL_ALARMS`.
    #[must_use]
    pub fn from_env() -> Self {
        let number = |name: &str, default| match env::var(name) {
            Ok(text) => text
                .parse()
                .unwrap_or_else(|_| panic!("{name} is not a number: '{text}'")),
            Err(_) => default,
        };
        Self {
            cases: number("MOOQ_DIFFERENTIAL_CASES", CASES),
            seed: number("MOOQ_DIFFERENTIAL_SEED", 1),
            failures: number("MOOQ_DIFFERENTIAL_FAILURES", 1),
            at_once: number("MOOQ_DIFFERENTIAL_AT_ONCE", AT_ONCE),
            alarms: number("MOOQ_DIFFERENTIAL_ALARMS", ALARMS),
        }
    }
}

/// Two brokers and the sequences to run on them.
#[derive(Debug)]
struct Suite {
    settings: Settings,
    memory: Box<dyn Backend>,
    rabbit: RabbitMq,
    turns: Turns,
    /// The next case.
    next: AtomicU64,
    /// The next name for a run of a sequence.
    runs: AtomicU64,
    /// Number of sequences on which the brokers agreed only when run again.
    again: AtomicU64,
    tally: Mutex<Tally>,
    failed: AtomicU64,
}

/// Runs random sequences on the RabbitMQ of an image and on the in-memory broker.
///
/// # Panics
/// If the brokers differ, with the shortest sequence found that shows it.
pub fn run(image: &Image, settings: Settings) {
    assert!(settings.at_once > 0, "at least one sequence runs at a time");
    let (memory, rabbit) = brokers(image);
    let suite = Suite {
        settings,
        memory,
        rabbit,
        turns: Turns::default(),
        next: AtomicU64::new(0),
        runs: AtomicU64::new(0),
        again: AtomicU64::new(0),
        tally: Mutex::default(),
        failed: AtomicU64::new(0),
    };
    let began = Instant::now();
    thread::scope(|scope| {
        let workers = (0..settings.at_once).map(|_| scope.spawn(|| suite.work()));
        let workers: Vec<_> = workers.collect();
        for worker in workers {
            // The worker's panic has been printed.
            let panicked = worker.join().is_err();
            suite.failed.fetch_add(panicked.into(), Ordering::Relaxed);
        }
    });
    let Suite {
        rabbit,
        next,
        again,
        tally,
        failed,
        ..
    } = suite;
    drop(rabbit);
    let failed = failed.into_inner();
    println!(
        "{} sequences from seed {} in {:.1} s, {failed} with differences, {} run again: {:?}",
        next.into_inner().min(settings.cases),
        settings.seed,
        began.elapsed().as_secs_f64(),
        again.into_inner(),
        tally.into_inner().unwrap_or_else(PoisonError::into_inner),
    );
    assert_eq!(
        failed, 0,
        "the brokers differ, or a worker panicked: see above"
    );
}

/// RabbitMQ from the image, and the in-memory broker with the newest profile that is not newer.
fn brokers(image: &Image) -> (Box<dyn Backend>, RabbitMq) {
    let version = container::version(image);
    let profiles = in_memory().into_iter();
    let memory = profiles
        .filter(|memory| memory.version() <= version)
        .max_by_key(|memory| memory.version())
        .unwrap_or_else(|| {
            panic!("every profile of the in-memory broker is newer than RabbitMQ {version}")
        });
    (
        memory,
        RabbitMq::with_settings(version, image.clone(), SPARING),
    )
}

impl Suite {
    /// Runs one sequence after another, until all have run or enough have failed. Prints failures
    /// as they come.
    fn work(&self) {
        let worker = Worker {
            suite: self,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a tokio runtime starts"),
            rabbit: RefCell::new(None),
        };
        while self.failed.load(Ordering::Relaxed) < self.settings.failures {
            let case = self.next.fetch_add(1, Ordering::Relaxed);
            if case >= self.settings.cases {
                break;
            }
            if case > 0 && case.is_multiple_of(1000) {
                println!("{case} sequences have begun");
            }
            let seed = self.settings.seed.wrapping_add(case);
            if let Some(failure) = worker.case(seed) {
                self.failed.fetch_add(1, Ordering::Relaxed);
                println!("{failure}");
            }
        }
    }
}

struct Worker<'a> {
    suite: &'a Suite,
    runtime: Runtime,
    /// The worker's client of RabbitMQ, unless the last sequence has broken it.
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
        let alarms = self.suite.settings.alarms;
        let sequences = if alarms > 0 && seed.is_multiple_of(alarms) {
            alarms::laid_over(strategy::sequence()).boxed()
        } else {
            strategy::sequence().boxed()
        };
        let tree = sequences
            .new_tree(&mut runner)
            .expect("proptest generates a sequence");
        // Shrinking ends with the shortest sequence that failed, which is the last one that did.
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
                    println!("The brokers agreed when it was run again: {first}");
                    self.suite.again.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => println!("Before shrinking: {first}"),
            }
        }
        outcome
    }

    fn run_once(&self, sequence: &[Operation]) -> Result<(), Box<Divergence>> {
        let suite = self.suite;
        // The turn outlives the client: dropping the client clears an alarm that it raised.
        let _turn = suite.turns.take(lockstep::raises_alarm(sequence));
        let prefix = format!("d{}", suite.runs.fetch_add(1, Ordering::Relaxed));
        let in_memory = suite.memory.broker(&prefix, false);
        let in_rabbit = suite.rabbit.broker(&prefix, false);
        let ready = self.rabbit.take();
        let (tally, rabbit) = self.runtime.block_on(async {
            let mut rabbit = match ready {
                Some(mut rabbit) => {
                    rabbit.begin_again(prefix.clone()).await;
                    rabbit
                }
                None => Client::open(in_rabbit, prefix.clone(), format!("user-{prefix}")).await,
            };
            let user = rabbit.user().to_owned();
            let mut memory = Client::open(in_memory, prefix, user).await;
            let tally = lockstep::run(&mut memory, &mut rabbit, sequence).await?;
            Ok::<_, Box<Divergence>>((tally, rabbit))
        })?;
        self.rabbit.replace(Some(rabbit));
        *suite.tally.lock().unwrap_or_else(PoisonError::into_inner) += tally;
        Ok(())
    }
}
