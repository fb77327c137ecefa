//! The workloads: publishing with confirms, consuming with acknowledgements, both at once, and one
//! message at a time.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use mooq_core::{DeliveryMode, Endpoint, ExchangeName, Properties, QueueName, RoutingKey};
use mooq_wire::Output;
use mooq_wire::method::{BasicAck, BasicPublish};

use super::peer::{CHANNEL, Peer};
use super::scan::{Seen, first};

/// Maximum number of publishes in flight, and of unacked deliveries.
const WINDOW: u64 = 1_000;

/// Number of publishes that are written at once.
const BLOCK: u64 = 50;

/// Frames of the largest size that every broker takes.
const FRAME_MAX: u32 = 131_072;

/// The messages of a workload.
#[derive(Debug, Clone, Copy)]
pub struct Messages {
    /// Number of messages.
    pub count: u64,
    /// Size of the body in bytes.
    pub body: usize,
    /// Transient or persistent.
    pub mode: DeliveryMode,
}

/// Time of publishing all messages to a queue, each confirmed.
///
/// # Errors
/// As for [`Peer::connect`].
pub fn publish(at: &Endpoint, queue: &QueueName, messages: Messages) -> io::Result<Duration> {
    let mut peer = Peer::connect(at)?;
    peer.confirm()?;
    let begin = Instant::now();
    send(&mut peer, queue, messages)?;
    Ok(begin.elapsed())
}

/// Time of consuming `count` messages from a queue, each acknowledged.
///
/// # Errors
/// As for [`Peer::connect`].
pub fn consume(at: &Endpoint, queue: &QueueName, count: u64) -> io::Result<Duration> {
    let mut peer = Peer::connect(at)?;
    let begin = Instant::now();
    peer.consume(queue, WINDOW as u16)?;
    take(&mut peer, count)?;
    // The broker has read the last ack when it answers.
    peer.confirm()?;
    Ok(begin.elapsed())
}

/// Time of publishing and consuming all messages at once, on two connections.
///
/// # Errors
/// As for [`Peer::connect`].
pub fn both(at: &Endpoint, queue: &QueueName, messages: Messages) -> io::Result<Duration> {
    let (mut publisher, mut consumer) = (Peer::connect(at)?, Peer::connect(at)?);
    publisher.confirm()?;
    consumer.consume(queue, WINDOW as u16)?;
    let begin = Instant::now();
    thread::scope(|scope| {
        let consuming = scope.spawn(move || take(&mut consumer, messages.count));
        send(&mut publisher, queue, messages)?;
        consuming
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok(begin.elapsed())
}

/// Times from the publish of a message to its delivery on another connection, one message after the
/// other, sorted.
///
/// # Errors
/// As for [`Peer::connect`].
pub fn latencies(
    at: &Endpoint,
    queue: &QueueName,
    messages: Messages,
) -> io::Result<Vec<Duration>> {
    let (mut publisher, mut consumer) = (Peer::connect(at)?, Peer::connect(at)?);
    consumer.consume(queue, WINDOW as u16)?;
    let publish = encoded(queue, messages.body, messages.mode);
    let mut taken = Vec::new();
    for _ in 0..messages.count {
        let begin = Instant::now();
        publisher.stream.write_all(&publish)?;
        take(&mut consumer, 1)?;
        taken.push(begin.elapsed());
    }
    taken.sort_unstable();
    Ok(taken)
}

/// The frames of one publish.
fn encoded(queue: &QueueName, body: usize, mode: DeliveryMode) -> Bytes {
    let publish = BasicPublish {
        exchange: ExchangeName::default(),
        routing_key: RoutingKey::try_from(queue.as_str()).unwrap_or_default(),
        mandatory: false,
        immediate: false,
    };
    let mut properties = Properties::default();
    properties.delivery_mode = Some(mode);
    let mut output = Output::new();
    let body = Bytes::from(vec![b'x'; body]);
    output.content(CHANNEL, &publish.into(), &properties, &body, FRAME_MAX);
    output.to_bytes()
}

/// Publishes messages, and waits for their confirms.
fn send(peer: &mut Peer, queue: &QueueName, messages: Messages) -> io::Result<()> {
    let one = encoded(queue, messages.body, messages.mode);
    let block = one.repeat(BLOCK as usize);
    let (mut sent, mut confirmed) = (0, 0);
    while confirmed < messages.count {
        while sent < messages.count && sent - confirmed + BLOCK <= WINDOW {
            let next = BLOCK.min(messages.count - sent);
            peer.stream.write_all(&block[..one.len() * next as usize])?;
            sent += next;
        }
        confirmed += confirms(peer, confirmed)?;
    }
    Ok(())
}

/// Reads confirms. Gives the number of publishes that they confirm, of which `before` are known.
fn confirms(peer: &mut Peer, before: u64) -> io::Result<u64> {
    peer.read()?;
    let mut confirmed = 0;
    while let Some((seen, length)) = first(&peer.input)? {
        match seen {
            // What is confirmed at once is confirmed in order.
            Seen::Confirm {
                tag,
                multiple: true,
            } => confirmed = tag - before,
            Seen::Confirm { .. } => confirmed += 1,
            _ => {}
        }
        peer.input.advance(length);
    }
    Ok(confirmed)
}

/// Takes deliveries, and acknowledges each.
fn take(peer: &mut Peer, count: u64) -> io::Result<()> {
    let mut left = count;
    let mut acks = Output::new();
    while left > 0 {
        peer.read()?;
        while let Some((seen, length)) = first(&peer.input)? {
            if let Seen::Delivery { tag } = seen {
                left = left.saturating_sub(1);
                let ack = BasicAck {
                    delivery_tag: tag,
                    multiple: false,
                };
                acks.method(CHANNEL, &ack.into());
            }
            peer.input.advance(length);
        }
        peer.stream.write_all(&acks.to_bytes())?;
        acks = Output::new();
    }
    Ok(())
}
