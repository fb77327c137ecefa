//! The steps of a plan.

use std::fmt;

use mooq_core::{ExchangeName, QueueName};
use serde::ser::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::objects::{of_binding, of_exchange, of_policy, of_queue};
use crate::value::binding::Binding;
use crate::value::exchange::Exchange;
use crate::value::policy::Policy;
use crate::value::queue::Queue;

/// One step of a [`Plan`](crate::Plan). Every step may be carried out twice: what is there already,
/// or gone already, is no error.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// Declares an exchange.
    DeclareExchange(Exchange),
    /// Declares a queue.
    DeclareQueue(Queue),
    /// Adds a binding.
    Bind(Binding),
    /// Removes a binding.
    Unbind(Binding),
    /// Sets a policy, by the management API.
    SetPolicy(Policy),
    /// Clears a policy, by the management API.
    ClearPolicy(String),
    /// Moves all messages of a queue to another one: publishes each to an exchange that is bound to
    /// that queue alone, waits for the confirm, and only then acknowledges it. A step that is cut off
    /// leaves each message in one of the two queues, or in both.
    MoveMessages {
        /// The queue that is emptied.
        from: QueueName,
        /// The queue that the messages go to.
        to: QueueName,
        /// The fanout exchange.
        through: ExchangeName,
        /// Maximum number of messages that the other queue takes without dropping any.
        limit: Option<u64>,
    },
    /// Deletes a queue.
    DeleteQueue {
        /// The queue's name.
        name: QueueName,
        /// The queue's type.
        kind: String,
        /// True to delete it with its messages. Otherwise a queue that has messages or consumers is
        /// an error.
        with_messages: bool,
    },
    /// Deletes an exchange.
    DeleteExchange {
        /// The exchange's name.
        name: ExchangeName,
        /// True to delete it with the bindings from it. Otherwise such bindings are an error.
        with_bindings: bool,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeclareExchange(exchange) => {
                write!(
                    f,
                    "declare exchange '{}' ({}",
                    exchange.name(),
                    exchange.kind()
                )?;
                for (is, word) in [
                    (!exchange.is_durable(), "transient"),
                    (exchange.is_auto_delete(), "auto-delete"),
                    (exchange.is_internal(), "internal"),
                ] {
                    if is {
                        write!(f, ", {word}")?;
                    }
                }
                arguments(f, exchange.arguments())?;
                f.write_str(")")
            }
            Self::DeclareQueue(queue) => {
                let durable = if queue.is_durable() {
                    "durable"
                } else {
                    "transient"
                };
                write!(f, "declare queue '{}' ({durable}", queue.name())?;
                if queue.is_auto_delete() {
                    f.write_str(", auto-delete")?;
                }
                arguments(f, queue.arguments())?;
                f.write_str(")")
            }
            Self::Bind(binding) => write!(f, "bind {binding}"),
            Self::Unbind(binding) => write!(f, "unbind {binding}"),
            Self::SetPolicy(policy) => {
                let (name, pattern) = (policy.name(), policy.pattern());
                write!(
                    f,
                    "set policy '{name}' for {} '{pattern}'",
                    policy.target().as_str()
                )?;
                write!(f, " (priority {}", policy.rank())?;
                arguments(f, policy.definition())?;
                f.write_str(")")
            }
            Self::ClearPolicy(name) => write!(f, "clear policy '{name}'"),
            Self::MoveMessages { from, to, .. } => {
                write!(f, "move the messages of queue '{from}' to queue '{to}'")
            }
            Self::DeleteQueue {
                name,
                with_messages,
                ..
            } => {
                let how = if *with_messages {
                    "with its messages, which are lost"
                } else {
                    "if it is empty and unused"
                };
                write!(f, "delete queue '{name}' {how}")
            }
            Self::DeleteExchange {
                name,
                with_bindings,
            } => {
                let how = if *with_bindings {
                    "with its bindings"
                } else {
                    "if it is unused"
                };
                write!(f, "delete exchange '{name}' {how}")
            }
        }
    }
}

fn arguments(f: &mut fmt::Formatter<'_>, table: &mooq_core::FieldTable) -> fmt::Result {
    for (key, value) in table {
        write!(f, ", {key} = {}", mooq_core::json::value_to(value))?;
    }
    Ok(())
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: Value = match self {
            Self::DeclareExchange(exchange) => {
                json!({ "do": "declare_exchange", "exchange": of_exchange(exchange) })
            }
            Self::DeclareQueue(queue) => {
                json!({ "do": "declare_queue", "queue": of_queue(queue) })
            }
            Self::Bind(binding) => json!({ "do": "bind", "binding": of_binding(binding) }),
            Self::Unbind(binding) => json!({ "do": "unbind", "binding": of_binding(binding) }),
            Self::SetPolicy(policy) => json!({ "do": "set_policy", "policy": of_policy(policy) }),
            Self::ClearPolicy(name) => json!({ "do": "clear_policy", "policy": name }),
            Self::MoveMessages {
                from,
                to,
                through,
                limit,
            } => json!({
                "do": "move_messages",
                "from": from.as_str(),
                "to": to.as_str(),
                "through": through.as_str(),
                "limit": limit,
            }),
            Self::DeleteQueue {
                name,
                kind,
                with_messages,
            } => json!({
                "do": "delete_queue",
                "queue": name.as_str(),
                "type": kind,
                "with_messages": with_messages,
            }),
            Self::DeleteExchange {
                name,
                with_bindings,
            } => json!({
                "do": "delete_exchange",
                "exchange": name.as_str(),
                "with_bindings": with_bindings,
            }),
        };
        value.serialize(serializer)
    }
}
