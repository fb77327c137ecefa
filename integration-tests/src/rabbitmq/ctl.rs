//! rabbitmqctl in the broker's container, for commands that the management plugin lacks.

use async_trait::async_trait;
use mooq_conformance::control::{CHANNEL_TICK, CONSUMER_TIMEOUT, DEAD_LETTER_RETRY};
use mooq_conformance::{Condition, within};

/// Exit code of rabbitmqctl if it does not reach its node: EX_UNAVAILABLE of sysexits.h.
const UNAVAILABLE: i32 = 69;

/// Makes RabbitMQ's channels look often for overdue deliveries, until the condition ends.
pub(super) async fn hurry_channels(container: &str) -> Undo {
    let setting = |timeout, interval| {
        format!(
            "application:set_env(rabbit, consumer_timeout, {timeout}), \
             application:set_env(rabbit, channel_tick_interval, {interval})."
        )
    };
    let usual = setting(1_800_000, 60_000);
    let undo = Undo::by_docker(["exec", container, "rabbitmqctl", "--quiet", "eval", &usual]);
    let hurried = setting(CONSUMER_TIMEOUT, CHANNEL_TICK);
    rabbitmqctl(container, &["eval", &hurried]).await;
    undo
}

/// Makes RabbitMQ's quorum queues that are declared from now on retry dead letters often, until the
/// condition ends.
pub(super) async fn hurry_dead_letters(container: &str) -> Undo {
    let setting = |interval: u64| {
        format!(
            "application:set_env(rabbit, dead_letter_worker_publisher_confirm_timeout, {interval})."
        )
    };
    let usual = setting(180_000);
    let undo = Undo::by_docker(["exec", container, "rabbitmqctl", "--quiet", "eval", &usual]);
    rabbitmqctl(container, &["eval", &setting(DEAD_LETTER_RETRY)]).await;
    undo
}

/// The docker command that ends a condition, run at its end or drop.
#[derive(Debug)]
pub(super) struct Undo {
    docker: Vec<String>,
}

impl Undo {
    pub(super) fn by_docker<const N: usize>(arguments: [&str; N]) -> Self {
        Self {
            docker: arguments.map(str::to_owned).into(),
        }
    }
}

#[async_trait]
impl Condition for Undo {
    async fn end(mut self: Box<Self>) {
        docker(std::mem::take(&mut self.docker)).await;
    }
}

impl Drop for Undo {
    /// The condition of a failed scenario must not hold up later ones.
    fn drop(&mut self) {
        if !self.docker.is_empty() {
            let _ = std::process::Command::new("docker")
                .args(&self.docker)
                .output();
        }
    }
}

/// Evaluates `what` for the process `Pid` of each connection of this client name. There must be
/// one. Other connections may end meanwhile.
pub(super) async fn with_connections(container: &str, name: &str, what: &str) {
    let expression = format!(
        "[_|_] = [{what} || Pid <- rabbit_networking:connections(), \
         Info <- [(catch rabbit_networking:connection_info(Pid, [client_properties]))], \
         is_list(Info), {{client_properties, Said}} <- Info, is_list(Said), \
         {{<<\"connection_name\">>, longstr, <<\"{name}\">>}} <- Said]."
    );
    rabbitmqctl(container, &["eval", &expression]).await;
}

/// Runs rabbitmqctl in a container. It must succeed.
pub(super) async fn rabbitmqctl(container: &str, command: &[&str]) {
    docker(arguments(container, command)).await;
}

/// Freezes a container. Linux may refuse while a process is being started in it, so this tries
/// again.
pub(crate) async fn pause(container: &str) {
    let frozen = async {
        loop {
            let mut docker = tokio::process::Command::new("docker");
            docker.args(["pause", container]);
            let output = docker.output().await.expect("the docker command runs");
            if output.status.success() {
                return;
            }
            let why = String::from_utf8_lossy(&output.stderr);
            assert!(why.contains("unable to freeze"), "{docker:?}: {output:?}");
        }
    };
    within("the container's freeze", frozen).await;
}

/// The last lines of a container's log.
pub(super) fn recent_log(container: &str) -> String {
    let mut docker = std::process::Command::new("docker");
    match docker.args(["logs", "--tail", "50", container]).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(err) => format!("none: {err}"),
    }
}

/// Runs docker, which must succeed. On a busy machine rabbitmqctl may give up before it reaches its
/// node, so this tries again.
pub(super) async fn docker<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) {
    let mut docker = tokio::process::Command::new("docker");
    docker.args(arguments);
    let done = async {
        loop {
            let output = docker.output().await.expect("the docker command runs");
            if output.status.success() {
                return;
            }
            let why = String::from_utf8_lossy(&output.stderr);
            let unreached = output.status.code() == Some(UNAVAILABLE)
                && why.contains("unable to perform an operation on node");
            assert!(unreached, "{:?}: {output:?}", docker.as_std());
        }
    };
    within("docker's success", done).await;
}

fn arguments<'a>(container: &'a str, command: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["exec", container, "rabbitmqctl", "--quiet"];
    arguments.extend(command);
    arguments
}
