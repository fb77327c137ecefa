//! Waiting until nothing is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mooq::memory::{Alarm, InMemoryBroker};
use mooq::{ConnectOptions, Connection, Delivery, Outcome, Recovery};
use tokio::runtime::Builder;
use tokio::time::{Instant, timeout};

use crate::chatter::Services;
use crate::{publish, set_up};

/// Number of times that the services chatter in all, unless `MOOQ_IDLE_RUNS` says otherwise;
/// `run-all` does.
const RUNS: u32 = 3_000;

/// On so many sorts of runtimes.
const SORTS: u32 = 3;

/// Far above what anything here takes: with the clock paused it costs nothing.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Number of runs on each sort.
fn runs() -> u32 {
    let runs = std::env::var("MOOQ_IDLE_RUNS").ok();
    let runs = runs.and_then(|runs| runs.parse().ok()).unwrap_or(RUNS);
    runs.div_ceil(SORTS)
}

/// Waits, and says what is under way if that does not end.
async fn idle(broker: &InMemoryBroker) {
    if timeout(LONG, broker.wait_idle()).await.is_err() {
        panic!("{} after {LONG:?}", broker.activity());
    }
}

/// Asserts that it is not idle, and will not be by itself.
async fn assert_busy(broker: &InMemoryBroker) {
    let waited = timeout(LONG, broker.wait_idle()).await;
    assert!(waited.is_err(), "{}", broker.activity());
}

/// Services that talk until they have nothing more to say: then everything is done, exactly, and
/// not once only.
async fn chatter(run: u32) {
    // Every other one has things arrive late and overtake each other.
    let broker = if run.is_multiple_of(2) {
        InMemoryBroker::start()
    } else {
        InMemoryBroker::start_seeded(run.into())
    };
    let services = Services::start(&broker).await;
    let orders = run % 5;
    for times in 1..=2 {
        services.order(orders).await;
        idle(&broker).await;
        let expected = Services::all_done(orders, times);
        assert_eq!(
            services.counts(),
            expected,
            "in run {run}, of {orders} orders"
        );
        assert!(broker.activity().is_idle());
        assert!(broker.queues("*").iter().all(|q| q.ready + q.unacked == 0));
    }
}

#[test]
fn everything_is_done_on_one_thread() {
    for run in 0..runs() {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(chatter(run));
    }
}

#[test]
fn everything_is_done_on_several_threads() {
    on_threads();
}

/// As `taskset -c 0` would have it: threads that take turns wherever the system interrupts them.
#[cfg(target_os = "linux")]
#[test]
fn everything_is_done_on_several_threads_of_one_core() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let all = sched_getaffinity(None).unwrap();
    let first = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).unwrap();
    let mut one = CpuSet::new();
    one.set(first);
    // This thread's, and so that of those that it begins.
    sched_setaffinity(None, &one).unwrap();
    on_threads();
}

