//! The examples, as programs.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use mooq_conformance::within;

/// Builds an example, unless it is up to date, and returns the path of its program.
///
/// # Panics
/// If the example does not build.
#[must_use]
pub fn build(name: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    // With the features of `run-all`, to reuse its builds.
    cargo.args(["build", "--workspace", "--all-features", "--quiet"]);
    cargo.args(["--example", name, "--message-format", "json"]);
    // These variables of the test's own cargo would make build scripts run again, and rebuild
    // crates that others are using.
    for (variable, _) in env::vars_os() {
        let told = variable.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&variable);
        }
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let built = cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "example '{name}' does not build");
    built
        .stdout
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .unwrap_or_else(|| panic!("cargo does not say where example '{name}' is"))
}

/// An example that runs until it is told to end.
#[derive(Debug)]
pub struct Service {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Service {
    /// Starts the example.
    ///
    /// # Panics
    /// If the example does not start.
    #[must_use]
    pub fn start(program: &Path, arguments: &[&str]) -> Self {
        let mut process = tokio::process::Command::new(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the example starts");
        let output = process
            .stdout
            .take()
            .expect("the example's output is piped");
        Self {
            process,
            output: BufReader::new(output).lines(),
        }
    }

    /// The next line of output, or none if the example has ended.
    pub async fn next_line(&mut self) -> Option<String> {
        let line = within("the next line", self.output.next_line()).await;
        line.expect("the example prints text")
    }

    /// Reads the output until it has `line`.
    pub async fn prints(&mut self, line: &str) {
        self.prints_all(&[line]).await;
    }

    /// Reads the output until it has all of `lines`, in any order.
    pub async fn prints_all<S: AsRef<str>>(&mut self, lines: &[S]) {
        let mut missing: BTreeSet<_> = lines.iter().map(AsRef::as_ref).collect();
        let what = format!("all of {missing:?}");
        let printed = async {
            while !missing.is_empty() {
                let next = self
                    .output
                    .next_line()
                    .await
                    .expect("the example prints text");
                let Some(next) = next else {
                    panic!("the example ended before it printed {missing:?}");
                };
                missing.remove(next.as_str());
            }
        };
        within(&what, printed).await;
    }

    /// Interrupts the example, and waits for its end.
    pub async fn ends_on_ctrl_c(mut self) {
        let id = self
            .process
            .id()
            .expect("the example still runs")
            .to_string();
        let interrupted = tokio::process::Command::new("kill")
            .args(["-INT", &id])
            .status();
        assert!(interrupted.await.expect("kill runs").success());
        let status = within("its end", self.process.wait()).await;
        assert!(
            status
                .expect("the example's exit status is known")
                .success()
        );
    }
}
