//! A small test, once with each of many seeds.

use std::thread;
use std::time::{Duration, Instant};

use mooq::memory::InMemoryBroker;
use mooq::testing::for_each_seed;

/// Time of a small test with `seeds` seeds: each has a broker, a connection and a channel, two
/// queues, four confirmed publishes, and their messages.
///
/// On a thread of its own, since each seed gets a runtime.
pub fn small_tests(seeds: u64) -> Duration {
    let begin = Instant::now();
    let tests = thread::spawn(move || {
        for_each_seed(0..seeds, |seed| async move {
            let broker = InMemoryBroker::start_seeded(seed);
            let chan = mooq::connect(&broker).await?.create_channel().await?;
            for queue in ["orders", "invoices"] {
                chan.declare_queue(queue).await?;
                for n in 0..2 {
                    chan.publish("", &n).routing_key(queue).await?;
                }
                for n in 0..2 {
                    assert_eq!(chan.get_one::<i32>(queue).await?.ack().await?, n);
                }
            }
            Ok::<(), mooq::Error>(())
        });
    });
    tests.join().expect("the test succeeds with every seed");
    begin.elapsed()
}
