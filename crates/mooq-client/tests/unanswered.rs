//! Recovery on a broker that leaves requests unanswered.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "all of this is a test, the functions beside it too"
)]

mod faulty;

use std::sync::Arc;
use std::time::Duration;

use faulty::{Asked, Faults};
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};
use mooq::memory::InMemoryBroker;
use mooq_client::{Channel, ConnectOptions, Connection, Deliveries, Event, Events, Publish};
use mooq_core::{Error, ErrorKind, ErrorScope, Scheme, Transport};
use tokio::time::{Instant, sleep, timeout};

/// Time for which a connection's return waits for a request that the broker does not answer.
const UNANSWERED: Duration = Duration::from_secs(1);

/// Time that all lost channels together have to tell of their end.
const DRAINING: Duration = Duration::from_secs(1);

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
    receives(&mut fast_stream).await;
    assert!(lost_at.elapsed() < UNANSWERED, "{:?}", lost_at.elapsed());
    // Calls that need only the connection wait no longer than for the connection.
    conn.create_channel().await.unwrap();
    assert!(
        lost_at.elapsed() < 2 * UNANSWERED,
        "{:?}",
        lost_at.elapsed()
    );
    let waits = publish(&slow, "slow").timeout(Duration::from_secs(60));
    assert_eq!(waits.await.unwrap_err().kind(), ErrorKind::TimedOut);

    faults.answer();
    publish(&slow, "slow").await.unwrap();
    receives(&mut slow_stream).await;
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
        until(&mut events, |event| {
            matches!(event, Event::Reconnected { .. })
        })
        .await;
    }
    // Each consumer was registered once on each connection, and ended with it.
    assert_eq!(broker.consumers("*").len(), 2);
    first.close().await.unwrap();
    assert!(first_stream.next().await.is_none());
    consumers(&broker, "first", 0).await;
    faults.answer();
    publish(&second, "second").await.unwrap();
    receives(&mut second_stream).await;
    assert_eq!(broker.consumers("*").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_gets_no_answer_can_be_cancelled() {
    let (broker, faults, conn) = connected().await;
    let [(chan, mut first)] = consuming(&conn, ["first"]).await;
    chan.declare_queue("slow").await.unwrap();
    let slow = chan.consume::<String>("slow").await.unwrap();
    faults.leave_unanswered(Asked::Consume, "slow");
    broker.faults().drop_connections();
    consumers(&broker, "slow", 1).await;
    // Deliveries that arrive meanwhile are requeued.
    let other = conn.create_channel().await.unwrap();
    publish(&other, "first").await.unwrap();
    let early = first.next().await.unwrap().unwrap();
    slow.cancel().await.unwrap();
    let late = early.ack().await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::StaleDelivery);
    // The channel is open again, without the one consumer and with the other.
    let again = first.next().await.unwrap().unwrap();
    assert!(again.redelivered);
    again.ack().await.unwrap();
    chan.declare_queue("works").await.unwrap();
    consumers(&broker, "slow", 0).await;
}

