//! Endurance: channels closed by the thousand, futures dropped at every point, and handles dropped
//! without closing.

use std::env;
use std::future::{Future, IntoFuture, poll_fn};
use std::panic;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use mooq::{Channel, Connection, Delivery, Error, ErrorKind, Event};
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::cases::{PATIENCE, ends_well, flowing};
use super::journal::Journal;
use super::site::Site;
use super::workload::Workload;

/// Maximum number of polls before a future is dropped.
const MOST_POLLS: u64 = 6;

/// Number of dropped futures between two completed calls: the dropped calls go on in the
/// background, and must not pile up.
const ROUND: usize = 32;

/// Number of channels that are closed at once.
const AT_ONCE: usize = 16;

/// Time limit for tasks to end. Only a task that never does reaches it.
const ENDING: Duration = PATIENCE;

/// Number of tries: `short`, or `full` if `MOOQ_FAULTS_FULL` is set.
fn times(short: usize, full: usize) -> usize {
    match env::var_os("MOOQ_FAULTS_FULL") {
        Some(_) => full,
        None => short,
    }
}

/// Case: the broker closes thousands of channels of a busy connection. The client for RabbitMQ
/// loses a channel number each time, so the connection is replaced now and then.
pub(super) async fn thousands_of_channels_closed_by_the_broker(site: &Site, name: &str) {
    let closes = times(1_600, 5_000);
    let workload = flowing(site, name).await;
    let mark = workload.journal().mark();
    let left = AtomicUsize::new(closes);
    join_all((0..AT_ONCE).map(|_| close_channels(&workload, &left))).await;
    let replaced = workload.journal().since(mark).into_iter();
    let replaced = replaced.filter(|entry| matches!(entry.event, Event::Lost(_)));
    println!(
        "{name} on {}: {closes} closed, connection replaced {} times",
        site.kind(),
        replaced.count()
    );
    ends_well(workload, name, site).await;
}

/// Makes the broker close a channel again and again, until `left` is used up.
async fn close_channels(workload: &Workload, left: &AtomicUsize) {
    let chan = workload.publishing().create_channel().await.unwrap();
    let one_less = |left: usize| left.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
        .is_ok()
    {
        let declare = chan.declare_queue("no such queue").passive();
        match workload.call("DeclareQueue", declare).await {
            Err(err) if err.kind() == ErrorKind::QueueNotFound => {}
            // The connection is replaced: this close does not count.
            Err(err) if err.kind() == ErrorKind::ConnectionLost => {
                left.fetch_add(1, Ordering::Relaxed);
            }
            other => panic!("expected the channel's close, not {other:?}"),
        }
    }
}

/// Case: futures of every call are dropped at every point. Nothing panics, and the connection
/// survives.
pub(super) async fn futures_dropped_at_random(site: &Site, name: &str) {
    let drops = times(3_000, 100_000);
    let panics = count_panics();
    let conn = mooq::connect(site.options().timeout(PATIENCE))
        .await
        .unwrap();
    let journal = Journal::default();
    journal.keep("dropping", &conn);
    let chan = conn.create_channel().await.unwrap();
    let queue = format!("{name}/queue");
    chan.declare_queue(&queue).await.unwrap();
    chan.declare_exchange(&*queue, "direct").await.unwrap();

    let mut random = Rng::with_seed(0);
    let mut finished = 0;
    for number in 0..drops {
        finished += usize::from(drop_one(&mut random, &conn, &chan, &queue).await);
        if number % ROUND == 0 {
            chan.declare_queue(&queue).await.unwrap();
        }
    }
    println!(
        "{name} on {}: {drops} dropped, {finished} at their end",
        site.kind()
    );

    // Everything still works, on the same connection.
    let lost = journal.since(0).into_iter().find(|entry| {
        matches!(
            entry.event,
            Event::Lost(_) | Event::Closed(_) | Event::ChannelReopened(_)
        )
    });
    assert!(lost.is_none(), "{lost:?}");
    chan.delete_queue(&queue).await.unwrap();
    chan.declare_queue(&queue).await.unwrap();
    let publish = chan.publish("", &1).routing_key(&*queue).mandatory();
    publish.await.unwrap();
    let got = chan.get::<i32>(&queue).timeout(PATIENCE).await.unwrap();
    assert_eq!(got.ack().await.unwrap(), 1);
    conn.close().await.unwrap();
    assert_eq!(panics.load(Ordering::SeqCst), 0, "a task has panicked");
}

