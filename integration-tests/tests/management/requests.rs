//! The requests that both brokers get.

use mooq_rig::management::Method;
use serde_json::{Value, json};

/// What is asked of both brokers before clients connect: what it changes, and how it is refused.
pub(crate) fn preparations() -> Vec<(Method, &'static str, Value)> {
    let put = |path, body| (Method::PUT, path, body);
    let post = |path, body| (Method::POST, path, body);
    let publish = "/api/exchanges/%2F/amq.default/publish";
    let properties = json!({
        "type": "order", "delivery_mode": 2, "priority": 1, "expiration": "60000",
        "headers": {"h": 1, "t": {"a": [1, "b", true, 1.5]}}, "timestamp": 5, "app_id": "a",
    });
    let message = |routing_key: &str, properties: &Value| {
        json!({"properties": properties, "routing_key": routing_key, "payload": "hello",
               "payload_encoding": "string"})
    };
    let get = |queue| format!("/api/queues/%2F/{queue}/get");
    let fetch = |mode| json!({"count": 2, "ackmode": mode, "encoding": "auto"});
    let get_first: &'static str = get("first").leak();
    vec![
        put(
            "/api/vhosts/shop",
            json!({"description": "d", "tags": "a,b"}),
        ),
        put(
            "/api/vhosts/shop",
            json!({"description": "d", "tags": "a,b"}),
        ),
        put(
            "/api/users/monitor",
            json!({"password": "p", "tags": "monitoring"}),
        ),
        put(
            "/api/users/maker",
            json!({"password": "p", "tags": "policymaker"}),
        ),
        put("/api/users/untagged", json!({"password": "p", "tags": ""})),
        put("/api/users/untagged", json!({"password": "p", "tags": ""})),
        put("/api/users/wrong", json!({"password": "p"})),
        put(
            "/api/users/wrong",
            json!({"password_hash": "xx!", "tags": ""}),
        ),
        put(
            "/api/permissions/%2F/maker",
            json!({"configure": "^a", "write": ".*", "read": ""}),
        ),
        put(
            "/api/permissions/%2F/maker",
            json!({"configure": "^a", "write": ".*"}),
        ),
        put("/api/permissions/%2F/nobody", json!({})),
        put(
            "/api/topic-permissions/%2F/maker",
            json!({"exchange": "amq.topic", "write": "^w", "read": "^r"}),
        ),
        put(
            "/api/topic-permissions/%2F/maker",
            json!({"write": "^w", "read": "^r"}),
        ),
        put(
            "/api/policies/%2F/short",
            json!({"pattern": "^short", "definition": {"max-length": 100}, "priority": 2,
                   "apply-to": "queues"}),
        ),
        put(
            "/api/policies/%2F/wrong",
            json!({"pattern": "x", "definition": {}}),
        ),
        put("/api/policies/%2F/wrong", json!({"definition": {}})),
        put(
            "/api/policies/%2F/wrong",
            json!({"pattern": "x", "definition": {"max-length": -1}}),
        ),
        put(
            "/api/policies/nope/wrong",
            json!({"pattern": "x", "definition": {"max-length": 1}}),
        ),
        put(
            "/api/operator-policies/%2F/limit",
            json!({"pattern": "^short", "definition": {"max-length": 50}, "apply-to": "queues"}),
        ),
        put(
            "/api/exchanges/%2F/audit",
            json!({"type": "fanout", "durable": true}),
        ),
        put(
            "/api/exchanges/%2F/sales",
            json!({"type": "topic", "durable": true, "arguments": {"alternate-exchange": "audit"}}),
        ),
        put(
            "/api/exchanges/%2F/sales",
            json!({"type": "direct", "durable": true}),
        ),
        put("/api/exchanges/%2F/wrong", json!({"type": "x-nope"})),
        put("/api/exchanges/nope/wrong", json!({"type": "direct"})),
        put("/api/queues/%2F/orders", json!({"durable": true})),
        put("/api/queues/%2F/orders", json!({"durable": "true"})),
        put("/api/queues/%2F/orders", json!({"durable": "yes"})),
        put(
            "/api/queues/%2F/orders",
            json!({"durable": true, "auto_delete": true}),
        ),
        put(
            "/api/queues/%2F/first",
            json!({"durable": true, "arguments": []}),
        ),
        put("/api/queues/%2F/wrong", json!([])),
        put(
            "/api/queues/%2F/wrong",
            json!({"durable": true, "arguments": {"x-max-length": "a"}}),
        ),
        put("/api/queues/%2F/wrong", json!({"arguments": {"x": null}})),
        put(
            "/api/queues/%2F/short",
            json!({"durable": true, "arguments": {"x-message-ttl": 100_000}}),
        ),
        put(
            "/api/queues/%2F/single",
            json!({"durable": true, "arguments": {"x-queue-type": "quorum",
                                                   "x-single-active-consumer": true}}),
        ),
        put("/api/queues/shop/till", json!({"durable": true})),
        put("/api/queues/nope/wrong", json!({})),
        post(
            "/api/bindings/%2F/e/sales/q/orders",
            json!({"routing_key": "a.*"}),
        ),
        post(
            "/api/bindings/%2F/e/sales/q/orders",
            json!({"routing_key": "a/b c", "arguments": {"x": 1}}),
        ),
        post("/api/bindings/%2F/e/sales/e/audit", json!({})),
        post(
            "/api/bindings/%2F/e/sales/q/nope",
            json!({"routing_key": "x"}),
        ),
        post(
            "/api/bindings/%2F/e/nope/q/orders",
            json!({"routing_key": "x"}),
        ),
        post(publish, message("first", &properties)),
        post(publish, message("first", &json!({}))),
        post(publish, message("nope", &json!({}))),
        post(publish, message("first", &json!({"priority": "high"}))),
        post(publish, message("first", &json!({"expiration": 5}))),
        post(publish, message("first", &json!({"user_id": "other"}))),
        post(publish, json!({"routing_key": "first", "payload": "x"})),
        post("/api/exchanges/%2F/nope/publish", message("x", &json!({}))),
        post(get_first, fetch("ack_requeue_true")),
        post(get_first, fetch("reject_requeue_true")),
        post(get_first, json!({"count": 1})),
        post(
            get_first,
            json!({"count": "x", "ackmode": "ack_requeue_true", "encoding": "auto"}),
        ),
        post(
            get_first,
            json!({"count": 1, "ackmode": "ack_requeue_true", "encoding": "x"}),
        ),
        post(get_first, fetch("ack_requeue_false")),
        post(get_first, fetch("reject_requeue_false")),
        post("/api/queues/%2F/nope/get", fetch("ack_requeue_true")),
        (
            Method::DELETE,
            "/api/queues/%2F/first/contents",
            Value::Null,
        ),
        (Method::DELETE, "/api/queues/%2F/nope/contents", Value::Null),
        (
            Method::DELETE,
            "/api/queues/%2F/first?if-empty=true",
            Value::Null,
        ),
        (Method::DELETE, "/api/queues/%2F/first", Value::Null),
        (Method::DELETE, "/api/exchanges/%2F/amq.direct", Value::Null),
        (
            Method::DELETE,
            "/api/exchanges/%2F/sales?if-unused=true",
            Value::Null,
        ),
        (Method::DELETE, "/api/exchanges/%2F/nope", Value::Null),
        (
            Method::DELETE,
            "/api/bindings/%2F/e/sales/q/orders/nope",
            Value::Null,
        ),
        post("/api/definitions/nope", json!({})),
        post("/api/users/bulk-delete", json!({})),
        (Method::PUT, "/api/definitions", Value::Null),
        (Method::POST, "/api/overview", Value::Null),
        (Method::DELETE, "/api/queues", Value::Null),
    ]
}

