//! Publishing: outcomes, confirmations, mandatory messages and sizes.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::pin;
use std::task::Poll;

use mooq::{ErrorKind, ErrorScope, FieldValue, RawBytes};

use crate::Fixture;
use crate::scenario;
use crate::steps::{drain, ready_in, record};

/// Number of publishes in flight at once.
const IN_FLIGHT: usize = 256;

#[scenario]
async fn a_confirmed_message_is_in_its_queue(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    for published in 1..=3 {
        chan.publish("", "here").routing_key(&queue).await.unwrap();
        assert_eq!(ready_in(&chan, &queue).await, published);
    }
    assert_eq!(chan.unconfirmed_count(), 0);
}

#[scenario]
async fn publishes_in_flight_are_all_confirmed_and_arrive_in_order(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let (recorder, mut calls) = record::<usize>();
    chan.register_consumer(&exchange, "direct")
        .routing_key("numbers")
        .callback(recorder.callback())
        .await
        .unwrap();

    let mut confirmations = Vec::new();
    for number in 0..IN_FLIGHT {
        let sent = chan
            .publish(&exchange, &number)
            .routing_key("numbers")
            .send();
        confirmations.push(sent.await.unwrap());
    }
    for (number, confirmation) in confirmations.into_iter().enumerate() {
        crate::within("a confirm", confirmation)
            .await
            .unwrap_or_else(|e| panic!("publish {number}: {e}"));
    }
    assert_eq!(chan.unconfirmed_count(), 0);
    for number in 0..IN_FLIGHT {
        assert_eq!(calls.next(&conn).await.msg, number);
    }
}

#[scenario]
async fn confirmations_can_be_awaited_in_any_order(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let mut confirmations = Vec::new();
    for number in 0..10 {
        let sent = chan.publish("", &number).routing_key(&queue).send();
        confirmations.push(sent.await.unwrap());
    }
    for confirmation in confirmations.into_iter().rev() {
        crate::within("a confirm", confirmation).await.unwrap();
    }
    assert_eq!(ready_in(&chan, &queue).await, 10);
}

#[scenario]
async fn tasks_that_share_a_channel_each_get_their_own_confirms(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let mut tasks = Vec::new();
    for task in 0..4 {
        let (chan, queue) = (chan.clone(), queue.clone());
        tasks.push(tokio::spawn(async move {
            for number in 0..25 {
                // Every other message is unroutable, and only its own task may get it back.
                let lost = (task + number) % 2 == 0;
                let key = if lost { "nowhere" } else { &queue };
                let body = (task, number);
                let publish = chan.publish("", &body).routing_key(key).mandatory();
                match publish.await {
                    Ok(()) => assert!(!lost, "{body:?} has no queue"),
                    Err(err) => {
                        assert!(lost, "{body:?}: {err}");
                        let returned = err.returned_message().unwrap();
                        let expected = serde_json::to_vec(&body).unwrap();
                        assert_eq!(returned.message.body, expected);
                    }
                }
            }
        }));
    }
    for task in tasks {
        crate::within("a publisher's end", task).await.unwrap();
    }
    assert_eq!(ready_in(&chan, &queue).await, 50);
}

#[scenario]
async fn channels_of_a_connection_count_their_publishes_apart(fixture: Fixture) {
    let (conn, first) = fixture.channel().await;
    let second = conn.create_channel().await.unwrap();
    let queue = fixture.name("queue");
    first.declare_queue(&queue).await.unwrap();
    for _ in 0..3 {
        first
            .publish("", "first")
            .routing_key(&queue)
            .await
            .unwrap();
    }
    second
        .publish("", "second")
        .routing_key(&queue)
        .await
        .unwrap();
    first
        .publish("", "first")
        .routing_key(&queue)
        .await
        .unwrap();
    assert_eq!(ready_in(&second, &queue).await, 5);
}

#[scenario]
async fn an_unconfirmed_message_arrives(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    for body in ["first", "second"] {
        let publish = chan.publish("", body).routing_key(&queue);
        publish.unconfirmed().await.unwrap();
    }
    // The channel keeps the order of its methods, so both messages are there before the fetch.
    assert_eq!(drain(&chan, &queue).await, ["first", "second"]);
}

