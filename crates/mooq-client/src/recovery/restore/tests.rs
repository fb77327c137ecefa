//! What a broker that leaves something unsaid may keep from coming back.

use futures_util::StreamExt;
use mooq::InMemoryBroker;
use mooq_core::Scheme;
use tokio::time::timeout;

use super::*;
use crate::channel::Channel;
use crate::connection::Connection;
use crate::consumer::Deliveries;
use crate::faulty::{Asked, Faults};
use crate::options::ConnectOptions;
use crate::publish::Publish;

#[tokio::test(start_paused = true)]
async fn a_consumer_that_gets_no_answer_holds_up_its_own_channel_alone() {
    let (broker, faults, conn) = connected().await;
    let [slow, fast] = consuming(&conn, ["slow", "fast"]).await;
    let (slow, mut slow_stream) = slow;
    let (fast, mut fast_stream) = fast;
    let mut events = conn.events();
    let lost_at = Instant::now();
    faults.leave_unanswered(Asked::Consume, "slow");
    broker.faults().drop_connections();

    publish(&fast, "fast").await.unwrap();
    let delivery = fast_stream.next().await.unwrap().unwrap();
    assert_eq!(delivery.ack().await.unwrap(), "still here");
    assert!(lost_at.elapsed() < UNANSWERED, "{:?}", lost_at.elapsed());
    // What needs the connection itself waits no longer than for that.
    conn.create_channel().await.unwrap();
    assert!(
        lost_at.elapsed() < 2 * UNANSWERED,
        "{:?}",
        lost_at.elapsed()
    );
    let waits = publish(&slow, "slow").deadline(Duration::from_secs(60));
    assert_eq!(waits.await.unwrap_err().kind(), ErrorKind::DeadlineExceeded);

    faults.answer();
    publish(&slow, "slow").await.unwrap();
    let delivery = slow_stream.next().await.unwrap().unwrap();
    assert_eq!(delivery.ack().await.unwrap(), "still here");
    conn.close().await.unwrap();
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        told.push(event);
    }
    assert!(
        matches!(
            &told[..],
            [
                Event::Lost(_),
                Event::Unanswered { what },
                Event::Reconnected { .. },
                Event::Answered { what: same, .. },
                Event::Closed(_)
            ] if what == same && what.contains("of queue 'slow'")
        ),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_an_answer_is_given_up_with_its_connection_and_its_channel() {
    let (broker, faults, conn) = connected().await;
    let [first, second] = consuming(&conn, ["first", "second"]).await;
    let (first, mut first_stream) = first;
    let (second, mut second_stream) = second;
    for queue in ["first", "second"] {
        faults.leave_unanswered(Asked::Consume, queue);
    }
    let mut events = conn.events();
    for _ in 0..2 {
        broker.faults().drop_connections();
        while !matches!(events.next().await, Some(Event::Reconnected { .. })) {}
    }
    first.close().await.unwrap();
    assert!(first_stream.next().await.is_none());
    faults.answer();
    second
        .publish("", "here")
        .routing_key("second")
        .await
        .unwrap();
    let delivery = second_stream.next().await.unwrap().unwrap();
    assert_eq!(delivery.ack().await.unwrap(), "here");
    // Neither is there twice.
    for (queue, consumers) in [("first", 0), ("second", 1)] {
        let declared = second.declare_queue(queue).await.unwrap();
        assert_eq!(declared.consumer_count, consumers, "{queue}");
    }
}

#[tokio::test(start_paused = true)]
async fn durable_queues_that_get_no_answer_come_later_with_their_bindings_and_consumers() {
    let (broker, faults, conn) = connected().await;
    let queues = std::array::from_fn::<_, 20, _>(|number| format!("slow-{number}"));
    let streams = consuming(&conn, queues.each_ref().map(|queue| &**queue)).await;
    let [(fast, mut fast_stream)] = consuming(&conn, ["fast"]).await;
    for queue in &queues {
        fast.bind_queue(queue, "amq.fanout", "").await.unwrap();
        faults.leave_unanswered(Asked::Declare, queue);
    }
    let lost_at = Instant::now();
    broker.faults().drop_connections();
    publish(&fast, "fast").await.unwrap();
    let delivery = fast_stream.next().await.unwrap().unwrap();
    assert_eq!(delivery.ack().await.unwrap(), "still here");
    assert!(
        lost_at.elapsed() < 4 * UNANSWERED,
        "{:?}",
        lost_at.elapsed()
    );

    // Meanwhile somebody else has unbound them, and the user one of them as well.
    let other = Connection::open(
        Arc::new(broker.transport()),
        ConnectOptions::new().broker(Scheme::Memory),
    );
    let other = other.await.unwrap().create_channel().await.unwrap();
    for queue in &queues {
        other.unbind_queue(queue, "amq.fanout", "").await.unwrap();
    }
    fast.unbind_queue("slow-19", "amq.fanout", "")
        .await
        .unwrap();
    assert_eq!(broker.consumers("slow-*").len(), 0);
    faults.answer();
    let settled = || {
        (
            broker.consumers("slow-*").len(),
            broker.bindings("amq.fanout").len(),
        )
    };
    // Time that tokio lets pass once nothing else can go on.
    let all = async {
        while settled() != (20, 19) {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let back = timeout(Duration::from_secs(600), all).await;
    assert!(back.is_ok(), "{:?}", settled());
    drop(streams);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_not_durable_is_waited_for_as_long_as_for_a_call() {
    let (broker, faults, conn) = connected().await;
    let chan = conn.create_channel().await.unwrap();
    chan.declare_queue("brief").exclusive().await.unwrap();
    faults.leave_unanswered(Asked::Declare, "brief");
    let mut events = conn.events();
    broker.faults().drop_connections();
    let lost_at = Instant::now();
    // It might be dropped otherwise, and nobody would know.
    let waits = publish(&chan, "brief").deadline(Duration::from_secs(20));
    assert_eq!(waits.await.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    let told = loop {
        if let Event::NotRestored { what, error } = events.next().await.unwrap() {
            break (what, error.kind());
        }
    };
    assert_eq!(told, ("queue 'brief'".into(), ErrorKind::DeadlineExceeded));
    assert!(lost_at.elapsed() >= Duration::from_secs(30));
    conn.create_channel().await.unwrap();
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

/// A channel of its own with a stream for each of `queues`.
async fn consuming<const N: usize>(
    conn: &Connection,
    queues: [&str; N],
) -> [(Channel, Deliveries<String>); N] {
    let all = queues.map(|queue| async move {
        let chan = conn.create_channel().await.unwrap();
        chan.declare_queue(queue).await.unwrap();
        let stream = chan.consume(queue).await.unwrap();
        (chan, stream)
    });
    let all = futures_util::future::join_all(all).await;
    all.try_into()
        .unwrap_or_else(|_| unreachable!("as many as there are queues"))
}

fn publish<'a>(chan: &'a Channel, queue: &str) -> Publish<'a, str> {
    chan.publish("", "still here").routing_key(queue)
}
