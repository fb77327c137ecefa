//! `mooq-broker-ctl` on real brokers: in a container, as a service with an init script, and as a
//! unit of systemd. Both the library and the command are tested, each as root and by sudo.
//!
//! The service tests need the image `mooq-rabbitmq:trixie-service`, which `image/build` makes.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Output, id};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use mooq::{Broker, ConnectOptions, GetBroker};
use mooq_broker_ctl::{ControlError, ControlMethod, RabbitMQBroker};
use mooq_integration_tests::rabbitmq::container::{self, Image, RUN_LABEL, STARTING};

const SERVICE_IMAGE: &str = "mooq-rabbitmq:trixie-service";

/// A command that boots systemd as PID 1. systemd needs a writable hierarchy of control groups of
/// its own: here that of a private namespace, of version 2 whatever the host has, since systemd no
/// longer supports version 1.
const BOOT_SYSTEMD: &str = "umount --recursive /sys/fs/cgroup; \
    mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec /sbin/init";

/// Maximum number of ports to try for a container.
const MOST_PORTS: usize = 100;

const DONE: i32 = 0;
const FAILED: i32 = 1;
const TIMED_OUT: i32 = 3;

#[tokio::test]
#[ignore = "needs Docker: run integration-tests/run-all"]
async fn the_library_controls_a_container() {
    let container = Container::run(&rabbitmq_image(), &[], &[]);
    let broker = container.broker();

    broker.wait().await.unwrap();
    assert!(broker.status().await.is_running());

    let first = container.started_at();
    broker.run().await.unwrap();
    assert!(broker.status().await.is_running());
    let second = container.started_at();
    assert_ne!(first, second, "the restarted broker is a new process");

    broker.close().await.unwrap();
    assert!(!broker.status().await.is_running());
    broker
        .close()
        .await
        .expect("closing a stopped broker succeeds");
    let short = broker.clone().timeout(Duration::from_millis(300));
    let error = short.wait().await.unwrap_err();
    assert!(matches!(error, ControlError::NotRunning { .. }), "{error}");

    broker
        .run()
        .await
        .expect("running a stopped broker starts it");
    assert_ne!(second, container.started_at());

    a_connection_gives_it(&container, &broker).await;
}

/// Asserts that a connection to the broker returns the same broker.
async fn a_connection_gives_it(container: &Container, broker: &RabbitMQBroker) {
    let options = ConnectOptions::new().host("127.0.0.1").port(container.port);
    let options = options.broker("rabbit").connect_timeout(STARTING);
    let conn = mooq::connect(options.timeout(STARTING)).await.unwrap();
    // Until the broker is registered, the environment decides.
    let unregistered = conn
        .get_broker()
        .expect("a connection to RabbitMQ has a broker");
    assert!(unregistered.is_running().await);
    broker.register();

    let (before, running) = (container.started_at(), broker.running());
    let found = conn.get_broker().expect("the registered broker is found");
    found.run().await.unwrap();
    assert!(running.await);
    assert_ne!(before, container.started_at());
    conn.create_channel().await.expect("the connection is back");

    let name = format!("127.0.0.1_{}", container.port);
    let named = Broker::named(&name).expect("the broker is registered by its name");
    named.close().await.unwrap();
    assert!(!found.is_running().await);
}

#[test]
#[ignore = "needs Docker: run integration-tests/run-all"]
fn the_command_controls_a_container() {
    let container = Container::run(&rabbitmq_image(), &[], &[]);
    let ctl = |arguments: &[&str]| {
        let output = Command::new(broker_ctl())
            .args(arguments)
            .env("TEST_DISTRIBUTION", "docker")
            .env("MOOQ_BROKER_CONTAINER", &container.name)
            .env("MOOQ_BROKER_HOST", "127.0.0.1")
            .env("MOOQ_BROKER_PORT", container.port.to_string())
            .env("MOOQ_BROKER_TIMEOUT", STARTING.as_secs().to_string())
            .output()
            .expect("mooq-broker-ctl runs");
        exit_code(&output)
    };

    assert_eq!(ctl(&["wait"]), DONE);
    let first = container.started_at();
    assert_eq!(ctl(&["restart"]), DONE);
    assert_ne!(first, container.started_at());
    assert_eq!(ctl(&["status"]), DONE);
    assert_eq!(ctl(&["stop"]), DONE);
    assert_eq!(ctl(&["status"]), FAILED);
    assert_eq!(ctl(&["wait", "--timeout", "0.3"]), TIMED_OUT);
    assert_eq!(ctl(&["restart"]), DONE);
}

