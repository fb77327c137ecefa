//! Messages that are lost or late between a client and its broker, and channels over a broker's
//! limit.

use std::time::{Duration, Instant};

use mooq::{Channel, Delivery, ErrorKind, Event, OnLoss};

use super::recovery::Victim;
use crate::expect::LIMIT;
use crate::line::{Disturbed, Line};
use crate::scenario;
use crate::steps::{drain, fill};
use crate::{Fixture, within};

/// Time limit of a publish while the connection does not come back.
const PATIENCE: Duration = Duration::from_secs(3);

/// Waits for the next message.
async fn next(chan: &Channel, queue: &str) -> Delivery<String> {
    chan.get(queue).timeout(LIMIT).await.unwrap()
}

impl Victim {
    /// Loses the connection to this disturbance, and waits for its recovery after the end.
    async fn survives(&mut self, trouble: Box<dyn Disturbed + '_>) {
        trouble.cut().await;
        let lost = |event: &Event| matches!(event, Event::Lost(_));
        self.events_until("the loss", lost).await;
        trouble.end();
        self.is_back().await;
    }
}

#[scenario]
async fn a_message_whose_confirm_is_lost_is_there_and_its_publisher_does_not_know(
    fixture: Fixture,
) {
    let line = Line::of(&fixture);
    let mut victim = Victim::connect_with(&fixture, line.options()).await;
    let queue = fixture.name("queue");
    victim.chan.declare_queue(&queue).await.unwrap();
    let trouble = line.lose_confirm();
    let publish = victim.chan.publish("", "body").routing_key(&queue);
    let confirmation = publish.send().await.unwrap();

    let (_conn, other) = fixture.channel().await;
    let message = next(&other, &queue).await;
    victim.survives(trouble).await;
    let err = within("the outcome", confirmation).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost, "{err}");
    assert_eq!(message.ack().await.unwrap(), "body");
    assert_eq!(drain(&victim.chan, &queue).await, [""; 0]);
}

#[scenario]
async fn a_message_that_is_sent_again_as_its_confirm_was_lost_is_there_twice(fixture: Fixture) {
    let line = Line::of(&fixture);
    let mut victim = Victim::connect_with(&fixture, line.options()).await;
    let queue = fixture.name("queue");
    victim.chan.declare_queue(&queue).await.unwrap();
    let trouble = line.lose_confirm();
    let publish = victim.chan.publish("", "body").routing_key(&queue);
    let confirmation = publish.on_loss(OnLoss::Resend).send().await.unwrap();

    let (_conn, other) = fixture.channel().await;
    let first = next(&other, &queue).await;
    victim.survives(trouble).await;
    within("the confirm", confirmation).await.unwrap();
    let second = next(&other, &queue).await;
    for message in [first, second] {
        assert!(
            !message.redelivered,
            "a duplicate is not marked as redelivered"
        );
        assert_eq!(message.ack().await.unwrap(), "body");
    }
}

#[scenario]
async fn a_message_that_was_sent_is_not_called_unsent_when_it_cannot_be_sent_again(
    fixture: Fixture,
) {
    let line = Line::of(&fixture);
    let mut victim = Victim::connect_with(&fixture, line.options()).await;
    let queue = fixture.name("queue");
    victim.chan.declare_queue(&queue).await.unwrap();
    let (_conn, other) = fixture.channel().await;
    let trouble = line.lose_confirm();
    let refusing = line.refuse_connections();
    let publish = victim.chan.publish("", "body").routing_key(&queue);
    let publish = publish.on_loss(OnLoss::Resend).timeout(PATIENCE);
    let confirmation = publish.send().await.unwrap();

    let message = next(&other, &queue).await;
    trouble.cut().await;
    let err = within("the outcome", confirmation).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::TimedOut, "{err}");
    let text = err.to_string();
    assert!(text.contains("the broker may have"), "{text}");
    assert!(!text.contains("the message was not sent"), "{text}");
    drop(refusing);
    trouble.end();
    victim.is_back().await;
    assert_eq!(message.ack().await.unwrap(), "body");
    assert_eq!(drain(&victim.chan, &queue).await, [""; 0]);
}

