//! Builders for the arguments of AMQP's methods.

use std::sync::Arc;

use bytes::Bytes;
use mooq_core::{
    Binding, BindingDestination, Consume, Deliver, ExchangeDeclare, ExchangeKind, FieldTable,
    FieldValue, Message, Properties, Publish, QueueDeclare,
};

/// A durable exchange.
#[must_use]
pub fn exchange(name: &str, kind: ExchangeKind) -> ExchangeDeclare {
    ExchangeDeclare::new(name.try_into().unwrap(), kind)
}

/// A durable queue.
#[must_use]
pub fn queue(name: &str) -> QueueDeclare {
    QueueDeclare::new(name.try_into().unwrap())
}

/// A passive declare of a queue.
#[must_use]
pub fn passive_queue(name: &str) -> QueueDeclare {
    QueueDeclare {
        passive: true,
        ..queue(name)
    }
}

/// A passive declare of an exchange.
#[must_use]
pub fn passive_exchange(name: &str) -> ExchangeDeclare {
    ExchangeDeclare {
        passive: true,
        ..exchange(name, ExchangeKind::Direct)
    }
}

/// A queue's binding.
#[must_use]
pub fn binding(queue: &str, exchange: &str, key: &str) -> Binding {
    Binding {
        source: exchange.try_into().unwrap(),
        destination: BindingDestination::Queue(queue.try_into().unwrap()),
        routing_key: key.try_into().unwrap(),
        arguments: FieldTable::new(),
    }
}

/// An exchange's binding to another exchange.
#[must_use]
pub fn exchange_binding(destination: &str, source: &str, key: &str) -> Binding {
    Binding {
        destination: BindingDestination::Exchange(destination.try_into().unwrap()),
        ..binding("", source, key)
    }
}

/// A consumer that acknowledges, with a tag that the broker chooses.
#[must_use]
pub fn consumer(queue: &str) -> Consume {
    Consume::new(queue.try_into().unwrap())
}

/// A table of headers or arguments.
#[must_use]
pub fn table<const N: usize>(entries: [(&str, FieldValue); N]) -> FieldTable {
    entries
        .into_iter()
        .map(|(key, value)| (key.try_into().unwrap(), value))
        .collect()
}

/// A message without properties.
#[must_use]
pub fn message(exchange: &str, key: &str, body: &str) -> Message {
    Message {
        exchange: exchange.try_into().unwrap(),
        routing_key: key.try_into().unwrap(),
        properties: Arc::new(Properties::default()),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

/// A message with headers.
#[must_use]
pub fn message_with(exchange: &str, key: &str, body: &str, headers: FieldTable) -> Message {
    let mut properties = Properties::default();
    properties.headers = headers;
    Message {
        properties: Arc::new(properties),
        ..message(exchange, key, body)
    }
}

/// A mandatory publish of `message`.
#[must_use]
pub fn mandatory(message: Message) -> Publish {
    Publish {
        mandatory: true,
        ..Publish::new(message)
    }
}

/// A delivery's body as text.
#[must_use]
pub fn text(deliver: &Deliver) -> &str {
    body(&deliver.message)
}

/// A message's body as text.
#[must_use]
pub fn body(message: &Message) -> &str {
    std::str::from_utf8(&message.body).expect("the body is text")
}
