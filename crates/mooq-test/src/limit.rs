//! Running a test within a limit of wall-clock time, even if it blocks.

use std::any::Any;
use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use mooq_core::{Error, ErrorKind, Result};

/// The variable with the time limit of every test in seconds, which overrides the test's own limit.
const VARIABLE: &str = "MOOQ_TEST_LIMIT";

/// Result of a test.
#[derive(Debug)]
pub(crate) enum Outcome {
    Returned(ExitCode),
    Panicked(Box<dyn Any + Send>),
    /// The test has not ended, and goes on in its thread.
    TookTooLong(String),
}

impl Outcome {
    pub(crate) fn is_success(&self) -> bool {
        matches!(self, Self::Returned(code) if *code == ExitCode::SUCCESS)
    }
}

/// The limit that the environment sets, if it sets one: `Some(None)` stands for no limit.
pub(crate) fn from_env() -> Result<Option<Option<Duration>>> {
    env::var(VARIABLE).ok().as_deref().map(parse).transpose()
}

fn parse(seconds: &str) -> Result<Option<Duration>> {
    match seconds.parse() {
        Ok(0) => Ok(None),
        Ok(seconds) => Ok(Some(Duration::from_secs(seconds))),
        Err(e) => {
            let message = format!("{VARIABLE} is '{seconds}', expected a number of seconds");
            Err(Error::new(ErrorKind::InvalidArgument, message).with_source(e))
        }
    }
}

/// Runs `test` in its own thread of this name: its output and its panic message are captured like
/// its caller's.
pub(crate) fn run(
    name: &str,
    limit: Option<Duration>,
    test: impl FnOnce() -> ExitCode + Send + 'static,
) -> Result<Outcome> {
    let (ended, end) = mpsc::channel();
    let named = thread::Builder::new().name(name.to_owned());
    let thread = named.spawn(move || {
        let outcome = match panic::catch_unwind(AssertUnwindSafe(test)) {
            Ok(code) => Outcome::Returned(code),
            Err(panic) => Outcome::Panicked(panic),
        };
        // If the test took too long, the receiver is gone.
        let _ = ended.send(outcome);
    });
    let thread = thread
        .map_err(|e| Error::new(ErrorKind::ResourceError, "no thread starts").with_source(e))?;
    let outcome = match limit {
        Some(limit) => end.recv_timeout(limit).ok(),
        None => end.recv().ok(),
    };
    let Some(outcome) = outcome else {
        let limit = limit.unwrap_or_default();
        let told = format!("the test still runs after {limit:?}, its limit");
        return Ok(Outcome::TookTooLong(told));
    };
    // The test has reported its outcome: the thread ends, with everything that the test has on it.
    let _ = thread.join();
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_variable_is_a_number_of_seconds() {
        assert_eq!(parse("90").unwrap(), Some(Duration::from_secs(90)));
        assert_eq!(parse("0").unwrap(), None);
        assert_eq!(
            parse("1 min").unwrap_err().to_string(),
            "MOOQ_TEST_LIMIT is '1 min', expected a number of seconds"
        );
    }

    #[test]
    fn outcome_of_a_test_is_returned() {
        let code = run("returns", None, || ExitCode::FAILURE).unwrap();
        assert!(matches!(code, Outcome::Returned(code) if code == ExitCode::FAILURE));

        let panicked = run("panics", None, || panic!("as it should"));
        assert!(matches!(panicked.unwrap(), Outcome::Panicked(_)));
    }

    #[test]
    fn blocking_test_is_abandoned_at_its_limit() {
        let (_open, never) = mpsc::channel::<()>();
        let blocks = move || {
            let _ = never.recv();
            ExitCode::SUCCESS
        };
        let outcome = run("blocks", Some(Duration::from_millis(5)), blocks).unwrap();
        assert!(matches!(outcome, Outcome::TookTooLong(told) if told.contains("after 5ms")));
    }
}
