//! Images of RabbitMQ, and the start of their containers, for the tests of this workspace. A
//! container lasts as long as its owner. mooq-test starts its own, for users' tests: this crate is
//! not published.

use std::env;
use std::process::Command;
use std::time::Duration;

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

/// A container image of RabbitMQ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image(String);

impl Image {
    /// The image that most tests run on: `MOOQ_RABBITMQ_IMAGE`, else the official one of
    /// RabbitMQ 4.0.
    #[must_use]
    pub fn current() -> Self {
        Self::named("MOOQ_RABBITMQ_IMAGE", "rabbitmq:4.0-management")
    }

    /// The image of RabbitMQ 3.10, the oldest version that mooq is tested with:
    /// `MOOQ_RABBITMQ_3_10_IMAGE`, else the official one.
    #[must_use]
    pub fn v3_10() -> Self {
        Self::named("MOOQ_RABBITMQ_3_10_IMAGE", "rabbitmq:3.10-management")
    }

    /// The image of RabbitMQ 4.3, the newest version that mooq is tested with:
    /// `MOOQ_RABBITMQ_4_3_IMAGE`, else the official one.
    #[must_use]
    pub fn v4_3() -> Self {
        Self::named("MOOQ_RABBITMQ_4_3_IMAGE", "rabbitmq:4.3-management")
    }

    /// Name and tag of the image.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Name and tag of the image apart.
    fn name_and_tag(&self) -> (&str, &str) {
        match self.0.rsplit_once(':') {
            // A "tag" with a '/' is the port of a registry.
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (&self.0, "latest"),
        }
    }

    fn named(variable: &str, otherwise: &str) -> Self {
        Self(env::var(variable).unwrap_or_else(|_| otherwise.into()))
    }

    /// Returns the version of the RabbitMQ in the image, such as `4.0.5`, as RabbitMQ reports it:
    /// tags need not be versions.
    ///
    /// # Panics
    /// If RabbitMQ does not answer.
    #[must_use]
    pub fn version(&self) -> String {
        let mut docker = Command::new("docker");
        docker.args(["run", "--rm", "--label", &format!("{RUN_LABEL}={}", run())]);
        docker.args(["--entrypoint", "rabbitmqctl"]);
        let answer = docker.args([&self.0, "version"]).output();
        let answer = answer.expect("the docker command runs");
        let said = String::from_utf8_lossy(&answer.stdout);
        // Notes may come first.
        match said.lines().next_back() {
            Some(version) if answer.status.success() => version.trim().to_owned(),
            _ => panic!(
                "image '{}' does not say its version: {said}{}",
                self.0,
                String::from_utf8_lossy(&answer.stderr)
            ),
        }
    }
}

/// Variable of the container's environment that lets a login take a minute: RabbitMQ's default of
/// ten seconds is too short for a busy machine.
pub const PATIENT_HANDSHAKE: (&str, &str) = (
    "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
    "-rabbit handshake_timeout 60000",
);

/// The label of every container of the tests, with the [`run`] that it belongs to: containers left
/// by an interrupted run can be found by it.
pub const RUN_LABEL: &str = "rs.mooq.test-run";

/// The name of this run of the tests, as `run-all` sets it.
#[must_use]
pub fn run() -> String {
    env::var("MOOQ_TEST_RUN").unwrap_or_else(|_| "by-hand".into())
}

/// Time limit for the start of a broker. Only a broker that never starts reaches it.
pub const STARTING: Duration = Duration::from_secs(600);

/// A container that starts RabbitMQ from an image: its port 5672 is mapped to one of this machine,
/// and the start ends when RabbitMQ takes connections.
///
/// Further ports that are mapped are open to this machine alone, too: otherwise anyone on the
/// network could log in as guest.
pub fn container(image: &Image) -> ContainerRequest<GenericImage> {
    let (name, tag) = image.name_and_tag();
    GenericImage::new(name, tag)
        .with_wait_for(WaitFor::message_on_stdout("Server startup complete"))
        .with_startup_timeout(STARTING)
        .with_mapped_port(0, 5672.tcp())
        .with_host_config_modifier(|config| {
            let bindings = config.port_bindings.iter_mut();
            for binding in bindings.flat_map(|ports| ports.values_mut().flatten().flatten()) {
                binding.host_ip = Some("127.0.0.1".into());
            }
        })
        .with_label(RUN_LABEL, run())
        .with_env_var(PATIENT_HANDSHAKE.0, PATIENT_HANDSHAKE.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_tag_is_apart_from_the_port_of_a_registry() {
        for (image, expected) in [
            ("rabbitmq", ("rabbitmq", "latest")),
            ("rabbitmq:4.0-management", ("rabbitmq", "4.0-management")),
            (
                "registry:5000/rabbitmq",
                ("registry:5000/rabbitmq", "latest"),
            ),
            (
                "registry:5000/rabbitmq:4.3",
                ("registry:5000/rabbitmq", "4.3"),
            ),
        ] {
            assert_eq!(Image(image.into()).name_and_tag(), expected);
        }
    }
}
