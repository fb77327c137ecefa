//! Queues that a plan replaces, with their messages.

use std::collections::BTreeSet;

use mooq::topology::{Plan, PlanTopology, Queue, Topology};
use mooq::{Channel, Connection, ErrorKind, FieldTable, Properties};

use super::topology_plans::{plan, steps};
use crate::Fixture;
use crate::expect::LIMIT;
use crate::scenario;
use crate::steps::{put, ready_in};

/// A queue that is bound to an exchange, and what it should become.
struct Drifted {
    exchange: String,
    queue: String,
    wanted: Topology,
}

/// Declares a queue with a limit of its own and a binding that the wanted topology has not.
async fn drifted(fixture: &Fixture, chan: &Channel, wanted: impl Fn(Queue) -> Queue) -> Drifted {
    let [exchange, queue] = ["exchange", "queue"].map(|what| fixture.name(what));
    chan.declare_exchange(&exchange, "direct").await.unwrap();
    chan.declare_queue(&queue).max_length(5_000).await.unwrap();
    for key in ["wanted", "foreign"] {
        chan.bind_queue(&queue, &exchange, key).await.unwrap();
    }
    let wanted = Topology::new()
        .exchange(&exchange, "direct")
        .queue(wanted(Queue::new(&queue)))
        .bind_queue(&queue, &exchange, "wanted");
    Drifted {
        exchange,
        queue,
        wanted,
    }
}

async fn migration(fixture: &Fixture, drifted: &Drifted, conn: &Connection) -> Plan {
    plan(fixture, &drifted.wanted, conn, PlanTopology::migrate).await
}

/// Applies plans until one is empty, and asserts that the queue is as it should be.
async fn finish(fixture: &Fixture, drifted: &Drifted, conn: &Connection) {
    migration(fixture, drifted, conn)
        .await
        .apply(conn)
        .await
        .unwrap();
    let again = migration(fixture, drifted, conn).await;
    assert!(again.is_empty(), "{again}");
    drifted.wanted.check(conn).await.unwrap();
    let nothing = plan(fixture, &drifted.wanted, conn, |plan| {
        plan.prune().owned(&drifted.queue)
    });
    let left = steps(&nothing.await);
    let foreign = format!(
        "unbind queue '{}' to exchange '{}' by 'foreign'",
        drifted.queue, drifted.exchange
    );
    assert_eq!(left, [foreign], "nothing else is left of the migration");
}

/// The bodies in a queue.
async fn bodies(chan: &Channel, queue: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some(got) = chan.get::<String>(queue).await.unwrap() {
        bodies.push(got.ack().await.unwrap());
    }
    bodies
}

#[scenario]
async fn migrated_queue_keeps_messages_properties_and_bindings(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let drifted = drifted(&fixture, &chan, Queue::quorum).await;
    let mut properties = Properties::default();
    properties.message_id = "m-1".try_into().ok();
    properties.priority = Some(9);
    properties.headers = FieldTable::new()
        .with("x-note", "kept")
        .unwrap()
        // It must not be routed by these once more.
        .with("CC", vec![fixture.name("other").into()])
        .unwrap();
    chan.declare_queue(fixture.name("other")).await.unwrap();
    let publish = chan.publish(&drifted.exchange, "whole");
    let publish = publish.routing_key("wanted").properties(properties);
    publish.await.unwrap();
    for body in ["1", "2"] {
        put(&chan, &drifted.queue, body).await;
    }

    let made = migration(&fixture, &drifted, &conn).await;
    assert!(made.blocked().is_empty(), "{made}");
    finish(&fixture, &drifted, &conn).await;

    let first = chan.get_one::<String>(&drifted.queue).timeout(LIMIT);
    let first = first.await.unwrap();
    assert_eq!(first.routing_key, "wanted");
    assert_eq!(first.properties.message_id.as_deref(), Some("m-1"));
    assert_eq!(first.properties.priority, Some(9));
    assert_eq!(first.properties.headers.get("x-note"), Some(&"kept".into()));
    assert_eq!(first.ack().await.unwrap(), "whole");
    assert_eq!(bodies(&chan, &drifted.queue).await, ["1", "2"]);
    assert_eq!(ready_in(&chan, &fixture.name("other")).await, 0);
    for key in ["wanted", "foreign"] {
        let publish = chan.publish(&drifted.exchange, key).routing_key(key);
        publish.mandatory().await.unwrap();
    }
    assert_eq!(bodies(&chan, &drifted.queue).await, ["wanted", "foreign"]);
}

