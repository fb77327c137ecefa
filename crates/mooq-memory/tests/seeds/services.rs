//! The same with services on mooq's runtime: callbacks, and publishes that wait for their confirms.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use mooq::ExchangeKind::Topic;
use mooq::{ConnectInMemory, Connection, Delivery, InMemoryBroker};
use mooq_memory::seeds::for_each_seed;

type Seen = Arc<Mutex<Vec<String>>>;

/// A service that notes what it gets from three queues, and hands some of it on.
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
        let conn = broker.connect().await?;
        start(&conn, name, &seen).await?;
        tokio::spawn(async move { conn.process_events().await });
    }
    let chan = broker.connect().await?.create_channel().await?;
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
    // Two to each queue alone, two to all of them, and what red hands on to blue.
    assert_eq!(seen.len(), 3 * 2 + 3 * 2 + 4);
    Ok(seen.clone())
}

#[test]
fn services_repeat_themselves_with_the_seed_and_differ_without() {
    let runs = std::cell::RefCell::new(BTreeMap::new());
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
    assert!(distinct.len() > 20, "{} of 40", distinct.len());
}
