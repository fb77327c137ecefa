//! The overview of the broker.

use mooq_core::ExchangeKind;
use mooq_memory::{ListenerInfo, Options, Plugin, Profile};
use serde_json::{Value, json};

use super::{NODE, entries};
use crate::versions::Rules;

/// RabbitMQ's word for a broker that has no rates.
pub(crate) const RATES_MODE: &str = "none";

/// Number of objects that the user sees.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) connections: usize,
    pub(crate) channels: usize,
    pub(crate) exchanges: usize,
    pub(crate) queues: usize,
    pub(crate) consumers: usize,
    /// Number of messages that are ready, and of those that are unacked.
    pub(crate) ready: u64,
    pub(crate) unacked: u64,
}

/// The overview for any user.
pub(crate) fn view(options: &Options, totals: Totals) -> Value {
    let profile = options.profile;
    let version = profile.server_version();
    let mut view = entries(json!({
        "management_version": version,
        "rabbitmq_version": version,
        "product_name": "RabbitMQ",
        "product_version": version,
        "cluster_name": NODE,
        "rates_mode": RATES_MODE,
        "disable_stats": false,
        "enable_queue_totals": false,
        "statistics_db_event_queue": 0,
        "exchange_types": exchange_types(options),
        "object_totals": {
            "connections": totals.connections,
            "channels": totals.channels,
            "exchanges": totals.exchanges,
            "queues": totals.queues,
        },
        "queue_totals": {
            "messages": totals.ready + totals.unacked,
            "messages_ready": totals.ready,
            "messages_unacknowledged": totals.unacked,
        },
    }));
    if profile.has_node_tags() {
        view.extend(entries(json!({
            "cluster_tags": {},
            "node_tags": {},
            "default_queue_type": "classic",
            "is_op_policy_updating_enabled": true,
        })));
    }
    Value::Object(view)
}

/// What the overview adds for users who see the whole broker.
pub(crate) fn of_monitors(
    view: Value,
    totals: Totals,
    listeners: &[ListenerInfo],
    profile: Profile,
) -> Value {
    let mut view = entries(view);
    if let Some(Value::Object(objects)) = view.get_mut("object_totals") {
        objects.insert("consumers".into(), totals.consumers.into());
    }
    view.insert("node".into(), NODE.into());
    let all = listeners.iter().map(|of| listener(of, profile));
    view.insert("listeners".into(), all.collect());
    view.insert("contexts".into(), contexts(listeners, true));
    Value::Object(view)
}

fn listener(info: &ListenerInfo, profile: Profile) -> Value {
    let mut view = entries(json!({
        "node": NODE,
        "protocol": info.protocol,
        "ip_address": info.address.ip().to_string(),
        "port": info.address.port(),
    }));
    if profile.tells_tls_of_listeners() {
        view.insert("tls".into(), (info.protocol == "amqp/ssl").into());
    }
    Value::Object(view)
}

/// The sockets of the management API, with the name of the node if that is wanted.
pub(super) fn contexts(listeners: &[ListenerInfo], with_node: bool) -> Value {
    let own = listeners.iter().filter(|of| of.protocol == "http");
    own.map(|of| {
        let mut context = entries(json!({
            "description": "RabbitMQ Management",
            "path": "/",
            "port": of.address.port().to_string(),
        }));
        if with_node {
            context.insert("node".into(), NODE.into());
        }
        Value::Object(context)
    })
    .collect()
}

/// The exchange kinds of a broker.
pub(super) fn exchange_types(options: &Options) -> Value {
    let amqp = |kind: &str| format!("AMQP {kind} exchange, as per the AMQP specification");
    let mut kinds: Vec<_> = ["direct", "fanout", "headers", "topic"]
        .map(|kind| (kind.to_owned(), amqp(kind)))
        .into();
    if options.profile.has_local_random() {
        let kind = ExchangeKind::LocalRandom.as_str().to_owned();
        let description = "Picks one random local binding (queue) to route via (to).";
        kinds.push((kind, description.into()));
    }
    if options.profile.has_modulus_hash() {
        let kind = ExchangeKind::ModulusHash.as_str().to_owned();
        kinds.push((kind, "Modulus Hashing Exchange".into()));
    }
    for plugin in &options.plugins {
        let (kind, description) = match plugin {
            Plugin::ConsistentHashExchange => {
                (ExchangeKind::ConsistentHash, "Consistent Hashing Exchange")
            }
            Plugin::RandomExchange => (ExchangeKind::Random, "AMQP random exchange"),
            Plugin::RecentHistoryExchange => {
                (ExchangeKind::RecentHistory, "Recent History Exchange")
            }
            Plugin::DelayedMessageExchange => {
                (ExchangeKind::DelayedMessage, "Delayed Message Exchange")
            }
            _ => continue,
        };
        kinds.push((kind.as_str().to_owned(), description.into()));
    }
    let kinds = kinds.into_iter();
    kinds
        .map(|(name, description)| {
            json!({"name": name, "description": description, "enabled": true})
        })
        .collect()
}

#[cfg(test)]
mod tests {
    // A failed expectation is meant to panic.
    #![allow(clippy::unwrap_used)]

    use mooq_memory::InMemoryBroker;

    use super::*;

    fn kinds(types: &Value) -> Vec<&str> {
        let types = types.as_array().unwrap().iter();
        types.map(|kind| kind["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn exchange_types_are_those_of_the_version_and_the_plugins() {
        let options = Options::of(Profile::V3_10).plugin(Plugin::RandomExchange);
        let types = exchange_types(&options);
        assert_eq!(
            kinds(&types),
            ["direct", "fanout", "headers", "topic", "x-random"]
        );
        let types = exchange_types(&Options::of(Profile::V4_0));
        assert_eq!(
            kinds(&types),
            ["direct", "fanout", "headers", "topic", "x-local-random"]
        );
    }

    #[test]
    fn monitors_see_the_listeners() {
        let broker = InMemoryBroker::start();
        let address = "127.0.0.1:15672".parse().unwrap();
        let _announced = broker.announce_listener("http", address);
        let totals = Totals {
            ready: 2,
            unacked: 1,
            ..Totals::default()
        };
        let of_anyone = view(&broker.options(), totals);
        assert_eq!(of_anyone["queue_totals"]["messages"], 3);
        assert_eq!(of_anyone.get("node"), None);
        let view = of_monitors(of_anyone, totals, &broker.listeners(), Profile::V4_0);
        let listener = json!({
            "node": NODE, "protocol": "http", "ip_address": "127.0.0.1", "port": 15672,
        });
        assert_eq!(view["listeners"], json!([listener]));
        assert_eq!(view["contexts"][0]["port"], "15672");
        assert_eq!(view["object_totals"]["consumers"], 0);
    }
}
