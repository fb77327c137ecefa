//! Logins, tags, and what users see.

use mooq_memory::Profile;
use mooq_rig::management::Method;
use serde_json::json;

use crate::Served;

#[tokio::test]
async fn request_without_a_login_is_challenged() {
    let served = Served::start().await;
    let stranger = served.http.without_login();
    let answer = stranger.ask(Method::GET, "/api/overview", "").await;
    assert_eq!((answer.status, answer.text.as_str()), (401, ""));
    let challenge = answer.headers.get("www-authenticate").unwrap();
    assert_eq!(challenge, "Basic realm=\"RabbitMQ Management\"");
}

#[tokio::test]
async fn wrong_password_is_refused_in_the_words_of_the_version() {
    for (profile, reason, challenged) in [
        (Profile::V3_10, "Login failed", true),
        (Profile::V4_0, "Not_Authorized", false),
    ] {
        let served = Served::start_as(profile).await;
        let wrong = served.http.as_user("guest", "wrong");
        let answer = wrong.ask(Method::GET, "/api/overview", "").await;
        assert_eq!(answer.status, 401);
        let expected = json!({"error": "not_authorized", "reason": reason});
        assert_eq!(answer.json(), expected);
        let challenge = answer.headers.contains_key("www-authenticate");
        assert_eq!(challenge, challenged);
    }
}

#[tokio::test]
async fn tags_decide_what_a_user_may_ask() {
    let served = Served::start().await;
    for tag in [
        "management",
        "policymaker",
        "monitoring",
        "administrator",
        "other",
    ] {
        served.broker.add_user(tag, "secret");
        served.broker.set_user_tags(tag, [tag]).unwrap();
    }
    for (path, permitted) in [
        ("/api/queues", [true, true, true, true, false]),
        ("/api/nodes", [false, false, true, true, false]),
        ("/api/users", [false, false, false, true, false]),
        ("/api/definitions", [false, false, false, true, false]),
        ("/api/parameters", [false, true, false, true, false]),
    ] {
        let tags = [
            "management",
            "policymaker",
            "monitoring",
            "administrator",
            "other",
        ];
        for (tag, permitted) in tags.into_iter().zip(permitted) {
            let user = served.http.as_user(tag, "secret");
            let answer = user.ask(Method::GET, path, "").await;
            let expected = if permitted { 200 } else { 401 };
            assert_eq!(answer.status, expected, "{path} as {tag}: {}", answer.text);
        }
    }
    let other = served.http.as_user("other", "secret");
    let refused = other.ask(Method::GET, "/api/whoami", "").await.json();
    let expected = json!({"error": "not_authorised", "reason": "Not management user"});
    assert_eq!(refused, expected);
}

#[tokio::test]
async fn vhost_without_permissions_is_closed_but_to_administrators() {
    for (profile, status) in [(Profile::V4_0, 401), (Profile::V4_3, 404)] {
        let served = Served::start_as(profile).await;
        served.broker.add_vhost("closed").unwrap();
        for tag in ["monitoring", "administrator"] {
            let user = json!({"password": "secret", "tags": tag});
            assert_eq!(served.put(&format!("/api/users/{tag}"), &user).await, 201);
        }
        let monitor = served.http.as_user("monitoring", "secret");
        let answer = monitor.ask(Method::GET, "/api/queues/closed", "").await;
        assert_eq!(answer.status, status);
        let seen = monitor.ask(Method::GET, "/api/exchanges", "").await.json();
        assert_eq!(seen, json!([]));
        let seen = monitor.ask(Method::GET, "/api/vhosts", "").await.json();
        assert_eq!(seen.as_array().unwrap().len(), 2);

        // An administrator sees it, and may do no more in it than its permissions say.
        let administrator = served.http.as_user("administrator", "secret");
        let answer = administrator
            .ask(Method::GET, "/api/queues/closed", "")
            .await;
        assert_eq!(answer.status, 200);
        let refused = administrator
            .ask(Method::PUT, "/api/queues/closed/q", "{}")
            .await;
        assert_eq!(refused.status, 401);
        let expected = json!({"error": "not_authorised", "reason": "Access refused."});
        assert_eq!(refused.json(), expected);
    }
}

