//! Messages that expire, and queues that do.

use mooq_core::{FieldTable, Message, Properties, Publish, QueueDeclare, Settlement};

use super::scenarios;
use crate::Fixture;
use crate::raw::{Raw, body, mandatory, message, queue, table};

/// What the messages of these scenarios live, in milliseconds, and how long it takes until they
/// must be gone.
const BRIEFLY: u32 = 100;
const LONG_AFTER: u32 = 600;

/// Longer than any scenario takes.
const AN_HOUR: u32 = 3_600_000;

fn with_arguments(name: &str, arguments: FieldTable) -> QueueDeclare {
    QueueDeclare {
        arguments,
        ..queue(name)
    }
}

/// A queue's arguments with which it is limited to `millis` per message, or to `millis` unused.
fn message_ttl(millis: u32) -> FieldTable {
    table([("x-message-ttl", i64::from(millis).into())])
}

fn expires(millis: u32) -> FieldTable {
    table([("x-expires", i64::from(millis).into())])
}

/// A publish of `body` that expires after `millis`.
fn expiring(queue: &str, body: &str, millis: u32) -> Publish {
    let mut properties = Properties::default();
    properties.expiration = Some(millis.to_string().try_into().unwrap());
    Publish::new(Message {
        properties: properties.into(),
        ..message("", queue, body)
    })
}

impl Raw {
    /// Waits until `millis` have passed for the broker: as long as a message of its own lives.
    async fn outlast(&self, millis: u32) {
        let mut clock = self.sibling().await;
        let rung = clock.declare_with(QueueDeclare::server_named()).await;
        let arguments = table([
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", rung.as_str().into()),
        ]);
        let running = clock
            .declare_with(QueueDeclare {
                arguments,
                ..QueueDeclare::server_named()
            })
            .await;
        clock.consume(&rung).await;
        clock.send(expiring(&running, "the time has come", millis));
        clock.delivery().await;
    }
}

async fn messages_expire_at_the_head_of_their_queue_only(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    raw.fill(&q, &["stays"]).await;
    raw.put_message(expiring(&q, "behind it", BRIEFLY)).await;
    raw.outlast(LONG_AFTER).await;
    assert_eq!(raw.counts(&q).await, (2, 0));
    let fetched = raw.fetch(&q).await;
    assert_eq!(body(&fetched.message), "stays");
    raw.ack(fetched.delivery_tag);
    assert_eq!(raw.drain(&q).await, [""; 0]);
}

async fn the_shorter_time_counts_the_queues_or_the_messages(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let [brief, patient] = ["brief", "patient"].map(|name| fixture.name(name));
    raw.declare_with(with_arguments(&brief, message_ttl(BRIEFLY)))
        .await;
    raw.declare_with(with_arguments(&patient, message_ttl(AN_HOUR)))
        .await;
    raw.put_message(expiring(&brief, "by its queue", AN_HOUR))
        .await;
    raw.put_message(expiring(&patient, "by itself", BRIEFLY))
        .await;
    raw.put_message(expiring(&patient, "stays", AN_HOUR)).await;
    raw.outlast(LONG_AFTER).await;
    assert_eq!(raw.drain(&brief).await, [""; 0]);
    assert_eq!(raw.drain(&patient).await, ["stays"]);
}

async fn what_is_unacknowledged_expires_once_it_is_back(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut consuming = fixture.raw().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    let mut arguments = message_ttl(LONG_AFTER);
    arguments.insert("x-dead-letter-exchange".try_into().unwrap(), "");
    arguments.insert(
        "x-dead-letter-routing-key".try_into().unwrap(),
        dead.as_str(),
    );
    raw.declare_with(with_arguments(&q, arguments)).await;
    raw.declare(&dead).await;
    consuming.consume(&dead).await;
    raw.fill(&q, &["acknowledged in the end", "given back"])
        .await;
    let (first, second) = (raw.fetch(&q).await, raw.fetch(&q).await);
    raw.outlast(3 * LONG_AFTER).await;
    consuming.nothing_from(&dead).await;

    raw.settle(first.delivery_tag, Settlement::Ack);
    raw.requeue(second.delivery_tag);
    let letter = consuming.delivery().await;
    assert_eq!(body(&letter.message), "given back");
    assert_eq!(raw.drain(&q).await, [""; 0]);
}

