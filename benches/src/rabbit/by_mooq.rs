//! The workloads by mooq, through its facade.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mooq::{Channel, Connection, RawBytes};

use super::{BODY, PREFETCH, QUEUE, WINDOW};

/// Time of `count` confirmed publishes. The messages stay in the queue.
pub async fn publish(url: &str, count: u64) -> mooq::Result<Duration> {
    let (conn, chan) = open(url).await?;
    chan.declare_queue(QUEUE).await?;
    chan.purge_queue(QUEUE).await?;
    let begin = Instant::now();
    let mut window = VecDeque::with_capacity(WINDOW);
    for _ in 0..count {
        if window.len() == WINDOW
            && let Some(oldest) = window.pop_front()
        {
            oldest.await?;
        }
        let publish = chan.publish_with("", &BODY, RawBytes).routing_key(QUEUE);
        window.push_back(publish.transient().send().await?);
    }
    for confirmation in window {
        confirmation.await?;
    }
    let taken = begin.elapsed();
    conn.close().await?;
    Ok(taken)
}

/// Time to consume and acknowledge `count` messages, which must be in the queue.
pub async fn consume(url: &str, count: u64) -> mooq::Result<Duration> {
    let (conn, chan) = open(url).await?;
    let begin = Instant::now();
    let mut deliveries = chan
        .consume::<Bytes>(QUEUE)
        .codec(RawBytes)
        .prefetch(PREFETCH)
        .await?;
    for _ in 0..count {
        let delivery = deliveries.next().await.expect("the consumer goes on");
        delivery?.ack().await?;
    }
    let taken = begin.elapsed();
    conn.close().await?;
    Ok(taken)
}

/// Deletes the queue that all use.
pub async fn clean_up(url: &str) -> mooq::Result<()> {
    let (conn, chan) = open(url).await?;
    chan.delete_queue(QUEUE).await?;
    conn.close().await
}

async fn open(url: &str) -> mooq::Result<(Connection, Channel)> {
    let conn = mooq::connect(url).await?;
    let chan = conn.create_channel().await?;
    Ok((conn, chan))
}