#[tokio::test]
#[ignore = "needs Docker: run integration-tests/run-all"]
async fn a_container_that_is_not_there_is_named() {
    let broker = RabbitMQBroker::default().method(ControlMethod::docker("mooq-no-such-container"));
    let error = broker.run().await.unwrap_err();
    let ControlError::CommandFailed {
        command, output, ..
    } = &error
    else {
        panic!("expected the command's failure, not {error:?}");
    };
    assert_eq!(command, "docker restart mooq-no-such-container");
    assert!(output.contains("No such container"), "{output}");
}

#[tokio::test]
#[ignore = "needs Docker: run integration-tests/run-all"]
async fn service_controls_an_init_script() {
    let host = Container::run(SERVICE_IMAGE, &[], &[]);
    host.install_broker_ctl();
    let pid = || host.exec("root", &["cat", "/run/rabbitmq/pid"]);

    proves_control(&host, "ubuntu", pid).await;
}

#[tokio::test]
#[ignore = "needs Docker: run integration-tests/run-all"]
async fn systemctl_controls_a_unit() {
    let options = [
        "--cap-add=SYS_ADMIN",
        "--security-opt=seccomp=unconfined",
        "--security-opt=apparmor=unconfined",
        "--cgroupns=private",
        "--tmpfs=/run",
    ];
    let host = Container::run(SERVICE_IMAGE, &options, &["sh", "-c", BOOT_SYSTEMD]);
    host.install_broker_ctl();
    let main_pid = [
        "systemctl",
        "show",
        "--property=MainPID",
        "--value",
        "rabbitmq.service",
    ];

    // Debian's unit is enabled, so the broker comes up with the system.
    assert_eq!(host.broker_ctl("root", "arch", "wait"), DONE);
    proves_control(&host, "arch", || host.exec("root", &main_pid)).await;
}

/// Asserts that the command restarts and stops the service on `host`. `pid` returns the process id
/// of the broker.
async fn proves_control(host: &Container, distribution: &str, pid: impl Fn() -> String) {
    assert_eq!(host.broker_ctl("root", distribution, "restart"), DONE);
    let first = pid();
    assert!(host.runs_broker(&first));
    assert!(
        host.broker().status().await.is_running(),
        "the broker answers after the restart"
    );

    assert_eq!(host.broker_ctl("tester", distribution, "restart"), DONE);
    let second = pid();
    assert_ne!(first, second, "the restarted broker is a new process");
    assert!(!host.runs_broker(&first));
    assert!(host.runs_broker(&second));

    // The user is not in sudoers, and sudo must not ask for a password.
    assert_eq!(host.broker_ctl("nobody", distribution, "stop"), FAILED);
    assert!(host.runs_broker(&second));

    assert_eq!(host.broker_ctl("tester", distribution, "stop"), DONE);
    assert!(!host.runs_broker(&second));
    assert_eq!(host.broker_ctl("tester", distribution, "status"), FAILED);
    assert!(!host.broker().status().await.is_running());
}

/// A container, removed on drop.
struct Container {
    name: String,
    /// The host's port for the broker's port 5672.
    port: u16,
}

