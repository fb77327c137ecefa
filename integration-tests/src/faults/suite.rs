//! The test target: every case on each of its brokers.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

use super::cases::{self, Case, On};
use super::site::Site;
use crate::rabbitmq::container::Image;
use mooq_conformance::suite;

/// Time limit of a case, in the full form too. Only a case that hangs reaches it.
const LIMIT: Duration = Duration::from_secs(1800);

/// The `main` of the target.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let rabbitmq = Arc::<Mutex<Option<Site>>>::default();
    let mut trials = Vec::new();
    for case in cases::all() {
        if case.on == On::Both {
            let name = format!("memory::{}", case.name);
            trials.push(Trial::test(name, move || {
                suite::in_a_thread(case.name, LIMIT, move || async move {
                    (case.run)(&Site::memory(case.name), case.name).await;
                });
                Ok(())
            }));
        }
        let (name, site) = (format!("rabbitmq::{}", case.name), Arc::clone(&rabbitmq));
        let trial = Trial::test(name, move || {
            on_rabbitmq(case, &site);
            Ok(())
        });
        trials.push(
            trial
                .with_kind("needs Docker: integration-tests/run-all")
                .with_ignored_flag(true),
        );
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(rabbitmq);
    conclusion.exit_code()
}

/// Runs a case on the shared container, when it is the case's turn: a fault strikes all clients of
/// the broker. A failed case may leave the broker broken, so the next one gets another container.
fn on_rabbitmq(case: Case, shared: &Mutex<Option<Site>>) {
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let site = shared.take();
    let (done, sound) = std::sync::mpsc::channel();
    suite::in_a_thread(case.name, LIMIT, move || async move {
        let site = match site {
            Some(site) => site,
            None => Site::rabbitmq(&Image::current()).await,
        };
        (case.run)(&site, case.name).await;
        // The receiver is still there.
        let _ = done.send(site);
    });
    *shared = sound.try_recv().ok();
}