#[scenario]
async fn a_mandatory_message_without_a_queue_comes_back_whole(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    chan.declare_exchange(&exchange, "direct").await.unwrap();
    let err = chan
        .publish(&exchange, "come back")
        .routing_key("nowhere")
        .mandatory()
        .message_id("m-1")
        .header("attempt", 1)
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Returned);
    assert_eq!(err.scope(), ErrorScope::Operation);
    let returned = err
        .returned_message()
        .expect("the error has the returned message");
    assert_eq!(returned.reply_code, 312);
    assert_eq!(returned.reply_text, "NO_ROUTE");
    let message = &returned.message;
    assert_eq!(message.exchange, exchange.as_str());
    assert_eq!(message.routing_key, "nowhere");
    assert_eq!(message.body, r#""come back""#);
    assert_eq!(message.properties.message_id.as_deref(), Some("m-1"));
    let attempt = message.properties.headers.get("attempt");
    assert_eq!(attempt.and_then(FieldValue::as_i64), Some(1));
    // The error concerned that publish alone.
    chan.publish(&exchange, "go on").await.unwrap();
}

#[scenario]
async fn a_mandatory_message_that_reaches_a_queue_is_confirmed(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let publish = chan.publish("", "routed").routing_key(&queue).mandatory();
    publish.await.unwrap();
    assert_eq!(ready_in(&chan, &queue).await, 1);
}

#[scenario]
async fn mandatory_messages_come_back_only_without_a_queue(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let routed = |number: usize| !number.is_multiple_of(3);
    let mut confirmations = Vec::new();
    for number in 0..30 {
        let key = if routed(number) { &queue } else { "nowhere" };
        let publish = chan.publish("", &number).routing_key(key).mandatory();
        confirmations.push(publish.send().await.unwrap());
    }
    for (number, confirmation) in confirmations.into_iter().enumerate() {
        match crate::within("a confirm", confirmation).await {
            Ok(()) => assert!(routed(number), "{number} has no queue"),
            Err(err) => {
                assert!(!routed(number), "{number}: {err}");
                let returned = err
                    .returned_message()
                    .expect("the error has the returned message");
                assert_eq!(returned.message.body, number.to_string());
            }
        }
    }
    assert_eq!(ready_in(&chan, &queue).await, 20);
}

#[scenario]
async fn equal_mandatory_messages_each_come_back(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let mut confirmations = Vec::new();
    for _ in 0..3 {
        let publish = chan.publish("", "same").routing_key("nowhere").mandatory();
        confirmations.push(publish.send().await.unwrap());
    }
    for confirmation in confirmations {
        let err = crate::within("a confirm", confirmation).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Returned);
    }
}

#[scenario]
async fn an_unroutable_message_that_is_not_mandatory_is_confirmed(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    chan.declare_exchange(&exchange, "topic").await.unwrap();
    let publish = chan.publish(&exchange, "dropped").routing_key("nowhere");
    publish.await.unwrap();
    assert_eq!(chan.unconfirmed_count(), 0);
}

#[scenario]
async fn a_value_that_json_cannot_express_is_refused_and_nothing_sent(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let keyed_by_pairs = BTreeMap::from([((1, 2), "JSON's keys are text")]);
    let publish = chan.publish("", &keyed_by_pairs).routing_key(&queue);
    let err = publish.await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Encode);
    assert_eq!(err.scope(), ErrorScope::Operation);
    assert!(std::error::Error::source(&err).is_some(), "{err:?}");
    assert_eq!(ready_in(&chan, &queue).await, 0);
    chan.publish("", "fine").routing_key(&queue).await.unwrap();
    assert_eq!(ready_in(&chan, &queue).await, 1);
}

#[scenario]
async fn publishing_on_a_closed_channel_repeats_why_it_was_closed(fixture: Fixture) {
    let (conn, chan) = fixture.channel_without_recovery().await;
    let missing = fixture.name("missing");
    let first = chan.publish(&missing, "lost").await.unwrap_err();
    let second = chan.publish("", "late").await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::ExchangeNotFound);
    assert_eq!(second.scope(), ErrorScope::Channel);
    assert!(second.reason().is_some());
    assert_eq!(second.reason(), first.reason());
    let sent = chan.publish("", "later").send().await;
    assert_eq!(sent.unwrap_err().reason(), first.reason());
    let declared = chan.declare_queue(fixture.name("queue")).await;
    assert_eq!(declared.unwrap_err().reason(), first.reason());
    assert!(conn.is_open(), "the connection goes on");
}

