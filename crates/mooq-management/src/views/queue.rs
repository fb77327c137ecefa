//! Queues.

use mooq_core::VirtualHost;
use mooq_memory::json::table_to;
use mooq_memory::{ConnectionInfo, Profile, QueueDetails, QueueType};
use serde_json::{Value, json};

use super::{NODE, connection, entries};
use crate::versions::Rules;

/// A queue in a list: without what is null, unless the version tells it there as well.
pub(crate) fn summary(vhost: &VirtualHost, details: &QueueDetails, profile: Profile) -> Value {
    let mut view = entries(view(vhost, details, None, profile));
    if !profile.tells_nulls_in_lists() {
        view.retain(|_, value| !value.is_null());
    }
    Value::Object(view)
}

/// A queue by itself, and the connection that alone may use it.
pub(crate) fn view(
    vhost: &VirtualHost,
    details: &QueueDetails,
    owner: Option<&ConnectionInfo>,
    profile: Profile,
) -> Value {
    let info = &details.info;
    let (ready, unacked) = (info.ready, info.unacked);
    let (ready_bytes, unacked_bytes) = (details.ready_bytes, details.unacked_bytes);
    // A quorum queue stores every message.
    let (persistent, persistent_bytes) = match info.kind {
        QueueType::Quorum => (ready + unacked, ready_bytes + unacked_bytes),
        _ => (details.persistent, details.persistent_bytes),
    };
    let mut view = entries(json!({
        "name": info.name.as_str(),
        "vhost": vhost.as_str(),
        "type": info.kind.as_str(),
        "durable": info.durable,
        "auto_delete": info.auto_delete,
        "exclusive": info.exclusive,
        "arguments": table_to(&info.arguments),
        "node": NODE,
        "state": "running",
        "consumers": details.consumers,
        "messages": ready + unacked,
        "messages_ready": ready,
        "messages_unacknowledged": unacked,
        "messages_persistent": persistent,
        "messages_ram": ready + unacked,
        "message_bytes": ready_bytes + unacked_bytes,
        "message_bytes_ready": ready_bytes,
        "message_bytes_unacknowledged": unacked_bytes,
        "message_bytes_persistent": persistent_bytes,
        "message_bytes_ram": ready_bytes + unacked_bytes,
        "effective_policy_definition": table_to(&details.effective_policy),
        "policy": details.policy,
        "operator_policy": details.operator_policy,
    }));
    let more = match info.kind {
        QueueType::Quorum => json!({
            "leader": NODE,
            "members": [NODE],
            "online": [NODE],
            "messages_dlx": info.kept_dead_letters,
        }),
        _ => json!({
            "messages_ready_ram": ready,
            "messages_unacknowledged_ram": unacked,
        }),
    };
    view.extend(entries(more));
    if info.kind == QueueType::Quorum {
        if profile.tells_delivery_limits() {
            let limit = details.delivery_limit;
            let limit = limit.map_or_else(|| "unlimited".into(), Value::from);
            view.insert("delivery_limit".into(), limit);
        }
        if profile.counts_delayed_messages() {
            view.insert("messages_delayed".into(), info.delayed.into());
        }
    }
    if profile.protects_resources() {
        view.insert("internal".into(), false.into());
        view.insert("internal_owner".into(), false.into());
    }
    let tag = |tag: &Option<mooq_core::ConsumerTag>| -> Value {
        tag.as_ref().map_or(Value::Null, |tag| tag.as_str().into())
    };
    let active = tag(&details.single_active_consumer);
    if details.info.kind == QueueType::Quorum {
        let key = if profile.names_single_active_consumers_alike() {
            "single_active_consumer_tag"
        } else {
            "single_active_consumer_ctag"
        };
        view.insert(key.into(), active);
    } else {
        view.insert("single_active_consumer_tag".into(), active);
        let exclusive = tag(&details.exclusive_consumer);
        view.insert("exclusive_consumer_tag".into(), exclusive);
        let head = details.head_timestamp.map_or(Value::Null, Value::from);
        view.insert("head_message_timestamp".into(), head);
    }
    if let Some(owner) = owner {
        let owner = connection::reference(owner);
        view.insert("owner_pid_details".into(), owner);
    }
    Value::Object(view)
}

#[cfg(test)]
mod tests {
    // A failed expectation is meant to panic.
    #![allow(clippy::unwrap_used)]

    use mooq_memory::InMemoryBroker;

    use super::*;

    fn details(arguments: &Value) -> QueueDetails {
        let broker = InMemoryBroker::start();
        let queue = json!({"name": "q", "vhost": "/", "arguments": arguments});
        let definitions = json!({"queues": [queue]}).to_string();
        broker.import_definitions(&definitions).unwrap();
        broker.queue_details_in(&VirtualHost::root(), "q").remove(0)
    }

    #[test]
    fn policy_that_a_queue_lacks_is_null_where_the_version_tells_it() {
        let (root, details) = (VirtualHost::root(), details(&json!({})));
        for (profile, in_list) in [(Profile::V3_10, Some(&Value::Null)), (Profile::V4_0, None)] {
            let summary = summary(&root, &details, profile);
            assert_eq!(summary.get("policy"), in_list, "{profile}");
            let view = view(&root, &details, None, profile);
            assert_eq!(view.get("policy"), Some(&Value::Null), "{profile}");
        }
    }

    #[test]
    fn quorum_queue_tells_its_replicas_and_limit() {
        let (root, details) = (
            VirtualHost::root(),
            details(&json!({"x-queue-type": "quorum"})),
        );
        let of = |profile| view(&root, &details, None, profile);
        let view = of(Profile::V4_3);
        assert_eq!(view["members"], json!([NODE]));
        assert_eq!(
            (&view["delivery_limit"], &view["messages_delayed"]),
            (&json!(20), &json!(0))
        );
        assert_eq!(view.get("messages_ready_ram"), None);
        let view = of(Profile::V3_10);
        assert_eq!(view.get("delivery_limit"), None);
        assert_eq!(view.get("single_active_consumer_ctag"), Some(&Value::Null));
    }
}
