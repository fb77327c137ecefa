//! A RabbitMQ in a container that is killed, stopped, paused and started again.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mooq_broker_ctl::RabbitMQBroker;
use tokio::time::Instant;

use crate::container::{self, Image, RUN_LABEL};

/// How long a node may take to answer. Reached only by one that never does.
const STARTING: Duration = Duration::from_secs(90);

/// How long one handshake may take: one that got into a node which then froze must not keep the
/// next from being tried.
const HANDSHAKE: Duration = Duration::from_millis(500);

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

    /// Does something to the container: kill, stop, start, pause, unpause.
    pub async fn docker(&self, verb: &str) {
        docker(&[verb, &self.name]).await;
    }

    /// Runs rabbitmqctl in it, which must succeed, and gives what that prints.
    pub async fn ctl(&self, command: &[&str]) -> String {
        let mut arguments = vec!["exec", &self.name, "rabbitmqctl", "--quiet"];
        arguments.extend(command);
        docker(&arguments).await
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
    let broker = RabbitMQBroker::new("127.0.0.1", port).deadline(HANDSHAKE);
    let asking = async {
        while !broker.status().await.is_running() {
            tokio::time::sleep(PAUSE).await;
        }
        Instant::now()
    };
    tokio::time::timeout(STARTING, asking)
        .await
        .unwrap_or_else(|_| panic!("nothing answers at port {port} within {STARTING:?}"))
}

/// Runs docker, which must succeed, and gives what it prints.
pub async fn docker(arguments: &[&str]) -> String {
    let output = tokio::process::Command::new("docker")
        .args(arguments)
        .output()
        .await;
    printed(arguments, output.expect("the docker command runs"))
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