#[scenario]
async fn a_channel_that_closes_ends_all_publishes_in_flight(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let missing = fixture.name("missing");
    let mut confirmations = Vec::new();
    for _ in 0..3 {
        // The broker closes the channel at the first publish; later ones may not know yet.
        match chan.publish(&missing, "lost").send().await {
            Ok(confirmation) => confirmations.push(confirmation),
            Err(err) => assert_eq!(err.kind(), ErrorKind::ExchangeNotFound),
        }
    }
    assert!(!confirmations.is_empty());
    for confirmation in confirmations {
        let err = crate::within("an outcome", confirmation).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ExchangeNotFound);
        let text = format!("NOT_FOUND - no exchange '{missing}' in vhost '/'");
        crate::expect_reason(&err, 404, (60, 40), &text);
    }
    assert_eq!(chan.unconfirmed_count(), 0);
}

#[scenario]
async fn a_publish_dropped_after_its_first_poll_arrives(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let publish = |body| chan.publish("", body).routing_key(&queue);
    poll_once(publish("kept").into_future()).await;
    poll_once(publish("kept too").send()).await;
    poll_once(publish("and this").unconfirmed()).await;
    publish("after").await.unwrap();
    let kept = ["kept", "kept too", "and this", "after"];
    assert_eq!(drain(&chan, &queue).await, kept);
}

/// Polls a future once, and drops it.
async fn poll_once(future: impl Future) {
    let mut future = pin!(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await;
}

#[scenario]
async fn a_publish_dropped_before_its_first_poll_sends_nothing(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let publish = |body| chan.publish("", body).routing_key(&queue);
    drop(publish("awaited").into_future());
    drop(publish("sent").send());
    drop(publish("unconfirmed").unconfirmed());
    assert_eq!(chan.unconfirmed_count(), 0);
    publish("after").await.unwrap();
    assert_eq!(drain(&chan, &queue).await, ["after"]);
}

#[scenario]
async fn publishes_arrive_in_the_order_of_their_first_polls(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let publish = |body| chan.publish("", body).routing_key(&queue);
    let (third, second) = (publish("third").into_future(), publish("second").send());
    let first = publish("first").publish_now().unwrap();
    let second = second.await.unwrap();
    third.await.unwrap();
    for confirmation in [second, first] {
        crate::within("a confirm", confirmation).await.unwrap();
    }
    assert_eq!(drain(&chan, &queue).await, ["first", "second", "third"]);
}

#[scenario]
async fn publish_now_sends_at_once_and_says_what_is_wrong_at_once(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let publish = |body| chan.publish("", body).routing_key(&queue);
    drop(publish("kept").publish_now().unwrap());
    let long = publish("not sent").message_id("x".repeat(256));
    let err = long.publish_now().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidName);
    let lost = publish("lost").routing_key(fixture.name("nowhere"));
    let lost = lost.mandatory().publish_now().unwrap();
    let err = crate::within("the return", lost).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Returned);
    assert_eq!(drain(&chan, &queue).await, ["kept"]);
}

#[scenario]
async fn a_publish_that_is_never_begun_sends_nothing(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    drop(chan.publish("", "not sent").routing_key(&queue));
    chan.publish("", "sent").routing_key(&queue).await.unwrap();
    assert_eq!(ready_in(&chan, &queue).await, 1);
}

#[scenario]
async fn a_dropped_confirmation_changes_nothing_for_the_others(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let send = |body| chan.publish("", body).routing_key(&queue).send();
    let first = send("first").await.unwrap();
    drop(send("second").await.unwrap());
    let third = send("third").await.unwrap();
    crate::within("the third confirm", third).await.unwrap();
    crate::within("the first confirm", first).await.unwrap();
    assert_eq!(ready_in(&chan, &queue).await, 3);
    // A mandatory message whose confirmation is dropped is returned in vain.
    let lost = chan.publish("", "lost").routing_key("nowhere").mandatory();
    drop(lost.send().await.unwrap());
    let publish = chan.publish("", "fourth").routing_key(&queue).mandatory();
    publish.await.unwrap();
}