/// What is read of both while clients are connected. `{connection}` and `{node}` stand for each
/// broker's own.
pub(crate) const READ: &[&str] = &[
    "/api/overview",
    "/api/cluster-name",
    "/api/nodes",
    "/api/nodes/{node}",
    "/api/extensions?columns=nothing",
    "/api/whoami",
    "/api/vhosts",
    "/api/vhosts/%2F",
    "/api/vhosts/nope",
    "/api/vhosts/%2F/permissions",
    "/api/vhosts/%2F/topic-permissions",
    "/api/vhosts/%2F/connections",
    "/api/vhosts/%2F/channels",
    "/api/users",
    "/api/users/",
    "/api/users/guest",
    "/api/users/nope",
    "/api/users/without-permissions",
    "/api/users/guest/permissions",
    "/api/users/maker/topic-permissions",
    "/api/permissions",
    "/api/permissions/%2F/maker",
    "/api/permissions/%2F/nobody",
    "/api/topic-permissions",
    "/api/topic-permissions/%2F/maker",
    "/api/policies",
    "/api/policies/%2F",
    "/api/policies/%2F/short",
    "/api/policies/%2F/nope",
    "/api/operator-policies",
    "/api/operator-policies/%2F",
    "/api/operator-policies/%2F/limit",
    "/api/parameters",
    "/api/parameters/nope",
    "/api/global-parameters",
    "/api/exchanges",
    "/api/exchanges/%2F",
    "/api/exchanges/shop",
    "/api/exchanges/nope",
    "/api/exchanges/%2F/sales",
    "/api/exchanges/%2F/amq.default",
    "/api/exchanges/%2F/nope",
    "/api/exchanges/%2F/sales/bindings/source",
    "/api/exchanges/%2F/audit/bindings/destination",
    "/api/queues",
    "/api/queues/%2F",
    "/api/queues/nope",
    "/api/queues/%2F/orders",
    "/api/queues/%2F/short",
    "/api/queues/%2F/single",
    "/api/queues/%2F/own",
    "/api/queues/%2F/nope",
    "/api/queues/%2F/orders/bindings",
    "/api/queues?columns=name,vhost&sort=name&sort_reverse=true",
    "/api/queues?page=2&page_size=2&columns=name",
    "/api/queues?page=1&page_size=10&columns=name&name=o",
    "/api/queues?page=1&page_size=10&columns=name&name=%5Es&use_regex=true",
    "/api/queues?page=9&page_size=2",
    "/api/queues?page=0&page_size=2",
    "/api/queues?page=x",
    "/api/bindings",
    "/api/bindings/%2F",
    "/api/bindings/%2F/e/sales/q/orders",
    "/api/bindings/%2F/e/sales/q/orders/a.*",
    "/api/bindings/%2F/e/sales/q/orders/a%252Fb%2Bc~9nmLZQ",
    "/api/bindings/%2F/e/sales/q/orders/nope",
    "/api/bindings/%2F/e/sales/e/audit/~",
    "/api/connections",
    "/api/connections/{connection}",
    "/api/connections/nope",
    "/api/connections/{connection}/channels",
    "/api/connections/username/guest",
    "/api/channels",
    "/api/channels/{connection}%20(1)",
    "/api/channels/nope",
    "/api/consumers",
    "/api/consumers/%2F",
    "/api/consumers/nope",
    "/api/definitions",
    "/api/definitions/%2F",
    "/api/definitions/nope",
    "/api/health/checks/alarms",
    "/api/health/checks/local-alarms",
    "/api/health/checks/virtual-hosts",
    "/api/health/checks/node-is-quorum-critical",
    "/api/health/checks/node-is-mirror-sync-critical",
    "/api/health/checks/is-in-service",
    "/api/health/checks/ready-to-serve-clients",
    "/api/health/checks/metadata-store/initialized",
    "/api/health/checks/port-listener/x",
    "/api/health/checks/protocol-listener/amqp091",
    "/api/healthchecks/node",
    "/api/aliveness-test/%2F",
    "/api/aliveness-test/nope",
    "/api/version",
    "/api/nope",
];

/// Paths whose answers have nothing in common but their status: names of the cluster, files of the
/// management UI.
pub(crate) const STATUS_ALONE: &[&str] =
    &["/api/global-parameters", "/api/extensions?columns=nothing"];
