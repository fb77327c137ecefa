//! A worker that retries after a second, a minute, an hour and ten hours, and a test of that whole
//! day, which takes milliseconds: tokio's clock is paused, and the broker uses tokio's clock.
//!
//! ```console
//! $ cargo test --example retry_for_a_day
//! $ cargo run --example retry_for_a_day
//! ```
//!
//! A parcel that cannot be handed over waits in a queue of the broker's, and comes back. After the
//! fifth attempt it is parked.

use std::time::Duration;

use mooq::ExchangeKind::Direct;
use mooq::memory::InMemoryBroker;
use mooq::{Connection, Delivery, Retry};
use tokio::time::Instant;

/// Delays after each failed attempt.
const DELAYS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(10 * 60 * 60),
];

/// Begins to hand over the parcels that come to `conn`, while the connection's events are
/// processed. `is_home` decides which parcels can be handed over.
async fn start(conn: &Connection, is_home: fn(&str) -> bool) -> mooq::Result<()> {
    let chan = conn.create_channel().await?;
    chan.register_consumer("post", Direct)
        .queue("parcels")
        .routing_key("parcel")
        .retry(Retry::after(DELAYS).then_park("parcels-given-up"))
        .callback(move |parcel: Delivery<String>| async move {
            if is_home(&parcel.msg) {
                Ok(())
            } else {
                Err("nobody is at home")
            }
        })
        .await?;
    Ok(())
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

    let attempts = recording.deliveries().queue("parcels").list();
    for parcel in &attempts {
        println!("tried after {:?}", parcel.at - attempts[0].at);
    }
    let given_up = broker.queues("parcels-given-up")[0].ready;
    println!("after {:?} {given_up} given up", began.elapsed());
    Ok(())
}

#[cfg(test)]
mod tests {
    use mooq::Channel;

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
    async fn a_parcel_is_tried_five_times_in_a_day_and_parked() {
        let (broker, post) = set_up(|_| false).await;
        let recording = broker.record(100);
        send(&post, "a book").await;

        tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;

        let attempts = recording.deliveries().queue("parcels").list();
        let delays: Vec<_> = attempts
            .windows(2)
            .map(|pair| pair[1].at - pair[0].at)
            .collect();
        assert_eq!(delays, DELAYS);
        let mut ids = attempts
            .iter()
            .map(|attempt| &attempt.message.properties.message_id);
        assert!(ids.all(|id| id.as_deref() == Some("parcel-7")));
        let parked = recording.publishes().routing_key("parcels-given-up");
        parked
            .json("a book")
            .header("mooq-attempts", 5_i64)
            .header("mooq-routing-key", "parcel")
            .assert_once();
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