#[scenario]
async fn migration_cut_off_after_any_step_keeps_every_message(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let to_expire = |queue: Queue| queue.expires(LIMIT * 20);
    let mut done = 0;
    loop {
        done += 1;
        let drifted = drifted(&fixture, &chan, to_expire).await;
        let mut sent = BTreeSet::new();
        let mut publish = async |body: String| {
            let publish = chan.publish(&drifted.exchange, &body).routing_key("wanted");
            publish.mandatory().await.unwrap();
            sent.insert(body);
        };
        for n in 0..3 {
            publish(format!("before {n}")).await;
        }
        let made = migration(&fixture, &drifted, &conn).await;
        let all = made.steps().len();
        made.apply(&conn).first(done).await.unwrap();
        // Routed, wherever it was cut off.
        publish("meanwhile".to_owned()).await;
        if done < all {
            finish(&fixture, &drifted, &conn).await;
        }
        let got = bodies(&chan, &drifted.queue).await;
        let unique: BTreeSet<_> = got.iter().cloned().collect();
        assert_eq!(unique, sent, "after {done} steps of {made}");
        chan.delete_queue(&drifted.queue).await.unwrap();
        if done == all {
            break;
        }
    }
}

#[scenario]
async fn migration_cut_off_while_messages_move_keeps_every_message(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let drifted = drifted(&fixture, &chan, Queue::quorum).await;
    let sent: BTreeSet<_> = (0..300).map(|n| n.to_string()).collect();
    for body in &sent {
        let publish = chan.publish(&drifted.exchange, body).routing_key("wanted");
        publish.unconfirmed().await.unwrap();
    }
    chan.wait_for_confirms().await.unwrap();

    let cut = fixture.connect().await;
    let made = migration(&fixture, &drifted, &cut).await;
    let apply = made.apply(&cut);
    let holding = format!("{}.migrating", drifted.queue);
    let some_moved = async {
        loop {
            match chan.declare_queue(&holding).passive().await {
                Ok(held) if held.message_count > 0 => break,
                Ok(_) => {}
                Err(err) => assert_eq!(err.kind(), ErrorKind::QueueNotFound),
            }
        }
    };
    // If the plan is the faster one, nothing is cut off, and the same holds.
    tokio::select! {
        () = some_moved => {}
        applied = apply => applied.unwrap(),
    }
    cut.close().await.unwrap();

    finish(&fixture, &drifted, &conn).await;
    let unique: BTreeSet<_> = bodies(&chan, &drifted.queue).await.into_iter().collect();
    assert_eq!(unique, sent);
}

#[scenario]
async fn migration_stops_before_a_message_is_dropped(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let drifted = drifted(&fixture, &chan, |queue| queue.max_length(3)).await;
    for body in ["1", "2", "3"] {
        put(&chan, &drifted.queue, body).await;
    }
    let made = migration(&fixture, &drifted, &conn).await;
    let back = made.steps().iter().position(|step| {
        let said = step.to_string();
        said.starts_with("move") && said.ends_with(&format!("to queue '{}'", drifted.queue))
    });
    made.apply(&conn).first(back.unwrap()).await.unwrap();
    // The new queue has a message already, so three more are too many.
    put(&chan, &drifted.queue, "early").await;
    let rest = migration(&fixture, &drifted, &conn).await;
    let err = rest.apply(&conn).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::PreconditionFailed, "{err}");
    assert!(err.to_string().contains("max_length"), "{err}");

    let mut got = bodies(&chan, &drifted.queue).await;
    finish(&fixture, &drifted, &conn).await;
    got.extend(bodies(&chan, &drifted.queue).await);
    assert_eq!(got, ["early", "1", "2", "3"]);
}
