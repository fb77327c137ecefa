//! Which broker tests are compiled for.
//!
//! Whether a test is ignored has to be known when it is compiled: nothing that runs can tell
//! `cargo test` that it was not. So the variable is read here as well, and the code says that it
//! depends on it: cargo compiles the tests anew when it changes.

use std::env;

/// Where tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broker {
    Memory,
    RabbitMq,
}

/// Where tests run by the variable's value now.
pub(crate) fn broker() -> Broker {
    named_by(env::var("MOOQ_TEST_BROKER").ok().as_deref())
}

/// A name that means nothing is for the runtime to refuse. Whatever is not memory is no place for
/// a test that needs it.
fn named_by(value: Option<&str>) -> Broker {
    match value {
        None | Some("" | "memory") => Broker::Memory,
        Some(_) => Broker::RabbitMq,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_memory_is_memory() {
        for memory in [None, Some(""), Some("memory")] {
            assert_eq!(named_by(memory), Broker::Memory, "{memory:?}");
        }
        for other in ["rabbitmq", "amqp://localhost", "memroy"] {
            assert_eq!(named_by(Some(other)), Broker::RabbitMq, "{other}");
        }
    }
}
