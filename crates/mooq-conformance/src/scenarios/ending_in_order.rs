//! Ordered queues: the unsettled deliveries of a consumer that ends come before the rest, for the
//! next consumer.

use std::sync::Arc;

use mooq::{Channel, Connection, Consumer, Deliveries, Delivery, ErrorKind};
use mooq_core::FieldValue;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::expect::LIMIT;
use crate::scenario;
use crate::steps::{put, ready_in};
use crate::{Fixture, within};

const QUEUE_TYPES: [&str; 2] = ["classic", "quorum"];

fn arguments(queue_type: &str) -> [(&'static str, FieldValue); 2] {
    [
        ("x-queue-type", queue_type.into()),
        ("x-single-active-consumer", true.into()),
    ]
}

/// A queue with a single active consumer and eight messages in it, and a second consumer that waits
/// for its turn.
struct Next {
    _conn: Connection,
    stream: Deliveries<String>,
}

impl Next {
    async fn waits(fixture: &Fixture, queue: &str) -> Self {
        let (conn, chan) = fixture.channel().await;
        let stream = chan.consume::<String>(queue).prefetch(20).await.unwrap();
        Self {
            _conn: conn,
            stream,
        }
    }

    /// Asserts the deliveries of the second consumer, in order.
    async fn gets(mut self, expected: &[&str]) {
        let mut seen = Vec::new();
        while seen.len() < expected.len() {
            let next = within("the next consumer's delivery", self.stream.next()).await;
            seen.push(next.unwrap().unwrap().ack().await.unwrap());
        }
        assert_eq!(seen, expected);
    }
}

async fn fill(chan: &Channel, queue: &str) {
    for body in ["1", "2", "3", "4", "5", "6", "7", "8"] {
        put(chan, queue, body).await;
    }
}

async fn declare(chan: &Channel, queue: &str, queue_type: &str) {
    let mut declare = chan.declare_queue(queue);
    for (key, value) in arguments(queue_type) {
        declare = declare.argument(key, value);
    }
    declare.await.unwrap();
}

/// The consumer that is active first. Its callback has done "1", and is at "2"; others wait.
struct First {
    conn: Connection,
    consumer: Consumer,
    processing: JoinHandle<mooq::Result<()>>,
    finish: Arc<Notify>,
    begins: mpsc::UnboundedReceiver<String>,
}

impl First {
    async fn at_work(fixture: &Fixture, queue: &str, queue_type: &str) -> Self {
        let (conn, chan) = fixture.channel().await;
        let (begun, begins) = mpsc::unbounded_channel();
        let finish = Arc::new(Notify::new());
        let finished = Arc::clone(&finish);
        let register = chan.register_consumer(fixture.name("exchange"), "fanout");
        let mut register = register.queue(queue).prefetch(5);
        for (key, value) in arguments(queue_type) {
            register = register.queue_argument(key, value);
        }
        let consumer = register
            .callback(move |msg: Delivery<String>| {
                let (begun, finished) = (begun.clone(), Arc::clone(&finished));
                async move {
                    begun.send(msg.msg.clone()).unwrap();
                    if msg.msg != "1" {
                        finished.notified().await;
                    }
                }
            })
            .await
            .unwrap();
        fill(&chan, queue).await;
        let processed = conn.clone();
        let mut first = Self {
            conn,
            consumer,
            processing: tokio::spawn(async move { processed.process_events().await }),
            finish,
            begins,
        };
        for body in ["1", "2"] {
            let begun = within("the callback's begin", first.begins.recv()).await;
            assert_eq!(begun.as_deref(), Some(body));
        }
        first
    }
}

#[scenario]
async fn a_cancelled_consumer_finishes_and_gives_the_rest_back_in_order(fixture: Fixture) {
    for queue_type in QUEUE_TYPES {
        let queue = fixture.name(queue_type);
        let mut first = First::at_work(&fixture, &queue, queue_type).await;
        let next = Next::waits(&fixture, &queue).await;
        first.consumer.cancel().await.unwrap();
        first.finish.notify_one();
        next.gets(&["3", "4", "5", "6", "7", "8"]).await;
        // No other callback was begun.
        assert!(first.begins.try_recv().is_err());
        first.conn.close().await.unwrap();
        within("the end", first.processing).await.unwrap().unwrap();
    }
}

#[scenario]
async fn a_shutdown_finishes_and_gives_the_rest_back_in_order(fixture: Fixture) {
    for queue_type in QUEUE_TYPES {
        let queue = fixture.name(queue_type);
        let first = First::at_work(&fixture, &queue, queue_type).await;
        let next = Next::waits(&fixture, &queue).await;
        let conn = first.conn.clone();
        let shutdown = tokio::spawn(async move { conn.shutdown(LIMIT).await });
        // The callback's ack needs the channel's turn after the shutdown has begun.
        tokio::task::yield_now().await;
        first.finish.notify_one();
        within("the shutdown", shutdown).await.unwrap().unwrap();
        next.gets(&["3", "4", "5", "6", "7", "8"]).await;
        within("the end", first.processing).await.unwrap().unwrap();
    }
}

#[scenario]
async fn a_consumer_that_has_not_begun_gives_everything_back_in_order(fixture: Fixture) {
    for queue_type in QUEUE_TYPES {
        for shutdown in [false, true] {
            let queue = fixture.name(&format!("{queue_type}-{shutdown}"));
            let (conn, chan) = fixture.channel().await;
            let register = chan.register_consumer(fixture.name("exchange"), "fanout");
            let mut register = register.queue(&queue).prefetch(5);
            for (key, value) in arguments(queue_type) {
                register = register.queue_argument(key, value);
            }
            let consumer = register.callback(|_: Delivery<String>| async {});
            let consumer = consumer.await.unwrap();
            fill(&chan, &queue).await;
            let next = Next::waits(&fixture, &queue).await;
            match shutdown {
                true => conn.shutdown(LIMIT).await.unwrap(),
                false => consumer.cancel().await.unwrap(),
            }
            next.gets(&["1", "2", "3", "4", "5", "6", "7", "8"]).await;
        }
    }
}

#[scenario]
async fn closed_channel_requeues_in_order_what_its_stream_had(fixture: Fixture) {
    for queue_type in QUEUE_TYPES {
        let queue = fixture.name(queue_type);
        let (_conn, chan) = fixture.channel().await;
        declare(&chan, &queue, queue_type).await;
        let mut stream = chan.consume::<String>(&queue).prefetch(5).await.unwrap();
        let (_publisher, publisher) = fixture.channel().await;
        fill(&publisher, &queue).await;
        let next = Next::waits(&fixture, &queue).await;
        let one = within("the first", stream.next()).await.unwrap().unwrap();
        one.ack().await.unwrap();
        chan.close().await.unwrap();
        next.gets(&["2", "3", "4", "5", "6", "7", "8"]).await;
        while let Some(waiting) = within("the stream's end", stream.next()).await {
            waiting.unwrap();
        }
    }
}

#[scenario]
async fn a_stream_gives_back_in_order_what_it_has_not_given_out(fixture: Fixture) {
    for queue_type in QUEUE_TYPES {
        for cancel in [false, true] {
            let queue = fixture.name(&format!("{queue_type}-{cancel}"));
            let (_conn, chan) = fixture.channel().await;
            declare(&chan, &queue, queue_type).await;
            let mut stream = chan.consume::<String>(&queue).prefetch(5).await.unwrap();
            fill(&chan, &queue).await;
            let next = Next::waits(&fixture, &queue).await;
            let one = within("the first", stream.next()).await.unwrap().unwrap();
            one.ack().await.unwrap();
            let held = within("the second", stream.next()).await.unwrap().unwrap();
            match cancel {
                true => stream.cancel().await.unwrap(),
                false => drop(stream),
            }
            // Deliveries that were given out can be settled afterwards.
            held.ack().await.unwrap();
            next.gets(&["3", "4", "5", "6", "7", "8"]).await;
        }
    }
}

#[scenario]
async fn a_consumer_on_a_channel_of_its_own_gives_back_in_order(fixture: Fixture) {
    for queue_type in QUEUE_TYPES {
        let queue = fixture.name(queue_type);
        // The consumer's own connection has not declared the queue.
        let (_publisher, publisher) = fixture.channel().await;
        declare(&publisher, &queue, queue_type).await;
        let (conn, chan) = fixture.channel().await;
        let consumer = chan
            .register_callback(&queue)
            .prefetch(5)
            .own_channel()
            .callback(|_: Delivery<String>| async {});
        let consumer = consumer.await.unwrap();
        fill(&publisher, &queue).await;
        let next = Next::waits(&fixture, &queue).await;
        consumer.cancel().await.unwrap();
        next.gets(&["1", "2", "3", "4", "5", "6", "7", "8"]).await;

        let stream = chan.consume::<String>(&queue).prefetch(5).own_channel();
        let mut stream = stream.await.unwrap();
        fill(&publisher, &queue).await;
        let one = within("the first", stream.next()).await.unwrap().unwrap();
        assert_eq!(one.ack().await.unwrap(), "1");
        let next = Next::waits(&fixture, &queue).await;
        drop(stream);
        next.gets(&["2", "3", "4", "5", "6", "7", "8"]).await;
        conn.close().await.unwrap();
    }
}

#[scenario]
async fn a_consumer_on_a_channel_of_its_own_names_its_queue(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    chan.declare_queue(fixture.name("queue")).await.unwrap();
    let err = chan.consume::<String>("").own_channel().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidArgument);
    assert!(err.to_string().contains("queue's name"), "{err}");
}