#[tokio::test]
async fn user_who_creates_a_vhost_has_permissions_in_it() {
    let served = Served::start().await;
    let user = json!({"password": "secret", "tags": ["administrator"]});
    assert_eq!(served.put("/api/users/admin", &user).await, 201);
    let admin = served.http.as_user("admin", "secret");
    let shop = r#"{"description": "the shop", "tags": "a,b"}"#;
    assert_eq!(
        admin
            .ask(Method::PUT, "/api/vhosts/shop", shop)
            .await
            .status,
        201
    );
    assert_eq!(
        admin
            .ask(Method::PUT, "/api/vhosts/shop", shop)
            .await
            .status,
        204
    );
    assert_eq!(
        admin
            .ask(Method::PUT, "/api/queues/shop/q", "{}")
            .await
            .status,
        201
    );
    let vhost = served
        .get("/api/vhosts/shop?columns=name,description,tags")
        .await;
    let expected = json!({"name": "shop", "description": "the shop", "tags": ["a", "b"]});
    assert_eq!(vhost, expected);
}

#[tokio::test]
async fn user_is_created_changed_and_deleted() {
    let served = Served::start().await;
    let path = "/api/users/billing";
    let user = json!({"password": "secret", "tags": "monitoring, other"});
    assert_eq!(served.put(path, &user).await, 201);
    let view = served
        .get("/api/users/billing?columns=name,tags,limits")
        .await;
    let expected = json!({"name": "billing", "tags": ["monitoring", "other"], "limits": {}});
    assert_eq!(view, expected);
    let without = served
        .get("/api/users/without-permissions?columns=name")
        .await;
    assert_eq!(without, json!([{"name": "billing"}]));

    // The hash that one broker tells lets the user in at another one.
    let hash = served.get(path).await;
    let other = Served::start().await;
    assert_eq!(other.put(path, &hash).await, 201);
    let user = other.http.as_user("billing", "secret");
    assert_eq!(user.ask(Method::GET, "/api/whoami", "").await.status, 200);

    let untagged = served.ask(Method::PUT, path, r#"{"password": "x"}"#).await;
    assert_eq!(untagged.status, 400);
    let expected = json!({"error": "bad_request", "reason": "tags_not_present"});
    assert_eq!(untagged.json(), expected);
    assert_eq!(
        served.put(path, &json!({"password": "", "tags": ""})).await,
        204
    );
    let user = served.http.as_user("billing", "");
    assert_eq!(user.ask(Method::GET, "/api/whoami", "").await.status, 401);

    assert_eq!(served.ask(Method::DELETE, path, "").await.status, 204);
    assert_eq!(served.ask(Method::DELETE, path, "").await.status, 404);
}

#[tokio::test]
async fn permissions_are_set_listed_and_cleared() {
    let served = Served::start().await;
    let user = json!({"password": "secret", "tags": ""});
    served.put("/api/users/billing", &user).await;
    let path = "/api/permissions/%2F/billing";
    let permissions = json!({"configure": "^a", "write": "", "read": ".*"});
    assert_eq!(served.put(path, &permissions).await, 201);
    assert_eq!(served.put(path, &permissions).await, 204);
    let expected = json!({
        "user": "billing", "vhost": "/", "configure": "^a", "write": "", "read": ".*",
    });
    assert_eq!(served.get(path).await, expected);
    let of_user = served.get("/api/users/billing/permissions").await;
    assert_eq!(of_user, json!([expected]));

    let topic = json!({"exchange": "amq.topic", "write": "^w", "read": "^r"});
    let topics = "/api/topic-permissions/%2F/billing";
    assert_eq!(served.put(topics, &topic).await, 201);
    let expected = json!([{
        "user": "billing", "vhost": "/", "exchange": "amq.topic", "write": "^w", "read": "^r",
    }]);
    assert_eq!(served.get(topics).await, expected);
    assert_eq!(served.ask(Method::DELETE, topics, "").await.status, 204);
    assert_eq!(served.ask(Method::GET, topics, "").await.status, 404);

    assert_eq!(served.ask(Method::DELETE, path, "").await.status, 204);
    assert_eq!(served.ask(Method::DELETE, path, "").await.status, 404);
    let missing = served
        .ask(Method::PUT, path, r#"{"read": ""}"#)
        .await
        .json();
    assert_eq!(
        missing["reason"],
        "[{key_missing,configure},{key_missing,write}]"
    );
    let nobody = served
        .ask(Method::PUT, "/api/permissions/%2F/nobody", "{}")
        .await;
    assert_eq!(nobody.json()["reason"], "vhost_or_user_not_found");
}
