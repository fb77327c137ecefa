//! Publishing and fetching, and the clients that do so otherwise.

use futures_util::StreamExt;
use mooq_core::{ChannelEvent, ConnectionEvent, Consume, Endpoint, Scheme, Transport};
use mooq_memory::{Alarm, Profile};
use mooq_rig::management::Method;
use serde_json::{Value, json};

use crate::Served;

const PUBLISH: &str = "/api/exchanges/%2F/amq.default/publish";
const GET: &str = "/api/queues/%2F/orders/get";

fn message(payload: &str, properties: &Value) -> Value {
    json!({
        "properties": properties, "routing_key": "orders", "payload": payload,
        "payload_encoding": "string",
    })
}

async fn with_queue() -> Served {
    let served = Served::start().await;
    served.put("/api/queues/%2F/orders", &json!({})).await;
    served
}

#[tokio::test]
async fn message_is_published_and_fetched_with_its_properties() {
    let served = with_queue().await;
    let properties = json!({"type": "order", "headers": {"attempt": 1}, "delivery_mode": 2});
    let routed = served
        .post(PUBLISH, &message("a pencil", &properties))
        .await;
    assert_eq!(
        (routed.status, routed.json()),
        (200, json!({"routed": true}))
    );
    let fetch = json!({"count": 5, "ackmode": "ack_requeue_true", "encoding": "auto"});
    let mut expected = json!([{
        "payload_bytes": 8, "redelivered": false, "exchange": "", "routing_key": "orders",
        "message_count": 0, "properties": properties, "payload": "a pencil",
        "payload_encoding": "string",
    }]);
    assert_eq!(served.post(GET, &fetch).await.json(), expected);
    expected[0]["redelivered"] = true.into();
    let fetch = json!({"count": 1, "ackmode": "ack_requeue_false", "encoding": "base64",
                       "truncate": 1});
    expected[0]["payload"] = "YQ==".into();
    expected[0]["payload_encoding"] = "base64".into();
    assert_eq!(served.post(GET, &fetch).await.json(), expected);
    assert_eq!(served.post(GET, &fetch).await.json(), json!([]));
    assert!(served.broker.connections("*").is_empty());
}

