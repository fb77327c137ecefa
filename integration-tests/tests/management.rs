//! The management API of the in-memory broker, compared with that of RabbitMQ of the same version:
//! the same requests go to both, and every answer must have the same status and the same JSON.
//!
//! [`NOT_SERVED`] lists what RabbitMQ tells and the in-memory broker does not, [`VARIES`] what
//! differs from one broker to the next, and [`TOLD_DIFFERENTLY`] the few answers that differ
//! otherwise. `rabbitmqadmin`, which RabbitMQ serves up to 4.0, runs on both as well, and needs
//! Python 3.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use mooq::server::{Listen, ListenManagement, ManagementServer, Server};
use mooq_conformance::raw::{consumer, message, table};
use mooq_conformance::within;
use mooq_core::{
    ChannelEvent, Consume, Endpoint, FieldTable, OpenedChannel, OpenedConnection, Publish,
    QueueDeclare, Transport,
};
use mooq_memory::{InMemoryBroker, Profile};
use mooq_rabbit::NativeTransport;
use mooq_rig::management::{Answer, Management, Method};
use mooq_rig::rabbitmq::{self, Image};
use serde_json::{Value, json};
use testcontainers::core::IntoContainerPort;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};

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
    "*_details",
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

/// A broker, and what leads to it.
struct Side {
    http: Management,
    endpoint: Endpoint,
}

/// RabbitMQ in a container.
struct Live {
    side: Side,
    _container: ContainerAsync<GenericImage>,
}

async fn live(image: &Image) -> Live {
    let container = rabbitmq::container(image)
        .with_mapped_port(0, 15672.tcp())
        .start()
        .await
        .expect("RabbitMQ starts");
    let amqp = container.get_host_port_ipv4(5672).await.unwrap();
    let http = container.get_host_port_ipv4(15672).await.unwrap();
    Live {
        side: Side::of(amqp, http),
        _container: container,
    }
}

/// The in-memory broker on its sockets.
struct InMemory {
    side: Side,
    management: ManagementServer,
    _server: Server,
}

async fn in_memory(profile: Profile) -> InMemory {
    let broker = InMemoryBroker::start_as(profile);
    let server = broker.listen("127.0.0.1:0").await.unwrap();
    let management = broker.listen_management("127.0.0.1:0").await.unwrap();
    let (amqp, http) = (server.address().port(), management.address().port());
    InMemory {
        side: Side::of(amqp, http),
        management,
        _server: server,
    }
}

impl Side {
    fn of(amqp: u16, http: u16) -> Self {
        Self {
            http: Management::behind(http),
            endpoint: format!("amqp://127.0.0.1:{amqp}?name=shop").parse().unwrap(),
        }
    }

    async fn ask(&self, method: &Method, path: &str, body: &str) -> Answer {
        self.http.ask(method.clone(), path, body).await
    }

    /// Opens the connection of a client with two channels, unacked and ready messages.
    async fn connect(&self) -> Clients {
        let opened = NativeTransport.open(&self.endpoint).await.unwrap();
        let mut first = opened.connection.open_channel().await.unwrap();
        let second = opened.connection.open_channel().await.unwrap();
        first.channel.qos(1, false).await.unwrap();
        first.channel.confirm_select().await.unwrap();
        second.channel.raw_methods().unwrap().tx_select().await.unwrap();
        let own = QueueDeclare {
            exclusive: true,
            ..QueueDeclare::new("own".try_into().unwrap())
        };
        first.channel.declare_queue(own).await.unwrap();
        for body in ["a pencil", "paper"] {
            let message = message("", "orders", body);
            let _ = first.channel.publish(Publish::new(message)).unwrap();
            let confirmed = first.events.next().await;
            assert!(matches!(confirmed, Some(ChannelEvent::Confirm { .. })), "{confirmed:?}");
        }
        let till = Consume {
            tag: "till".try_into().unwrap(),
            arguments: table([("x-priority", 2.into())]),
            ..consumer("orders")
        };
        first.channel.consume(till).await.unwrap();
        for (channel, tag) in [(&first, "active"), (&second, "waiting")] {
            let consume = Consume {
                tag: tag.try_into().unwrap(),
                ..consumer("single")
            };
            channel.channel.consume(consume).await.unwrap();
        }
        let delivered = first.events.next().await;
        assert!(matches!(delivered, Some(ChannelEvent::Deliver(_))), "{delivered:?}");
        Clients {
            _connection: opened,
            _channels: [first, second],
        }
    }

