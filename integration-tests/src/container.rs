//! RabbitMQ in a container.

use std::env;

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage};
use tokio::runtime::Runtime;

/// The image where `MOOQ_RABBITMQ_IMAGE` names none.
const DEFAULT_IMAGE: &str = "rabbitmq:4-management";

/// A container that runs RabbitMQ.
#[derive(Debug)]
pub struct RabbitContainer {
    /// Scenarios come and go with runtimes of their own; the container needs one that stays.
    runtime: Runtime,
    container: ContainerAsync<GenericImage>,
    port: u16,
}

impl RabbitContainer {
    /// Starts RabbitMQ and waits until it takes connections.
    ///
    /// # Panics
    /// If it cannot be started: the tests cannot do without it.
    #[must_use]
    pub fn start() -> Self {
        let image = env::var("MOOQ_RABBITMQ_IMAGE").unwrap_or_else(|_| DEFAULT_IMAGE.into());
        let (name, tag) = image.rsplit_once(':').unwrap_or((&image, "latest"));
        let runtime = Runtime::new().expect("a tokio runtime starts");
        let (container, port) = runtime.block_on(async {
            let container = GenericImage::new(name, tag)
                .with_exposed_port(5672.tcp())
                .with_wait_for(WaitFor::message_on_stdout("Server startup complete"))
                .start()
                .await
                .unwrap_or_else(|e| panic!("RabbitMQ does not start from image '{image}': {e}"));
            let port = container.get_host_port_ipv4(5672).await;
            (container, port.expect("port 5672 is published"))
        });
        Self {
            runtime,
            container,
            port,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://127.0.0.1:{}", self.port)
    }

    /// The container's id, for Docker's own commands.
    #[must_use]
    pub fn id(&self) -> &str {
        self.container.id()
    }

    /// Stops and removes the container.
    pub fn remove(self) {
        if let Err(err) = self.runtime.block_on(self.container.rm()) {
            eprintln!("the RabbitMQ container could not be removed: {err}");
        }
    }
}
