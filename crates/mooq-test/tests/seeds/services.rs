//! Seeds with services on mooq's runtime: callbacks, and publishes that wait for their confirms.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex};

use mooq::ExchangeKind::Topic;
use mooq::memory::InMemoryBroker;
use mooq::{Connection, Delivery};
use mooq_test::for_each_seed;

type Seen = Arc<Mutex<Vec<String>>>;

/// A service that notes its messages from three queues, and forwards some of them.
async fn start(conn: &Connection, name: &'static str, seen: &Seen) -> mooq::Result<()> {
    let chan = conn.create_channel().await?;
    for queue in ["red", "green", "blue"] {
        let (seen, out) = (Arc::clone(seen), chan.clone());
        chan.register_consumer("colours", Topic)
            .queue(queue)
            .routing_keys([queue, "all"])
            .callback(move |message: Delivery<u32>| {
                let note = format!("{name} {queue} {}", message.msg);
                seen.lock().unwrap().push(note);
                let out = out.clone();
                async move {
                    if queue == "red" && message.msg < 100 {
                        let handed_on = message.msg + 100;
                        out.publish("colours", &handed_on)
                            .routing_key("blue")
                            .await?;
                    }
                    Ok::<(), mooq::Error>(())
                }
            })
            .await?;
    }
    Ok(())
}

async fn run(broker: &InMemoryBroker) -> mooq::Result<Vec<String>> {
    let seen = Seen::default();
    for name in ["one", "other"] {
        let conn = mooq::connect(broker).await?;
        start(&conn, name, &seen).await?;
        tokio::spawn(async move { conn.process_events().await });
    }
    let chan = mooq::connect(broker).await?.create_channel().await?;
    let mut confirmations = Vec::new();
    for n in 0..8 {
        let key = ["red", "green", "blue", "all"][n as usize % 4];
        let publish = chan.publish("colours", &n).routing_key(key);
        confirmations.push(publish.send().await?);
    }
    for confirmation in confirmations {
        confirmation.await?;
    }
    broker.wait_idle().await;
    let seen = seen.lock().unwrap();
    // Two messages to each queue alone, two to all of them, and those that red forwards to blue.
    assert_eq!(seen.len(), 3 * 2 + 3 * 2 + 4);
    Ok(seen.clone())
}

#[test]
fn services_repeat_themselves_with_the_seed_and_differ_without() {
    let runs = RefCell::new(BTreeMap::new());
    for_each_seed((0..40).flat_map(|seed| [seed, seed]), |seed| {
        let runs = &runs;
        async move {
            let seen = run(&InMemoryBroker::start_seeded(seed)).await?;
            let mut sorted: Vec<_> = seen
                .iter()
                .map(|s| s.split_once(' ').unwrap().1.to_owned())
                .collect();
            sorted.sort();
            assert_eq!(
                sorted.len(),
                sorted.iter().collect::<HashSet<_>>().len(),
                "{seen:?}"
            );
            let mut runs = runs.borrow_mut();
            assert_eq!(runs.entry(seed).or_insert_with(|| seen.clone()), &seen);
            Ok::<(), mooq::Error>(())
        }
    });
    let distinct: HashSet<_> = runs.borrow().values().cloned().collect();
    assert!(distinct.len() > 20, "{} runs of 40 differ", distinct.len());
}

/// The messages left when a consumer of a quorum queue acks two of eight and is cancelled at once.
async fn left_after_cancelling(broker: &InMemoryBroker) -> mooq::Result<String> {
    let chan = mooq::connect(broker).await?.create_channel().await?;
    chan.declare_queue("numbers").quorum().await?;
    for number in 1..=8 {
        chan.publish("", &number).routing_key("numbers").await?;
    }
    let mut stream = chan.consume::<i32>("numbers").prefetch(5).await?;
    for _ in 0..2 {
        stream.next().await.unwrap()?.ack().await?;
    }
    drop(stream);
    broker.wait_idle().await;
    let left = broker.ready_messages("numbers");
    let left = left
        .iter()
        .map(|ready| String::from_utf8_lossy(&ready.message.body));
    Ok(left.collect::<Vec<_>>().join(" "))
}

#[test]
fn cancellation_overtakes_acks_with_some_seeds() {
    let orders = RefCell::new(BTreeSet::new());
    for_each_seed(0..50, |seed| {
        let orders = &orders;
        async move {
            let left = left_after_cancelling(&InMemoryBroker::start_seeded(seed)).await?;
            orders.borrow_mut().insert(left);
            Ok::<(), mooq::Error>(())
        }
    });
    for order in ["3 4 5 6 7 8", "6 7 3 4 5 8"] {
        assert!(orders.borrow().contains(order), "{order}: {orders:?}");
    }
}

#[tokio::test]
async fn cancellation_overtakes_nothing_without_a_seed() -> mooq::Result<()> {
    let left = left_after_cancelling(&InMemoryBroker::start()).await?;
    assert_eq!(left, "3 4 5 6 7 8");
    Ok(())
}

/// The channel acks for the consumer, and the queue then sends more: with a seed, some time later.
#[test]
fn a_quorum_queues_consumer_without_acks_gets_everything() {
    for_each_seed(0..100, |seed| async move {
        let broker = InMemoryBroker::start_seeded(seed);
        let conn = mooq::connect(&broker).await.unwrap();
        let chan = conn.create_channel().await.unwrap();
        chan.declare_queue("numbers").quorum().await.unwrap();
        for number in 0..10 {
            let publish = chan.publish("", &number).routing_key("numbers");
            publish.await.unwrap();
        }
        let numbers = chan.consume::<u32>("numbers").prefetch(1).auto_ack();
        let mut numbers = numbers.await.unwrap();
        for expected in 0..10 {
            let number = numbers.next().await.unwrap().unwrap();
            assert_eq!(number.msg, expected, "seed {seed}");
        }
        broker.wait_idle().await;
    });
}
