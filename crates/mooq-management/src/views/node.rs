//! The broker's only node.

use mooq_engine::Mechanism;
use mooq_memory::{Alarm, ListenerInfo, Options, Plugin, Profile};
use serde_json::{Value, json};

use super::{NODE, entries, overview};
use crate::versions::Rules;

/// The node.
pub(crate) fn view(options: &Options, alarms: &[Alarm], listeners: &[ListenerInfo]) -> Value {
    let profile = options.profile;
    let plugins = options.plugins.iter().copied().map(Plugin::name);
    let plugins: Vec<_> = plugins.chain(["rabbitmq_management"]).collect();
    let mechanisms: Vec<_> = profile.mechanisms().iter().map(mechanism).collect();
    let mut view = entries(json!({
        "name": NODE,
        "type": "disc",
        "running": true,
        "partitions": [],
        "cluster_links": [],
        "config_files": [],
        "log_files": [],
        "os_pid": std::process::id().to_string(),
        "rates_mode": overview::RATES_MODE,
        "mem_alarm": alarms.contains(&Alarm::Memory),
        "disk_free_alarm": alarms.contains(&Alarm::Disk),
        "enabled_plugins": plugins,
        "applications": [application(profile)],
        "auth_mechanisms": mechanisms,
        "exchange_types": overview::exchange_types(options),
        "contexts": overview::contexts(listeners, false),
    }));
    if profile.tells_versions_of_nodes() {
        let version = profile.server_version().into();
        view.insert("rabbitmq_version".into(), version);
    }
    if profile.may_be_drained() {
        view.insert("being_drained".into(), false.into());
    }
    Value::Object(view)
}

fn mechanism(mechanism: &Mechanism) -> Value {
    let description = match mechanism {
        Mechanism::Amqplain => "QPid AMQPLAIN mechanism",
        Mechanism::Anonymous => "SASL ANONYMOUS authentication mechanism",
        _ => "SASL PLAIN authentication mechanism",
    };
    json!({"name": mechanism.to_string(), "description": description, "enabled": true})
}

fn application(profile: Profile) -> Value {
    json!({"name": "rabbit", "description": "RabbitMQ", "version": profile.server_version()})
}
