//! Figures equal what happened.

use std::collections::HashMap;
use std::time::Duration;

use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use mooq::memory::InMemoryBroker;
use mooq::{Channel, Delivery, ErrorKind, Event, Retry, metrics as names};

/// The counters and gauges, and the number of values of each histogram, by name and labels.
fn figures(snapshotter: &Snapshotter) -> HashMap<String, f64> {
    let snapshot = snapshotter.snapshot().into_vec().into_iter();
    let figure = |(key, _, _, value): (metrics_util::CompositeKey, _, _, DebugValue)| {
        let labels = key.key().labels();
        let labels: Vec<_> = labels
            .map(|l| format!("{}={}", l.key(), l.value()))
            .collect();
        let name = match key.kind() {
            MetricKind::Histogram => format!("{} count", key.key().name()),
            _ => key.key().name().to_owned(),
        };
        let value = match value {
            DebugValue::Counter(n) => n as f64,
            DebugValue::Gauge(n) => n.into_inner(),
            DebugValue::Histogram(values) => values.len() as f64,
        };
        ([&[name][..], &labels].concat().join(" "), value)
    };
    snapshot.map(figure).collect()
}

/// Runs `test` with a recorder of its own, on one thread.
fn recorded(
    test: impl AsyncFnOnce(InMemoryBroker) -> mooq::Result<()>,
) -> Result<HashMap<String, f64>, Box<dyn std::error::Error>> {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build()?;
        runtime.block_on(test(InMemoryBroker::start()))?;
        // Connections end with their tasks.
        drop(runtime);
        Ok(figures(&snapshotter))
    })
}

async fn channel(broker: &InMemoryBroker) -> mooq::Result<(mooq::Connection, Channel)> {
    let conn = mooq::connect(names::counted(broker)).await?;
    let chan = conn.create_channel().await?;
    Ok((conn, chan))
}

#[test]
fn publishes_and_their_answers_are_counted() {
    let figures = recorded(async |broker| {
        let (_conn, chan) = channel(&broker).await?;
        let full = chan.declare_queue("full").max_length(1);
        full.overflow(mooq::topology::Overflow::RejectPublish)
            .await?;
        chan.publish("", "kept").routing_key("full").await?;
        let refused = chan.publish("", "refused").routing_key("full").await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Nacked);
        let unroutable = chan.publish("", "returned").routing_key("nowhere");
        let returned = unroutable.mandatory().await;
        assert_eq!(returned.unwrap_err().kind(), ErrorKind::Returned);
        Ok(())
    })
    .unwrap();
    assert_eq!(figures[names::PUBLISHED], 3.0);
    assert_eq!(figures[names::CONFIRMED], 2.0);
    assert_eq!(figures[names::NACKED], 1.0);
    assert_eq!(figures[names::RETURNED], 1.0);
    assert_eq!(figures[names::UNCONFIRMED], 0.0);
    assert_eq!(figures[&format!("{} count", names::CONFIRM_SECONDS)], 3.0);
    assert_eq!(figures[names::CONNECTIONS], 0.0, "it is dropped");
}

#[test]
fn deliveries_their_settlements_and_callbacks_equal_a_recording() {
    let mut settled = HashMap::new();
    let figures = recorded(async |broker| {
        let recording = broker.record(1_000);
        let (conn, chan) = channel(&broker).await?;
        let policy = Retry::exponential(Duration::from_millis(1), Duration::from_secs(1));
        chan.register_consumer("numbers", "direct")
            .queue("numbers")
            .retry(policy.in_place().attempts(2).then_park("parked"))
            .callback(|number: Delivery<u32>| async move {
                match number.msg {
                    0 => Err("never"),
                    1 if number.attempt == 1 => Err("not yet"),
                    _ => Ok(()),
                }
            })
            .await?;
        for number in 0..3_u32 {
            chan.publish("numbers", &number).await?;
        }
        let mut events = conn.events();
        let processing = conn.process_events().spawn();
        while !matches!(events.next().await, Some(Event::GaveUp { .. })) {}
        broker.wait_idle().await;
        conn.shutdown(Duration::from_secs(60)).await?;
        processing.await?;
        // The events' own task ends with the connection.
        tokio::task::yield_now().await;
        settled.insert("published", recording.publishes().count() as f64);
        settled.insert("delivered", recording.deliveries().count() as f64);
        Ok(())
    })
    .unwrap();
    assert_eq!(settled["published"], 4.0, "three, and the parked one");
    assert_eq!(figures[names::PUBLISHED], settled["published"]);
    let delivered = &figures[&format!("{} redelivered=false", names::DELIVERED)];
    assert_eq!(*delivered, settled["delivered"]);
    assert_eq!(figures[&format!("{} outcome=ack", names::SETTLED)], 3.0);
    assert_eq!(figures[names::UNSETTLED], 0.0);
    let of_queue = |name: &str, rest: &str| figures[&format!("{name} queue=numbers{rest}")];
    assert_eq!(of_queue(names::RETRIED, ""), 2.0);
    assert_eq!(of_queue(names::CALLBACKS_RUNNING, ""), 0.0);
    assert_eq!(of_queue(names::GAVE_UP, " fate=parked"), 1.0);
    let seconds = format!("{} count", names::CALLBACK_SECONDS);
    assert_eq!(of_queue(&seconds, " outcome=ok"), 2.0);
    assert_eq!(of_queue(&seconds, " outcome=error"), 3.0);
}

#[test]
fn losses_and_alarms_are_counted() {
    let figures = recorded(async |broker| {
        let (conn, chan) = channel(&broker).await?;
        chan.declare_queue("orders").await?;
        let mut events = conn.events();
        broker.close();
        broker.run();
        while !matches!(events.next().await, Some(Event::Reconnected { .. })) {}
        chan.publish("", "order").routing_key("orders").await?;
        Ok(())
    })
    .unwrap();
    assert_eq!(figures[names::LOST], 1.0);
    assert_eq!(figures[names::RECONNECTED], 1.0);
}
