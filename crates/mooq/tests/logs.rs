//! A service's log: each line about a message names it, and so do the lines of its callback.

#![cfg(feature = "memory")]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "all of this is a test, the functions beside it too"
)]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mooq::memory::InMemoryBroker;
use mooq::{Delivery, Retry};
use tracing_subscriber::filter::LevelFilter;

/// The lines of the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The only line that has `words`.
    fn line_with(&self, words: &str) -> String {
        let bytes = self.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| line.contains(words)).collect();
        let [line] = lines[..] else {
            panic!("{} lines with '{words}' in:\n{text}", lines.len());
        };
        line.to_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const NAMED: [&str; 4] = [
    "queue=\"payments\"",
    "routing_key=\"payments\"",
    "message_id=\"payment-7\"",
    "delivery_tag=1",
];

#[track_caller]
fn names_the_message(line: &str) {
    for field in NAMED {
        assert!(line.contains(field), "no {field} in: {line}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_line_about_a_message_names_it() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let broker = InMemoryBroker::start();
    let conn = mooq::connect(&broker).await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    chan.declare_queue("payments").await.unwrap();
    let (tried, mut tries) = tokio::sync::mpsc::unbounded_channel();
    chan.register_callback("payments")
        .retry(Retry::every(Duration::from_secs(2)).in_place())
        .callback(move |payment: Delivery<u64>| {
            let tried = tried.clone();
            async move {
                tracing::info!(amount = payment.msg, "the books are asked");
                tried.send(()).unwrap();
                Err::<(), _>("the books are closed")
            }
        })
        .await
        .unwrap();
    let publish = chan.publish("", &100).routing_key("payments");
    publish.message_id("payment-7").await.unwrap();
    let processing = tokio::spawn({
        let conn = conn.clone();
        async move { conn.process_events().await }
    });
    tries.recv().await.unwrap();
    // The first try is concluded once the second begins.
    tries.recv().await.unwrap();
    conn.close().await.unwrap();
    processing.await.unwrap().unwrap();

    // The callback's own lines have the span of the delivery.
    let asked = log.line_with("attempt=1}");
    names_the_message(&asked);
    assert!(asked.contains("the books are asked amount=100"), "{asked}");
    assert!(asked.contains("redelivered=false"), "{asked}");
    assert!(log.line_with("attempt=2}").contains("delivery{"));

    let failed = log.line_with("attempts=1 ");
    names_the_message(&failed);
    assert!(failed.contains("ERROR"), "{failed}");
    assert!(failed.contains("a callback failed"), "{failed}");
    assert!(failed.contains("the books are closed"), "{failed}");
    assert!(failed.contains("tried again in 2s"), "{failed}");
}
