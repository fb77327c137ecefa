//! Running every scenario on every backend, each as a test of its own.

use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

use crate::backend::Backend;
use crate::expect::INTENDED;
use crate::fixture::Fixture;
use crate::scenario::{Scenario, scenarios};

/// Number of scenarios that run at once, unless `--test-threads` sets another.
const AT_ONCE: usize = 12;

/// Time limit for a scenario. Only one that hangs reaches it.
const LIMIT: Duration = Duration::from_secs(600);

/// Time after which a scenario counts as blocked: its thread hangs, and its timers with it.
const BLOCKED: Duration = Duration::from_secs(660);

/// The `main` of a test target without a harness: runs every scenario on every backend, with
/// libtest's arguments. Each backend must have a version of its own, which the names of tests begin
/// with.
///
/// The backends are dropped when all scenarios have run, so a container that one of them has
/// started can end then.
#[must_use]
pub fn main(backends: impl IntoIterator<Item = Box<dyn Backend>>) -> ExitCode {
    main_with(&arguments(), backends)
}

/// The arguments of this process, as [`main_with`] takes them.
#[must_use]
pub fn arguments() -> Arguments {
    let mut arguments = Arguments::from_args();
    // Scenarios wait most of the time: for a broker, or for something to expire.
    arguments.test_threads.get_or_insert(AT_ONCE);
    arguments
}

/// [`main`], for a caller that needs the [`arguments`] to choose its backends.
#[must_use]
pub fn main_with(
    arguments: &Arguments,
    backends: impl IntoIterator<Item = Box<dyn Backend>>,
) -> ExitCode {
    quiet_intended_panics();
    let shared = |backend| {
        let turns = Turns::default();
        Arc::new(Shared { backend, turns })
    };
    let backends: Vec<_> = backends.into_iter().map(shared).collect();
    let mut scenarios = scenarios();
    // Scenarios that need a broker alone come last, so that no other waits for their turn, and on
    // one backend after the other, so that they do not wait for each other.
    scenarios.sort_by_key(|scenario| scenario.alone);
    let trials = scenarios.into_iter().flat_map(|scenario| {
        let backends = backends.iter();
        let backends = backends.filter(move |b| scenario.versions.contain(b.backend.version()));
        backends.map(move |backend| trial(scenario, Arc::clone(backend)))
    });
    libtest_mimic::run(arguments, trials.collect()).exit_code()
}

/// A backend that scenarios share.
struct Shared {
    backend: Box<dyn Backend>,
    turns: Turns,
}

/// Turns on a broker, which some tests share with others and some need alone.
#[derive(Debug, Default)]
pub struct Turns(RwLock<()>);

/// A turn on a broker, until it is dropped.
#[derive(Debug)]
#[must_use = "the turn ends when this is dropped"]
pub enum Turn<'a> {
    /// Shared with other tests.
    Shared(RwLockReadGuard<'a, ()>),
    /// Exclusive.
    Alone(RwLockWriteGuard<'a, ()>),
}

impl Turns {
    /// Waits for a turn.
    pub fn take(&self, alone: bool) -> Turn<'_> {
        // A failed test leaves the lock poisoned and nothing broken.
        if alone {
            Turn::Alone(self.0.write().unwrap_or_else(PoisonError::into_inner))
        } else {
            Turn::Shared(self.0.read().unwrap_or_else(PoisonError::into_inner))
        }
    }
}

fn trial(scenario: Scenario, shared: Arc<Shared>) -> Trial {
    let name = format!("{}::{}", shared.backend.version(), scenario.name);
    let needs = shared.backend.needs().map(|what| format!("needs {what}"));
    let trial = Trial::test(name, move || {
        let _turn = shared.turns.take(scenario.alone);
        run(scenario, &*shared.backend);
        Ok(())
    });
    match needs {
        Some(needs) => trial.with_kind(needs).with_ignored_flag(true),
        None => trial,
    }
}

/// Hides intended panics of scenarios: a backtrace in the output of a passing suite looks like a
/// failure.
pub fn quiet_intended_panics() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        if !text.is_some_and(|text| text.contains(INTENDED)) {
            print(info);
        }
    }));
}

/// Runs a scenario.
///
/// # Panics
/// If the scenario does, or if it takes too long.
pub fn run(scenario: Scenario, backend: &dyn Backend) {
    let broker = backend.broker(scenario.name, scenario.short_timeouts);
    let fixture = Fixture::new(Arc::clone(&broker), scenario.name);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        in_a_thread(scenario.name, BLOCKED, move || async move {
            tokio::time::timeout(LIMIT, (scenario.run)(fixture))
                .await
                .unwrap_or_else(|_| panic!("{} still runs after {LIMIT:?}", scenario.name));
        });
    }));
    if let Err(panic) = outcome {
        if let Some(log) = broker.recent_log() {
            eprintln!(
                "The end of the broker's log when {} failed:\n{log}",
                scenario.name
            );
        }
        panic::resume_unwind(panic);
    }
}

/// Runs a test in a thread of its own that bears the test's name, so that a blocking test fails and
/// does not hold up the suite.
///
/// # Panics
/// If the test does, or if it takes too long.
pub fn in_a_thread<F: Future<Output = ()>>(
    name: &'static str,
    limit: Duration,
    test: impl FnOnce() -> F + Send + 'static,
) {
    let (ended, end) = mpsc::channel();
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a tokio runtime starts");
            runtime.block_on(test());
        }));
        // The receiver is gone if the test counted as blocked.
        let _ = ended.send(outcome);
    });
    spawned.expect("a thread starts");
    match end.recv_timeout(limit) {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => panic::resume_unwind(panic),
        Err(_) => panic!("{name} is not over after {limit:?}"),
    }
}
