//! The command: its output, its environment and its end.
#![cfg(unix)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail as the test does"
)]

use std::io::{BufRead, BufReader, Read, Write};
#[cfg(feature = "tls")]
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};

use futures_util::StreamExt;
use lapin::options::QueuePurgeOptions;
use lapin::{ConnectionProperties, Event};
use tempfile::NamedTempFile;

/// A server that is killed when it is dropped.
struct Running {
    process: Child,
    port: u16,
    /// The port for clients that speak TLS.
    #[cfg(feature = "tls")]
    tls_port: Option<u16>,
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
        let ports = address.strip_prefix(r#"{"host":"127.0.0.1","port":"#);
        let ports = ports.and_then(|rest| rest.strip_suffix('}'));
        let ports = ports.unwrap_or_else(|| panic!("{address}"));
        let mut ports = ports
            .split(r#","tls_port":"#)
            .map(|port| port.parse().unwrap());
        assert_eq!(line(), "Server startup complete");
        Self {
            process,
            port: ports.next().unwrap(),
            #[cfg(feature = "tls")]
            tls_port: ports.next(),
        }
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

/// Exported from a RabbitMQ, with a user whose password is `test12`.
const DEFINITIONS: &str = r#"{
    "users": [{"name": "alice", "tags": [], "limits": {},
               "password_hash": "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR",
               "hashing_algorithm": "rabbit_password_hashing_sha256"}],
    "vhosts": [{"name": "shop"}],
    "permissions": [{"user": "alice", "vhost": "shop", "configure": "", "write": ".*", "read": ".*"}],
    "parameters": [{"component": "shovel", "name": "away", "vhost": "shop", "value": {}}],
    "queues": [{"name": "orders", "vhost": "shop", "durable": true, "auto_delete": false,
                "arguments": {"x-queue-type": "quorum"}}]
}"#;

fn file_with(definitions: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(definitions.as_bytes()).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_take_the_place_of_the_defaults() {
    let file = file_with(DEFINITIONS);
    let path = file.path().to_str().unwrap();
    let mut command = command(&["--port", "0", "--definitions", path]);
    command.env("RABBITMQ_DEFAULT_USER", "ignored");
    command.stderr(Stdio::piped());
    let mut server = Running::start(command);
    let connection = connect(&server.url("alice:test12", "shop")).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let queue = channel
        .queue_purge("orders".into(), QueuePurgeOptions::default())
        .await;
    assert_eq!(queue.unwrap(), 0);
    for (credentials, vhost) in [
        ("guest:guest", "shop"),
        ("guest:guest", "%2f"),
        ("ignored:guest", "shop"),
        ("alice:test12", "%2f"),
    ] {
        let refused = connect(&server.url(credentials, vhost)).await;
        assert!(refused.is_err(), "{credentials} {vhost}");
    }
    assert!(server.end("-TERM").success());
    let mut said = String::new();
    let mut errors = server.process.stderr.take().expect("it is piped");
    errors.read_to_string(&mut said).unwrap();
    let expected =
        "mooq-server: not imported: parameter 'away' of component 'shovel' in vhost 'shop'\n";
    assert_eq!(said, expected);
}

#[test]
fn definitions_that_cannot_be_imported_are_named() {
    let output = command(&["--definitions", "/missing.json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("mooq-server: /missing.json: "), "{text}");

    let file = file_with(r#"{"queues": [{"name": "q", "vhost": "shop"}]}"#);
    let path = file.path().to_str().unwrap();
    let output = command(&["--definitions", path]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    let wrong = "queue 'q' in vhost 'shop': there is no virtual host 'shop'";
    assert_eq!(text, format!("mooq-server: {path}: {wrong}\n"));
}

#[cfg(feature = "tls")]
#[test]
fn tls_has_a_port_of_its_own() {
    let authority = mooq_rig::certificates::Authority::new();
    let issued = authority.issue_to_server();
    let certificate = authority.write("server.pem", &issued.certificate);
    let key = authority.write("server-key.pem", &issued.key);
    let paths = [&certificate, &key].map(|path| path.to_str().unwrap());
    let tls = [
        "--tls-port",
        "0",
        "--certfile",
        paths[0],
        "--keyfile",
        paths[1],
    ];
    let server = Running::start(command(&[&["--port", "0"], &tls[..]].concat()));
    assert_ne!(server.tls_port, Some(server.port));
    TcpStream::connect(("127.0.0.1", server.tls_port.unwrap())).unwrap();

    let output = command(&tls[..2]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "it needs a certificate");
}

#[cfg(feature = "tls")]
#[test]
fn logins_by_certificate_need_the_authorities_of_clients() {
    let help = command(&["--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("subject_alternative_name"), "{help}");
    for arguments in [
        &["--ssl-cert-login-from", "common_name"][..],
        &["--ssl-cert-login-from", "nickname"],
        &["--allow-no-peer-cert"],
    ] {
        let output = command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn unix_socket_is_served_beside_the_port() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broker.sock");
    let path = path.to_str().unwrap();
    let mut server = Running::start(command(&["--port", "0", "--unix", path]));
    let mut client = std::os::unix::net::UnixStream::connect(path).unwrap();
    client.write_all(b"AMQP\0\0\x09\x01").unwrap();
    let mut greeting = [0];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(greeting, [1], "a method");
    drop(client);
    assert!(server.end("-TERM").success());
    assert!(!std::path::Path::new(path).exists());

    let output = command(&["--port", "0", "--unix", "/missing/broker.sock"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.starts_with("mooq-server: /missing/broker.sock: "),
        "{text}"
    );
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
