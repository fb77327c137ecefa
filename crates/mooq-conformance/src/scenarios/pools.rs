//! Pools of connections: publishers apart from consumers.

use std::sync::Arc;

use mooq::{Channel, ConnectOptions, Delivery, ErrorKind, Pool, PoolBuilder, Recovery};
use mooq_memory::Alarm;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::expect::LIMIT;
use crate::scenario;
use crate::steps::{drain, fill, put, record};
use crate::{Fixture, within};

fn builder(fixture: &Fixture, options: ConnectOptions) -> PoolBuilder {
    PoolBuilder::over(fixture.broker().transport(), options)
}

/// A pool with these numbers of publishers and consumers.
async fn pool(fixture: &Fixture, publishers: usize, consumers: usize) -> Pool {
    builder(fixture, fixture.options())
        .publishers(publishers)
        .consumers(consumers)
        .await
        .unwrap()
}

/// Processes the pool's events in a task.
fn process(pool: &Pool) -> JoinHandle<mooq::Result<()>> {
    let processing = pool.process_events();
    tokio::spawn(async move { processing.await })
}

/// Returns true if both channels are on one connection: an exclusive queue is locked to its own.
async fn share_a_connection(fixture: &Fixture, one: &Channel, other: &Channel) -> bool {
    let queue = fixture.name("exclusive");
    one.declare_queue(queue.as_str()).exclusive().await.unwrap();
    let seen = other.declare_queue(queue.as_str()).passive().await;
    one.delete_queue(queue.as_str()).await.unwrap();
    match seen {
        Ok(_) => true,
        Err(err) => {
            assert_eq!(err.kind(), ErrorKind::ResourceLocked, "{err}");
            false
        }
    }
}

#[scenario]
async fn pool_publishes_on_one_connection_and_consumes_on_another(fixture: Fixture) {
    let pool = pool(&fixture, 1, 1).await;
    let chan = pool.create_channel().await.unwrap();
    let publisher = pool.create_publisher_channel().await.unwrap();
    assert!(!share_a_connection(&fixture, &chan, &publisher).await);

    let queue = fixture.name("queue");
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "direct")
        .queue(queue.as_str())
        .callback(recorder.callback())
        .await
        .unwrap();
    let processing = process(&pool);
    let publish = pool.publish("", "body").routing_key(queue.as_str());
    publish.mandatory().await.unwrap();
    assert_eq!(within("a callback", calls.noted()).await.msg, "body");
    pool.shutdown(LIMIT).await.unwrap();
    within("the end of processing", processing)
        .await
        .unwrap()
        .unwrap();
}

#[scenario]
async fn channel_of_a_pool_is_opened_where_there_are_fewest(fixture: Fixture) {
    let pool = pool(&fixture, 1, 2).await;
    let first = pool.create_channel().await.unwrap();
    let second = pool.create_channel().await.unwrap();
    assert!(!share_a_connection(&fixture, &first, &second).await);
    // A clone is the same channel, and is counted once.
    let _clone = first.clone();
    drop(second);
    let third = pool.create_channel().await.unwrap();
    assert!(!share_a_connection(&fixture, &first, &third).await);
}

#[scenario(alone)]
async fn alarm_stops_publishers_of_a_pool_and_not_its_consumers(fixture: Fixture) {
    let pool = pool(&fixture, 1, 1).await;
    let chan = pool.create_channel().await.unwrap();
    let (queue, target) = (fixture.name("queue"), fixture.name("target"));
    let (_filler, filling) = fixture.channel().await;
    fill(&filling, &queue, &["1", "2", "3"]).await;
    filling.declare_queue(target.as_str()).await.unwrap();

    let alarm = fixture.control().raise_alarm(Alarm::Memory).await;
    let publisher = pool.clone();
    let to = target.clone();
    let publishing = tokio::spawn(async move {
        publisher
            .publish("", "during the alarm")
            .routing_key(to)
            .await
    });
    fixture.control().until_blocked(1).await;

    let (recorder, mut calls) = record::<String>();
    chan.register_callback(queue.as_str())
        .callback(recorder.callback())
        .await
        .unwrap();
    let processing = process(&pool);
    for expected in ["1", "2", "3"] {
        assert_eq!(within("a callback", calls.noted()).await.msg, expected);
    }
    assert_eq!(drain(&chan, &target).await, [""; 0]);
    assert!(!publishing.is_finished());

    alarm.end().await;
    within("the confirm", publishing).await.unwrap().unwrap();
    assert_eq!(drain(&chan, &target).await, ["during the alarm"]);
    pool.shutdown(LIMIT).await.unwrap();
    within("the end of processing", processing)
        .await
        .unwrap()
        .unwrap();
    let (_other, chan) = fixture.channel().await;
    assert_eq!(drain(&chan, &queue).await, [""; 0], "all are acked");
}

