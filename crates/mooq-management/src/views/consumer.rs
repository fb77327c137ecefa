//! Consumers.

use mooq_core::VirtualHost;
use mooq_memory::json::table_to;
use mooq_memory::{ConnectionInfo, ConsumerInfo, Profile};
use serde_json::{Value, json};

use super::{NODE, channel, connection, entries};
use crate::versions::Rules;

/// A consumer on a channel of a connection.
pub(crate) fn view(
    vhost: &VirtualHost,
    info: &ConsumerInfo,
    connection: &ConnectionInfo,
    profile: Profile,
) -> Value {
    let peer = connection.client.socket.map(|socket| socket.peer);
    let status = match (info.single_active, info.active) {
        (true, true) => "single_active",
        (true, false) => "waiting",
        (false, _) if profile.tells_blocked_consumers() && info.credit == Some(0) => "blocked",
        (false, _) => "up",
    };
    let mut view = entries(json!({
        "consumer_tag": info.tag.as_str(),
        "queue": {"name": info.queue.as_str(), "vhost": vhost.as_str()},
        "channel_details": {
            "name": channel::name(connection, info.channel),
            "number": info.channel,
            "node": NODE,
            "user": connection.user,
            "connection_name": connection::name(connection),
            "peer_host": peer.map(|peer| peer.ip().to_string()),
            "peer_port": peer.map(|peer| peer.port()),
        },
        "ack_required": !info.auto_ack,
        "exclusive": info.exclusive,
        "prefetch_count": info.prefetch,
        "active": info.active,
        "activity_status": status,
        "arguments": table_to(&info.arguments),
    }));
    if profile.tells_consumer_timeouts() {
        let millis = u64::try_from(info.timeout.as_millis()).unwrap_or(u64::MAX);
        view.insert("consumer_timeout".into(), millis.into());
    }
    Value::Object(view)
}