#[tokio::test(start_paused = true)]
async fn what_gets_no_answer_holds_up_no_shutdown_and_no_drop() {
    for shut_down in [true, false] {
        let (broker, faults, conn) = connected().await;
        let channels = consuming(&conn, ["slow", "fast"]).await;
        faults.leave_unanswered(Asked::Consume, "slow");
        faults.leave_unanswered(Asked::Declare, "fast");
        let mut events = conn.events();
        broker.faults().drop_connections();
        until(&mut events, |event| {
            matches!(event, Event::Reconnected { .. })
        })
        .await;
        if shut_down {
            conn.shutdown(Duration::from_secs(5)).await.unwrap();
        } else {
            drop((conn, channels));
        }
        eventually(|| broker.connections("*").is_empty()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_to_a_channel_that_is_not_back_yet_goes_stale_with_it() {
    let (broker, faults, conn) = connected().await;
    let chan = conn.create_channel().await.unwrap();
    for queue in ["fast", "slow"] {
        chan.declare_queue(queue).await.unwrap();
    }
    let fast = chan.consume::<String>("fast").prefetch(2);
    let mut fast = fast.await.unwrap();
    let _slow = chan.consume::<String>("slow").await.unwrap();
    faults.leave_unanswered(Asked::Consume, "slow");
    broker.faults().drop_connections();
    consumers(&broker, "slow", 1).await;
    let other = conn.create_channel().await.unwrap();
    publish(&other, "fast").await.unwrap();
    publish(&other, "fast").await.unwrap();
    let early = fast.next().await.unwrap().unwrap();
    let refused = broker.faults().refuse_connections();
    broker.faults().drop_connections();
    eventually(|| !conn.is_open()).await;
    let late = early.ack().await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::StaleDelivery);
    assert!(fast.next().now_or_never().is_none());
    drop(refused);
    for _ in 0..2 {
        let again = fast.next().await.unwrap().unwrap();
        assert!(again.redelivered);
        again.ack().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_whose_place_the_lost_connection_may_hold_is_tried_until_it_cannot() {
    for leaves in [true, false] {
        let (broker, faults, conn) = connected().await;
        let chan = conn.create_channel().await.unwrap();
        chan.declare_queue("mine").await.unwrap();
        let mine = chan.consume::<String>("mine").exclusive_consumer();
        let mut mine = mine.await.unwrap();
        let mut events = conn.events();
        // The next generation's channel is refused, so that another client comes first.
        let lost = Error::connection(ErrorKind::ConnectionLost, "for a test");
        faults.refuse_channel(0, lost);
        broker.faults().drop_connections();
        until(&mut events, |event| {
            matches!(event, Event::AttemptFailed(_))
        })
        .await;
        let rival = another(&broker).await;
        let chan_of_rival = rival.create_channel().await.unwrap();
        let taken = chan_of_rival.consume::<String>("mine").exclusive_consumer();
        let taken = taken.await.unwrap();
        // Other calls do not wait for it.
        conn.create_channel().await.unwrap();
        assert!(mine.next().now_or_never().is_none());
        if leaves {
            rival.close().await.unwrap();
            publish(&chan, "mine").await.unwrap();
            receives(&mut mine).await;
        } else {
            let lost_at = Instant::now();
            let err = mine.next().await.unwrap().unwrap_err();
            assert_eq!(err.kind(), ErrorKind::AccessRefused);
            // A broker gives a silent client up after two heartbeats.
            assert!(lost_at.elapsed() > 2 * conn.endpoint().heartbeat);
            publish(&chan, "mine").await.unwrap();
        }
        drop(taken);
    }
}

/// As on RabbitMQ, where a queue may learn of its last consumer's end after it was declared again.
#[tokio::test(start_paused = true)]
async fn an_auto_delete_queue_that_goes_before_its_consumer_is_back_is_declared_again() {
    let (broker, faults, conn) = connected().await;
    let chan = conn.create_channel().await.unwrap();
    chan.declare_queue("fleeting").auto_delete().await.unwrap();
    let mut stream = chan.consume::<String>("fleeting").await.unwrap();

    faults.delete_before_consuming("fleeting");
    broker.faults().drop_connections();
    publish(&chan, "fleeting").await.unwrap();
    receives(&mut stream).await;

    faults.delete_before_consuming("fleeting");
    let missing = chan.publish("no-such-exchange", "body").await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::ExchangeNotFound);
    publish(&chan, "fleeting").await.unwrap();
    receives(&mut stream).await;
}

#[tokio::test(start_paused = true)]
async fn channels_outlive_an_attempt_that_fails_midway() {
    let (broker, faults, conn) = connected().await;
    let channels = [
        conn.create_channel().await.unwrap(),
        conn.create_channel().await.unwrap(),
    ];
    channels[0].declare_queue("queue").await.unwrap();
    // One for declaring, one that is open by then, and one that is not.
    let lost = Error::connection(ErrorKind::ConnectionLost, "for a test");
    faults.refuse_channel(2, lost);
    let mut events = conn.events();
    broker.faults().drop_connections();
    until(&mut events, |event| {
        matches!(event, Event::AttemptFailed(_))
    })
    .await;
    for chan in &channels {
        publish(chan, "queue").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_queue_with_more_bindings_than_channels_gets_them_all() {
    const MANY: usize = 2_500;
    let (broker, faults, conn) = connected().await;
    let chan = conn.create_channel().await.unwrap();
    chan.declare_queue("slow").await.unwrap();
    let key = |number| format!("key-{number}");
    for number in 0..MANY {
        let key = key(number);
        chan.bind_queue("slow", "amq.direct", key).await.unwrap();
    }
    faults.leave_unanswered(Asked::Declare, "slow");
    let mut events = conn.events();
    broker.faults().drop_connections();
    until(&mut events, |event| {
        matches!(event, Event::Reconnected { .. })
    })
    .await;
    let other = another(&broker).await.create_channel().await.unwrap();
    for number in 0..MANY {
        let key = key(number);
        other.unbind_queue("slow", "amq.direct", key).await.unwrap();
    }
    faults.answer();
    eventually(|| broker.bindings("amq.direct").len() == MANY).await;
    assert!(
        events
            .next()
            .now_or_never()
            .is_some_and(|event| matches!(event, Some(Event::Answered { .. })))
    );
    assert!(events.next().now_or_never().is_none());
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
    receives(&mut fast_stream).await;
    assert!(
        lost_at.elapsed() < 4 * UNANSWERED,
        "{:?}",
        lost_at.elapsed()
    );

    // Meanwhile another client has unbound them, and the user one of them as well.
    let other = another(&broker).await.create_channel().await.unwrap();
    for queue in &queues {
        other.unbind_queue(queue, "amq.fanout", "").await.unwrap();
    }
    fast.unbind_queue("slow-19", "amq.fanout", "")
        .await
        .unwrap();
    assert_eq!(broker.consumers("slow-*").len(), 0);
    faults.answer();
    eventually(|| broker.consumers("slow-*").len() == 20).await;
    eventually(|| broker.bindings("amq.fanout").len() == 19).await;
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
    // Otherwise the message might be dropped without notice.
    let waits = publish(&chan, "brief").timeout(Duration::from_secs(20));
    assert_eq!(waits.await.unwrap_err().kind(), ErrorKind::TimedOut);
    let told = loop {
        if let Event::NotRestored { what, error } = events.next().await.unwrap() {
            break (what, error.kind());
        }
    };
    assert_eq!(told, ("queue 'brief'".into(), ErrorKind::TimedOut));
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
    assert!(after < 3 * DRAINING, "{after:?}");
    for chan in &channels {
        chan.declare_queue("still here").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_opens_a_broken_channel_no_more_is_lost_once() {
    for why in [
        Error::connection(ErrorKind::ConnectionLost, "used up"),
        // For the other channels the error is the loss of their connection, even if it concerns one
        // channel.
        Error::new(ErrorKind::TimedOut, "used up"),
    ] {
        let (_broker, faults, conn) = connected().await;
        let chan = conn.create_channel().await.unwrap();
        let events = conn.events();
        faults.refuse_channel(0, why);
        let missing = chan.declare_queue("missing").passive().await;
        assert_eq!(missing.unwrap_err().kind(), ErrorKind::QueueNotFound);
        chan.declare_queue("still here").await.unwrap();
        conn.close().await.unwrap();
        let told: Vec<_> = events.collect().await;
        assert!(
            matches!(&told[..], [Event::Lost(err), Event::Reconnected { .. }, Event::Closed(_)]
                if err.kind() == ErrorKind::ConnectionLost
                    && err.scope() == ErrorScope::Connection
                    && err.to_string().contains("used up")),
            "{told:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_for_which_there_is_no_room_comes_when_there_is() {
    let (broker, faults, conn) = connected().await;
    let names = ["first", "last"];
    let [(first, _), (last, mut last_stream)] = consuming(&conn, names).await;
    let mut events = conn.events();
    // One redeclares the queues, one is the first, and then none is free.
    let limit = Error::new(ErrorKind::NotAllowed, "all are in use");
    faults.refuse_channel(2, limit);
    broker.faults().drop_connections();
    let told = told_until_reconnected(&mut events).await;
    assert!(
        matches!(&told[..], [Event::Lost(_), Event::NotRestored { what, error }]
            if what.contains("a channel") && error.kind() == ErrorKind::NotAllowed),
        "{told:?}"
    );
    publish(&first, "first").await.unwrap();
    publish(&last, "last").await.unwrap();
    receives(&mut last_stream).await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_the_broker_named_and_is_silent_about_keeps_its_name() {
    let (broker, faults, conn) = connected().await;
    let chan = conn.create_channel().await.unwrap();
    let name = chan.declare_queue("").await.unwrap().name;
    let mut stream = chan.consume::<String>(&*name).await.unwrap();
    let mut events = conn.events();
    faults.leave_unanswered(Asked::Declare, &name);
    broker.faults().drop_connections();
    let told = told_until_reconnected(&mut events).await;
    assert!(
        matches!(&told[..], [Event::Lost(_), Event::NotRestored { what, .. }]
            if what.contains(name.as_str())),
        "{told:?}"
    );
    assert_eq!(broker.queues("*").len(), 1);
    publish(&chan, &name).await.unwrap();
    receives(&mut stream).await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_deleted_before_its_turn_does_not_come_back() {
    let (broker, faults, conn) = connected().await;
    let chan = conn.create_channel().await.unwrap();
    // As many as are declared concurrently, and one more.
    let slow: Vec<_> = (0..64).map(|number| format!("slow-{number}")).collect();
    for queue in &slow {
        chan.declare_queue(queue).await.unwrap();
        faults.leave_unanswered(Asked::Declare, queue);
    }
    chan.declare_queue("deleted").await.unwrap();
    let mut events = conn.events();
    broker.faults().drop_connections();
    until(&mut events, |event| {
        matches!(event, Event::Reconnected { .. })
    })
    .await;
    chan.delete_queue("deleted").await.unwrap();
    faults.answer();
    // The paused clock moves on when there is nothing else to do.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(broker.queues("slow-*").len(), slow.len());
    assert_eq!(broker.queues("deleted").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_publish_ends_in_time_while_deliveries_come_without_a_pause() {
    let (_broker, faults, conn) = connected().await;
    let [(chan, mut stream)] = consuming(&conn, ["ball"]).await;
    publish(&chan, "ball").await.unwrap();
    let playing = tokio::spawn(async move {
        while let Some(Ok(ball)) = stream.next().await {
            ball.requeue().await.unwrap();
        }
    });
    faults.swallow_publishes();
    let limit = Duration::from_secs(5);
    let mut confirmation = publish(&chan, "ball").timeout(limit).publish_now().unwrap();
    tokio::task::yield_now().await;
    tokio::time::advance(limit).await;
    // So often others get their turn at most.
    for _ in 0..1_000 {
        if let Some(ended) = (&mut confirmation).now_or_never() {
            assert_eq!(ended.unwrap_err().kind(), ErrorKind::TimedOut);
            playing.abort();
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("nobody looks at the deadline");
}

/// Opens a connection to a broker, with faults to inject.
async fn connected() -> (InMemoryBroker, Faults, Connection) {
    let (broker, faults) = (InMemoryBroker::start(), Faults::default());
    let conn = open(faults.on_transport(broker.transport())).await;
    (broker, faults, conn)
}

/// Opens a connection without faults.
async fn another(broker: &InMemoryBroker) -> Connection {
    open(Arc::new(broker.transport())).await
}

async fn open(transport: Arc<dyn Transport>) -> Connection {
    let options = ConnectOptions::new().broker(Scheme::Memory);
    Connection::open(transport, options).await.unwrap()
}

/// Opens a channel of its own with a stream for each of `queues`.
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
    let all = join_all(all).await;
    all.try_into()
        .unwrap_or_else(|_| unreachable!("as many as there are queues"))
}

/// The error is the transport's for a consumer whose queue ends connections.
#[tokio::test(start_paused = true)]
async fn a_consumer_that_the_transport_leaves_off_ends_alone() {
    let (broker, faults, conn) = connected().await;
    let chan = conn.create_channel().await.unwrap();
    chan.declare_queue("poisoned").await.unwrap();
    chan.declare_queue("fine").await.unwrap();
    let mut poisoned = chan.consume::<String>("poisoned").await.unwrap();
    let mut fine = chan.consume::<String>("fine").await.unwrap();
    let mut events = conn.events();
    let why = "queue 'poisoned' is not read from";
    let refusal = Error::new(ErrorKind::ConsumerCancelled, why);
    faults.refuse_consumers("poisoned", refusal);
    broker.faults().drop_connections();

    let told = told_until_reconnected(&mut events).await;
    let ended = told.iter().find_map(|event| match event {
        Event::ConsumerEnded { queue, error } => Some((queue.as_str(), error)),
        _ => None,
    });
    let (queue, error) = ended.expect("one has ended");
    assert_eq!(queue, "poisoned");
    assert_eq!(error.kind(), ErrorKind::ConsumerCancelled);
    assert!(error.to_string().contains(why), "{error}");
    let end = poisoned.next().await.unwrap().unwrap_err();
    assert_eq!(end.to_string(), error.to_string());
    // On the same channel.
    publish(&chan, "fine").await.unwrap();
    receives(&mut fine).await;
}

fn publish<'a>(chan: &'a Channel, queue: &str) -> Publish<'a> {
    chan.publish("", "still here").routing_key(queue)
}

/// Receives and acks the next message of `publish`.
async fn receives(stream: &mut Deliveries<String>) {
    let delivery = stream.next().await.unwrap().unwrap();
    assert_eq!(delivery.ack().await.unwrap(), "still here");
}

/// Returns the events before the connection is open again, which it is at the first attempt.
async fn told_until_reconnected(events: &mut Events) -> Vec<Event> {
    let mut told = Vec::new();
    loop {
        match events.next().await.expect("it is not closed") {
            Event::Reconnected { .. } => return told,
            Event::AttemptFailed(err) => panic!("{err}"),
            event => told.push(event),
        }
    }
}

async fn until(events: &mut Events, wanted: impl Fn(&Event) -> bool) {
    while !wanted(&events.next().await.unwrap()) {}
}

/// Waits until `queue` has `count` consumers.
async fn consumers(broker: &InMemoryBroker, queue: &str, count: usize) {
    eventually(|| broker.consumers(queue).len() == count).await;
}

/// Waits until `condition` holds, while tokio lets time pass when nothing else can go on.
async fn eventually(condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(timeout(Duration::from_secs(600), holds).await.is_ok());
}
