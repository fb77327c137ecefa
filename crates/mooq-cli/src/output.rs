//! Lines on standard output, and progress on standard error.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Result};

/// Writes a line to standard output. Returns false if its reader is gone, as after `head`.
pub(crate) fn line(text: &str) -> Result<bool> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(err) => Err(Failure::failed(format!(
            "the output cannot be written: {err}"
        ))),
    }
}

/// The number of messages so far, on standard error, every few seconds.
pub(crate) struct Progress {
    verb: &'static str,
    count: u64,
    began: Instant,
    told: Instant,
    is_quiet: bool,
}

impl Progress {
    const INTERVAL: Duration = Duration::from_secs(2);

    /// Progress in words such as `published`.
    pub(crate) fn new(verb: &'static str, is_quiet: bool) -> Self {
        let now = Instant::now();
        Self {
            verb,
            count: 0,
            began: now,
            told: now,
            is_quiet,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Counts a message.
    pub(crate) fn add(&mut self) {
        self.count += 1;
        if self.told.elapsed() >= Self::INTERVAL {
            self.told = Instant::now();
            let seconds = self.began.elapsed().as_secs_f64();
            self.tell(&format!(" in {seconds:.0} s"));
        }
    }

    /// Says how many there were in all.
    pub(crate) fn end(&self) {
        self.tell("");
    }

    fn tell(&self, after: &str) {
        if !self.is_quiet {
            let messages = if self.count == 1 {
                "message"
            } else {
                "messages"
            };
            eprintln!("{} {} {messages}{after}", self.verb, self.count);
        }
    }
}
