//! RabbitMQ in a container.

use std::env;

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt, TestcontainersError};
use tokio::runtime::Runtime;

use crate::control::{Control, Management};

/// The image where `MOOQ_RABBITMQ_IMAGE` names none.
const DEFAULT_IMAGE: &str = "rabbitmq:4-management";

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
    pub fn start() -> Result<Self, String> {
        let image = env::var("MOOQ_RABBITMQ_IMAGE").unwrap_or_else(|_| DEFAULT_IMAGE.into());
        let (name, tag) = image.rsplit_once(':').unwrap_or((&image, "latest"));
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
        Control::RabbitMq(Management::on(self.management))
    }

    /// Stops and removes the container.
    pub fn remove(self) {
        if let Err(err) = self.runtime.block_on(self.container.rm()) {
            eprintln!("the RabbitMQ container could not be removed: {err}");
        }
    }
}
