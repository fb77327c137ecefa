//! A service that changes its messages' format while old publishers are still running.
//!
//! ```console
//! $ cargo run --example codecs
//! $ cargo test --example codecs
//! ```
//!
//! The old thermometers publish JSON, one reading a message. The new ones publish a day's readings at
//! once, as MessagePack, compressed, and with a `type` that says which version this is. The collector
//! reads both, and rejects what is neither.

use mooq::memory::InMemoryBroker;
use mooq::{
    ByContentType, ByType, Channel, Compressed, Connection, Decode, Delivery, Encode, Json,
    MsgPack, Retry,
};
use serde::{Deserialize, Serialize};

/// What old thermometers publish.
#[derive(Serialize, Deserialize)]
struct Reading {
    room: String,
    celsius: f64,
}

/// What new ones publish, and what the collector works with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Day {
    room: String,
    celsius: Vec<f64>,
}

impl From<Reading> for Day {
    fn from(old: Reading) -> Self {
        Self {
            room: old.room,
            celsius: vec![old.celsius],
        }
    }
}

/// The codec of all services: it publishes the new format, and reads both.
fn days() -> impl Encode<Day> + Decode<Day> + Clone + Send + Sync + 'static {
    let formats = Compressed::zstd(ByContentType::new(MsgPack).or(Json));
    ByType::new(formats)
        .current("day.v2")
        .version("reading.v1", |old: Reading| Day::from(old))
        .assume("reading.v1") // The oldest thermometers set no type.
}

/// Declares the queue `readings`. What the collector rejects goes to `readings-rejected`.
async fn declare(chan: &Channel) -> mooq::Result<()> {
    chan.declare_queue("readings-rejected").await?;
    chan.declare_queue("readings")
        .dead_letter("", "readings-rejected")
        .await?;
    Ok(())
}

/// Begins to collect readings: calls `collect` with each, while events of `conn` are processed.
async fn start(
    conn: &Connection,
    collect: impl Fn(Day) + Send + Sync + 'static,
) -> mooq::Result<()> {
    let chan = conn.create_channel().await?;
    declare(&chan).await?;
    chan.register_callback("readings")
        .codec(days())
        .retry(Retry::never().then_reject()) // A body that does not decode never will.
        .callback(move |day: Delivery<Day>| {
            collect(day.msg);
            async {}
        })
        .await?;
    Ok(())
}

/// A day in the cellar, measured every minute.
fn cellar() -> Day {
    Day {
        room: "cellar".into(),
        celsius: (0..24 * 60).map(|minute| f64::from(minute / 60)).collect(),
    }
}

/// Publishes readings as thermometers of each age do, and one that nobody understands.
async fn measure(chan: &Channel) -> mooq::Result<()> {
    let reading = Reading {
        room: "attic".into(),
        celsius: 31.5,
    };
    chan.publish("", &reading).routing_key("readings").await?;
    chan.publish("", &reading)
        .kind("reading.v1")
        .routing_key("readings")
        .await?;
    chan.publish("", &reading)
        .kind("reading.v9")
        .routing_key("readings")
        .await?;
    chan.publish_with("", &cellar(), days())
        .routing_key("readings")
        .await
}

#[tokio::main]
async fn main() -> mooq::Result<()> {
    let conn = mooq::connect(&InMemoryBroker::start()).await?;
    start(&conn, |day| {
        println!("{} readings: {}", day.room, day.celsius.len());
    })
    .await?;
    let chan = conn.create_channel().await?;
    measure(&chan).await?;
    conn.process_events().until_idle().await?;

    let rejected = chan.get_one::<Reading>("readings-rejected").await?;
    let kind = rejected.properties.kind.clone().unwrap_or_default();
    println!("rejected: {kind}");
    rejected.ack().await?;
    conn.close().await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    /// Time limit for a message from a busy RabbitMQ. Only a failing test waits that long.
    const LIMIT: Duration = Duration::from_secs(20);

    #[mooq::test]
    async fn both_formats_are_collected_and_others_rejected(conn: Connection) -> mooq::Result<()> {
        let (collected, mut days) = mpsc::unbounded_channel();
        start(&conn, move |day| collected.send(day).unwrap()).await?;
        let chan = conn.create_channel().await?;
        measure(&chan).await?;
        let _running = conn.process_events().spawn();

        let attic = Day {
            room: "attic".into(),
            celsius: vec![31.5],
        };
        for expected in [attic.clone(), attic, cellar()] {
            assert_eq!(days.recv().await, Some(expected));
        }
        let rejected = chan.get::<Reading>("readings-rejected");
        let rejected = rejected.timeout(LIMIT).await?;
        assert_eq!(rejected.properties.kind.as_deref(), Some("reading.v9"));
        rejected.ack().await?;
        Ok(())
    }

    #[mooq::test]
    async fn day_is_published_compressed(chan: Channel) -> mooq::Result<()> {
        declare(&chan).await?;
        measure(&chan).await?;
        for _ in 0..3 {
            chan.get_one::<Reading>("readings").await?.ack().await?;
        }
        let day = chan.get_one::<Day>("readings").codec(days()).await?;
        let encoding = day.properties.content_encoding.as_deref();
        assert_eq!(encoding, Some("zstd"));
        assert!(day.body().is_some_and(|body| body.len() < 2_000));
        assert_eq!(day.ack().await?, cellar());
        Ok(())
    }
}
