//! The ways to control a broker, and the command line of each.

use std::env;
use std::ffi::OsString;

use crate::command::CommandLine;

/// The environment variable that names the method.
const DISTRIBUTION: &str = "TEST_DISTRIBUTION";
/// The environment variable that names the container, for the method `docker`.
const CONTAINER: &str = "MOOQ_BROKER_CONTAINER";

/// The way in which a broker is restarted and stopped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ControlMethod {
    /// `systemctl`, with the unit that Arch Linux has: `rabbitmq.service`.
    Arch,
    /// `service`, with the init script that Debian and Ubuntu have: `rabbitmq-server`.
    Ubuntu,
    /// The `docker` command. The container should publish the broker at a fixed port: otherwise
    /// Docker may choose another port at every start.
    Docker {
        /// The container's name or id.
        container: String,
    },
}

impl ControlMethod {
    /// Controls the container of that name, or id, by the `docker` command.
    #[must_use]
    pub fn docker(container: impl Into<String>) -> Self {
        Self::Docker {
            container: container.into(),
        }
    }

    /// Returns the method that the environment variable `TEST_DISTRIBUTION` names: `arch`, `ubuntu`
    /// or `docker`, the last with the container's name in `MOOQ_BROKER_CONTAINER`.
    ///
    /// # Errors
    ///
    /// One of the two variables is missing, or the first has another value.
    ///
    /// # Examples
    ///
    /// ```
    /// use mooq_broker_ctl::ControlMethod;
    ///
    /// match ControlMethod::from_env() {
    ///     Ok(method) => println!("controlled by {method:?}"),
    ///     Err(error) => println!("{error}"), // names the accepted values
    /// }
    /// ```
    pub fn from_env() -> Result<Self, MethodError> {
        Self::from_lookup(|name| env::var_os(name))
    }

    /// [`from_env`](Self::from_env) for any environment, because a test may not change its own.
    fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, MethodError> {
        let value = |name| {
            lookup(name)
                .filter(|value| !value.is_empty())
                .map(|value| value.to_string_lossy().into_owned())
        };
        match value(DISTRIBUTION).as_deref() {
            Some("arch") => Ok(Self::Arch),
            Some("ubuntu") => Ok(Self::Ubuntu),
            Some("docker") => value(CONTAINER)
                .map(Self::docker)
                .ok_or(MethodError::NoContainer),
            Some(other) => Err(MethodError::Unknown {
                value: other.to_owned(),
            }),
            None => Err(MethodError::Missing),
        }
    }

    /// The command that restarts the broker. Like [`stop_command`](Self::stop_command)'s, it ends
    /// only when the old broker has ended: any broker that answers afterwards is the new one.
    pub(crate) fn restart_command(&self, user: User) -> CommandLine {
        self.command("restart", user)
    }

    /// The command that stops the broker.
    pub(crate) fn stop_command(&self, user: User) -> CommandLine {
        self.command("stop", user)
    }

    fn command(&self, verb: &str, user: User) -> CommandLine {
        match self {
            Self::Arch => user.as_root(&["systemctl", verb, "rabbitmq.service"]),
            Self::Ubuntu => user.as_root(&["service", "rabbitmq-server", verb]),
            // Docker's socket decides who may use Docker; being root does not.
            Self::Docker { container } => CommandLine::new(&["docker", verb, container]),
        }
    }
}

/// The reason why there is no [`ControlMethod`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MethodError {
    /// The environment variable `TEST_DISTRIBUTION` is not set, or is empty.
    #[error("{DISTRIBUTION} is not set; it has to be arch, ubuntu or docker")]
    Missing,
    /// The environment variable `TEST_DISTRIBUTION` has a value that is not a method.
    #[error("{DISTRIBUTION} is `{value}`; it has to be arch, ubuntu or docker")]
    Unknown {
        /// The variable's value.
        value: String,
    },
    /// The method is `docker`, but `MOOQ_BROKER_CONTAINER` is not set, or is empty.
    #[error("{DISTRIBUTION} is `docker`, so {CONTAINER} has to name the container")]
    NoContainer,
}

