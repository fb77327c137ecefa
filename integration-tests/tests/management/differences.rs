//! Differences between two answers, but for those that are known.

use std::collections::BTreeSet;

use mooq_rig::management::Answer;
use serde_json::{Value, json};

use crate::requests::STATUS_ALONE;

/// Keys that the in-memory broker leaves out: figures of a machine, of its disk and of Erlang;
/// rates and the counts that they are made of; and parts of RabbitMQ that it does not have.
const NOT_SERVED: &[&str] = &[
    // Of the machine.
    "config_files_details",
    "context_switches",
    "cowboy_opts",
    "crypto_lib_version",
    "db_dir",
    "disk_free",
    "disk_free_limit",
    "erlang_full_version",
    "erlang_version",
    "fd_total",
    "fd_used",
    "garbage_collection",
    "gc_bytes_reclaimed",
    "gc_num",
    "io_*",
    "mem_calculation_strategy",
    "mem_limit",
    "mem_used",
    "memory",
    "metrics_gc_queue_length",
    "mnesia_*",
    "msg_store_*",
    "net_ticktime",
    "proc_total",
    "proc_used",
    "processors",
    "queue_index_*",
    "ra_open_file_metrics",
    "reductions",
    "run_queue",
    "socket_opts",
    "sockets_total",
    "sockets_used",
    "ssl_opts",
    "uptime",
    // Rates and counts.
    "channel_closed",
    "channel_created",
    "churn_rates",
    "connection_closed",
    "connection_created",
    "consumer_capacity",
    "consumer_utilisation",
    "deliveries",
    "idle_since",
    "incoming",
    "message_stats",
    "messages_unconfirmed",
    "outgoing",
    "pending_raft_commands",
    "publishers",
    "publishes",
    "queue_created",
    "queue_declared",
    "queue_deleted",
    "recv_*",
    "sample_retention_policies",
    "send_*",
    // Of the disk and of the replicas of queues.
    "backing_queue_status",
    "cached_segments",
    "message_bytes_dlx",
    "message_bytes_paged_out",
    "messages_active_priorities",
    "messages_by_priority",
    "messages_paged_out",
    "messages_ready_high",
    "messages_ready_normal",
    "messages_ready_returned",
    "open_files",
    "recoverable_slaves",
    "storage_version",
    // Of certificates.
    "peer_cert_*",
    "ssl_*",
    // Parts of RabbitMQ.
    "delayed_retry",
    "limits",
    "release_series_support_status",
    "require_definition_json_extension",
    "user_who_performed_action",
    // In definitions, those of virtual hosts.
    "default_queue_type",
    "webmachine_*",
    "want_*",
];

/// Keys whose values differ between brokers, or from one start to the next. Their types do not.
const VARIES: &[&str] = &[
    "connected_at",
    // 4.3 has one for its log.
    "exchanges",
    "hashing_algorithm",
    "host",
    "management_version",
    "os_pid",
    "password_hash",
    "peer_host",
    "peer_port",
    "port",
    "product_version",
    "rabbit_version",
    "rabbitmq_version",
    "version",
];

/// Keys whose values are not those of RabbitMQ, and why.
const TOLD_DIFFERENTLY: &[&str] = &[
    // Of one application.
    "applications",
    "auth_mechanisms",
    // Without rates.
    "rates_mode",
    // No files.
    "config_files",
    "log_files",
    // Of the sockets that each broker has.
    "contexts",
    "enabled_plugins",
    "listeners",
    // Names of the cluster.
    "global_parameters",
    // Without a listener of the cluster.
    "protocols",
];

/// Keys that the in-memory broker tells in definitions where some versions of RabbitMQ do not, so that
/// nothing is lost when they are imported.
const ADDED: &[&str] = &["description", "metadata", "tags"];

