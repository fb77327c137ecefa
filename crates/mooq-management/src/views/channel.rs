//! Channels.

use mooq_memory::{ChannelInfo, ConnectionInfo, Profile};
use serde_json::{Value, json};

use super::{NODE, connection, entries};
use crate::versions::Rules;

/// The name of a channel: that of its connection, and its number.
pub(crate) fn name(connection: &ConnectionInfo, channel: u16) -> String {
    format!("{} ({channel})", connection::name(connection))
}

/// A channel of a connection.
pub(crate) fn view(connection: &ConnectionInfo, info: &ChannelInfo, profile: Profile) -> Value {
    let mut view = entries(json!({
        "name": name(connection, info.number),
        "number": info.number,
        "node": NODE,
        "vhost": connection.vhost.as_str(),
        "user": connection.user,
        "user_who_performed_action": connection.user,
        "state": "running",
        "connection_details": connection::reference(connection),
        "confirm": info.confirms,
        "transactional": info.transactional,
        "consumer_count": info.consumers,
        "messages_unacknowledged": info.unacked,
        "messages_uncommitted": info.uncommitted_publishes,
        "acks_uncommitted": info.uncommitted_settlements,
        "prefetch_count": info.prefetch,
    }));
    if profile.has_global_prefetch() {
        let prefetch = info.global_prefetch.into();
        view.insert("global_prefetch_count".into(), prefetch);
    }
    Value::Object(view)
}
