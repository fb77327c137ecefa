//! What a broker that leaves something unsaid may keep from coming back.

use futures_util::StreamExt;
use mooq::InMemoryBroker;
use mooq_core::Scheme;
use tokio::time::timeout;

use super::*;
use crate::connection::Connection;
use crate::faulty::Faults;
use crate::options::ConnectOptions;

#[tokio::test(start_paused = true)]
async fn a_consumer_that_gets_no_answer_ends_and_nothing_else_does() {
    let (broker, faults, conn) = connected().await;
    let chan = conn.create_channel().await.unwrap();
    let mut streams = Vec::new();
    for queue in ["hangs", "answers"] {
        chan.declare_queue(queue).await.unwrap();
        streams.push(chan.consume::<String>(queue).await.unwrap());
    }
    let [hangs, answers] = &mut streams[..] else {
        panic!("there are two");
    };

    faults.leave_unanswered("hangs".try_into().unwrap());
    broker.faults().drop_connections();
    let ended = timeout(Duration::from_secs(600), hangs.next()).await;
    let err = ended.unwrap().unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::DeadlineExceeded);
    assert!(err.to_string().contains("'hangs'"), "{err}");
    let publish = chan.publish("", "still here").routing_key("answers");
    publish.await.unwrap();
    let delivery = answers.next().await.unwrap().unwrap();
    assert_eq!(delivery.ack().await.unwrap(), "still here");
}

#[tokio::test(start_paused = true)]
async fn channels_that_do_not_tell_of_their_end_are_waited_for_together() {
    let (broker, faults, conn) = connected().await;
    faults.silence_channels(true);
    let mut channels = Vec::new();
    for _ in 0..100 {
        channels.push(conn.create_channel().await.unwrap());
    }
    faults.silence_channels(false);

    let mut events = conn.events();
    broker.faults().drop_connections();
    let after = loop {
        if let Event::Reconnected { after, .. } = events.next().await.unwrap() {
            break after;
        }
    };
    assert!(after < 3 * HANDING_ON, "{after:?}");
    for chan in &channels {
        chan.declare_queue("still here").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_opens_a_broken_channel_no_more_is_lost_once() {
    let (_broker, faults, conn) = connected().await;
    let chan = conn.create_channel().await.unwrap();
    let events = conn.events();
    faults.refuse_channel(Error::connection(ErrorKind::ConnectionLost, "used up"));
    let missing = chan.declare_queue("missing").passive().await;
    assert_eq!(
        missing.unwrap_err().kind(),
        ErrorKind::ConsumerQueueNotFound
    );
    chan.declare_queue("still here").await.unwrap();
    conn.close().await.unwrap();
    let told: Vec<_> = events.collect().await;
    assert!(
        matches!(&told[..], [Event::Lost(err), Event::Reconnected { .. }, Event::Closed(_)]
            if err.to_string().contains("used up")),
        "{told:?}"
    );
}

/// A connection to a broker, and what goes wrong on it.
async fn connected() -> (InMemoryBroker, Faults, Connection) {
    let (broker, faults) = (InMemoryBroker::start(), Faults::default());
    let options = ConnectOptions::new().broker(Scheme::Memory);
    let conn = Connection::open(faults.on_transport(broker.transport()), options);
    let conn = conn.await.unwrap();
    (broker, faults, conn)
}
