//! Closing connections and channels, with the deliveries and queues that they hold.

use std::future::IntoFuture;

use mooq::{Channel, Connection, Delivery, Error, ErrorKind, ErrorScope};

use crate::Fixture;
use crate::expect::LIMIT;
use crate::scenario;
use crate::steps::{fill, put, ready_in, record};

#[scenario]
async fn closing_a_connection_twice_is_no_error(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    conn.close().await.unwrap();
    conn.close().await.unwrap();
    chan.close().await.unwrap();
    assert!(!conn.is_open());
}

#[scenario]
async fn closing_a_channel_twice_is_no_error(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    chan.close().await.unwrap();
    chan.close().await.unwrap();
    assert!(conn.is_open());
    conn.create_channel().await.unwrap();
}

#[scenario]
async fn closing_a_channel_that_the_broker_closed_is_no_error(fixture: Fixture) {
    let (_conn, chan) = fixture.channel_without_recovery().await;
    let missing = fixture.name("missing");
    chan.publish(&missing, "lost").await.unwrap_err();
    chan.close().await.unwrap();
    // The channel keeps its first close reason.
    let err = chan.publish("", "late").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ExchangeNotFound);
}

#[scenario]
async fn closed_returns_the_reason_of_the_connections_end(fixture: Fixture) {
    let conn = fixture.connect().await;
    let closing = conn.clone();
    let (reason, closed) = tokio::join!(
        crate::within("the connection's end", conn.closed()),
        closing.close()
    );
    closed.unwrap();
    assert_eq!(reason.kind(), ErrorKind::ConnectionClosed);
    assert_eq!(reason.scope(), ErrorScope::Connection);
    assert_eq!(conn.closed().await.kind(), ErrorKind::ConnectionClosed);
}

#[scenario]
async fn closed_connection_is_the_error_of_every_call(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    conn.close().await.unwrap();
    let err = conn.create_channel().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionClosed);
    every_call_fails(&fixture, &chan, |call, err| {
        assert_eq!(err.kind(), ErrorKind::ConnectionClosed, "{call}: {err:?}");
        assert_eq!(err.scope(), ErrorScope::Connection, "{call}");
    })
    .await;
}

#[scenario]
async fn closed_channel_is_the_error_of_every_call(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    chan.close().await.unwrap();
    every_call_fails(&fixture, &chan, |call, err| {
        assert_eq!(err.kind(), ErrorKind::ChannelClosed, "{call}: {err:?}");
        assert_eq!(err.scope(), ErrorScope::Channel, "{call}");
    })
    .await;
    let other = conn.create_channel().await.unwrap();
    other.declare_queue(fixture.name("queue")).await.unwrap();
}

#[scenario]
async fn channel_error_is_repeated_by_every_call(fixture: Fixture) {
    let (_conn, chan) = fixture.channel_without_recovery().await;
    let missing = fixture.name("missing");
    let cause = chan.publish(&missing, "lost").await.unwrap_err();
    every_call_fails(&fixture, &chan, |call, err| {
        assert_eq!(err.kind(), ErrorKind::ExchangeNotFound, "{call}: {err:?}");
        assert_eq!(err.reason(), cause.reason(), "{call}");
    })
    .await;
}

/// Runs `expect` on the error of every kind of call on a closed channel.
async fn every_call_fails(fixture: &Fixture, chan: &Channel, expect: impl Fn(&str, Error)) {
    let (queue, exchange) = (fixture.name("queue"), fixture.name("exchange"));
    let (recorder, _calls) = record::<String>();
    let publish = chan.publish("", "late");
    expect("publish", publish.await.unwrap_err());
    let send = chan.publish("", "late").send();
    expect("send", send.await.unwrap_err());
    let now = chan.publish("", "late").publish_now();
    expect("publish_now", now.unwrap_err());
    let declare = chan.declare_exchange(&exchange, "direct");
    expect("register_producer", declare.await.unwrap_err());
    let declare = chan.declare_queue(&queue);
    expect("declare_queue", declare.await.unwrap_err());
    let bind = chan.bind_queue(&queue, &exchange, "");
    expect("bind_queue", bind.await.unwrap_err());
    let consume = chan.consume::<String>(&queue);
    expect("consume", consume.await.unwrap_err());
    let get = chan.get::<String>(&queue);
    expect("get", get.await.unwrap_err());
    let get = chan.get::<String>(&queue).timeout(LIMIT);
    expect("get with a timeout", get.await.unwrap_err());
    let purge = chan.purge_queue(&queue);
    expect("purge_queue", purge.await.unwrap_err());
    let delete = chan.delete_queue(&queue);
    expect("delete_queue", delete.await.unwrap_err());
    let delete = chan.delete_exchange(&exchange);
    expect("delete_exchange", delete.await.unwrap_err());
    let register = chan
        .register_consumer(&exchange, "direct")
        .callback(recorder.callback());
    expect("register_consumer", register.await.unwrap_err());
}

