//! A RabbitMQ in a container that is killed, stopped, paused and started again. The `docker` command
//! does it, one verb for each fault; brokers that stay up are started by mooq-rig.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mooq_broker_ctl::{BrokerStatus, HandshakeError, RabbitMQBroker};
use tokio::time::Instant;

use crate::rabbitmq::container::{self, Image, PATIENT_HANDSHAKE, RUN_LABEL, STARTING};

/// Time limits of a handshake, for the first and later ones. Short at first, since a handshake in a
/// node that froze must not delay the next; longer later, since the machine may be busy.
const HANDSHAKE: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(8)];

/// Pause between two handshakes: a port has no event for a new listener.
const PAUSE: Duration = Duration::from_millis(5);

/// A container that runs RabbitMQ, removed on drop.
#[derive(Debug)]
pub struct Node {
    name: String,
}

impl Node {
    /// Starts a container, with further options for `docker run`. RabbitMQ may not answer yet.
    ///
    /// # Panics
    /// If docker does not start the container.
    #[must_use]
    pub fn run(image: &Image, options: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let node = Self {
            name: format!("mooq-faults-{}-{next}", std::process::id()),
        };
        let label = format!("{RUN_LABEL}={}", container::run());
        let mut arguments = vec!["run", "--detach", "--name", &node.name, "--label", &label];
        arguments.extend(["--publish", "127.0.0.1::5672"]);
        let (variable, patience) = PATIENT_HANDSHAKE;
        let patience = format!("{variable}={patience}");
        arguments.extend(["--env", &patience]);
        arguments.extend(options);
        arguments.push(image.name());
        docker_now(&arguments);
        node
    }

    /// The broker's address on this machine. The port may change with every start.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let published = docker_now(&["port", &self.name, "5672/tcp"]);
        let first = published.lines().next().unwrap_or_default();
        first.parse().expect("docker prints address and port")
    }

    /// Runs a verb of docker on the container: kill, stop, start, unpause.
    pub async fn docker(&self, verb: &str) {
        docker(&[verb, &self.name]).await;
    }

    /// Freezes the container.
    pub async fn pause(&self) {
        crate::rabbitmq::pause(&self.name).await;
    }

    /// Repeats rabbitmqctl in the container until it succeeds, and returns its output: on a busy
    /// machine nodes may not reach each other within RabbitMQ's timeout.
    ///
    /// # Panics
    /// If it never succeeds, with the last output.
    pub async fn ctl(&self, command: &[&str]) -> String {
        let mut arguments = vec!["exec", &self.name, "rabbitmqctl", "--quiet"];
        arguments.extend(command);
        let began = Instant::now();
        loop {
            let output = run_docker(&arguments).await;
            if output.status.success() || began.elapsed() > STARTING {
                return printed(&arguments, output);
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Errors are ignored: the reason of a failed case must stay visible.
        let _ = Command::new("docker")
            .args(["rm", "--force", "--volumes", &self.name])
            .output();
    }
}

/// Waits until a broker answers AMQP handshakes at this port, and returns the time.
///
/// # Panics
/// If the broker never answers.
pub async fn answers(port: u16) -> Instant {
    let broker = RabbitMQBroker::new("127.0.0.1", port);
    let asking = async {
        let [mut limit, longest] = HANDSHAKE;
        loop {
            match broker.clone().timeout(limit).status().await {
                BrokerStatus::Running => return Instant::now(),
                BrokerStatus::NotRunning(HandshakeError::TimedOut { .. }) => {
                    limit = longest.min(2 * limit);
                }
                BrokerStatus::NotRunning(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    tokio::time::timeout(STARTING, asking)
        .await
        .unwrap_or_else(|_| panic!("nothing answers at port {port} within {STARTING:?}"))
}

/// Runs docker, which must succeed, and returns its output.
pub async fn docker(arguments: &[&str]) -> String {
    printed(arguments, run_docker(arguments).await)
}

async fn run_docker(arguments: &[&str]) -> Output {
    let output = tokio::process::Command::new("docker")
        .args(arguments)
        .output()
        .await;
    output.expect("the docker command runs")
}

/// Runs docker likewise, outside of a runtime.
pub fn docker_now(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output();
    printed(arguments, output.expect("the docker command runs"))
}

fn printed(arguments: &[&str], output: Output) -> String {
    assert!(output.status.success(), "docker {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
