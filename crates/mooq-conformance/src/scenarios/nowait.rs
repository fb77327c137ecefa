//! Declaring and binding without an answer.

use mooq_core::{ExchangeKind, QueueDeclare};

use crate::Fixture;
use crate::expect::method;
use crate::raw::{binding, exchange, exchange_binding, queue};
use crate::scenario;

#[scenario]
async fn nowait_declare_and_bind_are_silent_if_they_succeed(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (source, first) = (fixture.name("source"), fixture.name("queue"));
    let channel = raw.methods();
    let declare = exchange(&source, ExchangeKind::Direct);
    channel.declare_exchange_nowait(declare).await.unwrap();
    channel.declare_queue_nowait(queue(&first)).await.unwrap();
    channel
        .bind_nowait(binding(&first, &source, "key"))
        .await
        .unwrap();
    raw.put(&source, "key", "body").await;
    assert_eq!(raw.drain(&first).await, ["body"]);
    raw.nothing_more().await;
}

#[scenario]
async fn nowait_binds_exchanges_too(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (source, other) = (fixture.name("source"), fixture.name("other"));
    let queue = fixture.name("queue");
    raw.declare(&queue).await;
    raw.declare_exchange(&source, ExchangeKind::Fanout).await;
    raw.declare_exchange(&other, ExchangeKind::Fanout).await;
    raw.bind(&queue, &other, "").await;
    let binding = exchange_binding(&other, &source, "");
    raw.methods().bind_nowait(binding).await.unwrap();
    raw.put(&source, "key", "body").await;
    assert_eq!(raw.drain(&queue).await, ["body"]);
}

#[scenario]
async fn nowait_queue_that_the_broker_names_is_the_channels_last(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let declare = QueueDeclare::server_named();
    raw.methods().declare_queue_nowait(declare).await.unwrap();
    raw.bind("", "amq.topic", &fixture.name("key")).await;
    raw.put("amq.topic", &fixture.name("key"), "body").await;
    assert_eq!(raw.drain("").await, ["body"]);
}

#[scenario]
async fn nowait_declare_of_another_queue_closes_the_channel(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let name = fixture.name("queue");
    raw.declare(&name).await;
    let declare = QueueDeclare {
        auto_delete: true,
        ..queue(&name)
    };
    raw.methods().declare_queue_nowait(declare).await.unwrap();
    let text = format!(
        "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue '{name}' in vhost '/': \
         received 'true' but current is 'false'"
    );
    raw.closes(406, method::QUEUE_DECLARE, &text).await;
}

#[scenario]
async fn nowait_declare_of_another_exchange_closes_the_channel(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let name = fixture.name("exchange");
    raw.declare_exchange(&name, ExchangeKind::Direct).await;
    let declare = exchange(&name, ExchangeKind::Fanout);
    raw.methods()
        .declare_exchange_nowait(declare)
        .await
        .unwrap();
    let text = format!(
        "PRECONDITION_FAILED - inequivalent arg 'type' for exchange '{name}' in vhost '/': \
         received 'fanout' but current is 'direct'"
    );
    raw.closes(406, method::EXCHANGE_DECLARE, &text).await;
}

#[scenario]
async fn nowait_bind_to_a_missing_exchange_closes_the_channel(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (missing, name) = (fixture.name("missing"), fixture.name("queue"));
    raw.declare(&name).await;
    let binding = binding(&name, &missing, "key");
    raw.methods().bind_nowait(binding).await.unwrap();
    let text = format!("NOT_FOUND - no exchange '{missing}' in vhost '/'");
    raw.closes(404, method::QUEUE_BIND, &text).await;
}
