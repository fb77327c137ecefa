//! Moving messages from one queue to another.

use std::collections::VecDeque;

use bytes::Bytes;
use mooq_client::{Channel, Confirmation, Connection, Delivery};
use mooq_codecs::RawBytes;
use mooq_core::{Error, ErrorKind, ExchangeName, QueueName, Result};

use crate::broker::probe::counts;

/// Number of messages that are on their way at once.
const IN_FLIGHT: usize = 128;

/// Moves all messages of a queue, each acknowledged once the broker has confirmed its copy.
///
/// # Errors
/// Those of [`Channel::get`] and of a publish; `PreconditionFailed` if the other queue has no room
/// for `limit`. In all cases the rest of the messages is where it was.
///
/// # Cancel safety
/// If the future is dropped midway, each message is in one of the queues, or in both.
pub(super) async fn move_messages(
    conn: &Connection,
    from: &QueueName,
    to: &QueueName,
    through: &ExchangeName,
    limit: Option<u64>,
) -> Result<()> {
    let chan = conn.create_channel().await?;
    let moved = drain(&chan, from, to, through, limit).await;
    // What was not acknowledged goes back.
    let closed = chan.close().await;
    moved.and(closed)
}

async fn drain(
    chan: &Channel,
    from: &QueueName,
    to: &QueueName,
    through: &ExchangeName,
    limit: Option<u64>,
) -> Result<()> {
    loop {
        let mut most = IN_FLIGHT;
        if let Some(limit) = limit {
            most = room(chan, to, limit).await?.min(most);
            if most == 0 && counts(chan, from).await?.is_some_and(|from| from.ready > 0) {
                let message = format!(
                    "queue '{to}' has the {limit} messages that its max_length allows: the rest \
                     stays in '{from}', and plan and apply go on once some are consumed"
                );
                return Err(Error::new(ErrorKind::PreconditionFailed, message));
            }
        }
        if !batch(chan, from, through, most).await? {
            return Ok(());
        }
    }
}

/// Number of messages that a queue takes before it has `limit`.
async fn room(chan: &Channel, queue: &QueueName, limit: u64) -> Result<usize> {
    let ready = counts(chan, queue).await?.unwrap_or_default().ready;
    Ok(usize::try_from(limit.saturating_sub(ready)).unwrap_or(usize::MAX))
}

/// Moves up to `most` messages. Returns false if the queue is empty then.
async fn batch(
    chan: &Channel,
    from: &QueueName,
    through: &ExchangeName,
    most: usize,
) -> Result<bool> {
    let mut in_flight: VecDeque<(Confirmation, Delivery<Bytes>)> = VecDeque::new();
    let mut has_more = true;
    while has_more && in_flight.len() < most {
        match chan.get::<Bytes>(from).codec(RawBytes).await? {
            None => has_more = false,
            Some(delivery) => {
                let copy = chan.forward(through, &delivery).mandatory();
                in_flight.push_back((copy.send().await?, delivery));
            }
        }
    }
    for (confirmation, delivery) in in_flight {
        confirmation.await?;
        delivery.ack().await?;
    }
    Ok(has_more && most > 0)
}