#[scenario]
async fn connection_of_a_pool_that_is_closed_for_good_is_replaced(fixture: Fixture) {
    let name = fixture.name("service");
    let options = fixture
        .options()
        .name(name.as_str())
        .recovery(Recovery::off());
    let pool = builder(&fixture, options).await.unwrap();
    let chan = pool.create_channel().await.unwrap();
    let queue = fixture.name("queue");
    chan.declare_queue(queue.as_str()).await.unwrap();

    for role in ["consumer-1", "publisher-1"] {
        let name = format!("{name}/{role}");
        fixture
            .control()
            .close_connections(&name, "maintenance")
            .await;
    }
    let err = within("the close", async {
        loop {
            if let Err(err) = chan.declare_queue(queue.as_str()).await {
                break err;
            }
        }
    })
    .await;
    assert_eq!(err.kind(), ErrorKind::ConnectionLost, "{err}");
    let chan = within("another connection", pool.create_channel())
        .await
        .unwrap();
    // The next publishes are on the connection that is closed, or on another one.
    within("a publish", async {
        while pool
            .publish("", "body")
            .routing_key(queue.as_str())
            .await
            .is_err()
        {
            let replaced = pool.create_publisher_channel().await;
            replaced.unwrap();
        }
    })
    .await;
    assert_eq!(drain(&chan, &queue).await, ["body"]);
}

#[scenario]
async fn pool_shuts_down_its_consumers_before_its_publishers(fixture: Fixture) {
    let pool = pool(&fixture, 1, 2).await;
    let (queue, target) = (fixture.name("queue"), fixture.name("target"));
    let (_other, other) = fixture.channel().await;
    other.declare_queue(target.as_str()).await.unwrap();
    fill(&other, &queue, &["body"]).await;

    let chan = pool.create_channel().await.unwrap();
    let (started, mut starts) = mpsc::unbounded_channel();
    let go_on = Arc::new(Notify::new());
    let (forwarding, waits, to) = (pool.clone(), Arc::clone(&go_on), target.clone());
    let forward = move |delivery: Delivery<String>| {
        let (pool, waits, to) = (forwarding.clone(), Arc::clone(&waits), to.clone());
        let started = started.clone();
        async move {
            let _ = started.send(());
            waits.notified().await;
            pool.publish("", &delivery.msg).routing_key(to).await
        }
    };
    chan.register_callback(queue.as_str())
        .callback(forward)
        .await
        .unwrap();
    let processing = process(&pool);
    within("a callback", starts.recv()).await.unwrap();
    let ending = pool.clone();
    let shutdown = tokio::spawn(async move { ending.shutdown(LIMIT).await });
    // The pool is closed to new channels at once.
    let refused = within("the end", async {
        while !pool.is_closed() {
            tokio::task::yield_now().await;
        }
        pool.create_channel().await
    })
    .await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionClosed);
    go_on.notify_one();
    within("the shutdown", shutdown).await.unwrap().unwrap();
    within("the end of processing", processing)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(drain(&other, &target).await, ["body"]);
    assert_eq!(drain(&other, &queue).await, [""; 0]);
    pool.close().await.unwrap();
}

#[scenario]
async fn consumer_of_a_pool_that_ends_is_reported_and_the_others_go_on(fixture: Fixture) {
    let pool = pool(&fixture, 1, 2).await;
    let (doomed, other) = (fixture.name("doomed"), fixture.name("other"));
    let (recorder, mut calls) = record::<String>();
    for queue in [&doomed, &other] {
        let chan = pool.create_channel().await.unwrap();
        chan.declare_queue(queue.as_str()).await.unwrap();
        chan.register_callback(queue.as_str())
            .callback(recorder.clone().callback())
            .await
            .unwrap();
    }
    let processing = process(&pool);
    fixture.control().delete_queue(&doomed).await;
    let ended = within("the error", processing).await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConsumerCancelled);

    let processing = process(&pool);
    let (_other, chan) = fixture.channel().await;
    put(&chan, &other, "body").await;
    assert_eq!(within("a callback", calls.noted()).await.msg, "body");
    pool.close().await.unwrap();
    within("the end of processing", processing)
        .await
        .unwrap()
        .unwrap();
}
