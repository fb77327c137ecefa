//! Connections.

use mooq_memory::ConnectionInfo;
use mooq_memory::json::table_to;
use serde_json::{Value, json};

use super::{NODE, entries};

/// The name of a connection, by which paths lead to it: both ends of its socket, or for a client in
/// this process its number.
pub(crate) fn name(info: &ConnectionInfo) -> String {
    match info.client.socket {
        Some(socket) => format!("{} -> {}", socket.peer, socket.local),
        None => format!("<{NODE}.{}>", info.number),
    }
}

/// The name of a connection and the address of its client, as channels and queues refer to it.
pub(crate) fn reference(info: &ConnectionInfo) -> Value {
    let peer = info.client.socket.map(|socket| socket.peer);
    json!({
        "name": name(info),
        "peer_host": peer.map(|peer| peer.ip().to_string()),
        "peer_port": peer.map(|peer| peer.port()),
    })
}

/// A connection.
pub(crate) fn view(info: &ConnectionInfo) -> Value {
    let mut view = entries(json!({
        "name": name(info),
        "node": NODE,
        "vhost": info.vhost.as_str(),
        "user": info.user,
        "user_who_performed_action": info.user,
        "state": if info.blocked { "blocked" } else { "running" },
        "channels": info.channels.len(),
        "channel_max": info.channel_max,
        "connected_at": u64::try_from(info.opened.as_millis()).unwrap_or(u64::MAX),
        "client_properties": table_to(&info.client.properties),
    }));
    if !info.name.is_empty() {
        view.insert("user_provided_name".into(), info.name.as_str().into());
    }
    let heartbeat = info.client.heartbeat;
    let more = match info.client.socket {
        Some(socket) => json!({
            "type": "network",
            "protocol": "AMQP 0-9-1",
            "auth_mechanism": info.client.mechanism.to_string(),
            "frame_max": info.client.frame_max,
            "timeout": heartbeat.map_or(0, |heartbeat| heartbeat.as_secs()),
            "host": socket.local.ip().to_string(),
            "port": socket.local.port(),
            "peer_host": socket.peer.ip().to_string(),
            "peer_port": socket.peer.port(),
            "ssl": socket.tls,
        }),
        None => json!({"type": "direct", "protocol": "Direct 0-9-1"}),
    };
    view.extend(entries(more));
    Value::Object(view)
}

/// A connection in the list of a user's connections.
pub(crate) fn tracked(info: &ConnectionInfo) -> Value {
    json!({
        "name": name(info),
        "node": NODE,
        "user": info.user,
        "vhost": info.vhost.as_str(),
    })
}

#[cfg(test)]
mod tests {
    // A failed expectation is meant to panic.
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use mooq_core::FieldTable;
    use mooq_engine::{ClientDetails, ClientSocket, Login};
    use mooq_memory::InMemoryBroker;

    use super::*;

    #[test]
    fn connection_on_a_socket_is_named_after_both_ends() {
        let mut client = ClientDetails::default();
        client.properties = FieldTable::new().with("product", "till").unwrap();
        client.frame_max = 131_072;
        client.heartbeat = Some(Duration::from_secs(60));
        client.socket = Some(ClientSocket {
            peer: "10.0.0.1:40123".parse().unwrap(),
            local: "10.0.0.2:5672".parse().unwrap(),
            tls: false,
        });
        let broker = InMemoryBroker::start();
        let login = Login {
            connection_name: Some("shop".try_into().unwrap()),
            client,
            ..Login::default()
        };
        let _open = broker.open_protocol_connection(login).unwrap();
        let mut view = view(&broker.connections("*")[0]);
        assert!(view["connected_at"].take().is_u64());
        let expected = json!({
            "name": "10.0.0.1:40123 -> 10.0.0.2:5672", "user_provided_name": "shop",
            "node": NODE, "vhost": "/", "user": "guest", "user_who_performed_action": "guest",
            "state": "running", "channels": 0, "channel_max": 2047, "connected_at": null,
            "client_properties": {"product": "till"}, "type": "network",
            "protocol": "AMQP 0-9-1", "auth_mechanism": "PLAIN", "frame_max": 131_072,
            "timeout": 60, "host": "10.0.0.2", "port": 5672, "peer_host": "10.0.0.1",
            "peer_port": 40123, "ssl": false,
        });
        assert_eq!(view, expected);
    }
}
