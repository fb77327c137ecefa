//! Export of definitions.

use std::collections::HashSet;

use mooq_core::json::table_to;
use mooq_core::{BindingDestination, Error, ErrorKind, VirtualHost};
use mooq_engine::{
    BindingInfo, Engine, ExchangeInfo, PolicyInfo, QueueInfo, UserInfo, VirtualHostInfo,
};
use serde_json::{Value, json};

use super::password::password_hash;

/// The definitions of a broker.
pub(super) fn all(engine: &Engine) -> Value {
    let version = engine.options().profile.server_version();
    let vhosts = engine.vhosts();
    let names = || vhosts.iter().map(|vhost| &vhost.name);
    let of_each = |list: &dyn Fn(&Engine, &VirtualHost) -> Vec<Value>| -> Value {
        let objects = names().flat_map(|vhost| {
            let objects = list(engine, vhost).into_iter();
            objects.map(|object| with_vhost(object, vhost))
        });
        objects.collect()
    };
    let permissions = engine.permissions().into_iter().map(|of| {
        json!({
            "user": of.user,
            "vhost": of.vhost.as_str(),
            "configure": of.configure,
            "write": of.write,
            "read": of.read,
        })
    });
    let topic_permissions = engine.topic_permissions().into_iter().map(|of| {
        json!({
            "user": of.user,
            "vhost": of.vhost.as_str(),
            "exchange": of.exchange.as_str(),
            "write": of.write,
            "read": of.read,
        })
    });
    json!({
        "rabbit_version": version,
        "rabbitmq_version": version,
        "product_name": "RabbitMQ",
        "product_version": version,
        "users": engine.users().iter().map(user).collect::<Value>(),
        "vhosts": vhosts.iter().map(vhost).collect::<Value>(),
        "permissions": permissions.collect::<Value>(),
        "topic_permissions": topic_permissions.collect::<Value>(),
        "parameters": of_each(&parameters),
        "global_parameters": [],
        "policies": of_each(&policies),
        "exchanges": of_each(&exchanges),
        "queues": of_each(&queues),
        "bindings": of_each(&bindings),
    })
}

/// The definitions of a virtual host.
///
/// # Errors
/// `VirtualHostNotFound` if there is no such virtual host.
pub(super) fn of_vhost(engine: &Engine, name: &VirtualHost) -> Result<Value, Error> {
    let vhosts = engine.vhosts();
    let Some(found) = vhosts.iter().find(|vhost| vhost.name == *name) else {
        let message = format!("there is no virtual host '{name}'");
        return Err(Error::new(ErrorKind::VirtualHostNotFound, message));
    };
    Ok(json!({
        "rabbit_version": engine.options().profile.server_version(),
        "description": found.metadata.description,
        "metadata": metadata(found),
        "parameters": parameters(engine, name),
        "policies": policies(engine, name),
        "exchanges": exchanges(engine, name),
        "queues": queues(engine, name),
        "bindings": bindings(engine, name),
    }))
}

fn with_vhost(mut object: Value, vhost: &VirtualHost) -> Value {
    if let Value::Object(entries) = &mut object {
        entries.insert("vhost".into(), vhost.as_str().into());
    }
    object
}

fn user(user: &UserInfo) -> Value {
    let (hash, algorithm) = password_hash(user);
    json!({
        "name": user.name,
        "password_hash": hash,
        "hashing_algorithm": algorithm,
        "tags": user.tags,
        "limits": {},
    })
}

fn vhost(vhost: &VirtualHostInfo) -> Value {
    json!({
        "name": vhost.name.as_str(),
        "description": vhost.metadata.description,
        "tags": vhost.metadata.tags,
        "metadata": metadata(vhost),
    })
}

fn metadata(vhost: &VirtualHostInfo) -> Value {
    json!({"description": vhost.metadata.description, "tags": vhost.metadata.tags})
}

fn parameters(engine: &Engine, vhost: &VirtualHost) -> Vec<Value> {
    let policies = engine.operator_policies().into_iter();
    let policies = policies.filter(|policy| policy.vhost == *vhost);
    let parameters = policies.map(|info| {
        json!({
            "component": "operator_policy",
            "name": info.name,
            "value": policy(&info),
        })
    });
    parameters.collect()
}

fn policies(engine: &Engine, vhost: &VirtualHost) -> Vec<Value> {
    let policies = engine.policies().into_iter();
    let policies = policies.filter(|policy| policy.vhost == *vhost);
    let named = policies.map(|info| {
        let mut policy = policy(&info);
        if let Value::Object(entries) = &mut policy {
            entries.insert("name".into(), info.name.into());
        }
        policy
    });
    named.collect()
}

fn policy(info: &PolicyInfo) -> Value {
    json!({
        "pattern": info.policy.pattern(),
        "apply-to": info.policy.applies_to().as_str(),
        "definition": table_to(info.policy.definition()),
        "priority": info.policy.priority_value(),
    })
}

/// Exchanges other than those that every virtual host has.
fn exchanges(engine: &Engine, vhost: &VirtualHost) -> Vec<Value> {
    let exchanges = engine.exchanges(vhost, "**").into_iter();
    let exchanges = exchanges.filter(|exchange| !is_predeclared(&exchange.name));
    exchanges.map(|info| exchange(&info)).collect()
}

fn is_predeclared(name: &str) -> bool {
    name.is_empty() || name.starts_with("amq.")
}

fn exchange(info: &ExchangeInfo) -> Value {
    json!({
        "name": info.name.as_str(),
        "type": info.kind.as_str(),
        "durable": info.durable,
        "auto_delete": info.auto_delete,
        "internal": info.internal,
        "arguments": table_to(&info.arguments),
    })
}

fn queues(engine: &Engine, vhost: &VirtualHost) -> Vec<Value> {
    shared_queues(engine, vhost).iter().map(queue).collect()
}

fn shared_queues(engine: &Engine, vhost: &VirtualHost) -> Vec<QueueInfo> {
    let mut queues = engine.queues(vhost, "**");
    queues.retain(|queue| !queue.exclusive);
    queues
}

fn queue(info: &QueueInfo) -> Value {
    json!({
        "name": info.name.as_str(),
        "durable": info.durable,
        "auto_delete": info.auto_delete,
        "arguments": table_to(&info.arguments),
    })
}

/// Bindings to queues that are exported too.
fn bindings(engine: &Engine, vhost: &VirtualHost) -> Vec<Value> {
    let queues = shared_queues(engine, vhost);
    let queues: HashSet<_> = queues.iter().map(|queue| queue.name.as_str()).collect();
    let bindings = engine.bindings(vhost, "**").into_iter();
    let bindings = bindings.filter(|binding| match &binding.destination {
        BindingDestination::Queue(name) => queues.contains(name.as_str()),
        BindingDestination::Exchange(_) => true,
    });
    bindings.map(|info| binding(&info)).collect()
}

fn binding(info: &BindingInfo) -> Value {
    let (destination, kind) = match &info.destination {
        BindingDestination::Queue(name) => (name.as_str(), "queue"),
        BindingDestination::Exchange(name) => (name.as_str(), "exchange"),
    };
    json!({
        "source": info.source.as_str(),
        "destination": destination,
        "destination_type": kind,
        "routing_key": info.routing_key.as_str(),
        "arguments": table_to(&info.arguments),
    })
}
