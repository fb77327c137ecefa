//! The command: its output, its environment and its end.
#![cfg(unix)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail as the test does"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

use futures_util::StreamExt;
use lapin::{ConnectionProperties, Event};

/// A server that is killed when it is dropped.
struct Running {
    process: Child,
    port: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mooq-server"));
    command
        .args(arguments)
        .env_remove("RABBITMQ_DEFAULT_USER")
        .env_remove("RABBITMQ_DEFAULT_PASS")
        .env_remove("RABBITMQ_DEFAULT_VHOST");
    command
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut process = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("mooq-server starts");
        let output = process.stdout.take().expect("the server's output is piped");
        let mut lines = BufReader::new(output).lines();
        let mut line = || {
            lines
                .next()
                .expect("the server prints a line")
                .expect("the line is text")
        };
        let address = line();
        let port = address.strip_prefix(r#"{"host":"127.0.0.1","port":"#);
        let port = port.and_then(|rest| rest.strip_suffix('}'));
        let port = port.unwrap_or_else(|| panic!("{address}")).parse().unwrap();
        assert_eq!(line(), "Server startup complete");
        Self { process, port }
    }

    fn url(&self, credentials: &str, vhost: &str) -> String {
        format!("amqp://{credentials}@127.0.0.1:{}/{vhost}", self.port)
    }

    /// Sends a signal, and waits for the end.
    fn end(&mut self, signal: &str) -> ExitStatus {
        let mut kill = Command::new("kill");
        kill.args([signal, &self.process.id().to_string()]);
        assert!(kill.status().unwrap().success());
        self.process.wait().unwrap()
    }
}

async fn connect(url: &str) -> lapin::Result<lapin::Connection> {
    lapin::Connection::connect(url, ConnectionProperties::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn server_ends_in_order_on_a_signal() {
    for signal in ["-TERM", "-INT"] {
        let mut server = Running::start(command(&["--port", "0"]));
        let connection = connect(&server.url("guest:guest", "%2f")).await.unwrap();
        let mut events = connection.events_listener();
        assert!(server.end(signal).success());
        let error = loop {
            if let Event::Error(error) = events
                .next()
                .await
                .expect("the lost connection has an event")
            {
                break error.to_string();
            }
        };
        assert!(error.contains("CONNECTION_FORCED"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_password_and_virtual_host_come_from_the_environment() {
    let mut command = command(&["--port", "0", "--profile", "4.3"]);
    command
        .env("RABBITMQ_DEFAULT_USER", "alice")
        .env("RABBITMQ_DEFAULT_PASS", "secret")
        .env("RABBITMQ_DEFAULT_VHOST", "shop");
    let server = Running::start(command);
    connect(&server.url("alice:secret", "shop")).await.unwrap();
    for (credentials, vhost) in [
        ("guest:guest", "shop"),
        ("alice:wrong", "shop"),
        ("alice:secret", "%2f"),
    ] {
        let refused = connect(&server.url(credentials, vhost)).await;
        assert!(refused.is_err(), "{credentials} {vhost}");
    }
}

#[test]
fn port_that_is_taken_is_named() {
    let server = Running::start(command(&["--port", "0"]));
    let port = server.port.to_string();
    let output = command(&["--port", &port]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.starts_with(&format!("mooq-server: 127.0.0.1:{port}: ")),
        "{text}"
    );
}

#[test]
fn unknown_profile_is_wrong_usage() {
    let output = command(&["--profile", "5.0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
