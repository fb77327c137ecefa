//! A broker that is down or frozen for a while.

use std::sync::Arc;
use std::time::Duration;

use mooq::Event;
use mooq_core::ErrorKind;

use crate::raw::queue;
use crate::scenario;
use crate::steps::drain;
use crate::{Fixture, within};

const SHUTDOWN: &str =
    "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'";

#[scenario(alone)]
async fn connections_are_refused_while_the_broker_is_down(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let down = fixture.control().stop().await;
    raw.closes_connection(320, (0, 0), SHUTDOWN).await;
    let err = fixture.open(fixture.options()).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectFailed, "{err}");
    down.end().await;
    fixture.raw().await;
}

#[scenario(alone)]
async fn frozen_broker_answers_pending_calls_when_it_goes_on(fixture: Fixture) {
    let raw = fixture.raw().await;
    let name = fixture.name("queue");
    let frozen = fixture.control().freeze().await;
    let channel = Arc::clone(&raw.channel);
    let declare = queue(&name);
    let mut declaring = tokio::spawn(async move { channel.declare_queue(declare).await });
    let moment = Duration::from_millis(300);
    let early = tokio::time::timeout(moment, &mut declaring).await;
    assert!(early.is_err(), "nothing is answered: {early:?}");
    frozen.end().await;
    let declared = within("the answer", declaring).await.unwrap();
    assert_eq!(declared.unwrap().name, name.as_str());
}

#[scenario(alone)]
async fn a_login_at_a_frozen_broker_lasts_as_long_as_the_client_waits(fixture: Fixture) {
    let frozen = fixture.control().freeze().await;
    let options = fixture
        .options()
        .connect_timeout(Duration::from_millis(300));
    let err = fixture.open(options).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectFailed, "{err}");
    assert!(err.to_string().contains("within 300ms"), "{err}");
    frozen.end().await;
    fixture.raw().await;
}

#[scenario(alone)]
async fn a_publish_waits_for_a_broker_that_comes_back(fixture: Fixture) {
    let queue = fixture.name("queue");
    let (conn, chan) = fixture.channel().await;
    chan.declare_queue(queue.as_str()).await.unwrap();
    let mut events = conn.events();
    let down = fixture.control().stop().await;
    // A publish that was sent before the client knows of the loss may be lost.
    let lost = async { while !matches!(events.next().await, Some(Event::Lost(_))) {} };
    within("the loss", lost).await;
    let publishing = {
        let (chan, queue) = (chan.clone(), queue.clone());
        tokio::spawn(async move { chan.publish("", "body").routing_key(queue).await })
    };
    down.end().await;
    within("the publish", publishing).await.unwrap().unwrap();
    assert_eq!(drain(&chan, &queue).await, ["body"]);
}

#[scenario(alone)]
async fn a_call_at_a_frozen_broker_ends_at_its_deadline_and_the_next_is_answered(fixture: Fixture) {
    let options = fixture.options().timeout(Duration::from_secs(1));
    let conn = fixture.open(options).await.unwrap();
    let chan = answered(|| conn.create_channel()).await;
    let queue = fixture.name("queue");
    let frozen = fixture.control().freeze().await;
    let err = chan.declare_queue(queue.as_str()).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::TimedOut, "{err}");
    frozen.end().await;
    // No call was lost: the broker handled them late.
    answered(|| chan.declare_queue(queue.as_str()).passive()).await;
}

/// Repeats a call until the broker answers: on a busy machine a call may time out first.
async fn answered<T, C>(call: impl Fn() -> C) -> T
where
    C: IntoFuture<Output = mooq::Result<T>>,
{
    let answer = async {
        loop {
            match call().await {
                Err(err) if err.kind() == ErrorKind::TimedOut => {}
                answer => return answer.unwrap(),
            }
        }
    };
    within("an answer", answer).await
}
