//! Memory and disk alarms: the broker stops reading from publishers until the alarm ends.

use std::sync::Arc;

use mooq_core::{Publish, TransportChannel};
use mooq_memory::Alarm;
use tokio::task::JoinHandle;

use crate::expect::{expect_reason, method};
use crate::raw::{Raw, message, passive_queue, quorum_queue};
use crate::scenario;
use crate::{Fixture, within};

/// Starts a call on the channel.
fn asking(raw: &Raw, queue: &str) -> JoinHandle<u32> {
    let (channel, declare) = (Arc::clone(&raw.channel), passive_queue(queue));
    tokio::spawn(async move { ask(&*channel, declare).await })
}

async fn ask(channel: &dyn TransportChannel, declare: mooq_core::QueueDeclare) -> u32 {
    let declared = channel.declare_queue(declare).await;
    declared.expect("the queue exists").message_count
}

/// Blocks the publisher by a message to `queue`. The message waits, and so does the publisher's
/// call.
async fn blocked(publisher: &mut Raw, other: &mut Raw, queue: &str) -> JoinHandle<u32> {
    publisher.publish("", queue, "first");
    let answer = asking(publisher, queue);
    // Connections that do not publish are served, and see that no message comes.
    for _ in 0..3 {
        other.nothing_from(queue).await;
    }
    assert!(
        publisher.events.try_recv().is_none(),
        "no confirm comes during the alarm"
    );
    assert!(!answer.is_finished());
    answer
}

async fn publish_during(alarm: Alarm, fixture: &Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut other = fixture.raw().await;
    let queue = fixture.name("queue");
    other.declare(&queue).await;
    let alarm = fixture.control().raise_alarm(alarm).await;
    let answer = blocked(&mut publisher, &mut other, &queue).await;
    publisher.publish("", &queue, "second");
    alarm.end().await;
    within("the answer", answer).await.unwrap();
    // One confirm may cover both messages.
    let mut confirmed = publisher.confirmed().await;
    if confirmed == 1 {
        confirmed = publisher.confirmed().await;
    }
    assert_eq!(confirmed, 2);
    assert_eq!(other.drain(&queue).await, ["first", "second"]);
}

#[scenario(alone)]
async fn publish_during_a_memory_alarm_waits_for_its_end(fixture: Fixture) {
    publish_during(Alarm::Memory, &fixture).await;
}

#[scenario(alone)]
async fn publish_during_a_disk_alarm_waits_for_its_end(fixture: Fixture) {
    publish_during(Alarm::Disk, &fixture).await;
}

#[scenario(alone)]
async fn a_connection_stays_blocked_until_the_last_alarm_ends(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut other = fixture.raw().await;
    let queue = fixture.name("queue");
    other.declare(&queue).await;
    let control = fixture.control();
    let memory = control.raise_alarm(Alarm::Memory).await;
    let disk = control.raise_alarm(Alarm::Disk).await;
    let answer = blocked(&mut publisher, &mut other, &queue).await;
    memory.end().await;
    other.nothing_from(&queue).await;
    assert!(!answer.is_finished());
    disk.end().await;
    within("the answer", answer).await.unwrap();
    assert_eq!(publisher.confirmed().await, 1);
}

#[scenario(alone)]
async fn consuming_connection_goes_on_during_an_alarm(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut consumer = fixture.raw().await;
    let queue = fixture.name("queue");
    consumer.declare(&queue).await;
    publisher.fill(&queue, &["1", "2", "3"]).await;
    let alarm = fixture.control().raise_alarm(Alarm::Memory).await;
    consumer.prefetch(1).await;
    consumer.consume(&queue).await;
    for body in ["1", "2", "3"] {
        let delivery = consumer.delivery().await;
        assert_eq!(crate::raw::text(&delivery), body);
        consumer.ack(delivery.delivery_tag);
    }
    assert_eq!(consumer.counts(&queue).await, (0, 1));
    alarm.end().await;
}

#[scenario(alone)]
async fn empty_message_is_taken_during_an_alarm(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut other = fixture.raw().await;
    let queue = fixture.name("queue");
    other.declare(&queue).await;
    let alarm = fixture.control().raise_alarm(Alarm::Memory).await;
    publisher.publish("", &queue, "");
    assert_eq!(publisher.confirmed().await, 1);
    assert_eq!(other.drain(&queue).await, [""]);
    let answer = blocked(&mut publisher, &mut other, &queue).await;
    alarm.end().await;
    within("the answer", answer).await.unwrap();
    assert_eq!(publisher.confirmed().await, 2);
}

#[scenario(alone)]
async fn publish_that_closes_the_channel_does_so_after_the_alarm(fixture: Fixture) {
    let mut publisher = fixture.raw().await;
    let mut other = fixture.raw().await;
    let (queue, missing) = (fixture.name("queue"), fixture.name("missing"));
    other.declare(&queue).await;
    let alarm = fixture.control().raise_alarm(Alarm::Memory).await;
    publisher.send(Publish::new(message(&missing, "key", "body")));
    publisher.publish("", &queue, "too late");
    other.nothing_from(&queue).await;
    assert!(publisher.events.try_recv().is_none());
    alarm.end().await;
    let text = format!("NOT_FOUND - no exchange '{missing}' in vhost '/'");
    publisher.closes(404, method::BASIC_PUBLISH, &text).await;
    assert_eq!(other.drain(&queue).await, [""; 0]);
}

/// During the alarm the broker does not read `channel.close-ok`, and quorum queues wait for that.
#[scenario(alone)]
async fn quorum_queues_see_a_failed_channel_end_after_the_alarm(fixture: Fixture) {
    let mut failing = fixture.raw().await;
    let mut other = fixture.publisher().await;
    let (classic, quorum) = (fixture.name("classic"), fixture.name("quorum"));
    other.declare(&classic).await;
    other.declare_with(quorum_queue(&quorum)).await;
    for queue in [&classic, &quorum] {
        other.fill(queue, &["delivered"]).await;
        failing.consume(queue).await;
        failing.delivery().await;
    }
    let alarm = fixture.control().raise_alarm(Alarm::Memory).await;
    // A message without a body is taken during the alarm.
    let missing = fixture.name("missing");
    failing.send(Publish::new(message(&missing, "key", "")));
    let text = format!("NOT_FOUND - no exchange '{missing}' in vhost '/'");
    expect_reason(&failing.closed().await, 404, method::BASIC_PUBLISH, &text);
    other.until_counts(&classic, (1, 0)).await;
    other.until_counts(&quorum, (0, 1)).await;
    alarm.end().await;
    other.until_counts(&quorum, (1, 0)).await;
}

#[scenario(alone)]
async fn alarm_without_a_publish_changes_nothing(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let queue = fixture.name("queue");
    let alarm = fixture.control().raise_alarm(Alarm::Disk).await;
    publisher.declare(&queue).await;
    alarm.end().await;
    publisher.fill(&queue, &["body"]).await;
    assert_eq!(publisher.drain(&queue).await, ["body"]);
}
