//! Graceful shutdown of a connection.

use std::sync::Arc;
use std::time::Duration;

use mooq::{Channel, Connection, Delivery, ErrorKind};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::expect::LIMIT;
use crate::scenario;
use crate::steps::{fill, ready_in, record};
use crate::{Fixture, within};

/// A service with one slow callback at a time.
struct Service {
    conn: Connection,
    processing: JoinHandle<mooq::Result<()>>,
    begins: mpsc::UnboundedReceiver<String>,
    finish: Arc<Notify>,
}

impl Service {
    async fn start(fixture: &Fixture, queue: &str) -> Self {
        let (conn, chan) = fixture.channel().await;
        let (begun, begins) = mpsc::unbounded_channel();
        let finish = Arc::new(Notify::new());
        let finished = Arc::clone(&finish);
        let out = chan.clone();
        let done = fixture.name("done");
        chan.declare_queue(&done).await.unwrap();
        chan.register_consumer(fixture.name("exchange"), "fanout")
            .queue(queue)
            .concurrency(1)
            .callback(move |msg: Delivery<String>| {
                let (begun, finished) = (begun.clone(), Arc::clone(&finished));
                let (out, done) = (out.clone(), done.clone());
                async move {
                    begun.send(msg.msg.clone()).unwrap();
                    finished.notified().await;
                    out.publish("", &msg.msg).routing_key(&done).await
                }
            })
            .await
            .unwrap();
        let processed = conn.clone();
        Self {
            conn,
            processing: tokio::spawn(async move { processed.process_events().await }),
            begins,
            finish,
        }
    }

    async fn begun(&mut self) -> String {
        let begun = within("the callback's begin", self.begins.recv()).await;
        begun.unwrap()
    }
}

#[scenario]
async fn a_shutdown_lets_callbacks_finish_and_gives_back_the_rest(fixture: Fixture) {
    let queue = fixture.name("queue");
    let (_conn, chan) = fixture.channel().await;
    fill(&chan, &queue, &["begun", "waiting"]).await;
    let mut service = Service::start(&fixture, &queue).await;
    assert_eq!(service.begun().await, "begun");
    let conn = service.conn.clone();
    let shutdown = tokio::spawn(async move { conn.shutdown(LIMIT).await });
    // The consumer is cancelled once the waiting messages are requeued.
    until_ready(&chan, &queue, 1).await;
    assert!(!shutdown.is_finished());
    service.finish.notify_one();
    within("the shutdown", shutdown).await.unwrap().unwrap();
    within("the end", service.processing)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ready_in(&chan, &queue).await, 1);
    let done = chan.get_one::<String>(fixture.name("done")).await.unwrap();
    assert_eq!(done.ack().await.unwrap(), "begun");
}

#[scenario]
async fn a_shutdown_cuts_off_what_takes_too_long(fixture: Fixture) {
    let queue = fixture.name("queue");
    let (_conn, chan) = fixture.channel().await;
    fill(&chan, &queue, &["begun"]).await;
    let mut service = Service::start(&fixture, &queue).await;
    assert_eq!(service.begun().await, "begun");
    let shutdown = service.conn.shutdown(Duration::from_millis(100));
    let err = within("the shutdown", shutdown).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::TimedOut);
    assert!(err.to_string().contains("1 callbacks"), "{err}");
    within("the end", service.processing)
        .await
        .unwrap()
        .unwrap();
    until_ready(&chan, &queue, 1).await;
}

#[scenario]
async fn a_shutdown_in_a_callback_is_refused_at_once_and_may_be_spawned(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["stop"]).await;
    let (told, mut tells) = mpsc::unbounded_channel();
    let stopped = conn.clone();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .callback(move |_: Delivery<String>| {
            let (conn, told) = (stopped.clone(), told.clone());
            async move {
                told.send(conn.shutdown(LIMIT).await).unwrap();
                tokio::spawn(async move { conn.shutdown(LIMIT).await });
            }
        })
        .await
        .unwrap();
    // The spawned shutdown lets the callback finish.
    within("the end", conn.process_events()).await.unwrap();
    let err = tells.recv().await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotAllowed);
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(ready_in(&chan, &queue).await, 0);
}

#[scenario]
async fn a_shutdown_waits_for_confirms(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    for number in 0..100_u32 {
        let publish = chan.publish("", &number).routing_key(&queue);
        publish.unconfirmed().await.unwrap();
    }
    conn.shutdown(LIMIT).await.unwrap();
    assert_eq!(chan.unconfirmed_count(), 0);
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(ready_in(&chan, &queue).await, 100);
}

#[scenario]
async fn a_shutdown_runs_the_callbacks_of_what_was_acknowledged_automatically(fixture: Fixture) {
    let queue = fixture.name("queue");
    let (conn, chan) = fixture.channel().await;
    fill(&chan, &queue, &["1", "2", "3"]).await;
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .auto_ack()
        .callback(recorder.callback())
        .await
        .unwrap();
    let processed = conn.clone();
    let processing = tokio::spawn(async move { processed.process_events().await });
    conn.shutdown(LIMIT).await.unwrap();
    within("the end", processing).await.unwrap().unwrap();
    let (_conn, chan) = fixture.channel().await;
    let left = ready_in(&chan, &queue).await as usize;
    assert_eq!(calls.so_far().len() + left, 3, "no message is lost");
}

#[scenario]
async fn a_shutdown_ends_streams(fixture: Fixture) {
    let queue = fixture.name("queue");
    let (conn, chan) = fixture.channel().await;
    chan.declare_queue(&queue).await.unwrap();
    let mut stream = chan.consume::<String>(&queue).await.unwrap();
    let (shutdown, last) = tokio::join!(conn.shutdown(LIMIT), stream.next());
    shutdown.unwrap();
    assert!(last.is_none(), "{last:?}");
}

#[scenario]
async fn a_shutdown_of_an_idle_connection_just_closes_it(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    conn.shutdown(LIMIT).await.unwrap();
    assert!(conn.state().borrow().is_closed());
    let err = chan.publish("", "late").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionClosed);
    conn.shutdown(LIMIT).await.unwrap();
}

async fn until_ready(chan: &Channel, queue: &str, expected: u32) {
    within("the messages' return", async {
        while ready_in(chan, queue).await != expected {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
