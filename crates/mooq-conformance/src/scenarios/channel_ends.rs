//! The order in which a channel's end reaches its queues and consumers, on every way of ending.

use mooq_core::{Consume, Properties, Publish, QueueDeclare};

use crate::Fixture;
use crate::line::Line;
use crate::raw::{Raw, consumer, message, passive_queue, queue, table};
use crate::scenario;

/// A way in which a channel ends.
#[derive(Debug, Clone, Copy)]
enum Way {
    Closed,
    Failed,
    ConnectionClosed,
    ConnectionFailed,
    Lost,
}

impl Way {
    const ALL: [Self; 5] = [
        Self::Closed,
        Self::Failed,
        Self::ConnectionClosed,
        Self::ConnectionFailed,
        Self::Lost,
    ];

    /// Ends a channel, and waits for its end.
    async fn end(self, ending: Ending) {
        let Ending { mut raw, line } = ending;
        match self {
            Self::Closed => raw.channel.close().await.unwrap(),
            Self::ConnectionClosed => raw.connection.close().await.unwrap(),
            Self::Failed => {
                raw.methods().tx_commit().await.unwrap_err();
                raw.closed().await;
            }
            Self::ConnectionFailed => {
                raw.methods().recover(false).await.unwrap_err();
                raw.closed().await;
            }
            Self::Lost => {
                line.cut(ENDING);
                raw.closed().await;
            }
        }
    }
}

/// A queue type, as in `x-queue-type`.
type Kind = &'static str;

/// Client name of the connection whose channels end.
const ENDING: &str = "ending";

/// A channel that ends, and the line of its connection.
#[derive(Debug)]
struct Ending {
    raw: Raw,
    line: Line,
}

/// A queue whose dead letters go to another.
fn dying(name: &str, kind: Kind, to: &str) -> QueueDeclare {
    QueueDeclare {
        arguments: table([
            ("x-queue-type", kind.into()),
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", to.into()),
        ]),
        ..queue(name)
    }
}

fn of_kind(name: &str, kind: Kind) -> QueueDeclare {
    QueueDeclare {
        arguments: table([("x-queue-type", kind.into())]),
        ..queue(name)
    }
}

/// A channel that has a delivery of `from` that has expired, and consumes from `to`, where its
/// dead letter goes.
async fn with_dying_delivery(fixture: &Fixture, from: &str, to: &str, no_ack: bool) -> Ending {
    let mut ending = with_dying(fixture, from).await;
    ending.raw.consume_with(consuming(to, no_ack)).await;
    expire(&mut ending.raw, from).await;
    ending
}

async fn with_dying(fixture: &Fixture, from: &str) -> Ending {
    let line = Line::of(fixture);
    let raw = fixture.raw_with(&line.options().name(ENDING)).await;
    raw.consume(from).await;
    Ending { raw, line }
}

fn consuming(queue: &str, no_ack: bool) -> Consume {
    Consume {
        no_ack,
        ..consumer(queue)
    }
}

/// Delivers a message of `from`, which the channel consumes, that expires as soon as it is
/// requeued.
async fn expire(raw: &mut Raw, from: &str) {
    let mut expiring = message("", from, "m");
    let mut properties = Properties::default();
    properties.expiration = Some("0".try_into().unwrap());
    expiring.properties = properties.into();
    raw.send(Publish::new(expiring));
    raw.delivery().await;
}

/// Waits until a queue has no consumer and this number of ready messages.
async fn left_in(raw: &Raw, way: Way, queue: &str, count: u32) {
    let queue_now = raw.channel.declare_queue(passive_queue(queue)).await;
    let declared = queue_now.expect("the queue is there");
    // A broker takes its time to notice that a connection is lost.
    if !matches!(way, Way::Lost) {
        assert_eq!(declared.consumer_count, 0, "{way:?}");
    }
    raw.until_counts(queue, (count, 0)).await;
}

#[scenario]
async fn a_dead_letter_reaches_the_older_queues_consumer_of_a_channel_that_ends(fixture: Fixture) {
    for way in Way::ALL {
        let from = fixture.name(&format!("{way:?}/from"));
        let to = fixture.name(&format!("{way:?}/to"));
        let raw = fixture.raw().await;
        raw.declare(&to).await;
        raw.declare_with(dying(&from, CLASSIC, &to)).await;

        let ending = with_dying_delivery(&fixture, &from, &to, true).await;
        way.end(ending).await;
        // The dead letter went to the channel's own consumer, and is lost.
        left_in(&raw, way, &to, 0).await;
        left_in(&raw, way, &from, 0).await;

        let ending = with_dying_delivery(&fixture, &from, &to, false).await;
        way.end(ending).await;
        left_in(&raw, way, &to, 1).await;
        assert!(raw.fetch(&to).await.redelivered, "{way:?}");
    }
}

#[scenario]
async fn a_dead_letter_finds_no_newer_queues_consumer_of_a_channel_that_ends(fixture: Fixture) {
    for way in Way::ALL {
        let from = fixture.name(&format!("{way:?}/from"));
        let to = fixture.name(&format!("{way:?}/to"));
        let raw = fixture.raw().await;
        raw.declare_with(dying(&from, CLASSIC, &to)).await;
        raw.declare(&to).await;

        let ending = with_dying_delivery(&fixture, &from, &to, true).await;
        way.end(ending).await;
        left_in(&raw, way, &to, 1).await;
    }
}

#[scenario]
async fn a_consumer_that_is_cancelled_takes_no_dead_letter(fixture: Fixture) {
    for (from_kind, to_kind) in KINDS {
        let place = format!("{from_kind}/{to_kind}");
        let from = fixture.name(&format!("{place}/from"));
        let to = fixture.name(&format!("{place}/to"));
        let mut raw = fixture.raw().await;
        raw.declare_with(of_kind(&to, to_kind)).await;
        raw.declare_with(dying(&from, from_kind, &to)).await;
        let dying = raw.consume(&from).await;
        let taking = raw.consume_with(consuming(&to, true)).await;
        expire(&mut raw, &from).await;
        // Cancelling a consumer leaves its deliveries with the channel.
        raw.cancel(&dying).await;
        raw.cancel(&taking).await;
        raw.until_counts(&to, (0, 0)).await;
        raw.requeue(1);
        raw.until_counts(&to, (1, 0)).await;
        raw.until_counts(&from, (0, 0)).await;
        assert_eq!(raw.drain(&to).await, ["m"], "{place}");
    }
}

const CLASSIC: Kind = "classic";
const QUORUM: Kind = "quorum";

/// Queue types of a queue and of the one where its dead letters go.
const KINDS: [(Kind, Kind); 4] = [
    (CLASSIC, CLASSIC),
    (QUORUM, CLASSIC),
    (CLASSIC, QUORUM),
    (QUORUM, QUORUM),
];
