//! Names of a sequence on one broker: a sequence has `q0` and `s0`, the broker a name with the
//! sequence's prefix, or one that it has made up.

use std::collections::BTreeMap;

use mooq_core::{
    Binding, BindingDestination, Consume, ExchangeName, FieldTable, FieldValue, Message,
    Properties, QueueDeclare, QueueName, RoutingKey, ShortString,
};

use super::operation::{
    Action, BEYOND, EXCHANGES, QUEUES, REPLY_ADDRESS, REPLY_TO, SERVER_NAMED, SetPolicy, USER,
};

/// Prefix of names that the broker makes up.
const MADE_UP: &str = "amq.gen-";

/// Names of one broker.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// Prefix of the names of queues and exchanges.
    pub(super) prefix: String,
    /// The user of the second connection.
    pub(super) user: String,
    /// Existing queues that the broker has named.
    server_named: BTreeMap<&'static str, String>,
    /// All names that the broker has made up, each with the sequence's name.
    given: Vec<(String, &'static str)>,
}

impl Names {
    pub(super) fn new(prefix: String, user: String) -> Self {
        Self {
            prefix,
            user,
            server_named: BTreeMap::new(),
            given: Vec::new(),
        }
    }

    /// The broker's name of a queue or an exchange.
    pub(super) fn of(&self, name: &str) -> String {
        let name = name.strip_prefix(BEYOND).unwrap_or(name);
        match self.server_named.get(name) {
            Some(given) => given.clone(),
            None => format!("{}/{name}", self.prefix),
        }
    }

    /// The second virtual host.
    pub(super) fn vhost(&self) -> &str {
        &self.prefix
    }

    /// Returns true if the broker is to name a queue declared by this name.
    pub(super) fn is_to_be_given(&self, name: &str) -> bool {
        SERVER_NAMED.contains(&name) && !self.server_named.contains_key(name)
    }

    /// Learns the name that the broker has given.
    pub(super) fn give(&mut self, name: &str, given: &str) {
        let named = SERVER_NAMED.into_iter().find(|named| *named == name);
        let named = named.expect("the queue is one that the broker names");
        self.server_named.insert(named, given.to_owned());
        self.given.push((given.to_owned(), named));
    }

    /// Forgets the queues for which `is_there` returns false.
    pub(super) fn forget(&mut self, is_there: impl Fn(&str) -> bool) {
        self.server_named.retain(|name, _| is_there(name));
    }

