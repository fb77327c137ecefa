//! Which broker the environment asks for.

use std::env;

use mooq_core::{Error, ErrorKind, Result};

/// The variable that says it. It is read when tests are compiled, too: see mooq-macros.
pub(crate) const VARIABLE: &str = "MOOQ_TEST_BROKER";

/// Where tests run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// In memory.
    Memory,
    /// On RabbitMQ in a container.
    Container,
    /// On a RabbitMQ that runs already, by its URL.
    Running(String),
}

impl Choice {
    /// What the environment asks for now.
    pub(crate) fn from_env() -> Result<Self> {
        match env::var(VARIABLE) {
            Ok(value) => Self::parse(&value),
            Err(env::VarError::NotPresent) => Ok(Self::Memory),
            Err(err @ env::VarError::NotUnicode(_)) => Err(invalid("not text").with_source(err)),
        }
    }

    fn parse(value: &str) -> Result<Self> {
        match value {
            "" | "memory" => Ok(Self::Memory),
            "rabbitmq" => Ok(Self::Container),
            url if url.starts_with("amqp://") || url.starts_with("amqps://") => {
                Ok(Self::Running(url.into()))
            }
            other => Err(invalid(&format!("'{other}'"))),
        }
    }
}

fn invalid(what: &str) -> Error {
    let expected = "memory, rabbitmq or amqp://user:password@host:port";
    Error::new(
        ErrorKind::InvalidArgument,
        format!("{VARIABLE} is {what}, expected {expected}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_names_a_broker() {
        for (value, choice) in [
            ("", Choice::Memory),
            ("memory", Choice::Memory),
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
    fn anything_else_is_refused() {
        assert_eq!(
            Choice::parse("rabbit").unwrap_err().to_string(),
            "MOOQ_TEST_BROKER is 'rabbit', \
             expected memory, rabbitmq or amqp://user:password@host:port"
        );
    }
}
