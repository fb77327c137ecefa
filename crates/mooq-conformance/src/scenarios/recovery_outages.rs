//! Connections whose broker is down for a while.

use std::time::Duration;

use futures_util::FutureExt;
use mooq::{ErrorKind, Event, Recovery, WhileDisconnected};
use mooq_memory::Alarm;

use super::recovery::Victim;
use crate::scenario;
use crate::steps::{drain, ready_in};
use crate::{Fixture, within};

async fn loss(victim: &Victim) {
    let mut state = victim.conn.state();
    within("the loss", state.wait_for(|state| !state.is_connected()))
        .await
        .unwrap();
}

#[scenario(alone)]
async fn a_publish_after_a_loss_waits_for_the_connection(fixture: Fixture) {
    let victim = Victim::connect(&fixture).await;
    let queue = fixture.name("queue");
    victim.chan.declare_queue(&queue).await.unwrap();
    let down = fixture.control().stop().await;
    loss(&victim).await;
    let mut confirmations = Vec::new();
    for number in ["1", "2", "3"] {
        let publish = victim.chan.publish("", number).routing_key(&queue);
        confirmations.push(publish.send().await.unwrap());
    }
    let unconfirmed = victim.chan.publish("", "4").routing_key(&queue);
    unconfirmed.unconfirmed().await.unwrap();
    assert_eq!(victim.chan.unconfirmed_count(), 4);
    down.end().await;
    for confirmation in confirmations {
        within("the confirm", confirmation).await.unwrap();
    }
    victim.chan.wait_for_confirms().await.unwrap();
    // The messages are in the order of their publishes.
    assert_eq!(drain(&victim.chan, &queue).await, ["1", "2", "3", "4"]);
}

#[scenario(alone)]
async fn a_publish_whose_deadline_passes_before_the_connection_is_back_is_never_sent(
    fixture: Fixture,
) {
    let victim = Victim::connect(&fixture).await;
    let queue = fixture.name("queue");
    victim.chan.declare_queue(&queue).await.unwrap();
    let down = fixture.control().stop().await;
    loss(&victim).await;
    let late = victim.chan.publish("", "late").routing_key(&queue);
    let err = late.timeout(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::TimedOut);
    assert!(err.to_string().contains("was not sent"), "{err}");
    down.end().await;
    // Waits for the connection.
    assert_eq!(ready_in(&victim.chan, &queue).await, 0);
}

#[scenario(alone)]
async fn a_publish_can_fail_at_once_instead(fixture: Fixture) {
    let options = fixture
        .options()
        .while_disconnected(WhileDisconnected::Fail);
    let mut victim = Victim::connect_with(&fixture, options).await;
    let queue = fixture.name("queue");
    victim.chan.declare_queue(&queue).await.unwrap();
    let down = fixture.control().stop().await;
    loss(&victim).await;
    let publish = victim.chan.publish("", "lost").routing_key(&queue);
    let err = publish.await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    let err = victim.chan.declare_queue(&queue).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    down.end().await;
    victim.is_back().await;
    assert_eq!(ready_in(&victim.chan, &queue).await, 0);
}

#[scenario(alone)]
async fn publishes_waiting_for_the_connection_are_bounded(fixture: Fixture) {
    let options = fixture.options().publish_buffer(10_000);
    let victim = Victim::connect_with(&fixture, options).await;
    let queue = fixture.name("queue");
    victim.chan.declare_queue(&queue).await.unwrap();
    let down = fixture.control().stop().await;
    loss(&victim).await;
    let body = "x".repeat(4_000);
    let mut waiting = Vec::new();
    let err = loop {
        match victim
            .chan
            .publish("", &body)
            .routing_key(&queue)
            .send()
            .await
        {
            Ok(confirmation) => waiting.push(confirmation),
            Err(err) => break err,
        }
    };
    assert_eq!(err.kind(), ErrorKind::BufferFull);
    assert_eq!(waiting.len(), 2);
    down.end().await;
    for confirmation in waiting {
        within("the confirm", confirmation).await.unwrap();
    }
    assert_eq!(ready_in(&victim.chan, &queue).await, 2);
}

#[scenario(alone)]
async fn a_connection_that_gives_up_says_why(fixture: Fixture) {
    let limit = Duration::from_millis(300);
    let recovery = Recovery::new().give_up_after(limit);
    let victim = Victim::connect_with(&fixture, fixture.options().recovery(recovery)).await;
    let down = fixture.control().stop().await;
    let publish = victim.chan.publish("", "lost");
    let err = within("the outcome", publish).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    let reason = within("the end", victim.conn.closed()).await;
    assert_eq!(reason.kind(), ErrorKind::ConnectionLost);
    assert!(reason.to_string().contains("not back within"), "{reason}");
    let err = victim.conn.create_channel().await.unwrap_err();
    assert_eq!(err.to_string(), reason.to_string());
    down.end().await;
}

#[scenario(alone)]
async fn a_connection_can_be_closed_while_it_is_lost(fixture: Fixture) {
    let victim = Victim::connect(&fixture).await;
    let down = fixture.control().stop().await;
    loss(&victim).await;
    let publish = victim.chan.publish("", "lost").send().await;
    within("the close", victim.conn.close()).await.unwrap();
    let err = publish.unwrap().await.unwrap_err();
    let ends = [ErrorKind::ConnectionClosed, ErrorKind::ConnectionLost];
    assert!(ends.contains(&err.kind()), "{err}");
    let reason = victim.conn.closed().await;
    assert_eq!(reason.kind(), ErrorKind::ConnectionClosed);
    down.end().await;
}

#[scenario(alone)]
async fn a_publish_during_an_alarm_ends_by_its_deadline_and_says_what_is_known(fixture: Fixture) {
    let victim = Victim::connect(&fixture).await;
    let queue = fixture.name("queue");
    victim.chan.declare_queue(&queue).await.unwrap();
    let mut events = victim.conn.events();
    let alarm = fixture.control().raise_alarm(Alarm::Memory).await;
    let publish = victim.chan.publish("", "late").routing_key(&queue);
    let err = publish
        .timeout(Duration::from_millis(500))
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::TimedOut);
    if fixture.broker().announces_alarms() {
        let known = "the broker has blocked the connection: low on memory";
        assert!(err.to_string().contains(known), "{err}");
        let event = within("the event", events.next()).await;
        assert!(matches!(event, Some(Event::Blocked(_))), "{event:?}");
    } else {
        let known = "is not told of its alarms";
        assert!(err.to_string().contains(known), "{err}");
        assert!(events.next().now_or_never().is_none(), "there is no event");
    }
    alarm.end().await;
    // The broker takes the messages that it was sent.
    victim.chan.wait_for_confirms().await.unwrap();
    assert_eq!(ready_in(&victim.chan, &queue).await, 1);
}
