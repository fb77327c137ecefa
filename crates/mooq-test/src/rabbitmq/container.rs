//! RabbitMQ in a container, which lives as long as the process: one for all of a user's tests. The
//! tests of this workspace start theirs with mooq-rig, whose containers have an owner.

use std::env;
use std::mem;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use mooq_core::{Error, ErrorKind, Result};
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt, TestcontainersError};
use tokio::runtime::Builder;

/// The default image, of the version that the in-memory broker behaves as by default.
const IMAGE: &str = "rabbitmq:4.0-management";

/// Time limit for starting the container, including the pull of its image.
const LIMIT: Duration = Duration::from_secs(300);

/// The label of the containers that tests start.
const LABEL: &str = "rs.mooq.test-run";

/// A container, by its ports on this machine.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) amqp: u16,
    pub(crate) management: u16,
}

/// Starts a container and waits until it takes connections. The container is removed with this
/// process.
pub(crate) fn start() -> Result<Container> {
    let image = env::var("MOOQ_RABBITMQ_IMAGE").unwrap_or_else(|_| IMAGE.into());
    let (told, outcome) = mpsc::channel();
    let named = image.clone();
    // The caller may be inside a tokio runtime, and runtimes cannot be nested.
    thread::spawn(move || {
        let started = start_from(&named);
        // If the start took too long, the receiver is gone.
        let _ = told.send(started);
    });
    match outcome.recv_timeout(LIMIT) {
        Ok(Ok(container)) => Ok(container),
        Ok(Err(err)) => Err(failed(&image, &err.to_string()).with_source(err)),
        Err(_) => {
            let why = format!(
                "it does not answer within {LIMIT:?}. The image has to start RabbitMQ, with the \
                 management plugin, by itself"
            );
            Err(failed(&image, &why))
        }
    }
}

fn failed(image: &str, why: &str) -> Error {
    let message = format!(
        "MOOQ_TEST_BROKER=rabbitmq asks for RabbitMQ in a container, and none starts from image \
         '{image}': {why}. Is there a Docker engine? MOOQ_TEST_BROKER=amqp://… takes a RabbitMQ \
         that runs, MOOQ_RABBITMQ_IMAGE another image"
    );
    Error::connection(ErrorKind::ConnectFailed, message)
}

fn start_from(image: &str) -> std::result::Result<Container, TestcontainersError> {
    let (name, tag) = match image.rsplit_once(':') {
        // A tag with a '/' is the port of a registry instead.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    };
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(TestcontainersError::other)?;
    runtime.block_on(async {
        let container = GenericImage::new(name, tag)
            .with_wait_for(WaitFor::message_on_stdout("Server startup complete"))
            .with_mapped_port(0, 5672.tcp())
            .with_mapped_port(0, 15672.tcp())
            .with_host_config_modifier(|config| {
                // Otherwise anyone on the network could log in as guest.
                let bindings = config.port_bindings.iter_mut();
                for binding in bindings.flat_map(|ports| ports.values_mut().flatten().flatten()) {
                    binding.host_ip = Some("127.0.0.1".into());
                }
            })
            .with_startup_timeout(LIMIT)
            // RabbitMQ hangs up after ten seconds: too soon for a busy machine.
            .with_env_var(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-rabbit handshake_timeout 60000",
            )
            .with_label(
                LABEL,
                env::var("MOOQ_TEST_RUN").unwrap_or_else(|_| "by-hand".into()),
            )
            .start()
            .await?;
        let amqp = container.get_host_port_ipv4(5672).await?;
        let management = container.get_host_port_ipv4(15672).await?;
        remove_with_this_process(container);
        Ok(Container { amqp, management })
    })
}

/// Leaves the container to another process, which removes it when this process has ended, for any
/// reason: the last test does not know that it is the last, and a process drops nothing when it
/// exits.
fn remove_with_this_process(container: ContainerAsync<GenericImage>) {
    let mut remove = Command::new("sh");
    // The shell's standard input ends when this process does.
    remove.args([
        "-c",
        "cat; exec docker rm --force --volumes \"$1\"",
        "sh",
        container.id(),
    ]);
    remove
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // Ctrl-C in a terminal is for the whole group of processes.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut remove, 0);
    match remove.spawn() {
        Ok(child) => mem::forget(child),
        Err(err) => eprintln!("container {} will be left behind: {err}", container.id()),
    }
    // Dropping the container would remove it at once.
    mem::forget(container);
}
