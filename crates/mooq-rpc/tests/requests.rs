//! What the scenarios cannot show on a live broker: times, on a paused clock, and what keeps a
//! connection open.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

use std::time::Duration;

use mooq::memory::InMemoryBroker;
use mooq::{ConnectOptions, Delivery, ErrorKind, OnLoss, RemoteError, Rpc, Scheme};
use tokio::time::Instant;

async fn double(number: Delivery<u32>) -> Result<u32, RemoteError> {
    Ok(2 * number.msg)
}

#[tokio::test(start_paused = true)]
async fn request_ends_at_its_timeout_and_says_how_far_it_has_come() {
    let broker = InMemoryBroker::start();
    let conn = mooq::connect(&broker).await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    chan.declare_queue("quotes").await.unwrap();
    let limit = Duration::from_secs(5);
    let began = Instant::now();
    let request = chan.request::<u32>("", &1).routing_key("quotes");
    let err = request.timeout(limit).await.unwrap_err();
    assert_eq!(began.elapsed(), limit);
    assert_eq!(err.kind(), ErrorKind::TimedOut);
    assert_eq!(
        err.to_string(),
        "no reply to the request to exchange '' with routing key 'quotes' came within its timeout \
         of 5s: the broker had taken it"
    );
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(broker.queues("quotes")[0].ready, 0, "it has expired");
}

#[tokio::test(start_paused = true)]
async fn request_that_waits_for_the_connection_expires_with_what_is_left() {
    let broker = InMemoryBroker::new("left", 5672);
    broker.run();
    let options = ConnectOptions::new().broker(Scheme::Memory).host("left");
    let conn = mooq::connect(options).await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    chan.declare_queue("quotes").await.unwrap();
    // From now on the channel has a consumer of replies.
    let first = chan.request::<u32>("", &0).routing_key("quotes");
    let first = first.timeout(Duration::from_secs(1)).await;
    assert_eq!(first.unwrap_err().kind(), ErrorKind::TimedOut);
    broker.close();
    let request = chan.request::<u32>("", &1).routing_key("quotes");
    let request = request.timeout(Duration::from_secs(20));
    let request = tokio::spawn(request.on_loss(OnLoss::Resend).into_future());
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(!request.is_finished());
    broker.run();

    let asked = chan
        .get_one::<u32>("quotes")
        .timeout(Duration::from_secs(5));
    let asked = asked.await.unwrap();
    let expiration = asked.properties.expiration.as_deref().unwrap();
    let left: u64 = expiration.parse().unwrap();
    assert!((7_000..=12_000).contains(&left), "{left}");
    let (to, id) = (&asked.properties.reply_to, &asked.properties.correlation_id);
    chan.publish("", &2)
        .routing_key(to.as_ref().unwrap().as_str())
        .correlation_id(id.clone().unwrap())
        .await
        .unwrap();
    assert_eq!(request.await.unwrap().unwrap(), 2);
}

#[tokio::test]
async fn neither_a_responder_nor_a_consumer_of_replies_keeps_a_connection_open() {
    let broker = InMemoryBroker::start();
    let service = mooq::connect(&broker).await.unwrap();
    {
        let chan = service.create_channel().await.unwrap();
        chan.register_responder("quotes", "direct")
            .callback(double)
            .await
            .unwrap();
    }
    let running = service.clone();
    let running = tokio::spawn(async move { running.process_events().await });
    let conn = mooq::connect(&broker).await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    assert_eq!(chan.request::<u32>("quotes", &1).await.unwrap(), 2);
    assert_eq!(broker.connections("*").len(), 2);

    drop((conn, chan));
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    drop(service);
    while !broker.connections("*").is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn requests_of_a_closed_channel_fail_with_its_close() {
    let broker = InMemoryBroker::start();
    let conn = mooq::connect(&broker).await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    chan.declare_queue("quotes").await.unwrap();
    let ask = || chan.request::<u32>("", &1).routing_key("quotes");
    let waiting = tokio::spawn(ask().into_future());
    while broker.queues("quotes")[0].ready == 0 {
        tokio::task::yield_now().await;
    }
    chan.close().await.unwrap();
    let err = waiting.await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ChannelClosed);
    let err = ask().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ChannelClosed);
}
