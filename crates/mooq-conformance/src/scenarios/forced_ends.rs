//! Connections, queues and logins that an administrator or a bad network ends.

use mooq::Event;
use mooq::ExchangeKind::Direct;
use mooq_core::{ConnectionEvent, ErrorKind, ErrorScope};

use crate::Control;
use crate::Fixture;
use crate::raw::{Raw, body};
use crate::scenario;
use crate::steps::{processing, put, record};
use crate::within;

/// A channel on a connection of this name.
async fn named(fixture: &Fixture, name: &str) -> Raw {
    let options = fixture.options().name(name);
    fixture.raw_with(&options).await
}

#[scenario]
async fn a_connection_that_is_closed_by_force_hears_why(fixture: Fixture) {
    let (victim, other) = (fixture.name("victim"), fixture.name("other"));
    let mut raw = named(&fixture, &victim).await;
    let mut other = named(&fixture, &other).await;
    let control = fixture.control();
    control.close_connections(&victim, "maintenance").await;
    raw.closes_connection(320, (0, 0), "CONNECTION_FORCED - maintenance")
        .await;
    other.nothing_more().await;
}

#[scenario]
async fn a_connection_that_is_cut_ends_without_a_word(fixture: Fixture) {
    let victim = fixture.name("victim");
    let queue = fixture.name("queue");
    let mut raw = named(&fixture, &victim).await;
    raw.declare(&queue).await;
    raw.publish("", &queue, "body");
    raw.consume(&queue).await;
    assert_eq!(raw.delivered(1).await, ["body"]);

    fixture.control().drop_connections(&victim).await;
    let err = raw.closed().await;
    assert_eq!(err.kind(), ErrorKind::ConnectionLost, "{err}");
    assert_eq!(err.scope(), ErrorScope::Connection, "{err}");
    assert_eq!(err.reason(), None, "{err}");
    match raw.connection_event().await {
        ConnectionEvent::Closed(err) => assert_eq!(err.kind(), ErrorKind::ConnectionLost),
        other => panic!("expected the connection's end, not {other:?}"),
    }
    // The unacked delivery is requeued.
    let mut raw = fixture.raw().await;
    raw.consume(&queue).await;
    let delivery = raw.delivery().await;
    assert_eq!(
        (body(&delivery.message), delivery.redelivered),
        ("body", true)
    );
}

#[scenario]
async fn a_queue_that_is_deleted_from_outside_cancels_its_consumers(fixture: Fixture) {
    let queue = fixture.name("queue");
    let mut raw = fixture.raw().await;
    raw.declare(&queue).await;
    let tag = raw.consume(&queue).await;
    fixture.control().delete_queue(&queue).await;
    assert_eq!(raw.cancelled().await, tag);
    assert!(!raw.has_queue(&queue).await);
}

#[scenario]
async fn changed_password_keeps_new_connections_out(fixture: Fixture) {
    let user = fixture.name("user");
    let control = fixture.control();
    control.add_user(&user, "before").await;
    control.set_permissions(&user, [".*", ".*", ".*"]).await;
    let options = fixture.options().credentials(&user, "before");
    let mut raw = fixture.raw_with(&options).await;
    control.add_user(&user, "after").await;
    control.set_permissions(&user, [".*", ".*", ".*"]).await;

    let err = fixture.open(options.clone()).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AuthenticationFailed, "{err}");
    raw.nothing_more().await;
    let options = fixture.options().credentials(&user, "after");
    fixture.raw_with(&options).await;
}

/// Asserts that a service which consumes and publishes goes on once its connection has ended and
/// recovered.
async fn a_service_outlives(fixture: &Fixture, end: impl AsyncFnOnce(&dyn Control, &str)) {
    let (name, queue) = (fixture.name("service"), fixture.name("queue"));
    let options = fixture.options().name(name.as_str());
    let conn = fixture.open(options).await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), Direct)
        .queue(queue.as_str())
        .callback(recorder.callback())
        .await
        .unwrap();
    let (_other, publisher) = fixture.channel().await;
    put(&publisher, &queue, "before").await;
    assert_eq!(calls.next(&conn).await.msg, "before");

    let mut events = conn.events();
    end(fixture.control(), &name).await;
    // A publish before the service knows of the loss may fail.
    within("the loss", async {
        let mut next = async || events.next().await.expect("a connection that comes back");
        while !matches!(next().await, Event::Lost(_)) {}
    })
    .await;
    processing(&conn, "its publish", put(&chan, &queue, "own")).await;
    put(&publisher, &queue, "after").await;
    for expected in ["own", "after"] {
        let mut call = calls.next(&conn).await;
        // The ack of "before" may be lost, and the message redelivered.
        if call.msg == "before" && call.redelivered {
            call = calls.next(&conn).await;
        }
        assert_eq!(call.msg, expected);
    }
}

#[scenario]
async fn a_service_outlives_a_connection_that_is_closed_by_force(fixture: Fixture) {
    a_service_outlives(&fixture, async |control, name| {
        control.close_connections(name, "maintenance").await;
    })
    .await;
}

#[scenario]
async fn a_service_outlives_a_connection_that_is_cut(fixture: Fixture) {
    a_service_outlives(&fixture, async |control, name| {
        control.drop_connections(name).await;
    })
    .await;
}