    /// The name of the only connection, and of the node: everything else that differs has other
    /// keys.
    async fn names(&self) -> (String, String) {
        let connections = self.ask(&Method::GET, "/api/connections", "").await.json();
        let mut named = connections.as_array().unwrap().iter();
        let own = named.find(|connection| connection["user_provided_name"] == "shop");
        let own = own.map(|connection| connection["name"].as_str().unwrap());
        let overview = self.ask(&Method::GET, "/api/overview", "").await.json();
        let node = overview["node"].as_str().unwrap();
        (own.unwrap_or("no connection").to_owned(), node.to_owned())
    }
}

/// The clients of a broker, which are gone when this is dropped.
struct Clients {
    _connection: OpenedConnection,
    _channels: [OpenedChannel; 2],
}

/// What is asked of both brokers before clients connect: what it changes, and how it is refused.
fn preparations() -> Vec<(Method, &'static str, Value)> {
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
        put("/api/vhosts/shop", json!({"description": "d", "tags": "a,b"})),
        put("/api/vhosts/shop", json!({"description": "d", "tags": "a,b"})),
        put("/api/users/monitor", json!({"password": "p", "tags": "monitoring"})),
        put("/api/users/maker", json!({"password": "p", "tags": "policymaker"})),
        put("/api/users/untagged", json!({"password": "p", "tags": ""})),
        put("/api/users/untagged", json!({"password": "p", "tags": ""})),
        put("/api/users/wrong", json!({"password": "p"})),
        put("/api/users/wrong", json!({"password_hash": "xx!", "tags": ""})),
        put(
            "/api/permissions/%2F/maker",
            json!({"configure": "^a", "write": ".*", "read": ""}),
        ),
        put("/api/permissions/%2F/maker", json!({"configure": "^a", "write": ".*"})),
        put("/api/permissions/%2F/nobody", json!({})),
        put(
            "/api/topic-permissions/%2F/maker",
            json!({"exchange": "amq.topic", "write": "^w", "read": "^r"}),
        ),
        put("/api/topic-permissions/%2F/maker", json!({"write": "^w", "read": "^r"})),
        put(
            "/api/policies/%2F/short",
            json!({"pattern": "^short", "definition": {"max-length": 100}, "priority": 2,
                   "apply-to": "queues"}),
        ),
        put("/api/policies/%2F/wrong", json!({"pattern": "x", "definition": {}})),
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
        put("/api/exchanges/%2F/audit", json!({"type": "fanout", "durable": true})),
        put(
            "/api/exchanges/%2F/sales",
            json!({"type": "topic", "durable": true, "arguments": {"alternate-exchange": "audit"}}),
        ),
        put("/api/exchanges/%2F/sales", json!({"type": "direct", "durable": true})),
        put("/api/exchanges/%2F/wrong", json!({"type": "x-nope"})),
        put("/api/exchanges/nope/wrong", json!({"type": "direct"})),
        put("/api/queues/%2F/orders", json!({"durable": true})),
        put("/api/queues/%2F/orders", json!({"durable": "true"})),
        put("/api/queues/%2F/orders", json!({"durable": "yes"})),
        put("/api/queues/%2F/orders", json!({"durable": true, "auto_delete": true})),
        put("/api/queues/%2F/first", json!({"durable": true, "arguments": []})),
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
        post("/api/bindings/%2F/e/sales/q/orders", json!({"routing_key": "a.*"})),
        post(
            "/api/bindings/%2F/e/sales/q/orders",
            json!({"routing_key": "a/b c", "arguments": {"x": 1}}),
        ),
        post("/api/bindings/%2F/e/sales/e/audit", json!({})),
        post("/api/bindings/%2F/e/sales/q/nope", json!({"routing_key": "x"})),
        post("/api/bindings/%2F/e/nope/q/orders", json!({"routing_key": "x"})),
        post(publish, message("first", &properties)),
        post(publish, message("first", &json!({}))),
        post(publish, message("nope", &json!([]))),
        post(publish, message("first", &json!({"priority": "high"}))),
        post(publish, message("first", &json!({"expiration": 5}))),
        post(publish, message("first", &json!({"user_id": "other"}))),
        post(publish, json!({"routing_key": "first", "payload": "x"})),
        post("/api/exchanges/%2F/nope/publish", message("x", &json!({}))),
        post(get_first, fetch("ack_requeue_true")),
        post(get_first, fetch("reject_requeue_true")),
        post(get_first, json!({"count": 1})),
        post(get_first, json!({"count": "x", "ackmode": "ack_requeue_true", "encoding": "auto"})),
        post(get_first, json!({"count": 1, "ackmode": "ack_requeue_true", "encoding": "x"})),
        post(get_first, fetch("ack_requeue_false")),
        post(get_first, fetch("reject_requeue_false")),
        post("/api/queues/%2F/nope/get", fetch("ack_requeue_true")),
        (Method::DELETE, "/api/queues/%2F/first/contents", Value::Null),
        (Method::DELETE, "/api/queues/%2F/nope/contents", Value::Null),
        (Method::DELETE, "/api/queues/%2F/first?if-empty=true", Value::Null),
        (Method::DELETE, "/api/queues/%2F/first", Value::Null),
        (Method::DELETE, "/api/exchanges/%2F/amq.direct", Value::Null),
        (Method::DELETE, "/api/exchanges/%2F/sales?if-unused=true", Value::Null),
        (Method::DELETE, "/api/exchanges/%2F/nope", Value::Null),
        (Method::DELETE, "/api/bindings/%2F/e/sales/q/orders/nope", Value::Null),
        post("/api/definitions/nope", json!({})),
        post("/api/users/bulk-delete", json!({})),
        (Method::PUT, "/api/definitions", Value::Null),
        (Method::POST, "/api/overview", Value::Null),
        (Method::DELETE, "/api/queues", Value::Null),
    ]
}

