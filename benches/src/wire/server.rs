//! mooq-server as a process: its start, its memory, its end.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use mooq_core::{Endpoint, Scheme};

use super::peer::Peer;

/// A mooq-server that ends with this value.
#[derive(Debug)]
pub struct Server {
    process: Child,
    /// The broker's address.
    pub endpoint: Endpoint,
    /// Time from the start of the process to the first login.
    pub login: Duration,
}

impl Server {
    /// Compiles mooq-server as a release, beside the program that runs. Returns its path.
    ///
    /// # Errors
    /// The compilation fails.
    pub fn build() -> Result<PathBuf, Box<dyn Error>> {
        let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--release", "--package", "mooq-server"])
            .args(["--features", "cli", "--bin", "mooq-server"])
            .status()?;
        if !status.success() {
            return Err(format!("mooq-server cannot be built: {status}").into());
        }
        let own = env::current_exe()?;
        Ok(own.with_file_name(format!("mooq-server{}", env::consts::EXE_SUFFIX)))
    }

    /// Starts the program, and logs in.
    ///
    /// # Errors
    /// The program does not start, or does not say on which port it listens.
    pub fn start(program: &Path) -> Result<Self, Box<dyn Error>> {
        let begin = Instant::now();
        let mut process = Command::new(program)
            .args(["--port", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = process.stdout.take().ok_or("no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let port = port_in(&line).ok_or_else(|| format!("no port in '{line}'"))?;
        let mut endpoint = Endpoint::new(Scheme::Amqp);
        endpoint.host = "127.0.0.1".into();
        endpoint.port = port;
        Peer::connect(&endpoint)?;
        let login = begin.elapsed();
        Ok(Self {
            process,
            endpoint,
            login,
        })
    }

    /// Resident memory of the process in bytes. None where there is no `/proc`.
    #[must_use]
    pub fn memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    }

    /// Connects so many times, and returns the connections.
    ///
    /// # Errors
    /// As for [`Peer::connect`].
    pub fn connect(&self, count: usize) -> io::Result<Vec<Peer>> {
        (0..count).map(|_| Peer::connect(&self.endpoint)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The value of `"port"` in a line of JSON.
fn port_in(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("\"port\":")?;
    let digits = rest.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_is_found_in_a_line_of_json() {
        assert_eq!(port_in(r#"{"host":"127.0.0.1","port":5672}"#), Some(5672));
        assert_eq!(port_in("Server startup complete"), None);
    }
}
