//! A worker that retries after a second, a minute, an hour and ten hours, and a test of that whole
//! day, which takes milliseconds: tokio's clock is paused, and the broker uses tokio's clock.
//!
//! ```console
//! $ cargo test --example retry_for_a_day
//! $ cargo run --example retry_for_a_day
//! ```
//!
//! A parcel that cannot be handed over goes to a queue without consumers. There it expires, and is
//! dead-lettered back to the parcels.

use std::time::Duration;

use mooq::ExchangeKind::Direct;
use mooq::memory::InMemoryBroker;
use mooq::{Channel, Connection, Delivery, FieldValue, Outcome};
use tokio::time::Instant;

/// Delays after each failed try; after the last the parcel is given up.
const WAITS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(10 * 60 * 60),
];

/// Begins to hand over the parcels that come to `conn`, while the connection's events are
/// processed. `is_home` decides which parcels can be handed over.
async fn start(conn: &Connection, is_home: fn(&str) -> bool) -> mooq::Result<()> {
    let chan = conn.create_channel().await?;
    chan.declare_queue("parcels-given-up").await?;
    for (tries, wait) in (1..).zip(WAITS) {
        chan.declare_queue(waiting_room(tries))
            .message_ttl(wait)
            .dead_letter("", "parcels")
            .await?;
    }
    let retries = chan.clone();
    chan.register_consumer("post", Direct)
        .queue("parcels")
        .routing_key("parcel")
        .callback(move |parcel: Delivery<String>| {
            let chan = retries.clone();
            async move {
                let home = is_home(&parcel.msg);
                if !home {
                    retry_later(&chan, &parcel).await?;
                }
                // The parcel is done here in both cases: the broker has its copy, if there is one.
                Ok::<_, mooq::Error>(Outcome::Ack)
            }
        })
        .await?;
    Ok(())
}

fn waiting_room(tries: usize) -> String {
    format!("parcels-tried-{tries}")
}

async fn retry_later(chan: &Channel, parcel: &Delivery<String>) -> mooq::Result<()> {
    let tries = parcel.properties.headers.get("tries");
    let tries = tries.and_then(FieldValue::as_i64).unwrap_or(0) + 1;
    let next = match usize::try_from(tries) {
        Ok(tries) if tries <= WAITS.len() => waiting_room(tries),
        _ => "parcels-given-up".to_owned(),
    };
    // Forwards the parcel with its message id and all other properties.
    chan.forward("", parcel)
        .routing_key(next)
        .header("tries", tries)
        .await
}

/// A day of a parcel whose recipient is never at home.
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> mooq::Result<()> {
    let broker = InMemoryBroker::start();
    let recording = broker.record(100);
    let conn = mooq::connect(&broker).await?;
    start(&conn, |_| false).await?;
    let post = conn.create_channel().await?;
    tokio::spawn(async move { conn.process_events().await });

    let began = Instant::now();
    let send = post.publish("post", "a book").routing_key("parcel");
    send.await?;
    // With the clock paused, a sleep ends as soon as all tasks are idle.
    tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;

    let tries = recording.deliveries().queue("parcels").list();
    for parcel in &tries {
        println!("tried after {:?}", parcel.at - tries[0].at);
    }
    let given_up = broker.queues("parcels-given-up")[0].ready;
    println!("after {:?} {given_up} given up", began.elapsed());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn set_up(is_home: fn(&str) -> bool) -> (InMemoryBroker, Channel) {
        let broker = InMemoryBroker::start();
        let conn = mooq::connect(&broker).await.unwrap();
        start(&conn, is_home).await.unwrap();
        let post = conn.create_channel().await.unwrap();
        tokio::spawn(async move { conn.process_events().await });
        (broker, post)
    }

    async fn send(post: &Channel, parcel: &str) {
        let send = post.publish("post", parcel).routing_key("parcel");
        send.message_id("parcel-7").await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_parcel_is_tried_five_times_in_a_day_and_given_up() {
        let (broker, post) = set_up(|_| false).await;
        let recording = broker.record(100);
        send(&post, "a book").await;

        tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;

        let tries = recording.deliveries().queue("parcels").list();
        let waits: Vec<_> = tries
            .windows(2)
            .map(|pair| pair[1].at - pair[0].at)
            .collect();
        assert_eq!(waits, WAITS);
        let ids = tries.iter().map(|try_| &try_.message.properties.message_id);
        assert!(ids.into_iter().all(|id| id.as_deref() == Some("parcel-7")));
        let given_up = recording.publishes().routing_key("parcels-given-up");
        given_up.json("a book").header("tries", 5_i64).assert_once();
        assert_eq!(broker.queues("parcels-given-up")[0].ready, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_parcel_that_is_handed_over_is_not_tried_again() {
        let (broker, post) = set_up(|parcel| parcel == "a book").await;
        let recording = broker.record(100);
        send(&post, "a book").await;

        broker.wait_idle().await;

        recording.deliveries().queue("parcels").assert_once();
        assert!(broker.queues("parcels*").iter().all(|q| q.ready == 0));
    }
}
