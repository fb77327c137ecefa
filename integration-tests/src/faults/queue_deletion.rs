//! A queue that is deleted under its consumers.

use mooq::{Channel, Connection, Delivery, ErrorKind, Event};

use super::cases::{PATIENCE, ends_well, flowing};
use super::site::Site;
use super::workload::Workload;
use mooq_conformance::within;

/// Case: consumers get an error for their deleted queue, publishers one for unroutable messages.
/// Both go on when the queue is declared again, and others are not affected.
pub(super) async fn queue_deleted_under_its_consumers(site: &Site, name: &str) {
    let workload = flowing(site, name).await;
    let queue = format!("{name}/deleted");
    let options = site.options().timeout(PATIENCE);
    let conn = mooq::connect(options).await.expect("the broker answers");
    let chan = conn.create_channel().await.expect("a channel opens");
    chan.declare_queue(&queue)
        .await
        .expect("declaring the queue succeeds");
    let mut events = conn.events();

    for round in 0..3_u64 {
        let mut numbers = chan.consume::<u64>(&queue).prefetch(5).await.unwrap();
        let mut callbacks = by_callback(&conn, &chan, &queue).await;
        for number in 0..10 {
            reaches(&workload, &chan, &queue, number).await.unwrap();
        }
        // Both consumers hold deliveries, which are never settled.
        let held = within("a delivery", numbers.next()).await.unwrap().unwrap();

        let other = workload.channels()[0].clone();
        let deleting = workload.call("DeleteQueue", other.delete_queue(&queue));
        deleting.await.expect("the queue is deleted");

        // Earlier deliveries may still come before the end.
        let end = loop {
            let next = within("the stream's end", numbers.next()).await;
            if let Err(err) = next.expect("the end has a reason") {
                break err;
            }
        };
        assert_eq!(end.kind(), ErrorKind::ConsumerCancelled, "round {round}");
        let end = within("the callback consumer's end", &mut callbacks).await;
        let end = end.unwrap().unwrap_err();
        assert_eq!(end.kind(), ErrorKind::ConsumerCancelled, "round {round}");
        for _ in 0..2 {
            let event = within("the event", events.next()).await;
            assert!(
                matches!(&event, Some(Event::ConsumerEnded { queue: gone, .. }) if *gone == *queue),
                "{event:?}"
            );
        }
        held.ack()
            .await
            .expect("RabbitMQ accepts the ack of a deleted queue's delivery");
        let lost = reaches(&workload, &chan, &queue, 10).await.unwrap_err();
        assert_eq!(lost.kind(), ErrorKind::Returned);

        chan.declare_queue(&queue)
            .await
            .expect("declaring the queue succeeds");
        reaches(&workload, &chan, &queue, 11).await.unwrap();
        let got = workload
            .call("Get", chan.get_one::<u64>(&queue))
            .await
            .unwrap();
        assert_eq!(got.ack().await.unwrap(), 11);
    }
    workload
        .call("Connection::close", conn.close())
        .await
        .unwrap();
    ends_well(workload, name, site).await;
}

/// Publishes to the queue, which must exist.
async fn reaches(
    workload: &Workload,
    chan: &Channel,
    queue: &str,
    number: u64,
) -> mooq::Result<()> {
    let publish = chan.publish("", &number).routing_key(queue).mandatory();
    workload.call("Publish", publish.timeout(PATIENCE)).await
}

/// A consumer with a callback, and its end.
async fn by_callback(
    conn: &Connection,
    chan: &Channel,
    queue: &str,
) -> tokio::task::JoinHandle<mooq::Result<()>> {
    let register = chan.register_consumer(format!("{queue}/exchange"), "direct");
    register
        .queue(queue)
        .callback(|_: Delivery<u64>| async {})
        .await
        .expect("the consumer is registered");
    let processing = conn.process_events();
    tokio::spawn(processing.into_future())
}