#[scenario]
async fn an_exclusive_consumer_gives_back_in_order_what_it_has_not_given_out(fixture: Fixture) {
    let queue = fixture.name("queue");
    let (_conn, chan) = fixture.channel().await;
    chan.declare_queue(&queue).await.unwrap();
    fill(&chan, &queue).await;
    let stream = chan
        .consume::<String>(&queue)
        .prefetch(5)
        .exclusive_consumer();
    let mut stream = stream.await.unwrap();
    let one = within("the first", stream.next()).await.unwrap().unwrap();
    one.ack().await.unwrap();
    drop(stream);
    let (conn, chan) = fixture.channel().await;
    let next = within("the next consumer", async {
        loop {
            match chan.consume::<String>(&queue).prefetch(20).await {
                Ok(stream) => return stream,
                Err(err) => assert_eq!(err.kind(), ErrorKind::AccessRefused),
            }
        }
    })
    .await;
    let next = Next {
        _conn: conn,
        stream: next,
    };
    next.gets(&["2", "3", "4", "5", "6", "7", "8"]).await;
}

#[scenario]
async fn stream_of_an_ordered_queue_goes_on_after_a_loss(fixture: Fixture) {
    let mut victim = super::recovery::Victim::connect(&fixture).await;
    let queue = fixture.name("queue");
    declare(&victim.chan, &queue, "quorum").await;
    let stream = victim.chan.consume::<String>(&queue).prefetch(5);
    let mut stream = stream.await.unwrap();
    put(&victim.chan, &queue, "1").await;
    let one = within("the first", stream.next()).await.unwrap().unwrap();
    one.ack().await.unwrap();
    // The answer proves that the ack has arrived.
    assert_eq!(ready_in(&victim.chan, &queue).await, 0);
    victim.lose().await;
    put(&victim.chan, &queue, "2").await;
    let two = within("the second", stream.next()).await.unwrap().unwrap();
    assert_eq!(two.ack().await.unwrap(), "2");
    stream.cancel().await.unwrap();
    victim.lose().await;
    let counts = victim.chan.declare_queue(&queue).passive().await.unwrap();
    assert_eq!(counts.consumer_count, 0);
}
