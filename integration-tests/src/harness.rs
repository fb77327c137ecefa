//! Running every scenario on one backend, each as a test of its own.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

use crate::backend::{Backend, BackendKind};
use crate::fixture::Fixture;
use crate::scenarios::{self, Scenario};

/// How long a scenario may take. Reached only by one that hangs.
const LIMIT: Duration = Duration::from_secs(60);

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

fn run(scenario: Scenario, backend: &Backend) {
    let broker = backend.broker(scenario.name);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a tokio runtime starts");
    runtime.block_on(async {
        let fixture = Fixture::new(broker, scenario.name);
        tokio::time::timeout(LIMIT, (scenario.run)(fixture))
            .await
            .unwrap_or_else(|_| panic!("{} still runs after {LIMIT:?}", scenario.name));
    });
}
