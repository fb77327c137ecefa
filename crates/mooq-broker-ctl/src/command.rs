//! Running one command to its end.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time;

use crate::error::ControlError;

/// Number of bytes of a command's output that an error quotes: the end, which holds the reason.
const QUOTED_OUTPUT: u64 = 4096;

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandLine {
    program: String,
    arguments: Vec<String>,
}

impl CommandLine {
    /// Creates a command line. The first of `words` is the program.
    pub(crate) fn new(words: &[&str]) -> Self {
        let mut words = words.iter().map(|word| String::from(*word));
        Self {
            program: words.next().unwrap_or_default(),
            arguments: words.collect(),
        }
    }

    /// Runs the command and waits until it ends, at most for `timeout`.
    ///
    /// The command is never killed, neither by the timeout nor by dropping this future: half a
    /// restart would leave a broker in a worse state than a whole one that is not awaited.
    pub(crate) async fn run(&self, timeout: Duration) -> Result<(), ControlError> {
        let not_run = |source| ControlError::CommandNotRun {
            command: self.to_string(),
            source,
        };
        // A file and not a pipe: a daemon that the command starts may keep its output open. A pipe
        // would then never end, and would be broken for the daemon later.
        let output = tempfile::tempfile().map_err(not_run)?;
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(not_run)?)
            .stderr(output.try_clone().map_err(not_run)?)
            .spawn()
            .map_err(not_run)?;

        match time::timeout(timeout, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(ControlError::CommandFailed {
                command: self.to_string(),
                status,
                output: read_end(output)
                    .unwrap_or_else(|error| format!("its output cannot be read: {error}")),
            }),
            Ok(Err(source)) => Err(not_run(source)),
            Err(_) => Err(ControlError::CommandUnfinished {
                command: self.to_string(),
                timeout,
            }),
        }
    }
}

impl fmt::Display for CommandLine {
    /// Writes the command as it would be typed, without quotes: it is for people to read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)?;
        self.arguments
            .iter()
            .try_for_each(|argument| write!(f, " {argument}"))
    }
}

fn read_end(mut output: File) -> io::Result<String> {
    let length = output.metadata()?.len();
    output.seek(SeekFrom::Start(length.saturating_sub(QUOTED_OUTPUT)))?;
    let mut end = Vec::new();
    output.read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).trim().to_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> CommandLine {
        CommandLine::new(&["sh", "-c", script])
    }

    #[tokio::test]
    async fn success_is_silent() {
        shell("echo ignored").run(LONG).await.unwrap();
    }

    #[tokio::test]
    async fn a_failure_quotes_status_and_output() {
        let error = shell("echo no; echo way >&2; exit 5")
            .run(LONG)
            .await
            .unwrap_err();
        let ControlError::CommandFailed { status, output, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(status.code(), Some(5));
        assert_eq!(output, "no\nway");
        assert!(
            error
                .to_string()
                .ends_with("failed with exit status: 5: no\nway"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn only_the_end_of_a_long_output_is_quoted() {
        let error = shell("head -c 10000 /dev/zero | tr '\\0' x; echo the end; exit 1")
            .run(LONG)
            .await
            .unwrap_err();
        let ControlError::CommandFailed { output, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(output.ends_with("xthe end"));
        assert!(output.len() <= 4096);
    }

    #[tokio::test]
    async fn a_daemon_that_keeps_the_output_open_delays_nothing() {
        let began = std::time::Instant::now();
        shell("sleep 30 &").run(LONG).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn an_absent_program_is_named() {
        let error = CommandLine::new(&["mooq-no-such-program", "restart"])
            .run(LONG)
            .await
            .unwrap_err();
        assert!(matches!(error, ControlError::CommandNotRun { .. }));
        assert_eq!(
            error.to_string(),
            "`mooq-no-such-program restart` could not be run"
        );
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_meets_the_timeout() {
        let error = shell("sleep 30")
            .run(Duration::from_millis(50))
            .await
            .unwrap_err();
        assert!(matches!(error, ControlError::CommandUnfinished { .. }));
        assert!(error.is_timeout());
    }
}
