//! Running every scenario on one backend, each as a test of its own.

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

use crate::backend::{Backend, BackendKind};
use crate::fixture::Fixture;
use crate::scenarios::{self, Scenario};

/// How long a scenario may take. Reached only by one that hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// How long until one counts as blocked: its thread stands still, and its timers with it.
const BLOCKED: Duration = Duration::from_secs(90);

/// The `main` of a test target.
///
/// The targets have a harness of their own since one container serves all scenarios: it is
/// started by the first, and removed when all have run.
#[must_use]
pub fn main(kind: BackendKind) -> ExitCode {
    let arguments = Arguments::from_args();
    let backend = Arc::new(Backend::new(kind));
    let trials = scenarios::all()
        .into_iter()
        .map(|scenario| trial(scenario, Arc::clone(&backend)))
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(backend) = Arc::into_inner(backend) {
        backend.stop();
    }
    conclusion.exit_code()
}

fn trial(scenario: Scenario, backend: Arc<Backend>) -> Trial {
    let needs_docker = backend.kind() == BackendKind::RabbitMq;
    let trial = Trial::test(scenario.name, move || {
        run(scenario, &backend);
        Ok(())
    });
    if needs_docker {
        trial
            .with_kind("needs Docker: integration-tests/run-all")
            .with_ignored_flag(true)
    } else {
        trial
    }
}

/// Runs a scenario in a thread of its own, so that one which blocks fails instead of holding up
/// the suite for ever.
fn run(scenario: Scenario, backend: &Backend) {
    let fixture = Fixture::new(backend.broker(scenario.name), scenario.name);
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| run_here(scenario, fixture)));
        // Nobody listens any more if it was taken for blocked.
        let _ = ended.send(outcome);
    });
    match end.recv_timeout(BLOCKED) {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => panic::resume_unwind(panic),
        Err(_) => panic!("{} has been blocked for {BLOCKED:?}", scenario.name),
    }
}

fn run_here(scenario: Scenario, fixture: Fixture) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a tokio runtime starts");
    runtime.block_on(async {
        tokio::time::timeout(LIMIT, (scenario.run)(fixture))
            .await
            .unwrap_or_else(|_| panic!("{} still runs after {LIMIT:?}", scenario.name));
    });
}
