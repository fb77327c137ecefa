//! Definitions, out and in.

use mooq_memory::Profile;
use mooq_rig::management::Method;
use serde_json::{Value, json};

use crate::Served;

/// Gives a broker one object of each kind.
async fn fill(served: &Served) {
    for (path, body) in [
        (
            "/api/vhosts/shop",
            json!({"description": "the shop", "tags": ["a"]}),
        ),
        (
            "/api/users/billing",
            json!({"password": "secret", "tags": "monitoring"}),
        ),
        (
            "/api/permissions/shop/billing",
            json!({"configure": "", "write": "^orders$", "read": ".*"}),
        ),
        (
            "/api/topic-permissions/shop/billing",
            json!({"exchange": "amq.topic", "write": "^w", "read": "^r"}),
        ),
        (
            "/api/policies/shop/short",
            json!({"pattern": "^o", "definition": {"max-length": 10}, "apply-to": "queues",
                   "priority": 2}),
        ),
        (
            "/api/operator-policies/shop/limit",
            json!({"pattern": "", "definition": {"max-length": 5}}),
        ),
        (
            "/api/exchanges/shop/audit",
            json!({"type": "fanout", "durable": true, "internal": true}),
        ),
        (
            "/api/exchanges/shop/sales",
            json!({"type": "topic", "durable": true,
                   "arguments": {"alternate-exchange": "audit"}}),
        ),
        (
            "/api/queues/shop/orders",
            json!({"durable": true, "arguments": {"x-queue-type": "quorum"}}),
        ),
    ] {
        assert_eq!(served.put(path, &body).await, 201, "{path}");
    }
    for (path, body) in [
        (
            "/api/bindings/shop/e/sales/q/orders",
            json!({"routing_key": "order.#", "arguments": {"x": 1}}),
        ),
        (
            "/api/bindings/shop/e/sales/e/audit",
            json!({"routing_key": "#"}),
        ),
    ] {
        assert_eq!(served.post(path, &body).await.status, 201, "{path}");
    }
}

#[tokio::test]
async fn definitions_that_are_imported_are_exported_again() {
    for profile in Profile::ALL {
        let served = Served::start_as(profile).await;
        fill(&served).await;
        let definitions = served.get("/api/definitions").await;

        let copy = Served::start_as(profile).await;
        let imported = copy.post("/api/definitions", &definitions).await;
        assert_eq!(imported.status, 204, "{}", imported.text);
        assert_eq!(copy.get("/api/definitions").await, definitions);
        let billing = copy.http.as_user("billing", "secret");
        assert_eq!(billing.ask(Method::GET, "/api/nodes", "").await.status, 200);
    }
}

#[tokio::test]
async fn definitions_of_a_vhost_go_into_another_one() {
    let served = Served::start().await;
    fill(&served).await;
    let mut definitions = served.get("/api/definitions/shop").await;
    assert_eq!(definitions["queues"][0].get("vhost"), None);
    served.put("/api/vhosts/copy", &json!({})).await;
    let imported = served.post("/api/definitions/copy", &definitions).await;
    assert_eq!(imported.status, 204, "{}", imported.text);
    let mut copy = served.get("/api/definitions/copy").await;
    for own in [
        "description",
        "explanation",
        "metadata",
        "original_vhost_name",
    ] {
        definitions[own] = Value::Null;
        copy[own] = Value::Null;
    }
    assert_eq!(copy, definitions);
}

#[tokio::test]
async fn definitions_that_cannot_be_imported_name_the_object() {
    let served = Served::start().await;
    let missing = json!({"queues": [{"name": "q", "vhost": "nope"}]}).to_string();
    for (body, reason) in [
        ("nonsense", "failed_to_parse_json"),
        ("[]", "not_json"),
        (
            &missing,
            "queue 'q' in vhost 'nope': there is no virtual host 'nope'",
        ),
    ] {
        let refused = served.ask(Method::POST, "/api/definitions", body).await;
        let told = (refused.status, refused.json()["reason"].clone());
        assert_eq!(told, (400, json!(reason)));
    }
    let unknown = served.ask(Method::GET, "/api/definitions/nope", "").await;
    assert_eq!(
        (unknown.status, unknown.json()["reason"].clone()),
        (400, json!("vhost_not_found"))
    );
}
