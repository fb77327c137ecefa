//! RabbitMQ in a container.

use std::env;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use mooq_conformance::in_memory::PLUGINS;
use mooq_conformance::line::Network;
use mooq_conformance::{Broker, Control, Version};
use mooq_core::Transport;
use mooq_memory::Plugin;
use testcontainers::core::{IntoContainerPort, Mount, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt, TestcontainersError};
use tokio::runtime::Runtime;

use super::evaluator::{EVALUATOR_PORT, Evaluator};
use super::management::Management;
use super::network::BehindProxy;
use super::{ctl, uses_native};

/// A container image of RabbitMQ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image(String);

impl Image {
    /// The one that most tests run on: `MOOQ_RABBITMQ_IMAGE`, else the official one.
    #[must_use]
    pub fn current() -> Self {
        Self::named("MOOQ_RABBITMQ_IMAGE", "rabbitmq:4.0-management")
    }

    /// The oldest that mooq is tested with: `MOOQ_RABBITMQ_3_10_IMAGE`, else the official one.
    #[must_use]
    pub fn oldest() -> Self {
        Self::named("MOOQ_RABBITMQ_3_10_IMAGE", "rabbitmq:3.10-management")
    }

    /// The newest that mooq is tested with: `MOOQ_RABBITMQ_4_3_IMAGE`, else the official one.
    #[must_use]
    pub fn newest() -> Self {
        Self::named("MOOQ_RABBITMQ_4_3_IMAGE", "rabbitmq:4.3-management")
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

/// Lets a login take a minute, where RabbitMQ hangs up after ten seconds: a busy machine takes
/// longer. As a variable of the container's environment.
pub const PATIENT_HANDSHAKE: (&str, &str) = (
    "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
    "-rabbit handshake_timeout 60000",
);

/// The label of every container that the tests start, by which [`run`] they belong to: what is
/// left of a run that was interrupted can be found by it.
pub const RUN_LABEL: &str = "rs.mooq.test-run";

/// The run of the tests that this is, as `run-all` names it.
#[must_use]
pub fn run() -> String {
    env::var("MOOQ_TEST_RUN").unwrap_or_else(|_| "by-hand".into())
}

/// How long a broker may take to start. Reached only by one that never does.
pub const STARTING: Duration = Duration::from_secs(600);

/// Where RabbitMQ keeps what is durable: in memory, which the tests' brokers do not outlive. On a
/// disk, each declare and each confirm of a persistent message would wait for it.
const DATA: &str = "/tmp/rabbitmq-data";

/// Where RabbitMQ reads which plugins to start with.
const ENABLED_PLUGINS: &str = "/etc/rabbitmq/enabled_plugins";

/// What stands there: the management plugin, as in the image, and those of the scenarios. So an
/// official image will do as well as one of the project's.
fn enabled_plugins() -> String {
    let plugins = PLUGINS.map(Plugin::name).join(",");
    format!("[rabbitmq_management,{plugins}].\n")
}

/// A container that runs RabbitMQ, removed when it is dropped.
#[derive(Debug)]
pub struct RabbitContainer {
    version: Version,
    /// Scenarios come and go with runtimes of their own; the container needs one that stays.
    runtime: Runtime,
    /// None once removed.
    container: Option<ContainerAsync<GenericImage>>,
    port: u16,
    management: Management,
}

impl RabbitContainer {
    /// Starts RabbitMQ and waits until it takes connections.
    ///
    /// # Errors
    /// The reason why it cannot be started, and the image.
    pub fn start(image: &Image) -> Result<Self, String> {
        Self::start_with(image, image.version(), "")
    }

    /// The same for an image of a known version, with lines in RabbitMQ's configuration.
    ///
    /// # Errors
    /// Likewise.
    pub fn start_with(image: &Image, version: Version, settings: &str) -> Result<Self, String> {
        let image = &image.0;
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let runtime = Runtime::new().expect("a tokio runtime starts");
        let started = runtime.block_on(async {
            let container = GenericImage::new(name, tag)
                .with_wait_for(WaitFor::message_on_stdout("Server startup complete"))
                .with_startup_timeout(STARTING)
                .with_mapped_port(0, 5672.tcp())
                .with_mapped_port(0, 15672.tcp())
                .with_mapped_port(0, EVALUATOR_PORT.tcp())
                .with_host_config_modifier(|config| {
                    // Else anybody on the network could log in, as guest.
                    let bindings = config.port_bindings.iter_mut();
                    for binding in bindings.flat_map(|ports| ports.values_mut().flatten().flatten())
                    {
                        binding.host_ip = Some("127.0.0.1".into());
                    }
                })
                .with_label(RUN_LABEL, run())
                .with_env_var(PATIENT_HANDSHAKE.0, PATIENT_HANDSHAKE.1)
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
            Err(e) => Err(format!("RabbitMQ does not start from image '{image}': {e}")),
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

    fn network(&self) -> Box<dyn Network> {
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