#[scenario]
async fn publish_outcome_is_given_once_and_asking_again_does_not_wait(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let mut confirmation = chan
        .publish("", "x")
        .routing_key(&queue)
        .send()
        .await
        .unwrap();
    crate::within("the confirm", &mut confirmation)
        .await
        .unwrap();
    let mut refused = chan.publish("x".repeat(256), "x").into_future();
    let err = crate::within("the refusal", &mut refused).await;
    assert_eq!(err.unwrap_err().kind(), ErrorKind::InvalidName);
    for again in [
        crate::within("an answer", &mut confirmation).await,
        crate::within("an answer", &mut refused).await,
    ] {
        assert_eq!(again.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

#[scenario]
async fn a_body_of_a_mebibyte_arrives_whole(fixture: Fixture) {
    // Nine frames and a bit, with bytes that show their position.
    let body: Vec<u8> = (0u32..1 << 18).flat_map(u32::to_be_bytes).collect();
    let got = round_trip(&fixture, &body).await;
    assert_eq!(got.len(), 1 << 20);
    assert!(got == body, "the body arrived with other bytes");
}

#[scenario]
async fn a_body_that_just_fills_its_frames_arrives_whole(fixture: Fixture) {
    // A frame holds 131072 bytes with 8 of its own.
    for size in [131_063, 131_064, 131_065, 2 * 131_064] {
        let body: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        let got = round_trip(&fixture, &body).await;
        assert!(got == body, "{size} bytes, got {}", got.len());
    }
}

#[scenario]
async fn headers_that_just_fit_in_a_frame_arrive_and_larger_ones_are_refused(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    // RabbitMQ's frames have 131,072 bytes: 8 of the frame, 12 of the content header, 20 of the
    // usual properties, 14 around the text.
    let most = "x".repeat(131_072 - 8 - 12 - 20 - 14);
    let publish = |text: String| {
        let publish = chan.publish("", "here").routing_key(&queue);
        publish.header("text", text).into_future()
    };
    publish(most.clone()).await.unwrap();
    let got = chan.get_one::<String>(&queue).await.unwrap();
    let text = got.properties.headers.get("text").cloned();
    assert!(text == Some(FieldValue::String(most.clone())));
    got.ack().await.unwrap();

    let err = publish(most + "x").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidArgument, "{err}");
    assert!(err.to_string().contains("131072"), "{err}");
    assert_eq!(chan.unconfirmed_count(), 0);
    assert_eq!(ready_in(&chan, &queue).await, 0);
}

#[scenario]
async fn arguments_that_fit_in_no_frame_are_refused(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let [queue, exchange] = ["queue", "exchange"].map(|name| fixture.name(name));
    let long = || "x".repeat(131_072);
    let declare = chan.declare_queue(&queue).argument("text", long()).await;
    let bind = chan
        .bind_queue(&queue, "amq.headers", "")
        .argument("text", long());
    let register = chan
        .declare_exchange(&exchange, "direct")
        .argument("text", long());
    let consume = chan
        .consume::<String>(&queue)
        .consumer_argument("text", long());
    for refused in [
        declare.map(drop),
        bind.await,
        register.await.map(drop),
        consume.await.map(drop),
    ] {
        let err = refused.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidArgument, "{err}");
    }
    // The message was not sent, and the connection is not lost.
    assert!(conn.is_open());
    chan.declare_queue(&queue).await.unwrap();
}

#[scenario]
async fn an_empty_body_arrives_empty(fixture: Fixture) {
    assert!(round_trip(&fixture, &[]).await.is_empty());
}

/// Publishes `body` as raw bytes, and returns the body that arrives.
async fn round_trip(fixture: &Fixture, body: &[u8]) -> Vec<u8> {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    chan.publish_with("", body, RawBytes)
        .routing_key(&queue)
        .await
        .unwrap();
    let got = chan.get_one(&queue).codec(RawBytes).await.unwrap();
    got.ack().await.unwrap()
}
