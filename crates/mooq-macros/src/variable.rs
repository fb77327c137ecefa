//! The broker that tests are compiled for.
//!
//! A test has to be marked as ignored when it is compiled: at run time there is no way to report to
//! `cargo test` that it was not run. So the variable is read here as well, and the generated code
//! declares that it depends on the variable: cargo recompiles the tests when it changes. Binaries
//! that are kept and run later, such as nextest's archives, are not recompiled: in them a test
//! beside each ignored one fails if they run in memory.

use std::env;

/// The broker that tests run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broker {
    /// In this process, with a socket or without.
    Memory,
    RabbitMq,
}

/// Returns the broker that the variable names now.
pub(crate) fn broker() -> Broker {
    named_by(env::var("MOOQ_TEST_BROKER").ok().as_deref())
}

/// Parses the variable's value. The runtime refuses an unknown name. Any value other than memory
/// excludes a test that needs memory.
fn named_by(value: Option<&str>) -> Broker {
    match value {
        None | Some("" | "memory" | "server") => Broker::Memory,
        Some(_) => Broker::RabbitMq,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_memory_is_memory() {
        for memory in [None, Some(""), Some("memory"), Some("server")] {
            assert_eq!(named_by(memory), Broker::Memory, "{memory:?}");
        }
        for other in ["rabbitmq", "amqp://localhost", "memroy"] {
            assert_eq!(named_by(Some(other)), Broker::RabbitMq, "{other}");
        }
    }
}
