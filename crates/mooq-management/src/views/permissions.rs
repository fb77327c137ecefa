//! Permissions.

use mooq_memory::{PermissionsInfo, TopicPermissionsInfo};
use serde_json::{Value, json};

/// A user's permissions in a virtual host.
pub(crate) fn view(info: &PermissionsInfo) -> Value {
    json!({
        "user": info.user,
        "vhost": info.vhost.as_str(),
        "configure": info.configure,
        "write": info.write,
        "read": info.read,
    })
}

/// A user's permissions on a topic exchange.
pub(crate) fn topic(info: &TopicPermissionsInfo) -> Value {
    json!({
        "user": info.user,
        "vhost": info.vhost.as_str(),
        "exchange": info.exchange.as_str(),
        "write": info.write,
        "read": info.read,
    })
}