impl Container {
    fn run(image: &str, options: &[&str], command: &[&str]) -> Self {
        // The test chooses the port, since Docker may choose another after a restart. The port is
        // below the range from which systems hand out ports, so only tests compete for it.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        for _ in 0..MOST_PORTS {
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            let port = 20_000 + (id() % 10_000) as u16 + next;
            let candidate = Self {
                name: format!("mooq-broker-ctl-{}-{next}", id()),
                port,
            };
            let publish = format!("127.0.0.1:{port}:5672");
            let label = format!("{RUN_LABEL}={}", container::run());
            let output = Command::new("docker")
                .args([
                    "run",
                    "--detach",
                    "--name",
                    &candidate.name,
                    "--label",
                    &label,
                    "--publish",
                    &publish,
                ])
                .args(options)
                .arg(image)
                .args(command)
                .output()
                .expect("docker runs");
            if output.status.success() {
                return candidate;
            }
            let reason = String::from_utf8_lossy(&output.stderr);
            let taken = reason.contains("already allocated") || reason.contains("already in use");
            assert!(taken, "{image} does not start: {reason}");
        }
        panic!("none of {MOST_PORTS} ports is free");
    }

    /// The broker in this container, controlled as a container.
    fn broker(&self) -> RabbitMQBroker {
        RabbitMQBroker::new("127.0.0.1", self.port)
            .method(ControlMethod::docker(&self.name))
            .timeout(STARTING)
    }

    fn started_at(&self) -> String {
        docker(&["inspect", "--format", "{{.State.StartedAt}}", &self.name])
    }

    fn install_broker_ctl(&self) {
        let there = format!("{}:/usr/local/bin/", self.name);
        let binary = broker_ctl();
        docker(&["cp", &binary.to_string_lossy(), &there]);
    }

    /// Runs `mooq-broker-ctl` in this container, and returns its exit code.
    fn broker_ctl(&self, user: &str, distribution: &str, operation: &str) -> i32 {
        let distribution = format!("TEST_DISTRIBUTION={distribution}");
        let output = Command::new("docker")
            .args(["exec", "--user", user, "--env", &distribution])
            .args([
                "--env",
                &format!("MOOQ_BROKER_TIMEOUT={}", STARTING.as_secs()),
            ])
            .arg(&self.name)
            .args(["mooq-broker-ctl", operation])
            .output()
            .expect("docker runs");
        exit_code(&output)
    }

    fn exec(&self, user: &str, command: &[&str]) -> String {
        docker(&[&["exec", "--user", user, &self.name], command].concat())
    }

    /// Returns true if the process of that id exists, and is an Erlang machine.
    fn runs_broker(&self, pid: &str) -> bool {
        let comm = format!("cat /proc/{pid}/comm 2>/dev/null || true");
        self.exec("root", &["sh", "-c", &comm]).starts_with("beam")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Errors are ignored: the reason of a failed test must stay visible.
        let _ = Command::new("docker")
            .args(["rm", "--force", "--volumes", &self.name])
            .output();
    }
}

/// Runs docker, which must succeed, and returns its output.
fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker")
        .args(arguments)
        .output()
        .expect("docker runs");
    assert!(output.status.success(), "docker {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Returns the exit code, and prints the command's output, which is shown if the test fails.
fn exit_code(output: &Output) -> i32 {
    print!("{}", String::from_utf8_lossy(&output.stdout));
    print!("{}", String::from_utf8_lossy(&output.stderr));
    output
        .status
        .code()
        .expect("the command was not killed by a signal")
}

/// The image of a broker, the same as in every other test.
fn rabbitmq_image() -> String {
    Image::current().name().to_owned()
}

/// The command, which cargo puts beside the directory of the tests' executables.
fn broker_ctl() -> PathBuf {
    let test = env::current_exe().expect("the test knows its executable");
    let binary = test
        .ancestors()
        .nth(2)
        .map(|dir| dir.join("mooq-broker-ctl"));
    binary
        .filter(|path| path.exists())
        .expect("cargo build -p mooq-broker-ctl --features cli; integration-tests/run-all does so")
}
