//! A RabbitMQ in a container that is killed, stopped, paused and started again.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mooq_broker_ctl::{BrokerStatus, HandshakeError, RabbitMQBroker};
use tokio::time::Instant;

use crate::rabbitmq::container::{self, Image, PATIENT_HANDSHAKE, RUN_LABEL, STARTING};

/// How long one handshake may take, at first and later: one that got into a node which then froze
/// must not keep the next from being tried, and a machine may be too busy for the first.
const HANDSHAKE: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(8)];

/// Between two handshakes. A port does not tell when somebody begins to listen.
const PAUSE: Duration = Duration::from_millis(5);

/// A container that runs RabbitMQ, removed when this is dropped.
#[derive(Debug)]
pub struct Node {
    name: String,
}

impl Node {
    /// Starts one, with further options for `docker run`. It may not answer yet.
    ///
    /// # Panics
    /// If docker does not start it.
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

    /// Where it is on this machine: after a start it may be another port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let published = docker_now(&["port", &self.name, "5672/tcp"]);
        let first = published.lines().next().unwrap_or_default();
        first.parse().expect("docker tells address and port")
    }

    /// Does something to the container: kill, stop, start, unpause.
    pub async fn docker(&self, verb: &str) {
        docker(&[verb, &self.name]).await;
    }

    /// Freezes the container.
    pub async fn pause(&self) {
        crate::rabbitmq::pause(&self.name).await;
    }

    /// Runs rabbitmqctl in it until that succeeds, and gives what it prints: on a busy machine
    /// nodes may not reach each other in the time that RabbitMQ has for it.
    ///
    /// # Panics
    /// If it never succeeds, with what was printed last.
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
        // After a failed case its reason counts, and not what happens here.
        let _ = Command::new("docker")
            .args(["rm", "--force", "--volumes", &self.name])
            .output();
    }
}

/// Waits until a broker answers AMQP handshakes at this port, and says since when.
///
/// # Panics
/// If it never does.
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

/// Runs docker, which must succeed, and gives what it prints.
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

/// The same from outside of any runtime.
pub fn docker_now(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output();
    printed(arguments, output.expect("the docker command runs"))
}

fn printed(arguments: &[&str], output: Output) -> String {
    assert!(output.status.success(), "docker {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