/// What is read of both while clients are connected. `{connection}` and `{node}` stand for each
/// broker's own.
const READ: &[&str] = &[
    "/api/overview",
    "/api/cluster-name",
    "/api/nodes",
    "/api/nodes/{node}",
    "/api/nodes/nope",
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
const STATUS_ALONE: &[&str] = &["/api/global-parameters", "/api/extensions?columns=nothing"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker and Python 3: run integration-tests/run-all"]
async fn management_api_is_that_of_3_10() {
    compare(&Image::oldest(), Profile::V3_10).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker and Python 3: run integration-tests/run-all"]
async fn management_api_is_that_of_4_0() {
    compare(&Image::current(), Profile::V4_0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker and Python 3: run integration-tests/run-all"]
async fn management_api_is_that_of_4_3() {
    compare(&Image::newest(), Profile::V4_3).await;
}

async fn compare(image: &Image, profile: Profile) {
    let live = live(image).await;
    let memory = in_memory(profile).await;
    let mut differences = Vec::new();
    for (method, path, body) in preparations() {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let asked = format!("{method} {path} {body}");
        let ours = memory.side.ask(&method, path, &body).await;
        let theirs = live.side.ask(&method, path, &body).await;
        differences.extend(answers(&asked, &ours, &theirs, |answer| answer.json()));
    }
    let ours = memory.side.connect().await;
    let theirs = live.side.connect().await;
    let own_names = memory.side.names().await;
    within("RabbitMQ's statistics", async {
        while live.side.names().await.0 == "no connection" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let live_names = live.side.names().await;
    differences.extend(reads((&memory.side, &own_names), (&live.side, &live_names)).await);
    for (user, password) in [("monitor", "p"), ("maker", "p"), ("untagged", "p"), ("guest", "x")] {
        for path in ["/api/overview", "/api/nodes", "/api/users", "/api/queues/shop", "/api/whoami"] {
            let of = |side: &Side| side.http.as_user(user, password);
            let ours = of(&memory.side).ask(Method::GET, path, "").await;
            let theirs = of(&live.side).ask(Method::GET, path, "").await;
            let asked = format!("GET {path} as {user}");
            // What they see has been compared.
            let refused = |answer: &Answer| match answer.status {
                200 => Value::Null,
                _ => answer.json(),
            };
            differences.extend(answers(&asked, &ours, &theirs, refused));
        }
    }
    drop((ours, theirs));
    differences.extend(definitions_go_both_ways(&memory.side, &live.side).await);
    differences.extend(rabbitmqadmin(&memory, &live.side).await);
    memory.management.stop().await;
    assert!(differences.is_empty(), "{}:\n{}", image.name(), differences.join("\n"));
}

/// Time after which a difference is none of RabbitMQ's statistics, which are at most 5 s old. It
/// only ends a test that fails.
const STATISTICS: Duration = Duration::from_secs(60);

/// A broker, and the names of its connection and its node.
type Named<'a> = (&'a Side, &'a (String, String));

/// Reads every path of both brokers. RabbitMQ's statistics are a few seconds old, so that what is a
/// difference now may be none when the path is read once more.
async fn reads((memory, own_names): Named<'_>, (live, live_names): Named<'_>) -> Vec<String> {
    let began = Instant::now();
    let mut pending = READ.to_vec();
    loop {
        let (mut found, mut differing) = (Vec::new(), Vec::new());
        for path in pending {
            let ours = memory.read(path, own_names).await;
            let theirs = live.read(path, live_names).await;
            let new = read_differences(path, (&ours, own_names), (&theirs, live_names));
            if !new.is_empty() {
                differing.push(path);
                found.extend(new);
            }
        }
        if differing.is_empty() || began.elapsed() > STATISTICS {
            return found;
        }
        pending = differing;
    }
}

impl Side {
    async fn read(&self, path: &str, (connection, node): &(String, String)) -> Answer {
        let connection = connection.replace(' ', "%20").replace('>', "%3E");
        let path = path
            .replace("{connection}", &connection)
            .replace("{node}", node);
        self.ask(&Method::GET, &path, "").await
    }
}

fn read_differences(
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
    differences(path, &with(ours, own_names), &with(theirs, live_names), &mut found);
    found
}

fn answers(
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
    keys.iter().any(|listed| match (listed.strip_prefix('*'), listed.strip_suffix('*')) {
        (Some(end), _) => key.ends_with(end),
        (_, Some(start)) => key.starts_with(start),
        _ => *listed == key,
    })
}

/// Collects the differences of two values, key by key.
fn differences(at: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
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
        (identity, if value.is_object() { String::new() } else { value.to_string() })
    });
    kept
}

/// Each broker's definitions of a virtual host are imported by the other one.
async fn definitions_go_both_ways(memory: &Side, live: &Side) -> Vec<String> {
    let mut found = Vec::new();
    for (from, to, what) in [(memory, live, "in memory"), (live, memory, "RabbitMQ's")] {
        let whole = from.ask(&Method::GET, "/api/definitions", "").await.text;
        let imported = to.ask(&Method::POST, "/api/definitions", &whole).await;
        if imported.status != 204 {
            found.push(format!("definitions {what}: {} {}", imported.status, imported.text));
        }
        let own = from.ask(&Method::GET, "/api/definitions/%2F", "").await;
        let put = to.ask(&Method::PUT, "/api/vhosts/copy", "").await;
        assert!([201, 204].contains(&put.status), "{}", put.text);
        let imported = to.ask(&Method::POST, "/api/definitions/copy", &own.text).await;
        if imported.status != 204 {
            found.push(format!("definitions {what} of /: {} {}", imported.status, imported.text));
            continue;
        }
        let copy = to.ask(&Method::GET, "/api/definitions/copy", "").await.json();
        let own = own.json();
        for kind in ["queues", "exchanges", "bindings", "policies", "parameters"] {
            let (own, copy) = (without_vhost(&own[kind]), without_vhost(&copy[kind]));
            differences(&format!("definitions {what} {kind}"), &own, &copy, &mut found);
        }
        to.ask(&Method::DELETE, "/api/vhosts/copy", "").await;
    }
    found
}

/// Objects without their virtual host, which 3.10 tells of policies alone, and without the types of
/// queues, which 4.3 tells twice.
fn without_vhost(objects: &Value) -> Value {
    let mut objects = objects.clone();
    for object in objects.as_array_mut().into_iter().flatten() {
        if let Value::Object(entries) = object {
            entries.remove("vhost");
            if entries.contains_key("auto_delete") && !entries.contains_key("internal") {
                entries.remove("type");
            }
        }
    }
    objects
}

/// Runs RabbitMQ's own `rabbitmqadmin` on both brokers. 4.3 serves none.
async fn rabbitmqadmin(memory: &InMemory, live: &Side) -> Vec<String> {
    let script = live.ask(&Method::GET, "/cli/rabbitmqadmin", "").await;
    if script.status == 404 {
        return Vec::new();
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("rabbitmqadmin"), &script.text).unwrap();
    let run = |side: &Side, arguments: &[&str]| {
        let output = Command::new("python3")
            .arg(at("rabbitmqadmin"))
            .args(["--host=127.0.0.1", &format!("--port={}", side.http.port())])
            .args(arguments)
            .output()
            .expect("Python 3 runs");
        let (out, err) = (&output.stdout, &output.stderr);
        format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
    };
    let exported = format!("export {}", at("exported.json"));
    let imported = format!("import {}", at("exported.json"));
    let mut found = Vec::new();
    for command in [
        "declare vhost name=admin",
        "declare queue name=admin durable=true arguments={\"x-max-length\":10}",
        "declare exchange name=admin type=topic",
        "declare binding source=admin destination=admin routing_key=a.*",
        "declare user name=admin password=secret tags=administrator",
        "declare permission vhost=/ user=admin configure=.* write=.* read=.*",
        "declare policy name=admin pattern=^admin definition={\"max-length\":5} apply-to=queues",
        "publish exchange=admin routing_key=a.b payload=hello",
        "publish exchange=admin routing_key=nope payload=hello",
        "--format=raw_json get queue=admin ackmode=ack_requeue_true",
        "get queue=admin ackmode=ack_requeue_false",
        "get queue=admin ackmode=ack_requeue_false",
        "get queue=nope",
        "list queues name durable auto_delete arguments",
        "list exchanges name type vhost",
        "list bindings",
        "list users name tags",
        "list vhosts name",
        "list permissions",
        "list policies",
        "list connections name",
        "list consumers",
        "list parameters",
        "show overview cluster_tags",
        "--vhost=admin list queues name",
        &exported,
        &imported,
        "purge queue name=admin",
        "delete binding source=admin destination_type=queue destination=admin properties_key=a.%2A",
        "delete queue name=admin",
        "delete queue name=admin",
        "delete exchange name=admin",
        "delete policy name=admin",
        "delete user name=admin",
        "delete vhost name=admin",
    ] {
        let arguments: Vec<_> = command.split(' ').collect();
        let (ours, theirs) = (run(&memory.side, &arguments), run(live, &arguments));
        let visible = |text: &str| {
            let own = |line: &&str| !line.contains("aliveness-test") && !line.contains("rabbitmq.log");
            text.lines().filter(own).collect::<Vec<_>>().join("\n")
        };
        if visible(&ours) != visible(&theirs) {
            found.push(format!("rabbitmqadmin {command}:\n{ours}\nRabbitMQ:\n{theirs}"));
        }
    }
    found
}

/// The routes in the source, each of which some request must take.
#[test]
fn every_route_is_compared() {
    let source = include_str!("../../crates/mooq-management/src/routes.rs");
    let quoted = source.split('"').skip(1).step_by(2);
    let routes = quoted.filter(|text| text.starts_with('/'));
    let routes = routes.filter(|route| *route != "/api" && *route != "/health/checks/{check}");
    let prepared = preparations();
    let paths = prepared.iter().map(|(_, path, _)| *path).chain(READ.iter().copied());
    let paths: Vec<Vec<&str>> = paths
        .map(|path| {
            let path = path.split('?').next().unwrap_or_default();
            path.trim_start_matches("/api/").split('/').collect()
        })
        .collect();
    let is_taken = |route: &&str| {
        let route: Vec<_> = route.trim_start_matches('/').split('/').collect();
        paths.iter().any(|path| {
            let same = |(part, own): (&&str, &&str)| part.starts_with('{') || part == own;
            path.len() == route.len() && route.iter().zip(path).all(same)
        })
    };
    let missing: Vec<_> = routes.filter(|route| !is_taken(route)).collect();
    assert!(missing.is_empty(), "no request takes {missing:?}");
}
