//! Permission caches: a channel keeps revoked permissions until it hibernates.

use mooq_core::{ChannelEvent, ExchangeKind};

use super::permissions::{EVERYTHING, NOTHING, refusal, refused, topic_refusal, user};
use crate::expect::method;
use crate::raw::{Raw, passive_queue, queue};
use crate::scenario;
use crate::{Fixture, expect_reason, within};

/// Idle times after which a channel is sure to hibernate, in milliseconds. A channel that
/// hibernated before stays awake for longer, so longer times are tried in turn.
const ASLEEP: [u32; 4] = [3_000, 10_000, 30_000, 90_000];

/// Repeats an attempt until a channel has kept its permissions. On a busy machine a channel may be
/// idle for a second between any two calls, and hibernate.
async fn until_kept<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let tried = async {
        loop {
            if let Some(outcome) = attempt().await {
                return outcome;
            }
        }
    };
    within("a channel that keeps its permissions", tried).await
}

impl Raw {
    /// Returns true if the broker confirms a message, false if it closes the channel.
    async fn may_publish(&mut self, exchange: &str, key: &str) -> bool {
        self.publish(exchange, key, "body");
        match self.event().await {
            ChannelEvent::Confirm { .. } => true,
            ChannelEvent::Closed(_) => false,
            other => panic!("expected a confirm or the channel's close, not {other:?}"),
        }
    }

    async fn may_declare(&self, name: &str) -> bool {
        self.channel.declare_queue(queue(name)).await.is_ok()
    }

    async fn may_ask_for(&self, name: &str) -> bool {
        let asked = self.channel.declare_queue(passive_queue(name));
        asked.await.is_ok()
    }

    async fn may_purge(&self, queue: &str) -> bool {
        let purged = self.channel.purge_queue(queue.try_into().unwrap());
        purged.await.is_ok()
    }
}

#[scenario]
async fn a_permission_that_was_used_is_kept_by_its_channel(fixture: Fixture) {
    let (user, raw) = user(&fixture, EVERYTHING).await;
    let queue = fixture.name("queue");
    raw.declare(&queue).await;
    let control = fixture.control();
    until_kept(async || {
        control.set_permissions(&user, EVERYTHING).await;
        let mut busy = raw.sibling().await;
        busy.confirm_select().await;
        busy.put("", &queue, "body").await;
        control.set_permissions(&user, NOTHING).await;
        busy.may_publish("", &queue).await.then_some(())
    })
    .await;
    let mut other = raw.sibling().await;
    other.publish("", &queue, "body");
    let text = refusal(&fixture, "write", "exchange", "amq.default", &user);
    other.closes(403, method::BASIC_PUBLISH, &text).await;
}

#[scenario]
async fn a_permission_that_was_used_is_gone_when_its_channel_has_slept(fixture: Fixture) {
    fixture.control().hurry_time();
    let (user, raw) = user(&fixture, EVERYTHING).await;
    let queue = fixture.name("queue");
    raw.declare(&queue).await;
    let (control, clock) = (fixture.control(), fixture.raw().await);
    for millis in ASLEEP {
        control.set_permissions(&user, EVERYTHING).await;
        let mut idle = raw.sibling().await;
        idle.confirm_select().await;
        idle.put("", &queue, "body").await;
        control.set_permissions(&user, NOTHING).await;
        clock.outlast(millis).await;
        idle.publish("", &queue, "body");
        match idle.event().await {
            ChannelEvent::Confirm { .. } => {} // The channel has not hibernated.
            ChannelEvent::Closed(err) => {
                let text = refusal(&fixture, "write", "exchange", "amq.default", &user);
                expect_reason(&err, 403, method::BASIC_PUBLISH, &text);
                return;
            }
            other => panic!("expected a confirm or the channel's close, not {other:?}"),
        }
    }
    panic!("an idle channel still keeps its permission");
}

#[scenario]
async fn the_latest_twelve_permissions_are_kept(fixture: Fixture) {
    let (user, raw) = user(&fixture, EVERYTHING).await;
    let queues = (0..=12).map(|n| fixture.name(&format!("queue-{n}")));
    let queues: Vec<_> = queues.collect();
    let (first, others) = queues.split_first().unwrap();
    let (last, all_but_last) = queues.split_last().unwrap();
    let control = fixture.control();
    let is_first_kept = until_kept(async || {
        control.set_permissions(&user, EVERYTHING).await;
        let busy = raw.sibling().await;
        for queue in all_but_last {
            busy.declare(queue).await;
        }
        // Using a permission again does not make it younger.
        busy.declare(first).await;
        busy.declare(last).await;
        control.set_permissions(&user, NOTHING).await;
        for queue in others {
            if !busy.may_declare(queue).await {
                return None;
            }
        }
        Some(busy.may_declare(first).await)
    })
    .await;
    assert!(!is_first_kept);
}

#[scenario]
async fn routing_keys_that_were_used_are_kept_apart(fixture: Fixture) {
    let (user, raw) = user(&fixture, EVERYTHING).await;
    let topic = fixture.name("topic");
    raw.declare_exchange(&topic, ExchangeKind::Topic).await;
    let keys: Vec<_> = (0..=12).map(|n| format!("key.{n}")).collect();
    let control = fixture.control();
    let refused = until_kept(async || {
        control.set_permissions(&user, EVERYTHING).await;
        control
            .set_topic_permissions(&user, &topic, ".*", ".*")
            .await;
        let mut busy = raw.sibling().await;
        busy.confirm_select().await;
        for key in &keys {
            busy.put(&topic, key, "body").await;
        }
        // The exchange's permission was used before all of these, and is kept nevertheless.
        control.set_permissions(&user, NOTHING).await;
        control
            .set_topic_permissions(&user, &topic, "^$", "^$")
            .await;
        for key in &keys[1..] {
            if !busy.may_publish(&topic, key).await {
                return None;
            }
        }
        busy.publish(&topic, &keys[0], "body");
        let refused = busy.closed().await;
        // A channel that has hibernated since has lost the exchange's permission too.
        let of_topic = |text: &str| text.contains("to topic");
        let reason = refused.reason().map(|reason| of_topic(&reason.text));
        reason?.then_some(refused)
    })
    .await;
    let text = topic_refusal(&fixture, "write", &keys[0], &topic, &user);
    expect_reason(&refused, 403, method::BASIC_PUBLISH, &text);
}

#[scenario(since = V4_2)]
async fn passive_declare_finds_any_permission_that_was_used(fixture: Fixture) {
    let (user, raw) = user(&fixture, EVERYTHING).await;
    let queue = fixture.name("queue");
    raw.declare(&queue).await;
    let control = fixture.control();
    let may_declare = until_kept(async || {
        control.set_permissions(&user, EVERYTHING).await;
        let (reader, asker) = (raw.sibling().await, raw.sibling().await);
        assert!(reader.may_purge(&queue).await);
        assert!(asker.may_ask_for(&queue).await);
        control.set_permissions(&user, NOTHING).await;
        let asked = reader.may_ask_for(&queue).await;
        // A passive declare checks the read permission first.
        let read = asker.may_purge(&queue).await;
        let declared = asker.may_declare(&queue).await;
        (asked && read).then_some(declared)
    })
    .await;
    assert!(!may_declare);
    let mut other = raw.sibling().await;
    let outcome = other.channel.declare_queue(passive_queue(&queue)).await;
    let text = refusal(&fixture, "configure", "queue", &queue, &user);
    refused(&mut other, outcome, method::QUEUE_DECLARE, text).await;
}
