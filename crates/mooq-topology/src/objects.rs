//! Exchanges, queues, bindings and policies as RabbitMQ's JSON: in files of definitions, and in the
//! management API.

use mooq_core::json::{table_from, table_to};
use mooq_core::{Error, ErrorKind, FieldTable, Result};
use serde_json::{Map, Value, json};

use crate::value::binding::Binding;
use crate::value::exchange::Exchange;
use crate::value::policy::{AppliesTo, Policy};
use crate::value::queue::Queue;

/// An object of RabbitMQ's JSON, and what it is for errors.
pub(crate) struct Object<'a> {
    what: &'static str,
    fields: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    /// Reads a value that should be an object.
    pub(crate) fn of(what: &'static str, value: &'a Value) -> Result<Self> {
        let fields = value.as_object();
        let fields = fields.ok_or_else(|| invalid(format!("{what} that is no JSON object")))?;
        Ok(Self { what, fields })
    }

    /// A text that has to be there.
    pub(crate) fn text(&self, key: &str) -> Result<&'a str> {
        let text = self.optional_text(key);
        text.ok_or_else(|| invalid(format!("{} without the text '{key}'", self.what)))
    }

    pub(crate) fn optional_text(&self, key: &str) -> Option<&'a str> {
        self.fields.get(key).and_then(Value::as_str)
    }

    /// A flag, false if it is missing.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.fields.get(key).and_then(Value::as_bool) == Some(true)
    }

    /// A number, 0 if it is missing.
    #[cfg(feature = "management-client")]
    pub(crate) fn count(&self, key: &str) -> u64 {
        let number = self.fields.get(key).and_then(Value::as_u64);
        number.unwrap_or_default()
    }

    fn table(&self, key: &str) -> Result<FieldTable> {
        match self.fields.get(key) {
            Some(Value::Object(entries)) => table_from(entries.clone()),
            // RabbitMQ writes an empty table as an empty array, at times.
            _ => Ok(FieldTable::new()),
        }
    }

    /// Reads the object as an exchange.
    pub(crate) fn exchange(&self) -> Result<Exchange> {
        let mut exchange = Exchange::new(self.text("name")?, self.text("type")?);
        if self.fields.get("durable").and_then(Value::as_bool) == Some(false) {
            exchange = exchange.transient();
        }
        if self.flag("auto_delete") {
            exchange = exchange.auto_delete();
        }
        if self.flag("internal") {
            exchange = exchange.internal();
        }
        let arguments = self.table("arguments")?.into_iter();
        let exchange = arguments.fold(exchange, |exchange, (key, value)| {
            exchange.argument(key, value)
        });
        checked(exchange, Exchange::take_error)
    }

    /// Reads the object as a queue.
    pub(crate) fn queue(&self) -> Result<Queue> {
        let mut queue = Queue::new(self.text("name")?);
        if self.fields.get("durable").and_then(Value::as_bool) == Some(false) {
            queue = queue.transient();
        }
        if self.flag("auto_delete") {
            queue = queue.auto_delete();
        }
        let arguments = self.table("arguments")?.into_iter();
        let queue = arguments.fold(queue, |queue, (key, value)| queue.argument(key, value));
        checked(queue, Queue::take_error)
    }

    /// Reads the object as a binding.
    pub(crate) fn binding(&self) -> Result<Binding> {
        let (source, to) = (self.text("source")?, self.text("destination")?);
        let key = self.text("routing_key")?;
        let binding = match self.text("destination_type")? {
            "queue" => Binding::of_queue(to, source, key),
            "exchange" => Binding::of_exchange(to, source, key),
            other => return Err(invalid(format!("a binding of a '{other}'"))),
        };
        let arguments = self.table("arguments")?.into_iter();
        let binding = arguments.fold(binding, |binding, (key, value)| {
            binding.argument(key, value)
        });
        checked(binding, Binding::take_error)
    }

    /// Reads the object as a policy.
    pub(crate) fn policy(&self) -> Result<Policy> {
        let mut policy = Policy::new(self.text("name")?, self.text("pattern")?);
        if let Some(word) = self.optional_text("apply-to") {
            let target = AppliesTo::from_word(word);
            let target =
                target.ok_or_else(|| invalid(format!("a policy that applies to '{word}'")))?;
            policy = policy.applies_to(target);
        }
        if let Some(priority) = self.fields.get("priority").and_then(Value::as_i64) {
            policy = policy.priority(priority);
        }
        let definition = self.table("definition")?.into_iter();
        let policy = definition.fold(policy, |policy, (key, value)| policy.set(key, value));
        checked(policy, Policy::take_error)
    }
}

fn checked<T>(mut part: T, error: impl Fn(&mut T) -> mooq_core::FirstError) -> Result<T> {
    error(&mut part).finish()?;
    Ok(part)
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, what)
}

pub(crate) fn of_exchange(exchange: &Exchange) -> Value {
    json!({
        "name": exchange.name().as_str(),
        "type": exchange.kind().as_str(),
        "durable": exchange.is_durable(),
        "auto_delete": exchange.is_auto_delete(),
        "internal": exchange.is_internal(),
        "arguments": table_to(exchange.arguments()),
    })
}

pub(crate) fn of_queue(queue: &Queue) -> Value {
    json!({
        "name": queue.name().as_str(),
        "durable": queue.is_durable(),
        "auto_delete": queue.is_auto_delete(),
        "arguments": table_to(queue.arguments()),
    })
}

pub(crate) fn of_binding(binding: &Binding) -> Value {
    let (to, kind) = match (binding.queue(), binding.exchange()) {
        (Some(queue), _) => (queue.as_str(), "queue"),
        (None, to) => (to.map_or("", |to| to.as_str()), "exchange"),
    };
    json!({
        "source": binding.source().as_str(),
        "destination": to,
        "destination_type": kind,
        "routing_key": binding.routing_key().as_str(),
        "arguments": table_to(binding.arguments()),
    })
}

pub(crate) fn of_policy(policy: &Policy) -> Value {
    json!({
        "name": policy.name(),
        "pattern": policy.pattern(),
        "apply-to": policy.target().as_str(),
        "priority": policy.rank(),
        "definition": table_to(policy.definition()),
    })
}
