//! RabbitMQ in a container.

use std::sync::Arc;

use mooq_conformance::in_memory::PLUGINS;
use mooq_conformance::line::ClientNetwork;
use mooq_conformance::{Broker, Control, Version};
use mooq_core::Transport;
use mooq_memory::Plugin;
pub use mooq_rig::rabbitmq::{Image, PATIENT_HANDSHAKE, RUN_LABEL, STARTING, run};
use testcontainers::core::{IntoContainerPort, Mount};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt, TestcontainersError};
use tokio::runtime::Runtime;

use super::evaluator::{EVALUATOR_PORT, Evaluator};
use super::management::Management;
use super::network::BehindProxy;
use super::{ctl, uses_native};

/// Returns the version of the RabbitMQ in an image.
///
/// # Panics
/// If RabbitMQ does not print its version.
#[must_use]
pub fn version(image: &Image) -> Version {
    let version = image.version().parse();
    version.unwrap_or_else(|err| panic!("image '{}': {err}", image.name()))
}

/// Data directory of RabbitMQ: in memory, since the brokers of tests need not survive. Each declare
/// and each confirm of a persistent message would wait for a disk.
const DATA: &str = "/tmp/rabbitmq-data";

/// File with the plugins that RabbitMQ starts with.
const ENABLED_PLUGINS: &str = "/etc/rabbitmq/enabled_plugins";

/// The contents of that file: the management plugin, as in the image, and those of the scenarios.
/// So official images work as well as the project's own.
fn enabled_plugins() -> String {
    let plugins = PLUGINS.map(Plugin::name).join(",");
    format!("[rabbitmq_management,{plugins}].\n")
}

/// A container that runs RabbitMQ, removed on drop.
#[derive(Debug)]
pub struct RabbitContainer {
    version: Version,
    /// The container's own runtime, which outlives those of scenarios.
    runtime: Runtime,
    /// The container, or none once it is removed.
    container: Option<ContainerAsync<GenericImage>>,
    port: u16,
    management: Management,
}

impl RabbitContainer {
    /// Starts RabbitMQ and waits until it takes connections.
    ///
    /// # Errors
    /// The reason why RabbitMQ cannot be started, and the image.
    pub fn start(image: &Image) -> Result<Self, String> {
        Self::start_with(image, version(image), "")
    }

    /// Starts an image of a known version, with lines in RabbitMQ's configuration.
    ///
    /// # Errors
    /// Likewise.
    pub fn start_with(image: &Image, version: Version, settings: &str) -> Result<Self, String> {
        let runtime = Runtime::new().expect("a tokio runtime starts");
        let started = runtime.block_on(async {
            let container = mooq_rig::rabbitmq::container(image)
                .with_mapped_port(0, 15672.tcp())
                .with_mapped_port(0, EVALUATOR_PORT.tcp())
                .with_env_var("RABBITMQ_MNESIA_BASE", DATA)
                .with_mount(Mount::tmpfs_mount(DATA))
                .with_copy_to(ENABLED_PLUGINS, enabled_plugins().into_bytes())
                .with_copy_to(
                    "/etc/rabbitmq/conf.d/90-mooq.conf",
                    settings.as_bytes().to_vec(),
                )
                .start()
                .await?;
            let port = container.get_host_port_ipv4(5672).await?;
            let management = container.get_host_port_ipv4(15672).await?;
            let evaluator = container.get_host_port_ipv4(EVALUATOR_PORT).await?;
            let evaluator = Evaluator::behind(evaluator);
            let management = Management::of(container.id(), management, evaluator);
            Ok::<_, TestcontainersError>((container, port, management))
        });
        match started {
            Ok((container, port, management)) => Ok(Self {
                version,
                runtime,
                container: Some(container),
                port,
                management,
            }),
            Err(e) => Err(format!(
                "RabbitMQ does not start from image '{}': {e}",
                image.name()
            )),
        }
    }
}

impl Broker for RabbitContainer {
    fn version(&self) -> Version {
        self.version
    }

    fn url(&self) -> String {
        format!("amqp://127.0.0.1:{}", self.port)
    }

    fn transport(&self) -> Arc<dyn Transport> {
        super::transport()
    }

    fn control(&self) -> &dyn Control {
        &self.management
    }

    fn network(&self) -> Box<dyn ClientNetwork> {
        Box::new(BehindProxy::to(self.port))
    }

    fn announces_alarms(&self) -> bool {
        uses_native()
    }

    fn recent_log(&self) -> Option<String> {
        Some(ctl::recent_log(self.management.container()))
    }
}

impl Drop for RabbitContainer {
    fn drop(&mut self) {
        let removed = self.container.take().map(|container| container.rm());
        if let Some(Err(err)) = removed.map(|removed| self.runtime.block_on(removed)) {
            eprintln!("the RabbitMQ container could not be removed: {err}");
        }
    }
}