#[tokio::test]
async fn rejected_messages_come_back_once_each() {
    let served = with_queue().await;
    for payload in ["1", "2"] {
        served.post(PUBLISH, &message(payload, &json!({}))).await;
    }
    let fetch = json!({"count": 5, "ackmode": "reject_requeue_true", "encoding": "auto"});
    let fetched = served.post(GET, &fetch).await.json();
    assert_eq!(
        (&fetched[0]["payload"], &fetched[1]["payload"]),
        (&json!("1"), &json!("2"))
    );
    assert_eq!(served.broker.queues("orders")[0].ready, 2);
    let fetch = json!({"count": "5", "ackmode": "reject_requeue_false", "encoding": "auto"});
    assert_eq!(
        served
            .post(GET, &fetch)
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(served.broker.queues("orders")[0].tally.rejected, 2);
}

#[tokio::test]
async fn publish_says_why_it_failed() {
    let served = with_queue().await;
    let mut unroutable = message("x", &json!({}));
    unroutable["routing_key"] = "nope".into();
    assert_eq!(
        served.post(PUBLISH, &unroutable).await.json(),
        json!({"routed": false})
    );

    let mut base64 = message("*", &json!({}));
    base64["payload_encoding"] = "base64".into();
    for (body, reason) in [
        (base64, json!(["not_base64", "*"])),
        (
            message("x", &json!({"priority": "high"})),
            json!(["not_int", "priority"]),
        ),
        (
            message("x", &json!({"user_id": "other"})),
            json!(
                "406 PRECONDITION_FAILED - user_id property set to 'other' but authenticated \
                   user was 'guest'"
            ),
        ),
        (
            json!({"routing_key": "q", "payload": "x"}),
            json!("[{key_missing,properties},{key_missing,payload_encoding}]"),
        ),
    ] {
        let answer = served.post(PUBLISH, &body).await;
        let expected = json!({"error": "bad_request", "reason": reason});
        assert_eq!((answer.status, answer.json()), (400, expected));
    }

    let full = served.broker.faults().queue("orders").fill_queues();
    let nacked = served.post(PUBLISH, &message("x", &json!({}))).await;
    let reason = "rejected Unable to publish message. Check queue limits.";
    assert_eq!(
        (nacked.status, nacked.json()["reason"].clone()),
        (400, json!(reason))
    );
    drop(full);
}

#[tokio::test]
async fn missing_exchange_is_told_in_the_words_of_the_version() {
    for (profile, status, expected) in [
        (
            Profile::V3_10,
            400,
            json!({"error": "bad_request",
                   "reason": "404 NOT_FOUND - no exchange 'nope' in vhost '/'"}),
        ),
        (
            Profile::V4_0,
            404,
            json!({"error": "not_found", "reason": "exchange_not_found"}),
        ),
    ] {
        let served = Served::start_as(profile).await;
        let path = "/api/exchanges/%2F/nope/publish";
        let answer = served.post(path, &message("x", &json!({}))).await;
        assert_eq!((answer.status, answer.json()), (status, expected));
    }
}

#[tokio::test]
async fn publish_passes_an_alarm() {
    let served = with_queue().await;
    let _alarm = served.broker.raise_alarm(Alarm::Memory);
    let routed = served.post(PUBLISH, &message("x", &json!({}))).await;
    assert_eq!(routed.json(), json!({"routed": true}));
}

#[tokio::test]
async fn purge_empties_a_queue() {
    let served = with_queue().await;
    served.post(PUBLISH, &message("x", &json!({}))).await;
    let path = "/api/queues/%2F/orders/contents";
    assert_eq!(served.ask(Method::DELETE, path, "").await.status, 204);
    assert_eq!(served.broker.queues("orders")[0].ready, 0);
}

#[tokio::test]
async fn clients_are_listed_and_their_connections_closed() {
    let served = with_queue().await;
    let mut endpoint = Endpoint::new(Scheme::Memory);
    endpoint.connection_name = Some("shop".try_into().unwrap());
    let mut opened = served.broker.transport().open(&endpoint).await.unwrap();
    let mut channel = opened.connection.open_channel().await.unwrap();
    channel.channel.qos(7, false).await.unwrap();
    let consume = Consume {
        tag: "till".try_into().unwrap(),
        ..Consume::new("orders".try_into().unwrap())
    };
    channel.channel.consume(consume).await.unwrap();
    served.post(PUBLISH, &message("x", &json!({}))).await;
    let delivered = channel.events.next().await;
    assert!(
        matches!(delivered, Some(ChannelEvent::Deliver(_))),
        "{delivered:?}"
    );

    // What was declared and published over HTTP has taken numbers, too.
    let number = served.broker.connections("shop")[0].number;
    let (connection_name, channel_name) = (
        format!("<rabbit@mooq.{number}>"),
        format!("<rabbit@mooq.{number}> (1)"),
    );
    let name = format!("%3Crabbit%40mooq.{number}%3E");
    let columns = "columns=name,user_provided_name,user,vhost,state,channels,type";
    let connection = served
        .get(&format!("/api/connections/{name}?{columns}"))
        .await;
    let expected = json!({
        "name": connection_name, "user_provided_name": "shop", "user": "guest", "vhost": "/",
        "state": "running", "channels": 1, "type": "direct",
    });
    assert_eq!(connection, expected);
    let columns = "columns=name,prefetch_count,consumer_count,messages_unacknowledged";
    let channels = served.get(&format!("/api/channels?{columns}")).await;
    let expected = json!([{
        "name": channel_name, "prefetch_count": 7, "consumer_count": 1,
        "messages_unacknowledged": 1,
    }]);
    assert_eq!(channels, expected);
    let columns = "columns=consumer_tag,queue.name,active,ack_required,channel_details.name";
    let consumers = served.get(&format!("/api/consumers/%2F?{columns}")).await;
    let expected = json!([{
        "consumer_tag": "till", "queue": {"name": "orders"}, "active": true, "ack_required": true,
        "channel_details": {"name": channel_name},
    }]);
    assert_eq!(consumers, expected);
    let totals = served
        .get("/api/overview?columns=object_totals,queue_totals")
        .await;
    let expected = json!({
        "object_totals": {"connections": 1, "channels": 1, "exchanges": 7, "queues": 1,
                          "consumers": 1},
        "queue_totals": {"messages": 1, "messages_ready": 0, "messages_unacknowledged": 1},
    });
    assert_eq!(totals, expected);

    let path = format!("/api/connections/{name}");
    assert_eq!(served.ask(Method::DELETE, &path, "").await.status, 204);
    let closed = opened.events.next().await;
    let Some(ConnectionEvent::Closed(why)) = closed else {
        panic!("{closed:?}");
    };
    let reason = why.reason().unwrap();
    let expected = "CONNECTION_FORCED - Closed via management plugin";
    assert_eq!((reason.code, reason.text.as_str()), (320, expected));
    assert_eq!(served.ask(Method::DELETE, &path, "").await.status, 404);
}

#[tokio::test]
async fn aliveness_test_leaves_its_queue_before_4_3() {
    for (profile, queues) in [(Profile::V4_0, 1), (Profile::V4_3, 0)] {
        let served = Served::start_as(profile).await;
        assert_eq!(
            served.get("/api/aliveness-test/%2F").await,
            json!({"status": "ok"})
        );
        assert_eq!(served.broker.queues("aliveness-test").len(), queues);
    }
}
