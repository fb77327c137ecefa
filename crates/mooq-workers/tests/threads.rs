//! Workers on several threads.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use mooq::memory::InMemoryBroker;
use mooq::{Delivery, Schedule};

/// Only an end that never comes reaches it.
const LIMIT: Duration = Duration::from_secs(60);

/// Threads that wait for each other, each blocked meanwhile.
#[derive(Default)]
struct Meeting {
    there: Mutex<usize>,
    came: Condvar,
}

impl Meeting {
    /// Blocks until `n` threads are there. False if they do not come.
    fn wait_for(&self, n: usize) -> bool {
        let Ok(mut there) = self.there.lock() else {
            return false;
        };
        *there += 1;
        self.came.notify_all();
        let waited = self
            .came
            .wait_timeout_while(there, LIMIT, |there| *there < n);
        waited.is_ok_and(|(there, _)| *there >= n)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn callbacks_that_block_run_at_once_on_as_many_threads() -> mooq::Result<()> {
    let broker = InMemoryBroker::start();
    let conn = mooq::connect(&broker).await?;
    let chan = conn.create_channel().await?;
    let meeting = Arc::new(Meeting::default());
    let (met, mut all) = tokio::sync::mpsc::unbounded_channel();
    let shared = Arc::clone(&meeting);
    chan.register_consumer("numbers", "fanout")
        .queue("numbers")
        .workers(2)
        .callback(move |_: Delivery<u32>| {
            let (meeting, met) = (Arc::clone(&shared), met.clone());
            async move {
                let _ = met.send(meeting.wait_for(2));
            }
        })
        .await?;
    for number in 0..2_u32 {
        chan.publish("numbers", &number).await?;
    }
    let processing = conn.process_events().spawn();
    assert_eq!(all.recv().await, Some(true));
    assert_eq!(all.recv().await, Some(true));
    conn.shutdown(LIMIT).await?;
    processing.await
}
