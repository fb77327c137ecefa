//! A broker that restarts: what it keeps, and what it forgets.

use std::sync::Arc;

use mooq_core::{DeliveryMode, ExchangeDeclare, ExchangeKind, Message, Publish, QueueDeclare};

use super::hash_exchanges::Bound;
use crate::expect::method;
use crate::raw::{
    Raw, body, exchange, exchange_binding, message, passive_exchange, passive_queue, queue,
};
use crate::scenario;
use crate::{Fixture, Version};

const SHUTDOWN: &str =
    "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'";

/// Publishes messages that survive a restart to a queue, each confirmed.
async fn fill_persistent(raw: &mut Raw, queue: &str, bodies: &[&str]) {
    for body in bodies {
        let mut message = message("", queue, body);
        Arc::make_mut(&mut message.properties).delivery_mode = Some(DeliveryMode::Persistent);
        raw.put_message(Publish::new(message)).await;
    }
}

#[scenario(alone)]
async fn persistent_messages_of_durable_queues_survive_in_order(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let durable = fixture.name("durable");
    raw.declare(&durable).await;
    fill_persistent(&mut raw, &durable, &["1", "2"]).await;
    raw.put("", &durable, "transient").await;
    fill_persistent(&mut raw, &durable, &["3", "4", "5"]).await;
    // The first message stays unacked, the second is acked, the third is requeued.
    let mut fetched = Vec::new();
    for _ in 0..4 {
        fetched.push(raw.fetch(&durable).await);
    }
    raw.ack(fetched[1].delivery_tag);
    raw.requeue(fetched[3].delivery_tag);
    raw.settled().await;

    fixture.control().restart().await;
    raw.closes_connection(320, (0, 0), SHUTDOWN).await;

    let raw = fixture.raw().await;
    let mut left = Vec::new();
    while let Some(fetched) = raw.get(&durable).await {
        left.push((body(&fetched.message).to_owned(), fetched.redelivered));
    }
    let left: Vec<_> = left
        .iter()
        .map(|(body, again)| (body.as_str(), *again))
        .collect();
    // Since 4.3 a restart keeps only failed deliveries, and a nack with requeue is none.
    let third = fixture.version() < Version::V4_3;
    assert_eq!(
        left,
        [("1", true), ("3", third), ("4", false), ("5", false)]
    );
}

#[scenario(alone)]
async fn durable_queues_and_exchanges_survive_and_no_others(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (durable, auto) = (fixture.name("durable"), fixture.name("auto-delete"));
    let (transient, exclusive) = (fixture.name("transient"), fixture.name("exclusive"));
    raw.declare(&durable).await;
    raw.declare_with(QueueDeclare {
        auto_delete: true,
        ..queue(&auto)
    })
    .await;
    raw.declare_with(QueueDeclare {
        durable: false,
        ..queue(&transient)
    })
    .await;
    raw.declare_with(QueueDeclare {
        exclusive: true,
        ..queue(&exclusive)
    })
    .await;
    raw.declare_exchange(&durable, ExchangeKind::Direct).await;
    raw.declare_exchange(&auto, ExchangeKind::Fanout).await;
    let declare = ExchangeDeclare {
        durable: false,
        ..exchange(&transient, ExchangeKind::Direct)
    };
    raw.channel.declare_exchange(declare).await.unwrap();
    raw.bind(&durable, &durable, "key").await;
    raw.bind(&durable, &transient, "key").await;
    raw.bind(&transient, &durable, "key").await;
    raw.add(exchange_binding(&durable, &auto, "")).await;

    fixture.control().restart().await;
    raw.closes_connection(320, (0, 0), SHUTDOWN).await;

    let mut raw = fixture.publisher().await;
    for queue in [&transient, &exclusive] {
        let outcome = raw.channel.declare_queue(passive_queue(queue)).await;
        let text = format!("NOT_FOUND - no queue '{queue}' in vhost '/'");
        raw.refused(outcome, 404, method::QUEUE_DECLARE, &text)
            .await;
    }
    let outcome = raw
        .channel
        .declare_exchange(passive_exchange(&transient))
        .await;
    // Since 4.3 RabbitMQ stores every exchange as a durable one, so transient ones survive.
    let stays = fixture.version() >= Version::V4_3;
    if stays {
        outcome.unwrap();
    } else {
        let text = format!("NOT_FOUND - no exchange '{transient}' in vhost '/'");
        raw.refused(outcome, 404, method::EXCHANGE_DECLARE, &text)
            .await;
    }
    raw.confirm_select().await;
    assert!(raw.has_queue(&auto).await);
    if stays {
        raw.put(&transient, "key", "through a transient exchange")
            .await;
        let kept = raw.drain(&durable).await;
        assert_eq!(kept, ["through a transient exchange"]);
    }
    raw.put(&durable, "key", "one way").await;
    let two_ways = Message {
        exchange: auto.as_str().try_into().unwrap(),
        ..message("", "key", "two ways")
    };
    raw.put_message(Publish::new(two_ways)).await;
    assert_eq!(raw.drain(&durable).await, ["one way", "two ways"]);
}

#[scenario(since = V4_3, alone)]
async fn hash_ring_is_kept(fixture: Fixture) {
    let mut bound = Bound::queues(&fixture, "zam").await;
    let x = fixture.name("x");
    bound
        .raw
        .declare_exchange(&x, ExchangeKind::ConsistentHash)
        .await;
    // The last one has no weight as long as the first one is there.
    for (name, weight) in [("z", "2"), ("a", "10"), ("m", "3"), ("z", "1")] {
        bound.raw.bind(&fixture.name(name), &x, weight).await;
    }
    let before = bound.places_of_keys(&x).await;

    fixture.control().restart().await;
    bound.raw.closes_connection(320, (0, 0), SHUTDOWN).await;

    let mut bound = Bound::queues(&fixture, "zam").await;
    assert_eq!(bound.places_of_keys(&x).await, before);
}

#[scenario(alone)]
async fn recent_history_is_kept_or_lost(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::RecentHistory).await;
    raw.put(&x, "", "a transient message").await;

    fixture.control().restart().await;
    raw.closes_connection(320, (0, 0), SHUTDOWN).await;

    let raw = fixture.raw().await;
    raw.declare(&q).await;
    raw.bind(&q, &x, "").await;
    let kept: &[&str] = if fixture.version() >= Version::V4_3 {
        &["a transient message"]
    } else {
        &[]
    };
    assert_eq!(raw.drain(&q).await, kept);
}
