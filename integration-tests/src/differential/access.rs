//! Permissions that an operation may need.

use mooq_core::{BindingDestination, FieldTable, QueueName};

use super::operation::{Action, REPLY_TO, SERVER_NAMED};

/// An access to a queue or an exchange, as permissions name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// Create or delete.
    Configure,
    /// Put something in.
    Write,
    /// Take something out.
    Read,
}

/// All permissions that an action may need, with their names: some only on some versions, or only
/// if a queue or exchange does not exist yet.
pub(super) fn accesses(
    action: &Action,
    queue: impl Fn(&QueueName) -> String,
) -> Vec<(Access, String)> {
    use Access::{Configure, Read, Write};
    let mut accesses = match action {
        Action::DeclareQueue(declare) if declare.passive => {
            let name = declare.name.to_string();
            [Configure, Write, Read]
                .map(|access| (access, name.clone()))
                .into()
        }
        Action::DeclareQueue(declare) => {
            let name = declare.name.to_string();
            let mut accesses = vec![(Configure, name.clone())];
            if let Some(to) = text(&declare.arguments, "x-dead-letter-exchange") {
                accesses.extend([(Read, name), (Write, to)]);
            }
            accesses
        }
        Action::DeclareExchange(declare) => {
            let name = declare.name.to_string();
            let mut accesses = vec![(Configure, name.clone())];
            if let Some(to) = text(&declare.arguments, "alternate-exchange") {
                accesses.extend([(Read, name), (Write, to)]);
            }
            accesses
        }
        Action::DeleteQueue { queue: of, .. } => vec![(Configure, queue(of))],
        Action::DeleteExchange { exchange, .. } => vec![(Configure, exchange.to_string())],
        Action::Purge(of) | Action::Get { queue: of, .. } => vec![(Read, queue(of))],
        Action::Consume(consume) if consume.queue.as_str() == REPLY_TO => Vec::new(),
        Action::Consume(consume) => vec![(Read, queue(&consume.queue))],
        Action::Bind(binding) | Action::Unbind(binding) => {
            let destination = match &binding.destination {
                BindingDestination::Queue(of) => queue(of),
                BindingDestination::Exchange(of) => of.to_string(),
            };
            vec![(Write, destination), (Read, binding.source.to_string())]
        }
        Action::Publish(publish) => vec![(Write, publish.message.exchange.to_string())],
        _ => Vec::new(),
    };
    // One permission covers all names that the broker makes up.
    for (_, name) in &mut accesses {
        if SERVER_NAMED.contains(&name.as_str()) {
            SERVER_NAMED[0].clone_into(name);
        }
    }
    accesses
}

fn text(arguments: &FieldTable, key: &str) -> Option<String> {
    arguments.get(key)?.as_str().map(str::to_owned)
}