/// Begins a call and drops it at some point. Returns true if the call had finished.
async fn drop_one(random: &mut Rng, conn: &Connection, chan: &Channel, queue: &str) -> bool {
    let polls = random.u64(..MOST_POLLS);
    let publish = || chan.publish("", &0).routing_key(queue);
    match random.u8(..14) {
        0 => polled(polls, publish()).await,
        1 => polled(polls, publish().send()).await,
        2 => polled(polls, async { publish().send().await?.await }).await,
        3 => polled(polls, publish().mandatory()).await,
        4 => polled(polls, chan.get::<i32>(queue)).await,
        5 => {
            let limit = Duration::from_millis(1);
            polled(polls, chan.get::<i32>(queue).timeout(limit)).await
        }
        6 => polled(polls, chan.declare_queue(queue)).await,
        7 => polled(polls, chan.declare_exchange(queue, "direct")).await,
        8 => polled(polls, chan.bind_queue(queue, queue, "key")).await,
        9 => polled(polls, chan.unbind_queue(queue, queue, "key")).await,
        10 => {
            let consuming = async {
                let mut numbers = chan.consume::<i32>(queue).prefetch(3).await?;
                let next = numbers.next().await;
                next.transpose()?;
                numbers.cancel().await
            };
            polled(polls, consuming).await
        }
        11 => {
            let registering = async {
                let register = chan.register_consumer(queue, "direct").queue(queue);
                let register = register.callback(|_: Delivery<i32>| async {});
                register.await?.cancel().await
            };
            polled(polls, registering).await
        }
        12 => {
            let opening = async { conn.create_channel().await?.close().await };
            polled(polls, opening).await
        }
        _ => polled(polls, conn.process_events().cycles(1)).await,
    }
}

/// Polls `call` at most `polls` times, and drops it. Returns true if it was ready.
///
/// # Panics
/// If the call fails, as the broker is sound. An empty queue is no failure.
async fn polled<T>(polls: u64, call: impl IntoFuture<Output = Result<T, Error>>) -> bool {
    let mut call = pin!(call.into_future());
    for _ in 0..polls {
        let now = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        match now {
            Poll::Ready(Ok(_)) => return true,
            Poll::Ready(Err(err)) => {
                assert_eq!(err.kind(), ErrorKind::ConsumeTimeout, "{err:?}");
                return true;
            }
            // Other tasks get a turn, so that the next poll makes progress.
            Poll::Pending => yield_now().await,
        }
    }
    false
}

/// Counts the panics of this thread, on which the whole case runs.
fn count_panics() -> Arc<AtomicUsize> {
    let count = Arc::<AtomicUsize>::default();
    let (mine, before) = (Arc::clone(&count), panic::take_hook());
    let thread = thread::current().id();
    panic::set_hook(Box::new(move |info| {
        if thread::current().id() == thread {
            mine.fetch_add(1, Ordering::SeqCst);
        }
        before(info);
    }));
    count
}

/// Case: all handles are dropped without closing, and every task ends.
pub(super) async fn handles_dropped_without_closing(site: &Site, name: &str) {
    let alive = || Handle::current().metrics().num_alive_tasks();
    let before = alive();
    for round in 0..3 {
        let conn = mooq::connect(site.options()).await.unwrap();
        let queue = format!("{name}/{round}");
        let chan = conn.create_channel().await.unwrap();
        let consumer = chan
            .register_consumer(format!("{queue}/exchange"), "direct")
            .queue(format!("{queue}/callback"))
            .callback(|_: Delivery<i32>| async {})
            .await
            .unwrap();
        chan.declare_queue(&queue).await.unwrap();
        let mut numbers = chan.consume::<i32>(&queue).await.unwrap();
        let mut confirmations = Vec::new();
        for number in 0..20 {
            let publish = chan.publish("", &number).routing_key(&*queue);
            confirmations.push(publish.send().await.unwrap());
        }
        let held = numbers.next().await.unwrap().unwrap();
        conn.process_events().cycles(1).await.unwrap();
        let (state, events) = (conn.state(), conn.events());
        assert!(alive() > before);
        drop((
            conn,
            chan,
            consumer,
            numbers,
            confirmations,
            held,
            state,
            events,
        ));
    }
    let ended = timeout(ENDING, async {
        // Polling: the runtime has no event for a task's end.
        while alive() > before {
            yield_now().await;
        }
    });
    let left = ended.await.map_err(|_| alive() - before);
    assert_eq!(left, Ok(()), "tasks are left");
    println!("{name} on {}: {before} tasks before and after", site.kind());
}
