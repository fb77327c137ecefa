//! RabbitMQ in a container.

use std::env;
use std::process::Command;

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt, TestcontainersError};
use tokio::runtime::Runtime;

use crate::control::{Control, Management};
use crate::version::Version;

/// A container image of RabbitMQ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image(String);

impl Image {
    /// The one that most tests run on: `MOOQ_RABBITMQ_IMAGE`, else the official one.
    #[must_use]
    pub fn current() -> Self {
        Self::named("MOOQ_RABBITMQ_IMAGE", "rabbitmq:4-management")
    }

    /// The oldest that mooq is tested with: `MOOQ_RABBITMQ_3_10_IMAGE`, else the official one.
    #[must_use]
    pub fn oldest() -> Self {
        Self::named("MOOQ_RABBITMQ_3_10_IMAGE", "rabbitmq:3.10-management")
    }

    /// Its name and tag.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    fn named(variable: &str, otherwise: &str) -> Self {
        Self(env::var(variable).unwrap_or_else(|_| otherwise.into()))
    }

    /// Which RabbitMQ is in it: that is asked of RabbitMQ, for tags name all sorts of things.
    ///
    /// # Panics
    /// If it does not answer: the tests cannot do without it.
    #[must_use]
    pub fn version(&self) -> Version {
        let mut docker = Command::new("docker");
        docker.args(["run", "--rm", "--label", &format!("{RUN_LABEL}={}", run())]);
        docker.args(["--entrypoint", "rabbitmqctl"]);
        let answer = docker.args([&self.0, "version"]).output();
        let answer = answer.expect("the docker command runs");
        let said = String::from_utf8_lossy(&answer.stdout);
        // A note or two may come first.
        let version = said.lines().next_back().map(str::parse);
        match version {
            Some(Ok(version)) if answer.status.success() => version,
            _ => panic!(
                "image '{}' does not say its version: {said}{}",
                self.0,
                String::from_utf8_lossy(&answer.stderr)
            ),
        }
    }
}

/// The label of every container that the tests start, by which [`run`] they belong to: what is
/// left of a run that was interrupted can be found by it.
pub const RUN_LABEL: &str = "rs.mooq.test-run";

/// The run of the tests that this is, as `run-all` names it.
#[must_use]
pub fn run() -> String {
    env::var("MOOQ_TEST_RUN").unwrap_or_else(|_| "by-hand".into())
}

/// A container that runs RabbitMQ.
#[derive(Debug)]
pub struct RabbitContainer {
    /// Scenarios come and go with runtimes of their own; the container needs one that stays.
    runtime: Runtime,
    container: ContainerAsync<GenericImage>,
    port: u16,
    management: u16,
}

impl RabbitContainer {
    /// Starts RabbitMQ and waits until it takes connections.
    ///
    /// # Errors
    /// Why it cannot be started, and from which image.
    pub fn start(image: &Image) -> Result<Self, String> {
        let image = &image.0;
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let runtime = Runtime::new().expect("a tokio runtime starts");
        let started = runtime.block_on(async {
            let container = GenericImage::new(name, tag)
                .with_exposed_port(5672.tcp())
                .with_exposed_port(15672.tcp())
                .with_wait_for(WaitFor::message_on_stdout("Server startup complete"))
                .with_label(RUN_LABEL, run())
                .start()
                .await?;
            let port = container.get_host_port_ipv4(5672).await?;
            let management = container.get_host_port_ipv4(15672).await?;
            Ok::<_, TestcontainersError>((container, port, management))
        });
        match started {
            Ok((container, port, management)) => Ok(Self {
                runtime,
                container,
                port,
                management,
            }),
            Err(e) => Err(format!("RabbitMQ does not start from image '{image}': {e}")),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://127.0.0.1:{}", self.port)
    }

    /// Control of the broker in it.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::RabbitMq(Management::of(self.container.id(), self.management))
    }

    /// Stops and removes the container.
    pub fn remove(self) {
        if let Err(err) = self.runtime.block_on(self.container.rm()) {
            eprintln!("the RabbitMQ container could not be removed: {err}");
        }
    }
}