fn on_threads() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    for run in 0..runs() {
        // In a task: the runtime's own thread would be one more.
        runtime.block_on(async { tokio::spawn(chatter(run)).await.unwrap() });
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_no_consumer_can_take_are_not_in_flight() {
    let (broker, conn, chan) = set_up().await;
    chan.declare_queue("unread").await.unwrap();
    chan.declare_queue("late")
        .argument("x-message-ttl", 86_400_000)
        .argument("x-dead-letter-exchange", "")
        .argument("x-dead-letter-routing-key", "unread")
        .await
        .unwrap();
    publish(&chan, "unread", 1).await;
    publish(&chan, "late", 2).await;
    let began = Instant::now();
    idle(&broker).await;
    assert_eq!(
        began.elapsed(),
        Duration::ZERO,
        "it waits for no time to come"
    );

    // Nor does it wait for the timer's task to see that the time has come.
    tokio::time::advance(Duration::from_secs(86_400)).await;
    idle(&broker).await;
    let bodies: Vec<_> = broker.ready_messages("unread");
    assert_eq!((bodies.len(), &*bodies[1].message.body), (2, &b"2"[..]));
    drop(conn);
}

#[tokio::test(start_paused = true)]
async fn a_callback_is_under_way_to_its_end_however_it_acknowledges() {
    let (broker, conn, chan) = set_up().await;
    let ended = Arc::new(AtomicBool::new(false));
    let slow = |by_hand: bool| {
        let ended = Arc::clone(&ended);
        move |job: Delivery<u32>| {
            let ended = Arc::clone(&ended);
            async move {
                if by_hand {
                    job.ack().await.unwrap();
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                ended.store(true, Ordering::Relaxed);
            }
        }
    };
    let by_outcome = chan.register_consumer("a", "direct").queue("by-outcome");
    by_outcome.callback(slow(false)).await.unwrap();
    let by_hand = chan.register_consumer("a", "direct").queue("by-hand");
    by_hand.callback(slow(true)).manual_ack().await.unwrap();
    let auto = chan.register_consumer("a", "direct").queue("auto");
    auto.callback(slow(false)).auto_ack().await.unwrap();
    tokio::spawn(async move { conn.process_events().await });

    for queue in ["by-outcome", "by-hand", "auto"] {
        publish(&chan, queue, 1).await;
        idle(&broker).await;
        assert!(ended.swap(false, Ordering::Relaxed), "{queue}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_under_way_while_somebody_holds_it() {
    let (broker, _conn, chan) = set_up().await;
    chan.declare_queue("jobs").await.unwrap();
    for job in 1..=3 {
        publish(&chan, "jobs", job).await;
    }
    let fetched = chan.get_one::<u32>("jobs").await.unwrap();
    assert_busy(&broker).await;
    fetched.ack().await.unwrap();
    idle(&broker).await;

    let settled = chan.get_one::<u32>("jobs").auto_ack().await.unwrap();
    assert_busy(&broker).await;
    drop(settled);
    idle(&broker).await;

    let mut stream = chan.consume::<u32>("jobs").auto_ack().await.unwrap();
    assert_busy(&broker).await;
    let streamed = stream.next().await.unwrap().unwrap();
    assert_busy(&broker).await;
    drop(streamed);
    idle(&broker).await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_whose_events_nobody_processes_keeps_it_busy_until_it_goes() {
    for auto_ack in [false, true] {
        let (broker, conn, chan) = set_up().await;
        let mut register = chan
            .register_consumer("jobs", "direct")
            .queue("jobs")
            .callback(|_: Delivery<u32>| async {});
        if auto_ack {
            register = register.auto_ack();
        }
        register.await.unwrap();
        publish(&chan, "jobs", 1).await;
        assert_busy(&broker).await;
        conn.close().await.unwrap();
        drop((conn, chan));
        idle(&broker).await;
        let ready = broker.queues("jobs")[0].ready;
        assert_eq!(ready, u64::from(!auto_ack));
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_is_under_way_until_its_client_has_handled_it() {
    use futures_util::{FutureExt, StreamExt};
    use mooq_core::{Endpoint, Message, Publish, Scheme, Transport};

    let broker = InMemoryBroker::start();
    let (transport, endpoint) = (broker.transport(), Endpoint::new(Scheme::Memory));
    let opened = transport.open(&endpoint).await.unwrap();
    let mut channel = opened.connection.open_channel().await.unwrap();
    channel.channel.confirm_select().await.unwrap();
    assert!(broker.activity().is_idle());

    let message = Message {
        exchange: "".try_into().unwrap(),
        routing_key: "nowhere".try_into().unwrap(),
        properties: Default::default(),
        body: "lost".into(),
    };
    let publish = || {
        let mut publish = Publish::new(message.clone());
        publish.mandatory = true;
        let _ = channel.channel.publish(publish).unwrap();
    };
    publish();
    assert_eq!(broker.activity().at_clients, 1);
    // The return, and the confirm: having them is not to have handled them.
    for _ in 0..2 {
        assert!(channel.events.next().now_or_never().is_some());
        assert_eq!(broker.activity().at_clients, 1);
    }
    assert!(channel.events.next().now_or_never().is_none());
    assert!(broker.activity().is_idle());

    publish();
    drop(channel);
    drop(opened);
    idle(&broker).await;
}

#[tokio::test(start_paused = true)]
async fn work_that_an_alarm_or_a_fault_holds_up_is_in_flight() {
    let (broker, conn, chan) = set_up().await;
    chan.declare_queue("jobs").await.unwrap();
    let send = async || {
        let publish = chan.publish("", &1).routing_key("jobs");
        publish.unconfirmed().await.unwrap();
    };

    let alarm = broker.raise_alarm(Alarm::Disk);
    send().await;
    assert_busy(&broker).await;
    assert_eq!(broker.activity().held_up, 1);
    drop(alarm);
    idle(&broker).await;

    let frozen = broker.faults().freeze();
    send().await;
    assert_busy(&broker).await;
    assert_eq!(broker.activity().held_up, 1);
    drop(frozen);
    idle(&broker).await;

    let slow = broker.faults().slow(Duration::from_secs(5));
    send().await;
    let began = Instant::now();
    idle(&broker).await;
    assert!(began.elapsed() >= Duration::from_secs(5));
    drop((slow, conn));
}

#[tokio::test(start_paused = true)]
async fn callbacks_that_are_cut_off_are_not_under_way_any_more() {
    let broker = InMemoryBroker::start();
    let options = ConnectOptions::new().recovery(Recovery::off());
    let conn = Connection::open(Arc::new(broker.transport()), options)
        .await
        .unwrap();
    let chan = conn.create_channel().await.unwrap();
    chan.register_consumer("jobs", "direct")
        .queue("jobs")
        .callback(|_: Delivery<u32>| std::future::pending::<Outcome>())
        .await
        .unwrap();
    publish(&chan, "jobs", 1).await;
    let processing = tokio::spawn(async move { conn.process_events().await });
    assert_busy(&broker).await;

    // Cut off: it would start anew, but nobody processes events.
    broker.close();
    processing.await.unwrap().unwrap_err();
    idle(&broker).await;
    broker.run();
    assert_eq!(broker.queues("jobs")[0].ready, 1);
    idle(&broker).await;
}

#[tokio::test(start_paused = true)]
async fn any_number_may_wait_and_give_up() {
    let (broker, _conn, chan) = set_up().await;
    chan.declare_queue("jobs").await.unwrap();
    publish(&chan, "jobs", 1).await;
    let job = chan.get_one::<u32>("jobs").await.unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let broker = broker.clone();
            tokio::spawn(async move { broker.wait_idle().await })
        })
        .collect();
    assert_busy(&broker).await;
    waiting[0].abort();
    job.ack().await.unwrap();
    for (at, waiting) in waiting.into_iter().enumerate() {
        assert_eq!(waiting.await.is_ok(), at > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_waits_for_a_route_keeps_nobody_busy_and_goes_in_time()
-> mooq::Result<()> {
    let broker = InMemoryBroker::start();
    let recording = broker.record(100);
    let chan = mooq::connect(&broker).await?.create_channel().await?;
    chan.declare_queue("orders")
        .quorum()
        .overflow(mooq::topology::Overflow::RejectPublish)
        .dead_letter("", "dead")
        .argument("x-dead-letter-strategy", "at-least-once")
        .await?;
    chan.publish("", "a book").routing_key("orders").await?;
    chan.get_one::<String>("orders").await?.reject().await?;
    idle(&broker).await;
    let kept = || broker.queues("orders")[0].kept_dead_letters;
    assert_eq!(kept(), 1);
    recording.dead_letters().assert_never();

    chan.declare_queue("dead").await?;
    tokio::time::advance(Duration::from_secs(180)).await;
    idle(&broker).await;
    assert_eq!(kept(), 0);
    recording.dead_letters().routed_to("dead").assert_once();
    Ok(())
}
