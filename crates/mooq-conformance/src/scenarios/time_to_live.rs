//! Expiry of messages and queues.

use std::time::{Duration, Instant};

use mooq_core::{
    ChannelEvent, ErrorKind, FieldTable, Message, Properties, Publish, QueueDeclare, Settlement,
};

use crate::Fixture;
use crate::raw::{Raw, body, consumer, mandatory, message, passive_queue, queue, table};
use crate::scenario;
use crate::within;

/// Time to live of messages in these scenarios, in milliseconds, and a time after which they must
/// be gone.
const BRIEFLY: u32 = 100;
const LONG_AFTER: u32 = 600;

/// Times that are tried in turn, in milliseconds: on a busy machine a short one passes before a
/// scenario has done its steps.
pub(super) const GROWING: [u32; 4] = [LONG_AFTER, 3_000, 15_000, 75_000];

/// Longer than any scenario takes.
const AN_HOUR: u32 = 3_600_000;

fn with_arguments(name: &str, arguments: FieldTable) -> QueueDeclare {
    QueueDeclare {
        arguments,
        ..queue(name)
    }
}

/// Arguments of a queue with `x-message-ttl`, or with `x-expires`.
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
    /// Waits until `millis` have passed for the broker, by the expiry of a message.
    pub(super) async fn outlast(&self, millis: u32) {
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

    /// Waits until a queue is gone, without using it: mandatory messages to it are returned.
    async fn until_gone(&mut self, queue: &str) {
        let mut probe = self.sibling().await;
        probe.confirm_select().await;
        let gone = async {
            loop {
                probe.send(mandatory(message("", queue, "probe")));
                match probe.event().await {
                    // RabbitMQ nacks messages routed to a queue that is being deleted.
                    ChannelEvent::Confirm { .. } | ChannelEvent::Nack { .. } => {
                        probe.outlast(BRIEFLY / 4).await;
                    }
                    ChannelEvent::Return(_) => return,
                    other => panic!("expected an answer or a return, not {other:?}"),
                }
            }
        };
        within(&format!("the end of {queue}"), gone).await;
    }

    /// Asserts that `using` prolongs a queue which expires after `millis` by that time. Returns
    /// false if the queue was gone before.
    async fn is_prolonged_by(&mut self, queue: &str, millis: u32, using: Using) -> bool {
        self.declare_with(with_arguments(queue, expires(millis)))
            .await;
        self.outlast(millis / 2).await;
        let (user, name) = (self.sibling().await, queue.try_into().unwrap());
        let began = Instant::now();
        let used = match using {
            Using::Get => user.channel.get(name, false).await.map(drop),
            Using::Passive => {
                let declare = user.channel.declare_queue(passive_queue(queue));
                declare.await.map(drop)
            }
            Using::Declare => {
                let declare = with_arguments(queue, expires(millis));
                user.channel.declare_queue(declare).await.map(drop)
            }
        };
        match used {
            Ok(()) => {}
            Err(err) if err.kind() == ErrorKind::QueueNotFound => return false,
            Err(err) => panic!("{err}"),
        }
        self.until_gone(queue).await;
        // The clocks of scenario and broker need not agree to the millisecond.
        let least = Duration::from_millis(u64::from(millis)).mul_f64(0.95);
        let lived = began.elapsed();
        assert!(
            lived >= least,
            "the queue was gone {lived:?} after {using:?}"
        );
        true
    }
}

/// An operation that uses a queue.
#[derive(Debug, Clone, Copy)]
enum Using {
    Get,
    Passive,
    Declare,
}

#[scenario]
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

#[scenario]
async fn ttl_is_the_shorter_of_the_queues_and_the_messages(fixture: Fixture) {
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
    raw.until_counts(&brief, (0, 0)).await;
    raw.until_counts(&patient, (1, 0)).await;
    assert_eq!(raw.drain(&patient).await, ["stays"]);
}

#[scenario]
async fn unacked_message_expires_once_it_is_back(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    for millis in GROWING {
        let [q, dead] = ["q", "dead"].map(|name| fixture.name(&format!("{name}-{millis}")));
        let mut arguments = message_ttl(millis);
        arguments.insert("x-dead-letter-exchange".try_into().unwrap(), "");
        arguments.insert(
            "x-dead-letter-routing-key".try_into().unwrap(),
            dead.as_str(),
        );
        let mut consuming = fixture.raw().await;
        consuming.declare(&dead).await;
        consuming.consume(&dead).await;
        raw.declare_with(with_arguments(&q, arguments)).await;
        raw.fill(&q, &["acknowledged in the end", "given back"])
            .await;
        let (Some(first), Some(second)) = (raw.get(&q).await, raw.get(&q).await) else {
            continue;
        };
        raw.outlast(3 * millis).await;
        consuming.nothing_from(&dead).await;

        raw.settle(first.delivery_tag, Settlement::Ack);
        raw.requeue(second.delivery_tag);
        let letter = consuming.delivery().await;
        assert_eq!(body(&letter.message), "given back");
        assert_eq!(raw.drain(&q).await, [""; 0]);
        return;
    }
    panic!("messages expire before they can be fetched: {GROWING:?}");
}

#[scenario]
async fn ttl_0_lets_only_a_ready_consumer_have_a_message(fixture: Fixture) {
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

#[scenario]
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

#[scenario]
async fn a_queue_that_nobody_uses_expires_and_its_messages_with_it(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let dead = fixture.name("dead");
    raw.declare(&dead).await;
    for millis in GROWING {
        let q = fixture.name(&format!("q-{millis}"));
        let mut arguments = expires(millis);
        arguments.insert("x-dead-letter-exchange".try_into().unwrap(), "");
        let key = "x-dead-letter-routing-key".try_into().unwrap();
        arguments.insert(key, dead.as_str());
        raw.declare_with(with_arguments(&q, arguments)).await;
        // The queue stays while it has a consumer, which requeues its message in the end.
        let mut consuming = fixture.raw().await;
        let Ok(tag) = consuming.channel.consume(consumer(&q)).await else {
            continue;
        };
        raw.put("", &q, "published, which is no use").await;
        let delivery = consuming.delivery().await;
        consuming.cancel(&tag).await;
        consuming.settle(delivery.delivery_tag, Settlement::Nack { requeue: true });
        raw.until_gone(&q).await;
        assert_eq!(raw.drain(&dead).await, [""; 0]);
        return;
    }
    panic!("queues expire before they are consumed: {GROWING:?}");
}

#[scenario]
async fn a_queue_with_a_consumer_does_not_expire_before_that_has_gone(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    for millis in GROWING {
        let q = fixture.name(&format!("q-{millis}"));
        let mut consuming = fixture.raw().await;
        raw.declare_with(with_arguments(&q, expires(millis))).await;
        let Ok(tag) = consuming.channel.consume(consumer(&q)).await else {
            continue;
        };
        raw.outlast(3 * millis).await;
        raw.put("", &q, "m").await;
        assert_eq!(consuming.delivered(1).await, ["m"]);
        consuming.cancel(&tag).await;
        raw.until_gone(&q).await;
        return;
    }
    panic!("queues expire before they are consumed: {GROWING:?}");
}

#[scenario]
async fn a_get_and_a_declare_are_uses_of_a_queue(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    for using in [Using::Get, Using::Passive, Using::Declare] {
        let mut is_shown = false;
        for millis in GROWING {
            let q = fixture.name(&format!("{using:?}-{millis}"));
            is_shown = raw.is_prolonged_by(&q, millis, using).await;
            if is_shown {
                break;
            }
        }
        assert!(is_shown, "queues expire before {using:?}: {GROWING:?}");
    }
}