#[scenario]
async fn a_message_whose_acknowledgement_is_lost_comes_again(fixture: Fixture) {
    let line = Line::of(&fixture);
    let mut victim = Victim::connect_with(&fixture, line.options()).await;
    let queue = fixture.name("queue");
    fill(&victim.chan, &queue, &["body"]).await;
    let message = next(&victim.chan, &queue).await;
    assert!(!message.redelivered);
    let trouble = line.lose_ack();
    // The ack has no answer, so the client cannot know that it is lost.
    assert_eq!(message.ack().await.unwrap(), "body");
    victim.survives(trouble).await;

    let message = next(&victim.chan, &queue).await;
    assert!(message.redelivered);
    assert_eq!(message.ack().await.unwrap(), "body");
    assert_eq!(drain(&victim.chan, &queue).await, [""; 0]);
}

#[scenario]
async fn slow_line_delays_confirms_and_a_publish_ends_at_its_deadline(fixture: Fixture) {
    let line = Line::of(&fixture);
    let victim = Victim::connect_with(&fixture, line.options()).await;
    let queue = fixture.name("queue");
    victim.chan.declare_queue(&queue).await.unwrap();
    let publish = |body: &'static str| victim.chan.publish("", body).routing_key(&queue);

    let delay = Duration::from_millis(500);
    let slow = line.slow(delay);
    let began = Instant::now();
    publish("confirmed").await.unwrap();
    assert!(began.elapsed() >= delay, "{:?}", began.elapsed());
    slow.end();

    // So slow that no confirm comes before the deadline, however busy the machine is.
    let slow = line.slow(10 * LIMIT);
    let unknown = publish("unknown").timeout(delay / 5).await;
    let err = unknown.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::TimedOut, "{err}");
    slow.end();
    // The message was in flight, and has arrived all the same.
    let (_conn, other) = fixture.channel().await;
    for body in ["confirmed", "unknown"] {
        let message = next(&other, &queue).await;
        assert_eq!(message.ack().await.unwrap(), body);
    }
}

#[scenario]
async fn channel_over_the_limit_costs_the_connection_which_recovers_without_it(fixture: Fixture) {
    let name = fixture.name("victim");
    let control = fixture.control();
    control.add_user(&name, "secret").await;
    control.set_permissions(&name, [".*", ".*", ".*"]).await;
    let options = fixture.options().credentials(&name, "secret");
    let mut victim = Victim::connect_with(&fixture, options).await;
    let queue = fixture.name("queue");
    fill(&victim.chan, &queue, &["before"]).await;

    let limit = control.limit_channels(&name, 1).await;
    let err = victim.conn.create_channel().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotAllowed, "{err}");
    assert_eq!(err.reason().map(|reason| reason.code), Some(530), "{err}");
    victim.is_back().await;
    assert_eq!(drain(&victim.chan, &queue).await, ["before"]);

    limit.end().await;
    victim.conn.create_channel().await.unwrap();
}

#[scenario]
async fn the_first_connect_waits_for_a_broker_that_is_not_there_yet(fixture: Fixture) {
    let line = Line::of(&fixture);
    let down = line.down();
    let waiting = line.options().wait_for_broker(LIMIT);
    let connecting = tokio::spawn(mooq::Connection::open(
        fixture.broker().transport(),
        waiting,
    ));
    // A connect that does not wait fails meanwhile.
    let refused = fixture.open(line.options()).await;
    let err = refused.expect_err("the broker is not there");
    assert_eq!(err.kind(), ErrorKind::ConnectFailed, "{err}");
    down.end();
    let conn = within("the connection", connecting).await.unwrap().unwrap();
    conn.close().await.unwrap();
}

#[scenario]
async fn the_first_connect_waits_no_longer_than_it_may_and_not_for_a_login(fixture: Fixture) {
    let line = Line::of(&fixture);
    let down = line.down();
    let waiting = line.options().wait_for_broker(Duration::from_millis(200));
    let err = within("the end", fixture.open(waiting)).await;
    let err = err.expect_err("the broker is not there");
    assert_eq!(err.kind(), ErrorKind::ConnectFailed, "{err}");
    assert!(err.to_string().contains("within 200ms"), "{err}");
    down.end();
    let wrong = line.options().credentials("guest", "wrong");
    let wrong = wrong.wait_for_broker(Duration::from_secs(3_600));
    let err = within("the refusal", fixture.open(wrong)).await;
    let err = err.expect_err("the password is wrong");
    assert_eq!(err.kind(), ErrorKind::AuthenticationFailed, "{err}");
}
