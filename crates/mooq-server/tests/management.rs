//! The command's management API.
#![cfg(unix)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail as the test does"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use mooq_rig::management::{Management, Method};

/// A server that is killed when it is dropped.
struct Running {
    process: Child,
    /// The first line of its output.
    address: String,
}

impl Running {
    fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_mooq-server"))
            .args(arguments)
            .env_remove("RABBITMQ_DEFAULT_VHOST")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("mooq-server starts");
        let output = process.stdout.take().expect("the server's output is piped");
        let mut lines = BufReader::new(output).lines();
        let mut line = || lines.next().expect("the server prints a line").unwrap();
        // Both lines: the server ends if its output has no reader.
        let address = line();
        assert_eq!(line(), "Server startup complete");
        Self { process, address }
    }

    fn management(&self) -> Management {
        let port = self.address.split(r#""management_port":"#).nth(1);
        let port = port.and_then(|rest| rest.strip_suffix('}'));
        let port = port.unwrap_or_else(|| panic!("{}", self.address));
        Management::behind(port.parse().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn management_is_off_unless_a_port_is_given() {
    let server = Running::start(&["--port", "0"], &[]);
    assert!(
        !server.address.contains("management_port"),
        "{}",
        server.address
    );
}

#[tokio::test]
async fn management_is_of_the_user_of_the_environment() {
    let user = [
        ("RABBITMQ_DEFAULT_USER", "admin"),
        ("RABBITMQ_DEFAULT_PASS", "secret"),
    ];
    let server = Running::start(&["--port", "0", "--management-port", "0"], &user);
    let management = server.management();
    let guest = management.ask(Method::GET, "/api/overview", "").await;
    assert_eq!(guest.status, 401);
    let admin = management.as_user("admin", "secret");
    let whoami = admin.ask(Method::GET, "/api/whoami", "").await.json();
    assert_eq!(whoami["tags"][0], "administrator");
    let overview = admin.ask(Method::GET, "/api/overview", "").await.json();
    let protocols = overview["listeners"].as_array().unwrap().iter();
    let protocols: Vec<_> = protocols.map(|listener| &listener["protocol"]).collect();
    assert_eq!(protocols, ["amqp", "http"]);
}
