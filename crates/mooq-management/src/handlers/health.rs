//! Health checks ([monitoring](https://www.rabbitmq.com/docs/monitoring#health-checks)).

use axum::extract::{Path, State};
use axum::http::StatusCode;
use mooq_core::{ExchangeName, Message, Properties, Publish, QueueDeclare, QueueName};
use mooq_engine::{Method, Reply};
use mooq_memory::Alarm;
use serde_json::{Value, json};

use super::{Answer, ok};
use crate::access::{Api, Caller};
use crate::body::name;
use crate::client::{Client, Refused};
use crate::failure::{Failure, json_response};
use crate::versions::Rules;
use crate::views::NODE;

/// Name of the queue of the aliveness test, which stays.
const TEST_QUEUE: &str = "aliveness-test";

pub(crate) async fn passed(_: Caller) -> Answer {
    ok(&json!({"status": "ok"}))
}

pub(crate) async fn single_node(_: Caller) -> Answer {
    ok(&json!({"status": "ok", "reason": "single node cluster"}))
}

fn failed(more: Value) -> Answer {
    let mut body = more;
    body["status"] = "failed".into();
    Ok(json_response(StatusCode::SERVICE_UNAVAILABLE, &body))
}

/// Declares a queue, and publishes and fetches a message, as RabbitMQ did before 4.3.
pub(crate) async fn aliveness(
    State(api): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
) -> Answer {
    let vhost = caller.vhost(&api, &vhost)?;
    let mut client = Client::open(&api, &caller, &vhost).await?;
    if api.profile.tests_aliveness_by_a_message() {
        let tested = exchange_message(&mut client, name("queue", TEST_QUEUE)?).await;
        if !tested.map_err(Refused::of_method)? {
            return failed(json!({"reason": "the test message did not come back"}));
        }
    }
    ok(&json!({"status": "ok"}))
}

async fn exchange_message(client: &mut Client, queue: QueueName) -> Result<bool, Refused> {
    let declare = QueueDeclare {
        durable: false,
        ..QueueDeclare::new(queue.clone())
    };
    client.call(Method::QueueDeclare(declare)).await?;
    let routing_key = queue.as_str().try_into().unwrap_or_default();
    client.send(Method::BasicPublish(Publish::new(Message {
        exchange: ExchangeName::default(),
        routing_key,
        properties: Properties::default().into(),
        body: "test_message".into(),
    })));
    let get = Method::BasicGet {
        queue,
        no_ack: true,
    };
    let reply = client.call(get).await?;
    Ok(matches!(reply, Reply::Fetched(Some(_))))
}

pub(crate) async fn alarms(State(api): State<Api>, _: Caller) -> Answer {
    told_alarms(&api, "There are alarms in effect in the cluster")
}

pub(crate) async fn local_alarms(State(api): State<Api>, _: Caller) -> Answer {
    told_alarms(&api, "There are alarms in effect on the node")
}

fn told_alarms(api: &Api, reason: &str) -> Answer {
    let alarms = api.broker.raised_alarms();
    if alarms.is_empty() {
        return ok(&json!({"status": "ok"}));
    }
    let alarms = alarms
        .into_iter()
        .map(|alarm| json!({"node": NODE, "resource": word(alarm)}));
    failed(json!({"reason": reason, "alarms": alarms.collect::<Value>()}))
}

fn word(alarm: Alarm) -> &'static str {
    match alarm {
        Alarm::Disk => "disk",
        _ => "memory",
    }
}

/// The older check of a node.
pub(crate) async fn node(State(api): State<Api>, _: Caller) -> Answer {
    let alarms = api.broker.raised_alarms().into_iter();
    let alarms = alarms.map(|alarm| format!("{{resource_limit,{},{NODE}}}", word(alarm)));
    let alarms: Vec<_> = alarms.collect();
    if alarms.is_empty() {
        return ok(&json!({"status": "ok"}));
    }
    let alarms = alarms.join(",");
    failed(json!({"reason": format!("resource alarm(s) in effect:[{alarms}]")}))
}

pub(crate) async fn port(State(api): State<Api>, _: Caller, Path(port): Path<String>) -> Answer {
    let wrong = |_| Failure::bad_request("Invalid port");
    let port: u16 = port.parse().map_err(wrong)?;
    let listeners = api.broker.listeners().into_iter();
    let ports: Vec<_> = listeners.map(|listener| listener.address.port()).collect();
    if ports.contains(&port) {
        return ok(&json!({"status": "ok", "port": port}));
    }
    failed(json!({"reason": "No active listener", "missing": port, "ports": ports}))
}

/// Checks that the protocol is served, or since RabbitMQ 4.3 one of several.
pub(crate) async fn protocols(
    State(api): State<Api>,
    _: Caller,
    Path(asked): Path<String>,
) -> Answer {
    let listeners = api.broker.listeners();
    let mut served: Vec<_> = listeners.iter().map(|listener| listener.protocol).collect();
    served.dedup();
    if api.profile.checks_several_protocols() {
        served.sort_unstable();
        let asked: Vec<_> = asked.split(',').map(protocol).collect();
        if asked.iter().any(|one| served.contains(one)) {
            return ok(&json!({"status": "ok", "protocols": served}));
        }
        let missing = json!({
            "reason": "No active listener", "missing": asked, "protocols": served,
        });
        return failed(missing);
    }
    let asked = protocol(&asked);
    if served.contains(&asked) {
        return ok(&json!({"status": "ok", "protocol": asked}));
    }
    failed(json!({"reason": "No active listener", "missing": asked, "protocols": served}))
}

/// RabbitMQ's name of a protocol, which has others.
fn protocol(name: &str) -> &str {
    match name {
        "amqp091" | "amqp0.9.1" | "amqp10" | "amqp1.0" => "amqp",
        "amqps" | "amqp091s" => "amqp/ssl",
        other => other,
    }
}