#[scenario]
async fn a_connection_ends_though_its_own_callback_holds_the_last_handle(fixture: Fixture) {
    let (conn, chan) = fixture.channel_without_recovery().await;
    let (held, dropped) = tokio::sync::oneshot::channel::<()>();
    let held = std::sync::Arc::new((chan.clone(), held));
    chan.register_consumer(fixture.name("exchange"), "direct")
        .callback(move |_: Delivery<String>| {
            let held = std::sync::Arc::clone(&held);
            async move { drop(held) }
        })
        .await
        .unwrap();
    let missing = fixture.name("missing");
    chan.publish(&missing, "lost").unconfirmed().await.unwrap();
    drop((chan, conn));
    // The broker closes the channel: the callback is dropped, and the connection with it.
    crate::within("the callback's end", dropped)
        .await
        .unwrap_err();
}

#[scenario]
async fn a_connection_whose_runtime_has_ended_is_lost(fixture: Fixture) {
    let options = fixture.options();
    let open = move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(async {
            let conn = fixture.open(options).await.unwrap();
            let chan = conn.create_channel().await.unwrap();
            (conn, chan)
        })
    };
    let (conn, chan) = tokio::task::spawn_blocking(open).await.unwrap();
    let publish = crate::within("the publish's end", chan.publish("", "late"));
    let err = publish.await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    assert_eq!(err.scope(), ErrorScope::Connection);
    assert!(!conn.is_open());
    let err = crate::within("the end of processing", conn.process_events())
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    let err = crate::within("the failure", conn.create_channel()).await;
    err.unwrap_err();
}

#[scenario]
async fn exclusive_queues_go_with_their_connection(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
    let (recorder, _calls) = record::<String>();
    let consumer = chan
        .register_consumer(&exchange, "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    chan.declare_queue(&queue).exclusive().await.unwrap();
    let named_by_the_broker = consumer.queue().to_string();
    conn.close().await.unwrap();
    for queue in [queue, named_by_the_broker] {
        let (_conn, other) = fixture.channel().await;
        let err = other.declare_queue(&queue).passive().await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::QueueNotFound);
        let text = format!("NOT_FOUND - no queue '{queue}' in vhost '/'");
        crate::expect_reason(&err, 404, (50, 10), &text);
    }
}

#[scenario]
async fn exclusive_queues_outlive_their_channel(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).exclusive().await.unwrap();
    put(&chan, &queue, "body").await;
    chan.close().await.unwrap();
    let other = conn.create_channel().await.unwrap();
    assert_eq!(other.get_one::<String>(&queue).await.unwrap().msg, "body");
}

#[scenario]
async fn an_exclusive_queue_is_locked_to_other_connections(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).exclusive().await.unwrap();
    let (_conn, other) = fixture.channel().await;
    let err = other.consume::<String>(&queue).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ResourceLocked);
    assert_eq!(err.reason().unwrap().code, 405);
    // Publishing to an exclusive queue is not locked.
    let (_conn, third) = fixture.channel().await;
    put(&third, &queue, "body").await;
    assert_eq!(chan.get_one::<String>(&queue).await.unwrap().msg, "body");
}

#[scenario]
async fn closing_a_connection_requeues_unsettled_deliveries(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["held", "acked"]).await;
    let held = chan.get_one::<String>(&queue).await.unwrap();
    let acked = chan.get_one::<String>(&queue).await.unwrap();
    acked.ack().await.unwrap();
    conn.close().await.unwrap();
    let err = held.ack().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionClosed);
    expect_only_held(&fixture, &queue).await;
}

#[scenario]
async fn closing_a_channel_requeues_unsettled_deliveries(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["held", "acked"]).await;
    let held = chan.get_one::<String>(&queue).await.unwrap();
    let acked = chan.get_one::<String>(&queue).await.unwrap();
    acked.ack().await.unwrap();
    chan.close().await.unwrap();
    let err = held.ack().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ChannelClosed);
    expect_only_held(&fixture, &queue).await;
}

