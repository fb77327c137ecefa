//! Requests and replies whose connection is lost.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mooq::{Delivery, ErrorKind, OnLoss, RemoteError, Rpc};
use tokio::sync::mpsc;

use super::recovery::Victim;
use super::rpc::{Service, doubles, until_ready};
use crate::scenario;
use crate::steps::{processing, ready_in};
use crate::{Fixture, within};

#[scenario]
async fn request_fails_when_its_connection_is_lost(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (_conn, other) = fixture.channel().await;
    let queue = fixture.name("queue");
    other.declare_queue(&queue).await.unwrap();
    let request = victim.chan.request::<u32>("", &1).routing_key(&queue);
    let request = tokio::spawn(request.into_future());
    until_ready(&other, &queue, 1).await;
    victim.close_by_force().await;
    let err = within("an error", request).await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost, "{err}");

    victim.is_back().await;
    let (service, answers) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    doubles(&answers, &exchange, &queue).await;
    let service = Service::start(service);
    let next = within("the reply", victim.chan.request::<u32>(&exchange, &2)).await;
    assert_eq!(next.unwrap(), 4);
    service.end().await;
    // The reply to the first has gone to an address that nobody has.
    assert_eq!(victim.chan.late_replies(), 0);
}

#[scenario]
async fn request_is_sent_again_when_its_connection_is_lost_if_it_asks_for_it(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (_conn, other) = fixture.channel().await;
    let queue = fixture.name("queue");
    other.declare_queue(&queue).await.unwrap();
    let request = victim.chan.request::<u32>("", &21).routing_key(&queue);
    let request = request.on_loss(OnLoss::Resend);
    let request = tokio::spawn(request.into_future());
    until_ready(&other, &queue, 1).await;
    victim.lose().await;
    until_ready(&other, &queue, 2).await;
    let [first, second] = [
        other.get_one::<u32>(&queue).await.unwrap(),
        other.get_one::<u32>(&queue).await.unwrap(),
    ];
    let (one, two) = (&first.properties, &second.properties);
    assert_eq!(one.correlation_id, two.correlation_id);
    assert_ne!(one.reply_to, two.reply_to);
    drop((first, second));

    let (service, answers) = fixture.channel().await;
    doubles(&answers, &fixture.name("exchange"), &queue).await;
    let service = Service::start(service);
    let answered = within("the reply", request).await;
    assert_eq!(answered.unwrap().unwrap(), 42);
    service.end().await;
    assert_eq!(victim.chan.late_replies(), 0);
}

#[scenario]
async fn request_is_sent_again_when_another_call_closes_its_channel(fixture: Fixture) {
    let (_conn, other) = fixture.channel().await;
    let (_asking, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    other.declare_queue(&queue).await.unwrap();
    let ask = |choice| {
        let request = chan.request::<u32>("", &21).routing_key(&queue);
        tokio::spawn(request.on_loss(choice).into_future())
    };
    let fails = ask(OnLoss::Fail);
    until_ready(&other, &queue, 1).await;
    let resent = ask(OnLoss::Resend);
    until_ready(&other, &queue, 2).await;
    // A request that the broker has not confirmed may be why the channel was closed.
    within("the confirms", chan.wait_for_confirms())
        .await
        .unwrap();
    let missing = chan.publish(fixture.name("missing"), "lost").await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::ExchangeNotFound);
    let err = within("an error", fails).await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ExchangeNotFound, "{err}");
    until_ready(&other, &queue, 3).await;

    let (service, answers) = fixture.channel().await;
    doubles(&answers, &fixture.name("exchange"), &queue).await;
    let service = Service::start(service);
    let answered = within("the reply", resent).await;
    assert_eq!(answered.unwrap().unwrap(), 42);
    service.end().await;
}

#[scenario]
async fn request_whose_responder_is_lost_is_handled_once_more(fixture: Fixture) {
    let victim = Victim::connect(&fixture).await;
    let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
    let (came, mut comes) = mpsc::unbounded_channel();
    victim
        .chan
        .register_responder(&exchange, "direct")
        .queue(&queue)
        .callback(move |number: Delivery<u32>| {
            let came = came.clone();
            async move {
                came.send(number.redelivered).unwrap();
                if !number.redelivered {
                    pending::<()>().await;
                }
                Ok::<_, RemoteError>(2 * number.msg)
            }
        })
        .await
        .unwrap();
    let (_conn, chan) = fixture.channel().await;
    let story = async {
        let request = tokio::spawn(chan.request::<u32>(&exchange, &21).into_future());
        assert_eq!(comes.recv().await, Some(false));
        victim.close_by_force().await;
        assert_eq!(request.await.unwrap().unwrap(), 42);
        assert_eq!(comes.recv().await, Some(true));
    };
    // Its end cuts off the first call, which waits for ever.
    processing(&victim.conn, "the reply", story).await;
}

#[scenario]
async fn request_is_handled_at_most_once_with_automatic_acknowledgement(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let (came, mut comes) = mpsc::unbounded_channel();
    victim
        .chan
        .register_responder(&exchange, "direct")
        .queue(&queue)
        .consumer(|consumer| consumer.auto_ack())
        .callback(move |number: Delivery<u32>| {
            let came = came.clone();
            let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                came.send(()).unwrap();
                if is_first {
                    pending::<()>().await;
                }
                Ok::<_, RemoteError>(2 * number.msg)
            }
        })
        .await
        .unwrap();
    let (_conn, chan) = fixture.channel().await;
    let running = victim.conn.clone();
    let running = tokio::spawn(async move { running.process_events().await });
    let lost = tokio::spawn(chan.request::<u32>(&exchange, &1).into_future());
    within("the request", comes.recv()).await.unwrap();
    victim.lose().await;
    let next = within("the reply", chan.request::<u32>(&exchange, &2)).await;
    assert_eq!(next.unwrap(), 4);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert_eq!(ready_in(&chan, &queue).await, 0);
    assert!(!lost.is_finished(), "its request was lost");
    lost.abort();
    victim.conn.close().await.unwrap();
    within("the end", running).await.unwrap().unwrap();
}
