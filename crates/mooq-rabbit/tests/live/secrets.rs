//! Log lines, at the finest level, while all the other steps run.

use std::io;
use std::sync::{Arc, Mutex};

use tracing_subscriber::filter::LevelFilter;

/// The passwords that steps log in with, or try to.
pub(crate) const PASSWORDS: [&str; 2] = ["hunter2", "p:w/@"];

/// Lines of mooq and of amqprs, which logs with a feature that is off.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// From here on everything is logged here.
    pub(crate) fn begin() -> Self {
        let log = Self::default();
        let lines = log.clone();
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(move || lines.clone())
            .init();
        log
    }

    pub(crate) fn holds_no_password(&self) {
        let lines = self.0.lock().unwrap();
        let opened = lines.iter().any(|line| line.contains("connection opened"));
        assert!(opened, "nothing was logged");
        for line in lines.iter() {
            for password in PASSWORDS {
                assert!(!line.contains(password), "{line}");
            }
        }
    }
}

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        // Those of the client of Docker hold what the steps have it do.
        if text.contains(" mooq_") || text.contains(" amqprs") {
            self.0.lock().unwrap().push(text.into_owned());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