/// The user that this process runs as. Root may control a system's services without `sudo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    Root,
    Other,
}

impl User {
    /// Returns the user that this process runs as.
    pub(crate) fn current() -> Self {
        #[cfg(unix)]
        if rustix::process::geteuid().is_root() {
            return Self::Root;
        }
        Self::Other
    }

    /// Returns `words` as a command that root runs.
    fn as_root(self, words: &[&str]) -> CommandLine {
        match self {
            Self::Root => CommandLine::new(words),
            // -n: fail if a password is needed, because it cannot be typed in a test.
            Self::Other => CommandLine::new(&[&["sudo", "-n"], words].concat()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_vars(vars: &[(&str, &str)]) -> Result<ControlMethod, MethodError> {
        ControlMethod::from_lookup(|name| {
            vars.iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_environment_names_the_method() {
        assert_eq!(
            from_vars(&[("TEST_DISTRIBUTION", "arch")]),
            Ok(ControlMethod::Arch)
        );
        assert_eq!(
            from_vars(&[("TEST_DISTRIBUTION", "ubuntu")]),
            Ok(ControlMethod::Ubuntu)
        );
        assert_eq!(
            from_vars(&[
                ("TEST_DISTRIBUTION", "docker"),
                ("MOOQ_BROKER_CONTAINER", "rabbit")
            ]),
            Ok(ControlMethod::docker("rabbit"))
        );
    }

    #[test]
    fn a_missing_or_unknown_method_is_told_the_accepted_values() {
        let missing = from_vars(&[]).unwrap_err();
        assert_eq!(missing, MethodError::Missing);
        assert_eq!(
            missing.to_string(),
            "TEST_DISTRIBUTION is not set; it has to be arch, ubuntu or docker"
        );
        assert_eq!(
            from_vars(&[("TEST_DISTRIBUTION", "")]),
            Err(MethodError::Missing)
        );
        assert_eq!(
            from_vars(&[("TEST_DISTRIBUTION", "gentoo")])
                .unwrap_err()
                .to_string(),
            "TEST_DISTRIBUTION is `gentoo`; it has to be arch, ubuntu or docker"
        );
    }

    #[test]
    fn docker_without_a_container_names_the_variable() {
        for vars in [
            &[("TEST_DISTRIBUTION", "docker")][..],
            &[
                ("TEST_DISTRIBUTION", "docker"),
                ("MOOQ_BROKER_CONTAINER", ""),
            ],
        ] {
            let error = from_vars(vars).unwrap_err();
            assert_eq!(error, MethodError::NoContainer);
            assert!(error.to_string().contains("MOOQ_BROKER_CONTAINER"));
        }
    }

    #[test]
    fn root_runs_the_service_manager_itself() {
        let restart = |method: ControlMethod| method.restart_command(User::Root).to_string();
        let stop = |method: ControlMethod| method.stop_command(User::Root).to_string();

        assert_eq!(
            restart(ControlMethod::Arch),
            "systemctl restart rabbitmq.service"
        );
        assert_eq!(stop(ControlMethod::Arch), "systemctl stop rabbitmq.service");
        assert_eq!(
            restart(ControlMethod::Ubuntu),
            "service rabbitmq-server restart"
        );
        assert_eq!(stop(ControlMethod::Ubuntu), "service rabbitmq-server stop");
    }

    #[test]
    fn another_user_runs_the_service_manager_by_sudo() {
        assert_eq!(
            ControlMethod::Arch.restart_command(User::Other).to_string(),
            "sudo -n systemctl restart rabbitmq.service"
        );
        assert_eq!(
            ControlMethod::Ubuntu.stop_command(User::Other).to_string(),
            "sudo -n service rabbitmq-server stop"
        );
    }

    #[test]
    fn docker_needs_no_sudo() {
        for user in [User::Root, User::Other] {
            let method = ControlMethod::docker("rabbit");
            assert_eq!(
                method.restart_command(user).to_string(),
                "docker restart rabbit"
            );
            assert_eq!(method.stop_command(user).to_string(), "docker stop rabbit");
        }
    }
}
