//! Names of the parts of a topology.

use std::fmt;

use mooq_core::{ExchangeName, QueueName};

use crate::value::binding::Binding;

/// A part of a topology or of a broker, by its name.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Resource {
    /// An exchange.
    Exchange(ExchangeName),
    /// A queue.
    Queue(QueueName),
    /// A binding.
    Binding(Binding),
    /// A policy.
    Policy(String),
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange(name) => write!(f, "exchange '{name}'"),
            Self::Queue(name) => write!(f, "queue '{name}'"),
            Self::Binding(binding) => write!(f, "binding of {binding}"),
            Self::Policy(name) => write!(f, "policy '{name}'"),
        }
    }
}
