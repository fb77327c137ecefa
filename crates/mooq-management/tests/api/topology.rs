//! Exchanges, queues, bindings and policies.

use mooq_core::{Endpoint, Scheme, Transport};
use mooq_rig::management::Method;
use serde_json::json;

use crate::Served;

#[tokio::test]
async fn queue_is_declared_described_and_deleted() {
    let served = Served::start().await;
    let path = "/api/queues/%2F/orders";
    let declare = json!({"durable": true, "arguments": {"x-max-length": 10}});
    assert_eq!(served.put(path, &declare).await, 201);
    assert_eq!(served.put(path, &declare).await, 204);
    let other = served.ask(Method::PUT, path, r#"{"durable": false}"#).await;
    assert_eq!(other.status, 400);
    let reason = "inequivalent arg 'durable' for queue 'orders' in vhost '/': received 'false' but \
                  current is 'true'";
    assert_eq!(
        other.json(),
        json!({"error": "bad_request", "reason": reason})
    );
    let columns = "columns=name,durable,arguments,messages,type,policy";
    let view = served.get(&format!("{path}?{columns}")).await;
    let expected = json!({
        "name": "orders", "durable": true, "messages": 0, "type": "classic", "policy": null,
        "arguments": {"x-max-length": 10, "x-queue-type": "classic"},
    });
    assert_eq!(view, expected);
    assert_eq!(served.ask(Method::DELETE, path, "").await.status, 204);
    assert_eq!(served.ask(Method::DELETE, path, "").await.status, 404);
}

#[tokio::test]
async fn names_with_slashes_and_globs_are_one_name() {
    let served = Served::start().await;
    for queue in ["a%2Fb", "a*", "aa"] {
        assert_eq!(
            served
                .put(&format!("/api/queues/%2F/{queue}"), &json!({}))
                .await,
            201
        );
    }
    assert_eq!(
        served.get("/api/queues/%2F/a%2A?columns=name").await,
        json!({"name": "a*"})
    );
    assert_eq!(
        served.get("/api/queues/%2F/a%2Fb?columns=name").await,
        json!({"name": "a/b"})
    );
    let all = json!([{"name": "a*"}, {"name": "a/b"}, {"name": "aa"}]);
    assert_eq!(served.get("/api/queues/%2F?columns=name").await, all);
    let definitions = served.get("/api/definitions").await;
    let exported = definitions["queues"].as_array().map(Vec::len);
    assert_eq!(exported, Some(3), "{definitions}");
    let long = "x".repeat(256);
    let refused = served
        .ask(Method::PUT, &format!("/api/queues/%2F/{long}"), "")
        .await;
    let reason = "queue should be less than 255 bytes, actually was 256\n";
    assert_eq!(
        (refused.status, refused.json()["reason"].clone()),
        (400, json!(reason))
    );
}

#[tokio::test]
async fn exclusive_queue_belongs_to_its_connection_alone() {
    let served = Served::start().await;
    let opened = served
        .broker
        .transport()
        .open(&Endpoint::new(Scheme::Memory))
        .await
        .unwrap();
    let channel = opened.connection.open_channel().await.unwrap().channel;
    let declare = mooq_core::QueueDeclare {
        exclusive: true,
        ..mooq_core::QueueDeclare::new("own".try_into().unwrap())
    };
    channel.declare_queue(declare).await.unwrap();
    let view = served.get("/api/queues/%2F/own").await;
    assert_eq!(view["exclusive"], true);
    assert_eq!(view["owner_pid_details"]["name"], "<rabbit@mooq.1>");
    let refused = served.ask(Method::DELETE, "/api/queues/%2F/own", "").await;
    assert_eq!(refused.status, 400);
    let reason = refused.json()["reason"].as_str().unwrap().to_owned();
    assert!(
        reason.starts_with("cannot obtain exclusive access to locked queue 'own'"),
        "{reason}"
    );
}

#[tokio::test]
async fn binding_has_a_path_by_its_key_and_arguments() {
    let served = Served::start().await;
    served.put("/api/queues/%2F/q", &json!({})).await;
    let path = "/api/bindings/%2F/e/amq.topic/q/q";
    for (body, location) in [
        (json!({"routing_key": "a.*"}), "q/a.%252A"),
        (
            json!({"routing_key": "a/b c", "arguments": {"x": 1}}),
            "q/a%252Fb%2Bc~9nmLZQ",
        ),
        (json!({}), "q/~"),
    ] {
        let answer = served.post(path, &body).await;
        assert_eq!(answer.status, 201);
        assert_eq!(answer.headers.get("location").unwrap(), location);
    }
    assert_eq!(
        served.get(&format!("{path}/a.*")).await["properties_key"],
        "a.%2A"
    );
    assert_eq!(
        served.get(&format!("{path}/a.%252A")).await["properties_key"],
        "a.%2A"
    );
    assert_eq!(served.get(&format!("{path}/~")).await["routing_key"], "");
    let all = served
        .get("/api/queues/%2F/q/bindings?columns=source,properties_key")
        .await;
    let expected = json!([
        {"source": "", "properties_key": "q"},
        {"source": "amq.topic", "properties_key": "a%2Fb+c~9nmLZQ"},
        {"source": "amq.topic", "properties_key": "a.%2A"},
        {"source": "amq.topic", "properties_key": "~"},
    ]);
    assert_eq!(all, expected);
    let unbound = served
        .ask(Method::DELETE, &format!("{path}/a%252Fb%2Bc~9nmLZQ"), "")
        .await;
    assert_eq!(unbound.status, 204);
    assert_eq!(served.broker.bindings("amq.topic").len(), 2);
    let missing = served
        .ask(Method::DELETE, &format!("{path}/nope"), "")
        .await;
    assert_eq!(missing.status, 404);
}

#[tokio::test]
async fn exchanges_of_the_broker_cannot_be_deleted() {
    let served = Served::start().await;
    let refused = json!({"error": "not_authorised", "reason": "Access refused."});
    for exchange in ["amq.direct", "amq.default"] {
        let answer = served
            .ask(
                Method::DELETE,
                &format!("/api/exchanges/%2F/{exchange}"),
                "",
            )
            .await;
        assert_eq!(
            (answer.status, answer.json()),
            (401, refused.clone()),
            "{exchange}"
        );
    }
    let path = "/api/exchanges/%2F/audit";
    assert_eq!(
        served
            .put(path, &json!({"type": "fanout", "internal": true}))
            .await,
        201
    );
    let view = served.get(path).await;
    assert_eq!(
        (&view["type"], &view["internal"]),
        (&json!("fanout"), &json!(true))
    );
    assert_eq!(served.ask(Method::DELETE, path, "").await.status, 204);
    let unknown = served.ask(Method::PUT, path, r#"{"type": "x-nope"}"#).await;
    assert_eq!(unknown.json()["reason"], "unknown exchange type 'x-nope'");
}

#[tokio::test]
async fn policies_apply_to_queues_and_are_told_with_them() {
    let served = Served::start().await;
    served.put("/api/queues/%2F/orders", &json!({})).await;
    let path = "/api/policies/%2F/short";
    let policy = json!({
        "pattern": "^orders$", "definition": {"max-length": 10}, "priority": 1,
        "apply-to": "classic_queues",
    });
    assert_eq!(served.put(path, &policy).await, 201);
    let operators = json!({"pattern": "", "definition": {"max-length": 5}, "apply-to": "queues"});
    assert_eq!(
        served
            .put("/api/operator-policies/%2F/limit", &operators)
            .await,
        201
    );
    let columns = "policy,operator_policy,effective_policy_definition";
    let view = served
        .get(&format!("/api/queues/%2F/orders?columns={columns}"))
        .await;
    let expected = json!({
        "policy": "short", "operator_policy": "limit",
        "effective_policy_definition": {"max-length": 5},
    });
    assert_eq!(view, expected);

    let listed = served.get("/api/policies").await;
    let mut expected = policy;
    expected["name"] = "short".into();
    expected["vhost"] = "/".into();
    assert_eq!(listed, json!([expected]));
    let parameters = served.get("/api/parameters?columns=component,name").await;
    assert_eq!(
        parameters,
        json!([{"component": "operator_policy", "name": "limit"}])
    );

    let wrong = json!({"pattern": "x", "definition": {"max-length": -1}});
    let refused = served.ask(Method::PUT, path, &wrong.to_string()).await;
    assert_eq!(refused.status, 400);
    let reason = "Validation failed\n\n-1 is not a valid maximum length\n";
    assert_eq!(refused.json()["reason"], reason);
    assert_eq!(served.ask(Method::DELETE, path, "").await.status, 204);
    assert_eq!(served.ask(Method::GET, path, "").await.status, 404);
}