async fn with_no_time_at_all_only_a_ready_consumer_gets_a_message(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut consuming = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare_with(with_arguments(&q, message_ttl(0))).await;
    raw.fill(&q, &["lost"]).await;
    consuming.prefetch(1).await;
    consuming.consume(&q).await;
    raw.fill(&q, &["delivered", "lost as well"]).await;
    assert_eq!(consuming.delivered(1).await, ["delivered"]);
    consuming.ack(1);
    consuming.nothing_from(&q).await;
    assert_eq!(raw.drain(&q).await, [""; 0]);
}

async fn an_expiration_with_leading_zeros_is_delivered(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    let mut properties = Properties::default();
    properties.expiration = Some("+03600000".try_into().unwrap());
    raw.put_message(Publish::new(Message {
        properties: properties.into(),
        ..message("", &q, "m")
    }))
    .await;
    let fetched = raw.fetch(&q).await;
    let expected = if fixture.version() < crate::Version::V4_0 {
        "+03600000"
    } else {
        "3600000"
    };
    let delivered = fetched.message.properties.expiration.as_deref();
    assert_eq!(delivered, Some(expected));
}

async fn a_queue_that_nobody_uses_expires_and_its_messages_with_it(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    let mut arguments = expires(BRIEFLY);
    arguments.insert("x-dead-letter-exchange".try_into().unwrap(), "");
    arguments.insert(
        "x-dead-letter-routing-key".try_into().unwrap(),
        dead.as_str(),
    );
    raw.declare(&dead).await;
    raw.declare_with(with_arguments(&q, arguments)).await;
    raw.put("", &q, "published, which is no use").await;
    raw.outlast(LONG_AFTER).await;
    assert!(!raw.has_queue(&q).await);
    assert_eq!(raw.drain(&dead).await, [""; 0]);
}

async fn a_queue_with_a_consumer_does_not_expire_before_that_has_gone(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(with_arguments(&q, expires(LONG_AFTER)))
        .await;
    let mut consuming = fixture.raw().await;
    let tag = consuming.consume(&q).await;
    raw.outlast(3 * LONG_AFTER).await;
    raw.put("", &q, "m").await;
    assert_eq!(consuming.delivered(1).await, ["m"]);
    consuming.cancel(&tag).await;
    raw.outlast(3 * LONG_AFTER).await;
    assert!(!raw.has_queue(&q).await);
}

async fn a_get_and_a_declare_are_uses_of_a_queue(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    let declare = || with_arguments(&q, expires(5 * LONG_AFTER));
    raw.declare_with(declare()).await;
    raw.outlast(3 * LONG_AFTER).await;
    assert!(raw.get(&q).await.is_none());
    raw.outlast(3 * LONG_AFTER).await;
    assert_eq!(raw.counts(&q).await, (0, 0));
    raw.outlast(3 * LONG_AFTER).await;
    raw.declare_with(declare()).await;
    raw.outlast(3 * LONG_AFTER).await;
    // That it is still there is seen by who does not use it.
    raw.send(mandatory(message("", &q, "m")));
    assert_eq!(raw.confirmed().await, 1);
    raw.outlast(7 * LONG_AFTER).await;
    assert!(!raw.has_queue(&q).await);
}

scenarios! { time_to_live:
    messages_expire_at_the_head_of_their_queue_only,
    the_shorter_time_counts_the_queues_or_the_messages,
    what_is_unacknowledged_expires_once_it_is_back,
    with_no_time_at_all_only_a_ready_consumer_gets_a_message,
    an_expiration_with_leading_zeros_is_delivered,
    a_queue_that_nobody_uses_expires_and_its_messages_with_it,
    a_queue_with_a_consumer_does_not_expire_before_that_has_gone,
    a_get_and_a_declare_are_uses_of_a_queue,
}
