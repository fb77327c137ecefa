//! Bindings.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mooq_core::{BindingDestination, VirtualHost};
use mooq_memory::BindingInfo;
use mooq_memory::json::table_to;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};

/// A binding from an exchange.
pub(crate) fn view(vhost: &VirtualHost, info: &BindingInfo) -> Value {
    let (destination, kind) = destination(info);
    json!({
        "source": info.source.as_str(),
        "vhost": vhost.as_str(),
        "destination": destination,
        "destination_type": kind,
        "routing_key": info.routing_key.as_str(),
        "arguments": table_to(&info.arguments),
        "properties_key": properties_key(info),
    })
}

/// The default exchange's binding to a queue.
pub(crate) fn default(vhost: &VirtualHost, queue: &str) -> Value {
    json!({
        "source": "",
        "vhost": vhost.as_str(),
        "destination": queue,
        "destination_type": "queue",
        "routing_key": queue,
        "arguments": {},
        "properties_key": quoted(queue),
    })
}

/// A binding's destination, and RabbitMQ's word for its kind.
pub(crate) fn destination(info: &BindingInfo) -> (&str, &'static str) {
    match &info.destination {
        BindingDestination::Queue(name) => (name.as_str(), "queue"),
        BindingDestination::Exchange(name) => (name.as_str(), "exchange"),
    }
}

/// The key that tells a binding from others between the same two ends: its routing key, and a hash
/// of its arguments if it has any.
pub(crate) fn properties_key(info: &BindingInfo) -> String {
    let key = quoted(&info.routing_key);
    if !info.arguments.is_empty() {
        let hash = info.arguments_hash().to_be_bytes();
        return format!("{key}~{}", URL_SAFE_NO_PAD.encode(hash));
    }
    if key.is_empty() { "~".into() } else { key }
}

/// True if a key, as it stands in a path, is that of the binding.
pub(crate) fn has_key(info: &BindingInfo, key: &str) -> bool {
    let (routing_key, hash) = key.split_once('~').unwrap_or((key, ""));
    let own = properties_key(info);
    let own_hash = own.split_once('~').map_or("", |(_, hash)| hash);
    // Clients may leave characters unquoted.
    unquoted(routing_key) == info.routing_key.as_str() && unquoted(hash) == own_hash
}

/// Letters, digits and these are not quoted.
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b' ');

/// Quotes a text as forms do, where a space becomes a plus.
pub(crate) fn quoted(text: &str) -> String {
    let quoted = utf8_percent_encode(text, QUOTED).to_string();
    quoted.replace(' ', "+")
}

fn unquoted(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    // A failed expectation is meant to panic.
    #![allow(clippy::unwrap_used)]

    use mooq_core::FieldTable;
    use mooq_memory::InMemoryBroker;

    use super::*;

    fn bound(key: &str, arguments: &FieldTable) -> BindingInfo {
        let broker = InMemoryBroker::start();
        let definitions = json!({
            "queues": [{"name": "q", "vhost": "/"}],
            "bindings": [{"vhost": "/", "source": "amq.topic", "destination": "q",
                          "destination_type": "queue", "routing_key": key,
                          "arguments": table_to(arguments)}],
        });
        broker.import_definitions(&definitions.to_string()).unwrap();
        broker.bindings("amq.topic").remove(0)
    }

    #[test]
    fn properties_keys_are_rabbitmqs() {
        let none = FieldTable::new();
        let one = FieldTable::new().with("x", 1).unwrap();
        // The keys that RabbitMQ 3.10.8, 4.0.5 and 4.3.6 tell.
        for (key, arguments, expected) in [
            ("", &none, "~"),
            ("a.*", &none, "a.%2A"),
            ("a/b c", &one, "a%2Fb+c~9nmLZQ"),
        ] {
            let binding = bound(key, arguments);
            assert_eq!(properties_key(&binding), expected);
            assert!(has_key(&binding, expected));
            assert!(!has_key(&binding, "other"));
        }
        assert!(has_key(&bound("a.*", &none), "a.*"));
        assert!(!has_key(&bound("a/b c", &one), "a%2Fb+c"));
    }

    #[test]
    fn binding_names_both_ends() {
        let view = view(&VirtualHost::root(), &bound("k", &FieldTable::new()));
        let expected = json!({
            "source": "amq.topic", "vhost": "/", "destination": "q", "destination_type": "queue",
            "routing_key": "k", "arguments": {}, "properties_key": "k",
        });
        assert_eq!(view, expected);
    }
}