pub(crate) fn read_differences(
    path: &str,
    (ours, own_names): (&Answer, &(String, String)),
    (theirs, live_names): (&Answer, &(String, String)),
) -> Vec<String> {
    if STATUS_ALONE.contains(&path) {
        return answers(path, ours, theirs, |_| Value::Null);
    }
    let with = |answer: &Answer, (connection, node): &(String, String)| {
        let text = answer.text.replace(connection, "CONNECTION");
        let named = Answer {
            text: text.replace(node, "NODE"),
            ..answer.clone()
        };
        named.json()
    };
    if ours.status != theirs.status {
        return vec![status_difference(path, ours, theirs)];
    }
    let mut found = Vec::new();
    differences(
        path,
        &with(ours, own_names),
        &with(theirs, live_names),
        &mut found,
    );
    found
}

pub(crate) fn answers(
    asked: &str,
    ours: &Answer,
    theirs: &Answer,
    read: impl Fn(&Answer) -> Value,
) -> Vec<String> {
    if ours.status != theirs.status {
        return vec![status_difference(asked, ours, theirs)];
    }
    let mut found = Vec::new();
    differences(asked, &read(ours), &read(theirs), &mut found);
    found
}

fn status_difference(asked: &str, ours: &Answer, theirs: &Answer) -> String {
    format!(
        "{asked}: {} {}, RabbitMQ {} {}",
        ours.status, ours.text, theirs.status, theirs.text
    )
}

fn listed(keys: &[&str], key: &str) -> bool {
    keys.iter().any(
        |listed| match (listed.strip_prefix('*'), listed.strip_suffix('*')) {
            (Some(end), _) => key.ends_with(end),
            (_, Some(start)) => key.starts_with(start),
            _ => *listed == key,
        },
    )
}

/// Collects the differences of two values, key by key.
pub(crate) fn differences(at: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(own), Value::Object(others)) => {
            let keys: BTreeSet<_> = own.keys().chain(others.keys()).collect();
            for key in keys {
                if listed(TOLD_DIFFERENTLY, key) {
                    continue;
                }
                let at = format!("{at} {key}");
                match (own.get(key), others.get(key)) {
                    (Some(one), Some(other)) if listed(VARIES, key) => {
                        if kind(one) != kind(other) {
                            found.push(format!("{at}: {one}, RabbitMQ {other}"));
                        }
                    }
                    (Some(one), Some(other)) => differences(&at, one, other, found),
                    (Some(_), None) if listed(ADDED, key) => {}
                    (Some(one), None) => found.push(format!("{at}: {one}, RabbitMQ has none")),
                    (None, Some(_)) if listed(NOT_SERVED, key) => {}
                    (None, Some(other)) if other.get("rate").is_some() => {}
                    (None, other) => {
                        let other = other.unwrap_or(&Value::Null);
                        found.push(format!("{at}: missing, RabbitMQ {other}"));
                    }
                }
            }
        }
        (Value::Array(own), Value::Array(others)) => {
            let (own, others) = (in_order(own), in_order(others));
            if own.len() != others.len() {
                let (own, others) = (json!(own), json!(others));
                found.push(format!("{at}: {own}, RabbitMQ {others}"));
                return;
            }
            for (place, (one, other)) in own.iter().zip(&others).enumerate() {
                differences(&format!("{at} [{place}]"), one, other, found);
            }
        }
        (one, other) if one == other => {}
        (one, other) => found.push(format!("{at}: {one}, RabbitMQ {other}")),
    }
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

/// A list in an order of its own: RabbitMQ's lists have none where a request asks for none. Its log
/// exchange, which 4.3 declares, and the queue of the aliveness test are left out.
fn in_order(values: &[Value]) -> Vec<&Value> {
    let own = ["amq.rabbitmq.log", "aliveness-test"];
    let mut kept: Vec<_> = values
        .iter()
        .filter(|value| {
            let names = [&value["name"], &value["destination"]];
            let mut names = names.into_iter().filter_map(Value::as_str);
            !names.any(|name| own.contains(&name))
        })
        .collect();
    kept.sort_by_cached_key(|value| {
        let keys = [
            "vhost",
            "user",
            "name",
            "source",
            "destination_type",
            "destination",
            "routing_key",
            "properties_key",
            "consumer_tag",
            "number",
        ];
        let identity: Vec<_> = keys.into_iter().map(|key| value[key].to_string()).collect();
        (
            identity,
            if value.is_object() {
                String::new()
            } else {
                value.to_string()
            },
        )
    });
    kept
}