    /// A text of the broker's with the sequence's names in place of those that the broker made up,
    /// and one placeholder for all names that it has not assigned.
    pub(super) fn hidden(&self, text: &str) -> String {
        if !text.contains(MADE_UP) {
            return text.to_owned();
        }
        let given = self.given.iter();
        let text = given.fold(text.to_owned(), |text, (given, name)| {
            text.replace(given, name)
        });
        let mut parts = text.split(MADE_UP);
        let mut hidden = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            hidden += "a-new-name";
            hidden +=
                part.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "-_".contains(c));
        }
        hidden
    }

    /// The comparable part of a message: without the times in `x-death`, the addresses of direct
    /// replies and names that the brokers have made up.
    pub(super) fn comparable(&self, message: &Message) -> Message {
        let mut message = message.clone();
        if message.routing_key.starts_with(REPLY_TO) {
            message.routing_key = REPLY_ADDRESS.try_into().expect("a short key");
        } else if !self.given.is_empty() {
            let key = self.hidden(&message.routing_key);
            message.routing_key = key.try_into().expect("a short key");
        }
        let is_address = |address: &ShortString| address.starts_with(REPLY_TO);
        let reply_to = &message.properties.reply_to;
        if reply_to.as_ref().is_some_and(is_address) {
            let mut properties = (*message.properties).clone();
            properties.reply_to = REPLY_ADDRESS.try_into().ok();
            message.properties = properties.into();
        }
        if message.properties.headers.get("x-death").is_some() || !self.given.is_empty() {
            let mut properties = (*message.properties).clone();
            properties.headers = self.hidden_table(without_times(properties.headers));
            message.properties = properties.into();
        }
        message
    }

    fn hidden_table(&self, table: FieldTable) -> FieldTable {
        let hidden = table
            .into_iter()
            .map(|(key, field)| (key, self.hidden_value(field)));
        hidden.collect()
    }

    fn hidden_value(&self, field: FieldValue) -> FieldValue {
        match field {
            FieldValue::String(text) => FieldValue::String(self.hidden(&text)),
            FieldValue::Array(values) => {
                let hidden = values.into_iter().map(|v| self.hidden_value(v));
                FieldValue::Array(hidden.collect())
            }
            FieldValue::Table(table) => FieldValue::Table(self.hidden_table(table)),
            other => other,
        }
    }

    /// The same action with the broker's names.
    #[must_use]
    pub(super) fn placed(&self, action: Action) -> Action {
        match action {
            Action::DeclareQueue(declare) => Action::DeclareQueue(QueueDeclare {
                name: if !declare.passive && self.is_to_be_given(&declare.name) {
                    "".try_into().expect("a short name")
                } else {
                    self.queue(&declare.name)
                },
                arguments: self.table(declare.arguments),
                ..declare
            }),
            Action::DeleteQueue {
                queue,
                if_unused,
                if_empty,
            } => Action::DeleteQueue {
                queue: self.queue(&queue),
                if_unused,
                if_empty,
            },
            Action::Purge(queue) => Action::Purge(self.queue(&queue)),
            Action::DeclareExchange(mut declare) => {
                declare.name = self.exchange(&declare.name);
                declare.arguments = self.table(declare.arguments);
                Action::DeclareExchange(declare)
            }
            Action::DeleteExchange {
                exchange,
                if_unused,
            } => Action::DeleteExchange {
                exchange: self.exchange(&exchange),
                if_unused,
            },
            Action::Bind(binding) => Action::Bind(self.binding(binding)),
            Action::Unbind(binding) => Action::Unbind(self.binding(binding)),
            Action::Publish(mut publish) => {
                let message = &mut publish.message;
                message.exchange = self.exchange(&message.exchange);
                message.routing_key = self.key(&message.routing_key);
                let properties = self.properties((*message.properties).clone());
                message.properties = properties.into();
                Action::Publish(publish)
            }
            Action::Get { queue, no_ack } => Action::Get {
                queue: self.queue(&queue),
                no_ack,
            },
            Action::SetPolicy(policy) => Action::SetPolicy(SetPolicy {
                queue: self.queue(&policy.queue),
                definition: self.table(policy.definition),
                ..policy
            }),
            Action::Consume(consume) => Action::Consume(Consume {
                queue: self.queue(&consume.queue),
                ..consume
            }),
            other => other,
        }
    }

    fn place(&self, text: &str) -> String {
        if is_name(text) {
            self.of(text)
        } else if text == USER {
            self.user.clone()
        } else {
            text.to_owned()
        }
    }

    fn queue(&self, name: &QueueName) -> QueueName {
        self.place(name).try_into().expect("a short name")
    }

    fn exchange(&self, name: &ExchangeName) -> ExchangeName {
        self.place(name).try_into().expect("a short name")
    }

    fn key(&self, key: &RoutingKey) -> RoutingKey {
        self.place(key).try_into().expect("a short key")
    }

    fn short(&self, text: &ShortString) -> ShortString {
        self.place(text).try_into().expect("a short text")
    }

    fn binding(&self, binding: Binding) -> Binding {
        Binding {
            source: self.exchange(&binding.source),
            destination: match &binding.destination {
                BindingDestination::Queue(name) => BindingDestination::Queue(self.queue(name)),
                BindingDestination::Exchange(name) => {
                    BindingDestination::Exchange(self.exchange(name))
                }
            },
            routing_key: self.key(&binding.routing_key),
            arguments: binding.arguments,
        }
    }

    fn properties(&self, mut properties: Properties) -> Properties {
        properties.headers = self.table(properties.headers);
        properties.reply_to = properties.reply_to.map(|to| self.short(&to));
        properties.user_id = properties.user_id.map(|user| self.short(&user));
        properties
    }

    fn table(&self, table: FieldTable) -> FieldTable {
        let placed = table
            .into_iter()
            .map(|(key, field)| (key, self.value(field)));
        placed.collect()
    }

    fn value(&self, field: FieldValue) -> FieldValue {
        match field {
            FieldValue::String(text) => FieldValue::String(self.place(&text)),
            FieldValue::Array(values) => {
                FieldValue::Array(values.into_iter().map(|v| self.value(v)).collect())
            }
            other => other,
        }
    }
}

/// Returns true for a sequence's name of a queue or an exchange.
pub(super) fn is_name(text: &str) -> bool {
    QUEUES.contains(&text) || EXCHANGES.contains(&text) || SERVER_NAMED.contains(&text)
}

fn without_times(mut headers: FieldTable) -> FieldTable {
    let Some(FieldValue::Array(mut deaths)) = headers.remove("x-death") else {
        return headers;
    };
    for death in &mut deaths {
        if let FieldValue::Table(death) = death
            && let Some(FieldValue::Timestamp(_)) = death.get("time")
        {
            let key = "time".try_into().expect("a short key");
            death.insert(key, FieldValue::Timestamp(0));
        }
    }
    let key = "x-death".try_into().expect("a short key");
    headers.insert(key, FieldValue::Array(deaths));
    headers
}
