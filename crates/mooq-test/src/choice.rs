//! The broker that the environment asks for.

use std::env;

use mooq_core::{Error, ErrorKind, Result};
use mooq_memory::{Options, Profile};

/// The variable that names the broker. It is also read when tests are compiled: `variable.rs` of
/// mooq-macros lists the values that mean memory. Users find the values in the documentation of
/// `#[mooq::test]` and in docs/testing.md.
pub(crate) const VARIABLE: &str = "MOOQ_TEST_BROKER";

/// The variable that names the version of RabbitMQ that in-memory brokers behave as.
const PROFILE_VARIABLE: &str = "MOOQ_TEST_PROFILE";

/// The broker that tests run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// An in-memory broker.
    Memory,
    /// An in-memory broker, over its socket.
    Server,
    /// RabbitMQ in a container.
    Container,
    /// A RabbitMQ that is already running, by its URL.
    Running(String),
}

impl Choice {
    /// The choice in the environment now.
    pub(crate) fn from_env() -> Result<Self> {
        match env::var(VARIABLE) {
            Ok(value) => Self::parse(&value),
            Err(env::VarError::NotPresent) => Ok(Self::Memory),
            Err(err @ env::VarError::NotUnicode(_)) => Err(invalid("not text").with_source(err)),
        }
    }

    /// Returns true if the broker is in this process.
    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self, Self::Memory | Self::Server)
    }

    fn parse(value: &str) -> Result<Self> {
        match value {
            "" | "memory" => Ok(Self::Memory),
            "server" => Ok(Self::Server),
            "rabbitmq" => Ok(Self::Container),
            url if url.starts_with("amqp://") || url.starts_with("amqps://") => {
                Ok(Self::Running(url.into()))
            }
            other => Err(invalid(&format!("'{other}'"))),
        }
    }
}

/// The options of an in-memory broker, as the environment sets them now.
pub(crate) fn memory_options() -> Result<Options> {
    let mut options = Options::default();
    if let Some(profile) = env::var_os(PROFILE_VARIABLE) {
        options.profile = parse_profile(&profile.to_string_lossy())?;
    }
    Ok(options)
}

fn parse_profile(version: &str) -> Result<Profile> {
    version.parse().map_err(|err: Error| {
        let message = format!("{PROFILE_VARIABLE}: {err}");
        Error::new(ErrorKind::InvalidArgument, message).with_source(err)
    })
}

fn invalid(what: &str) -> Error {
    let expected = "memory, server, rabbitmq or amqp://user:password@host:port";
    Error::new(
        ErrorKind::InvalidArgument,
        format!("{VARIABLE} is {what}, expected {expected}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_is_named_by_the_variable() {
        for (value, choice) in [
            ("", Choice::Memory),
            ("memory", Choice::Memory),
            ("server", Choice::Server),
            ("rabbitmq", Choice::Container),
            (
                "amqp://ci:secret@rabbit",
                Choice::Running("amqp://ci:secret@rabbit".into()),
            ),
            ("amqps://rabbit", Choice::Running("amqps://rabbit".into())),
        ] {
            assert_eq!(Choice::parse(value).unwrap(), choice);
        }
    }

    #[test]
    fn a_version_of_rabbitmq_has_a_profile() {
        assert_eq!(parse_profile("4.3").unwrap(), Profile::V4_3);
        assert_eq!(
            parse_profile("4").unwrap_err().to_string(),
            "MOOQ_TEST_PROFILE: '4' is none of RabbitMQ's versions 3.10, 4.0, 4.1, 4.2, 4.3"
        );
    }

    #[test]
    fn broker_by_another_name_is_refused() {
        assert_eq!(
            Choice::parse("rabbit").unwrap_err().to_string(),
            "MOOQ_TEST_BROKER is 'rabbit', \
             expected memory, server, rabbitmq or amqp://user:password@host:port"
        );
    }
}
