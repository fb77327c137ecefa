//! Running every scenario on every version of one sort of broker, each as a test of its own.

use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

use crate::backend::{Backend, BackendKind};
use crate::container::Image;
use crate::expect::INTENDED;
use crate::fixture::Fixture;
use crate::scenarios::{self, Scenario};
use crate::version::Version;

/// How many scenarios run at once, unless `--test-threads` says otherwise.
const AT_ONCE: usize = 12;

/// How long a scenario may take. Reached only by one that hangs.
const LIMIT: Duration = Duration::from_secs(600);

/// How long until one counts as blocked: its thread stands still, and its timers with it.
const BLOCKED: Duration = Duration::from_secs(660);

/// The `main` of a test target.
///
/// The targets have a harness of their own since one container serves all scenarios: it is
/// started by the first, and removed when all have run.
#[must_use]
pub fn main(kind: BackendKind) -> ExitCode {
    quiet_intended_panics();
    let mut arguments = Arguments::from_args();
    // They wait most of the time: for a broker, or for something to expire.
    arguments.test_threads.get_or_insert(AT_ONCE);
    let backends = match kind {
        BackendKind::Memory => Backend::memory(),
        BackendKind::Wire => Backend::wire(),
        BackendKind::RabbitMq => Backend::rabbitmq(images(&arguments)),
    };
    let backends: Vec<_> = backends.into_iter().map(Arc::new).collect();
    let mut scenarios = scenarios::all();
    // Those that need a broker alone come last, so that no other waits for their turn, and on one
    // version after the other, so that they do not wait for each other.
    scenarios.sort_by_key(Scenario::disturbs_others);
    let trials = scenarios.into_iter().flat_map(|scenario| {
        let backends = backends.iter();
        let backends = backends.filter(move |b| scenario.versions.contain(b.version()));
        backends.map(move |backend| trial(scenario, kind, Arc::clone(backend)))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    for backend in backends.into_iter().filter_map(Arc::into_inner) {
        backend.stop();
    }
    conclusion.exit_code()
}

/// The images to run, and what is in them. Docker is asked only if something will run: where
/// tests are just listed, or shown as ignored, the names tell what the images are meant to hold.
fn images(arguments: &Arguments) -> Vec<(Version, Image)> {
    let images = [
        (Version::V4_0, Image::current()),
        (Version::V3_10, Image::oldest()),
        (Version::V4_3, Image::newest()),
    ];
    if arguments.list || !(arguments.include_ignored || arguments.ignored) {
        return images.into();
    }
    images
        .into_iter()
        .map(|(_, image)| (image.version(), image))
        .collect()
}

fn trial(scenario: Scenario, kind: BackendKind, backend: Arc<Backend>) -> Trial {
    let name = format!("{}::{}", backend.version(), scenario.name);
    let trial = Trial::test(name, move || {
        run(scenario, &backend);
        Ok(())
    });
    if kind == BackendKind::RabbitMq {
        trial
            .with_kind("needs Docker: integration-tests/run-all")
            .with_ignored_flag(true)
    } else {
        trial
    }
}

/// Prints no panic that a scenario intends: a backtrace in the output of a suite that passes looks
/// like a failure.
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
pub fn run(scenario: Scenario, backend: &Backend) {
    let _turn = backend.turn(scenario.disturbs_others());
    let fixture = Fixture::new(backend.broker(scenario.name), scenario.name);
    let control = fixture.control().clone();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        in_a_thread(scenario.name, BLOCKED, move || async move {
            tokio::time::timeout(LIMIT, (scenario.run)(fixture))
                .await
                .unwrap_or_else(|_| panic!("{} still runs after {LIMIT:?}", scenario.name));
        });
    }));
    if let Err(panic) = outcome {
        if let Some(log) = control.recent_log() {
            eprintln!(
                "The end of RabbitMQ's log when {} failed:\n{log}",
                scenario.name
            );
        }
        panic::resume_unwind(panic);
    }
}

/// Runs a test in a thread of its own, which bears its name, so that one which blocks fails
/// instead of holding up the suite for ever.
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
        // Nobody listens any more if it was taken for blocked.
        let _ = ended.send(outcome);
    });
    spawned.expect("a thread starts");
    match end.recv_timeout(limit) {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => panic::resume_unwind(panic),
        Err(_) => panic!("{name} is not over after {limit:?}"),
    }
}
