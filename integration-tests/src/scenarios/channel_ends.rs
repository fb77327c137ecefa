//! The order in which a channel's end reaches its queues and consumers, on every way of ending.

use mooq_core::{Consume, Properties, Publish, QueueDeclare};

use super::scenarios;
use crate::Fixture;
use crate::raw::{Raw, consumer, message, passive_queue, queue, table};

/// A way in which a channel ends.
#[derive(Debug, Clone, Copy)]
enum Way {
    Closed,
    Failed,
    ConnectionClosed,
    ConnectionFailed,
}

impl Way {
    const ALL: [Self; 4] = [
        Self::Closed,
        Self::Failed,
        Self::ConnectionClosed,
        Self::ConnectionFailed,
    ];

    /// Ends a channel, and waits for its end.
    async fn end(self, mut raw: Raw) {
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
        }
    }
}

/// A queue whose dead letters go to another.
fn dying(name: &str, to: &str) -> QueueDeclare {
    QueueDeclare {
        arguments: table([
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", to.into()),
        ]),
        ..queue(name)
    }
}

/// A channel that has a delivery of `from` that has expired, and consumes from `to`, where its
/// dead letter goes.
async fn with_dying_delivery(fixture: &Fixture, from: &str, to: &str, no_ack: bool) -> Raw {
    let mut raw = fixture.raw().await;
    raw.consume(from).await;
    raw.consume_with(Consume {
        no_ack,
        ..consumer(to)
    })
    .await;
    let mut expiring = message("", from, "m");
    let mut properties = Properties::default();
    properties.expiration = Some("0".try_into().unwrap());
    expiring.properties = properties.into();
    raw.send(Publish::new(expiring));
    raw.delivery().await;
    raw
}

/// How many messages are ready in a queue, which has no consumer any more.
async fn left_in(raw: &Raw, queue: &str) -> u32 {
    let declared = raw.channel.declare_queue(passive_queue(queue)).await;
    let declared = declared.expect("the queue is there");
    assert_eq!(declared.consumer_count, 0);
    declared.message_count
}

async fn a_dead_letter_reaches_the_older_queues_consumer_of_a_channel_that_ends(fixture: Fixture) {
    for way in Way::ALL {
        let from = fixture.name(&format!("{way:?}/from"));
        let to = fixture.name(&format!("{way:?}/to"));
        let raw = fixture.raw().await;
        raw.declare(&to).await;
        raw.declare_with(dying(&from, &to)).await;

        let ending = with_dying_delivery(&fixture, &from, &to, true).await;
        way.end(ending).await;
        // The channel's consumer took it, and nobody has seen it.
        assert_eq!(left_in(&raw, &to).await, 0, "{way:?}");
        assert_eq!(left_in(&raw, &from).await, 0, "{way:?}");

        let ending = with_dying_delivery(&fixture, &from, &to, false).await;
        way.end(ending).await;
        assert_eq!(left_in(&raw, &to).await, 1, "{way:?}");
        assert!(raw.fetch(&to).await.redelivered, "{way:?}");
    }
}

async fn a_dead_letter_finds_no_newer_queues_consumer_of_a_channel_that_ends(fixture: Fixture) {
    for way in Way::ALL {
        let from = fixture.name(&format!("{way:?}/from"));
        let to = fixture.name(&format!("{way:?}/to"));
        let raw = fixture.raw().await;
        raw.declare_with(dying(&from, &to)).await;
        raw.declare(&to).await;

        let ending = with_dying_delivery(&fixture, &from, &to, true).await;
        way.end(ending).await;
        assert_eq!(left_in(&raw, &to).await, 1, "{way:?}");
    }
}

scenarios! { channel_ends:
    a_dead_letter_reaches_the_older_queues_consumer_of_a_channel_that_ends,
    a_dead_letter_finds_no_newer_queues_consumer_of_a_channel_that_ends,
}
