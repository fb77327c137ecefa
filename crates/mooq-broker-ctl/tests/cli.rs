//! The command's exit codes and words, with a stand-in for the broker and one for docker.
#![cfg(unix)]
#![allow(clippy::expect_used, reason = "a test's helpers fail as the test does")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread;

const DONE: i32 = 0;
const FAILED: i32 = 1;
const WRONG_USAGE: i32 = 2;
const DEADLINE: i32 = 3;

/// `connection.start` with no arguments, in its frame.
const START: &[u8] = &[1, 0, 0, 0, 0, 0, 4, 0, 10, 0, 10, 0xCE];

/// The command, in an environment that says nothing about brokers.
fn broker_ctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mooq-broker-ctl"));
    command
        .args(arguments)
        .args(["--host", "127.0.0.1"])
        .env_remove("TEST_DISTRIBUTION")
        .env_remove("MOOQ_BROKER_CONTAINER")
        .env_remove("MOOQ_BROKER_PORT")
        .env_remove("MOOQ_BROKER_TIMEOUT");
    command
}

/// Has `docker` on its path, which ends with `status`.
fn with_docker(mut command: Command, status: i32) -> Command {
    command
        .env("PATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake"))
        .env("FAKE_DOCKER_STATUS", status.to_string());
    command
}

fn ends(mut command: Command, code: i32) -> Output {
    let output = command.output().expect("mooq-broker-ctl runs");
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The port of a broker that answers every handshake, as long as this test's process lives.
fn running_broker() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A client that left early is the client's own affair.
            let _ = stream.read_exact(&mut [0; 8]);
            let _ = stream.write_all(START);
        }
    });
    port.to_string()
}

/// A port where nobody listens: it is the tests' own, and nothing is ever bound to it.
const NOBODY: &str = "1";

#[test]
fn help_tells_the_exit_codes_and_the_environment() {
    let help = text(&ends(broker_ctl(&["--help"]), DONE).stdout);
    assert!(help.contains("Exit codes:\n  0  done"), "{help}");

    let help = text(&ends(broker_ctl(&["restart", "--help"]), DONE).stdout);
    for name in [
        "TEST_DISTRIBUTION",
        "MOOQ_BROKER_CONTAINER",
        "MOOQ_BROKER_HOST",
        "MOOQ_BROKER_PORT",
        "MOOQ_BROKER_TIMEOUT",
    ] {
        assert!(help.contains(name), "{name} is missing:\n{help}");
    }
}

#[test]
fn a_misspelled_variable_is_wrong_usage() {
    let mut command = broker_ctl(&["status"]);
    command.env("MOOQ_BROKER_TIMED_OUT", "600");
    let told = text(&ends(command, WRONG_USAGE).stderr);
    assert_eq!(
        told,
        "mooq-broker-ctl: \"MOOQ_BROKER_TIMED_OUT\" is not a variable of this command; those are \
         [\"MOOQ_BROKER_CONTAINER\", \"MOOQ_BROKER_HOST\", \"MOOQ_BROKER_PORT\", \
         \"MOOQ_BROKER_TIMEOUT\"]\n"
    );
}

#[test]
fn a_missing_method_is_wrong_usage() {
    for operation in ["restart", "stop"] {
        let output = ends(broker_ctl(&[operation]), WRONG_USAGE);
        assert_eq!(
            text(&output.stderr),
            "mooq-broker-ctl: TEST_DISTRIBUTION is not set; it has to be arch, ubuntu or docker\n"
        );
    }
}

#[test]
fn an_unknown_method_is_wrong_usage() {
    let mut by_environment = broker_ctl(&["restart"]);
    by_environment.env("TEST_DISTRIBUTION", "gentoo");
    for command in [
        by_environment,
        broker_ctl(&["restart", "--method", "gentoo"]),
    ] {
        let told = text(&ends(command, WRONG_USAGE).stderr);
        assert!(
            told.contains("gentoo") && told.contains("arch, ubuntu, docker"),
            "{told}"
        );
    }
}

#[test]
fn docker_without_a_container_is_wrong_usage() {
    let output = ends(broker_ctl(&["stop", "--method", "docker"]), WRONG_USAGE);
    assert!(text(&output.stderr).contains("--container"), "{output:?}");
}

#[test]
fn a_timeout_that_is_no_duration_is_wrong_usage() {
    for timeout in ["soon", "-1", "inf"] {
        let flag = format!("--timeout={timeout}");
        ends(broker_ctl(&["wait", &flag]), WRONG_USAGE);
    }
}

#[test]
fn status_and_wait_need_no_method() {
    let port = running_broker();
    for operation in ["status", "wait"] {
        let output = ends(broker_ctl(&[operation, "--port", &port]), DONE);
        assert_eq!(
            text(&output.stdout),
            format!("RabbitMQ at 127.0.0.1:{port} is running\n")
        );
    }
}

#[test]
fn status_tells_why_the_broker_is_not_running() {
    let output = ends(broker_ctl(&["status", "--port", NOBODY]), FAILED);
    let told = text(&output.stdout);
    assert!(
        told.starts_with("RabbitMQ at 127.0.0.1:1 is not running: no connection could be made: "),
        "{told}"
    );
}

#[test]
fn wait_ends_at_the_timeout() {
    let output = ends(
        broker_ctl(&["wait", "--port", NOBODY, "--timeout", "0.2"]),
        DEADLINE,
    );
    let told = text(&output.stderr);
    assert!(
        told.contains("did not answer a handshake within 200ms: no connection could be made: "),
        "{told}"
    );
}

#[test]
fn restart_succeeds_when_the_command_does_and_the_broker_answers() {
    let port = running_broker();
    let command = broker_ctl(&[
        "restart",
        "--method",
        "docker",
        "--container",
        "rabbit",
        "--port",
        &port,
    ]);
    ends(with_docker(command, 0), DONE);
}

#[test]
fn the_environment_chooses_the_method_and_the_port() {
    let mut command = broker_ctl(&["restart"]);
    command
        .env("TEST_DISTRIBUTION", "docker")
        .env("MOOQ_BROKER_CONTAINER", "rabbit")
        .env("MOOQ_BROKER_PORT", running_broker());
    ends(with_docker(command, 0), DONE);
}

#[test]
fn a_failing_command_is_quoted() {
    let command = broker_ctl(&["restart", "--method", "docker", "--container", "rabbit"]);
    let output = ends(with_docker(command, 7), FAILED);
    assert_eq!(
        text(&output.stderr),
        "mooq-broker-ctl: `docker restart rabbit` failed with exit status: 7: \
         docker restart rabbit\n"
    );
}

#[test]
fn stop_notices_that_a_broker_still_answers() {
    let port = running_broker();
    let command = broker_ctl(&[
        "stop",
        "--method",
        "docker",
        "--container",
        "another",
        "--port",
        &port,
        "--timeout",
        "0.3",
    ]);
    let output = ends(with_docker(command, 0), DEADLINE);
    assert!(
        text(&output.stderr).contains("still answers handshakes 300ms after"),
        "{output:?}"
    );
}

#[test]
fn stop_succeeds_when_nobody_answers() {
    let command = broker_ctl(&[
        "stop",
        "--method",
        "docker",
        "--container",
        "rabbit",
        "--port",
        NOBODY,
    ]);
    ends(with_docker(command, 0), DONE);
}
