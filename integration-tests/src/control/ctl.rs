//! rabbitmqctl in the broker's container, for what the management plugin does not do.

use mooq_memory::{Alarm, AlarmGuard};

/// An alarm that is on until it is cleared or dropped.
#[derive(Debug)]
pub enum RaisedAlarm {
    /// Of the in-memory broker.
    Memory(AlarmGuard),
    /// Of a RabbitMQ.
    RabbitMq(Raised),
}

/// An alarm of the RabbitMQ in a container.
#[derive(Debug)]
pub struct Raised {
    container: String,
    alarm: Alarm,
    is_on: bool,
}

impl RaisedAlarm {
    /// Ends it.
    pub async fn clear(self) {
        if let Self::RabbitMq(mut raised) = self {
            rabbitmqctl(&raised.container, &["eval", &raised.clearing()]).await;
            raised.is_on = false;
        }
    }
}

impl Raised {
    fn clearing(&self) -> String {
        format!("rabbit_alarm:clear_alarm({}).", limit(self.alarm))
    }
}

impl Drop for Raised {
    /// The alarm of a scenario that has failed must not hold up those after it.
    fn drop(&mut self) {
        if self.is_on {
            let clearing = self.clearing();
            let arguments = arguments(&self.container, &["eval", &clearing]);
            let _ = std::process::Command::new("docker")
                .args(arguments)
                .output();
        }
    }
}

/// What ends something that was done to a container, now or at the latest when this is dropped.
#[derive(Debug)]
pub struct Undo {
    docker: Vec<String>,
}

impl Undo {
    /// By this command of docker's.
    pub(super) fn by_docker<const N: usize>(arguments: [&str; N]) -> Self {
        Self {
            docker: arguments.map(str::to_owned).into(),
        }
    }

    /// Ends it.
    pub(super) async fn now(mut self) {
        docker(std::mem::take(&mut self.docker)).await;
    }
}

impl Drop for Undo {
    /// What a scenario that has failed did must not hold up those after it.
    fn drop(&mut self) {
        if !self.docker.is_empty() {
            let _ = std::process::Command::new("docker")
                .args(&self.docker)
                .output();
        }
    }
}

/// Does something with the process `Pid` of each connection that its client calls so. There must
/// be one. Others may end while they are asked who they are.
pub(super) async fn with_connections(container: &str, name: &str, what: &str) {
    let expression = format!(
        "[_|_] = [{what} || Pid <- rabbit_networking:connections(), \
         Info <- [(catch rabbit_networking:connection_info(Pid, [client_properties]))], \
         is_list(Info), {{client_properties, Said}} <- Info, is_list(Said), \
         {{<<\"connection_name\">>, longstr, <<\"{name}\">>}} <- Said]."
    );
    rabbitmqctl(container, &["eval", &expression]).await;
}

/// Raises an alarm.
pub(super) async fn raise(container: &str, alarm: Alarm) -> RaisedAlarm {
    let raising = format!("rabbit_alarm:set_alarm({{{}, []}}).", limit(alarm));
    rabbitmqctl(container, &["eval", &raising]).await;
    RaisedAlarm::RabbitMq(Raised {
        container: container.to_owned(),
        alarm,
        is_on: true,
    })
}

/// What there is an alarm of, as RabbitMQ calls it.
fn limit(alarm: Alarm) -> &'static str {
    match alarm {
        Alarm::Memory => "{resource_limit, memory, node()}",
        Alarm::Disk => "{resource_limit, disk, node()}",
        other => panic!("RabbitMQ has no alarm of {other:?}"),
    }
}

/// Runs rabbitmqctl in a container. It must succeed.
pub(super) async fn rabbitmqctl(container: &str, command: &[&str]) {
    docker(arguments(container, command)).await;
}

/// Runs docker. It must succeed.
pub(super) async fn docker<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) {
    let mut docker = tokio::process::Command::new("docker");
    docker.args(arguments);
    let output = docker.output().await.expect("the docker command runs");
    assert!(output.status.success(), "{docker:?}: {output:?}");
}

fn arguments<'a>(container: &'a str, command: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["exec", container, "rabbitmqctl", "--quiet"];
    arguments.extend(command);
    arguments
}