/// Asserts that "held" is back in the queue, and nothing else in it.
async fn expect_only_held(fixture: &Fixture, queue: &str) {
    let (_conn, chan) = fixture.channel().await;
    let got = chan.get_one::<String>(queue).await.unwrap();
    assert_eq!((got.msg.as_str(), got.redelivered), ("held", true));
    assert_eq!(ready_in(&chan, queue).await, 0);
}

#[scenario]
async fn dropping_every_handle_closes_the_connection(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["kept safe"]).await;
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .manual_ack()
        .callback(recorder.callback())
        .await
        .unwrap();
    let held = calls.next(&conn).await;
    drop((conn, chan, held, calls));
    let (_conn, other) = fixture.channel().await;
    let got = other.get::<String>(&queue).timeout(LIMIT).await.unwrap();
    assert!(got.redelivered);
    assert_eq!(got.ack().await.unwrap(), "kept safe");
    until_consumers(&other, &queue, 0).await;
}

#[scenario]
async fn dropping_every_handle_of_a_channel_closes_it(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let other = conn.create_channel().await.unwrap();
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["kept safe"]).await;
    let mut stream = chan.consume::<String>(&queue).await.unwrap();
    drop(chan);
    let held = crate::within("the delivery", stream.next()).await;
    let held = held.unwrap().unwrap();
    drop((stream, held));
    let got = other.get::<String>(&queue).timeout(LIMIT).await.unwrap();
    assert_eq!(got.ack().await.unwrap(), "kept safe");
    until_consumers(&other, &queue, 0).await;
}

#[scenario]
async fn a_channel_keeps_its_connection_open(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    drop(conn);
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["body"]).await;
    assert_eq!(chan.get_one::<String>(&queue).await.unwrap().msg, "body");
}

#[scenario]
async fn clones_are_the_same_connection_and_the_same_channel(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (conn_clone, chan_clone) = (conn.clone(), chan.clone());
    chan_clone.close().await.unwrap();
    let err = chan.publish("", "late").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ChannelClosed);
    conn_clone.close().await.unwrap();
    assert!(!conn.is_open());
}

#[scenario]
async fn closing_a_connection_leaves_others_open(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (other_conn, other): (Connection, Channel) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let (recorder, mut calls) = record::<String>();
    other
        .register_consumer(&exchange, "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    chan.publish(&exchange, "before").await.unwrap();
    conn.close().await.unwrap();
    other.publish(&exchange, "after").await.unwrap();
    for body in ["before", "after"] {
        assert_eq!(calls.next(&other_conn).await.msg, body);
    }
}

#[scenario]
async fn waiting_calls_end_when_the_connection_closes(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let mut stream = chan.consume::<String>(&queue).await.unwrap();
    let get = chan.get::<String>(&queue).timeout(LIMIT);
    let get = tokio::spawn(get.into_future());
    until_consumers(&chan, &queue, 2).await;
    conn.close().await.unwrap();
    let end = crate::within("the stream's end", stream.next()).await;
    assert!(end.is_none());
    let got = crate::within("the end of the wait", get).await.unwrap();
    assert_eq!(got.unwrap_err().kind(), ErrorKind::ConnectionClosed);
}

#[scenario]
async fn a_publish_in_flight_at_the_close_ends(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let mut confirmations = Vec::new();
    for number in 0..20 {
        let sent = chan.publish("", &number).routing_key(&queue).send();
        confirmations.push(sent.await.unwrap());
    }
    conn.close().await.unwrap();
    let mut confirmed = 0;
    for confirmation in confirmations {
        match crate::within("an outcome", confirmation).await {
            Ok(()) => confirmed += 1,
            Err(err) => assert_eq!(err.kind(), ErrorKind::ConnectionClosed),
        }
    }
    // Messages sent before the close arrive, confirmed or not.
    let (_conn, other) = fixture.channel().await;
    let mut arrived = Vec::new();
    while let Some(got) = other.get::<u32>(&queue).await.unwrap() {
        arrived.push(got.ack().await.unwrap());
    }
    assert!(
        arrived.len() >= confirmed,
        "{arrived:?} arrived of {confirmed} confirmed"
    );
    assert_eq!(arrived, Vec::from_iter(0..20));
}

/// Polls until a queue has this number of consumers: RabbitMQ has no event for that.
async fn until_consumers(chan: &Channel, queue: &str, count: u32) {
    let reached = async {
        while chan
            .declare_queue(queue)
            .passive()
            .await
            .unwrap()
            .consumer_count
            != count
        {
            tokio::task::yield_now().await;
        }
    };
    crate::within("a change of the consumers", reached).await;
}
