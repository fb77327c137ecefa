//! Paths, methods, bodies and lists.

use mooq_memory::Alarm;
use mooq_rig::management::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Served;

#[tokio::test]
async fn unknown_path_is_not_found_even_without_a_login() {
    let served = Served::start().await;
    let expected = json!({"error": "Object Not Found", "reason": "Not Found"});
    for path in ["/api/nope", "/api/queues/%2F/q/nope", "/", "/api"] {
        let answer = served.http.without_login().ask(Method::GET, path, "").await;
        assert_eq!(
            (answer.status, answer.json()),
            (404, expected.clone()),
            "{path}"
        );
    }
    for path in [
        "/api/queues/nope",
        "/api/queues/%2F/nope",
        "/api/nodes/nope",
        "/api/vhosts/nope",
    ] {
        let answer = served.ask(Method::GET, path, "").await;
        assert_eq!(
            (answer.status, answer.json()),
            (404, expected.clone()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn slash_at_the_end_of_a_path_does_not_count() {
    let served = Served::start().await;
    assert_eq!(
        served.get("/api/users/?columns=name").await,
        json!([{"name": "guest"}])
    );
}

#[tokio::test]
async fn method_that_a_path_does_not_take_is_answered_with_those_that_it_does() {
    let served = Served::start().await;
    for (method, path) in [
        (Method::POST, "/api/overview"),
        (Method::PUT, "/api/queues"),
        (Method::DELETE, "/api/definitions"),
    ] {
        let answer = served.ask(method, path, "").await;
        assert_eq!((answer.status, answer.text.as_str()), (405, ""), "{path}");
        let allowed = answer.headers.get("allow").unwrap().to_str().unwrap();
        assert!(allowed.contains("GET"), "{path}: {allowed}");
    }
}

#[tokio::test]
async fn body_that_is_no_object_is_refused() {
    let served = Served::start().await;
    let not_json = json!({"error": "bad_request", "reason": "not_json"});
    for body in ["{nonsense", "[]", "1"] {
        let answer = served.ask(Method::PUT, "/api/queues/%2F/q", body).await;
        assert_eq!(
            (answer.status, answer.json()),
            (400, not_json.clone()),
            "{body}"
        );
    }
    assert!(served.broker.queues("*").is_empty());
    let empty = served.ask(Method::PUT, "/api/queues/%2F/q", "").await;
    assert_eq!(empty.status, 201);
}

#[tokio::test]
async fn body_beyond_the_limit_is_refused() {
    let served = Served::start().await;
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(20_000_000));
    let answer = served.ask(Method::PUT, "/api/queues/%2F/q", &large).await;
    assert_eq!(answer.status, 400);
    let reason = "Exceeded HTTP request body size limit";
    let expected = json!({"error": "bad_request", "reason": reason});
    assert_eq!(answer.json(), expected);
    assert!(served.broker.queues("*").is_empty());
}

#[tokio::test]
async fn lists_take_columns_an_order_and_pages() {
    let served = Served::start().await;
    for queue in ["b", "a", "c"] {
        served
            .put(&format!("/api/queues/%2F/{queue}"), &json!({}))
            .await;
    }
    let names = served
        .get("/api/queues?columns=name&sort=name&sort_reverse=true")
        .await;
    assert_eq!(names, json!([{"name": "c"}, {"name": "b"}, {"name": "a"}]));
    let page = served
        .get("/api/queues?page=2&page_size=2&columns=name")
        .await;
    let expected = json!({
        "page": 2, "page_size": 2, "page_count": 2, "total_count": 3, "filtered_count": 3,
        "item_count": 1, "items": [{"name": "c"}],
    });
    assert_eq!(page, expected);
    let beyond = served.ask(Method::GET, "/api/queues?page=9", "").await;
    assert_eq!(beyond.status, 400);
    assert_eq!(beyond.json()["error"], "page_out_of_range");
}

#[tokio::test]
async fn broker_that_is_down_does_not_answer_requests() {
    let served = Served::start().await;
    let outage = served.broker.faults().stop();
    let answer = served.ask(Method::GET, "/api/overview", "").await;
    assert_eq!(answer.status, 503);
    drop(outage);
    served.get("/api/overview").await;
}

#[tokio::test]
async fn alarms_fail_the_health_checks() {
    let served = Served::start().await;
    let path = "/api/health/checks/alarms";
    assert_eq!(served.get(path).await, json!({"status": "ok"}));
    let alarm = served.broker.raise_alarm(Alarm::Memory);
    let answer = served.ask(Method::GET, path, "").await;
    assert_eq!(answer.status, 503);
    let expected = json!({
        "status": "failed",
        "reason": "There are alarms in effect in the cluster",
        "alarms": [{"node": "rabbit@mooq", "resource": "memory"}],
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(
        served.get("/api/nodes?columns=mem_alarm").await,
        json!([{"mem_alarm": true}])
    );
    drop(alarm);
    assert_eq!(served.get(path).await, json!({"status": "ok"}));
}

#[tokio::test]
async fn listeners_are_those_that_are_open() {
    let served = Served::start().await;
    let port = served.server.address().port();
    let own = served
        .get(&format!("/api/health/checks/port-listener/{port}"))
        .await;
    assert_eq!(own, json!({"status": "ok", "port": port}));
    let amqp = "/api/health/checks/protocol-listener/amqp091";
    assert_eq!(served.ask(Method::GET, amqp, "").await.status, 503);
    let address = "127.0.0.1:5672".parse().unwrap();
    let announced = served.broker.announce_listener("amqp", address);
    let answer = served.get(amqp).await;
    assert_eq!(answer, json!({"status": "ok", "protocol": "amqp"}));
    drop(announced);
    assert_eq!(served.ask(Method::GET, amqp, "").await.status, 503);
}

#[tokio::test]
async fn stop_closes_connections_that_are_idle_or_amid_a_request() {
    let served = Served::start().await;
    let address = served.server.address();
    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut amid = TcpStream::connect(address).await.unwrap();
    amid.write_all(b"PUT /api/queues/%2F/q HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")
        .await
        .unwrap();
    served.server.stop().await;
    for client in [&mut idle, &mut amid] {
        // The end of the stream, or a reset.
        let read = client.read(&mut [0]).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
    assert!(TcpStream::connect(address).await.is_err());
    assert!(served.broker.listeners().is_empty());
}
