//! A publisher and a consumer that share one thread.

#![cfg(feature = "memory")]

use std::collections::VecDeque;

use mooq::Delivery;
use mooq::memory::InMemoryBroker;

/// Maximum number of the publisher's unconfirmed messages.
const WINDOW: usize = 256;

/// Otherwise even a publisher that waits for its confirms would fill the queue, and memory with it.
#[tokio::test]
async fn callbacks_keep_up_with_the_publisher() {
    let broker = InMemoryBroker::start();
    let conn = mooq::connect(&broker).await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    chan.register_consumer("numbers", "fanout")
        .queue("numbers")
        .callback(|_: Delivery<u32>| async {})
        .await
        .unwrap();

    let publishing = async {
        let mut window = VecDeque::new();
        let mut most_waiting = 0;
        for number in 0..20_000_u32 {
            let publish = chan.publish("numbers", &number);
            window.push_back(publish.send().await.unwrap());
            if window.len() == WINDOW {
                window.pop_front().unwrap().await.unwrap();
            }
            most_waiting = most_waiting.max(broker.queues("numbers")[0].ready);
        }
        most_waiting
    };
    let most_waiting = tokio::select! {
        end = conn.process_events() => panic!("processing ended: {end:?}"),
        most_waiting = publishing => most_waiting,
    };
    assert!(
        most_waiting <= 2 * WINDOW as u64,
        "{most_waiting} messages waited at once"
    );
}
