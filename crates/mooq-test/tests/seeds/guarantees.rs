//! Other seeds give other runs, and all of them keep RabbitMQ's guarantees.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use mooq_memory::InMemoryBroker;
use mooq_test::for_each_seed;

use crate::chatter::{CONSUMERS, Heard, MESSAGES, PUBLISHERS, QUEUES, Trace, run};

/// Number of seeds.
const SEEDS: u64 = 100;

#[test]
fn a_hundred_seeds_give_many_runs_and_each_keeps_rabbitmqs_guarantees() {
    let traces = std::cell::RefCell::new(HashSet::new());
    let batches = std::cell::Cell::new(0);
    for_each_seed(0..SEEDS, |seed| {
        let (traces, batches) = (&traces, &batches);
        async move {
            let trace = run(&InMemoryBroker::start_seeded(seed)).await;
            check(&trace);
            let batch = |(_, heard): &&(String, Heard)| {
                matches!(heard, Heard::Outcome { multiple: true, .. })
            };
            batches.set(batches.get() + trace.iter().filter(batch).count());
            traces.borrow_mut().insert(trace);
        }
    });
    let distinct = traces.borrow().len();
    assert!(distinct > 90, "{distinct} runs of {SEEDS} differ");
    assert!(
        batches.get() > 100,
        "{batches:?} confirms of several publishes"
    );
}

#[test]
fn events_keep_the_plain_order_without_a_seed() {
    let traces: HashSet<_> = (0..10)
        .map(|_| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(run(&InMemoryBroker::start()))
        })
        .collect();
    assert_eq!(traces.len(), 1);
    let trace = traces.into_iter().next().unwrap();
    check(&trace);
    for number in 0..PUBLISHERS {
        let outcomes = outcomes(&trace, number);
        let plain = (1..=MESSAGES.into()).map(|sequence| (sequence, false));
        assert!(
            outcomes
                .iter()
                .map(|(sequence, multiple, _)| (*sequence, *multiple))
                .eq(plain)
        );
    }
}

fn check(trace: &Trace) {
    for number in 0..PUBLISHERS {
        check_publisher(trace, number);
    }
    for number in 0..CONSUMERS {
        check_consumer(trace, number);
    }
    check_consumers_together(trace);
}

fn of<'a>(trace: &'a Trace, who: &str) -> impl Iterator<Item = &'a Heard> {
    trace
        .iter()
        .filter(move |(other, _)| *other == who)
        .map(|(_, heard)| heard)
}

fn outcomes(trace: &Trace, publisher: u32) -> Vec<(u64, bool, bool)> {
    of(trace, &format!("publisher {publisher}"))
        .filter_map(|heard| match heard {
            Heard::Outcome {
                sequence,
                multiple,
                taken,
            } => Some((*sequence, *multiple, *taken)),
            _ => None,
        })
        .collect()
}

/// Checks that every publish has one outcome, the right one, and that a returned message comes
/// before it.
fn check_publisher(trace: &Trace, number: u32) {
    let mut returned = BTreeSet::new();
    let mut told = BTreeMap::new();
    for heard in of(trace, &format!("publisher {number}")) {
        match heard {
            Heard::Return { body } => {
                let n: u64 = body.rsplit('.').next().unwrap().parse().unwrap();
                assert!(
                    !told.contains_key(&(n + 1)),
                    "{body} was returned after its outcome"
                );
                returned.insert(n + 1);
            }
            Heard::Outcome {
                sequence,
                multiple,
                taken,
            } => {
                let meant: Vec<u64> = if *multiple {
                    (1..=*sequence).filter(|n| !told.contains_key(n)).collect()
                } else {
                    vec![*sequence]
                };
                for n in meant {
                    assert_eq!(told.insert(n, *taken), None, "{n} has two outcomes");
                    if n % 5 == 0 {
                        assert!(
                            returned.contains(&n),
                            "{n} was not returned before its outcome"
                        );
                    }
                }
            }
            Heard::Delivery { .. } => panic!("{heard:?}"),
        }
    }
    assert!(told.keys().copied().eq(1..=MESSAGES.into()));
    for (sequence, taken) in told {
        // The full queue refuses all messages but the very first.
        assert!(taken || sequence % 5 == 4, "{sequence}");
    }
}

/// Checks that tags rise by one, and that the messages of a publisher come from a queue in order,
/// except for redeliveries.
fn check_consumer(trace: &Trace, number: u32) {
    let mut last_tag = 0;
    let mut last_seen = BTreeMap::new();
    for heard in of(trace, &format!("consumer {number}")) {
        let Heard::Delivery {
            consumer,
            tag,
            body,
            redelivered,
        } = heard
        else {
            panic!("{heard:?}");
        };
        assert_eq!(*tag, last_tag + 1);
        last_tag = *tag;
        if !redelivered {
            let (publisher, n) = body.split_once('.').unwrap();
            let n: u32 = n.parse().unwrap();
            let last = last_seen.insert((consumer, publisher), n);
            assert!(
                last.is_none_or(|last| last < n),
                "{body} came after {last:?}"
            );
        }
    }
}

/// Checks that every queue delivers each of its messages once, and once more if it was requeued.
fn check_consumers_together(trace: &Trace) {
    let mut deliveries = BTreeMap::new();
    for number in 0..CONSUMERS {
        for heard in of(trace, &format!("consumer {number}")) {
            if let Heard::Delivery {
                consumer,
                body,
                redelivered,
                ..
            } = heard
            {
                let (first, again) = deliveries
                    .entry((consumer.as_str(), body.as_str()))
                    .or_insert((0, 0));
                *(if *redelivered { again } else { first }) += 1;
            }
        }
    }
    for (of, (first, again)) in &deliveries {
        assert_eq!(*first, 1, "{of:?}");
        assert!(*again <= 1, "{of:?}");
    }
    for queue in QUEUES {
        let of_queue = deliveries
            .keys()
            .filter(|(other, _)| *other == queue)
            .count();
        let each = MESSAGES / 5 * if queue == "c" { 1 } else { 2 };
        assert_eq!(of_queue, (PUBLISHERS * each) as usize, "{queue}");
    }
}
