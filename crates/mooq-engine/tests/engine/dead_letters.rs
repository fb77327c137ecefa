//! Dead letters (<https://www.rabbitmq.com/docs/dlx>).

use mooq_core::{FieldTable, FieldValue, Message, QueueDeclare};
use mooq_engine::{Method, Profile};

use crate::harness::{Broker, Channel, publish_with, queue, table};

/// A queue `q` whose dead letters go to the queue `dead`.
fn setup() -> (Broker, Channel) {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare(c, "dead");
    broker.declare_with(
        c,
        "q",
        [
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", "dead".into()),
            ("x-max-length", 2.into()),
        ],
    );
    (broker, c)
}

fn deaths(message: &Message) -> Vec<FieldTable> {
    let Some(FieldValue::Array(deaths)) = message.properties.headers.get("x-death") else {
        return Vec::new();
    };
    let tables = deaths.iter().map(|death| match death {
        FieldValue::Table(table) => table.clone(),
        other => panic!("{other:?}"),
    });
    tables.collect()
}

fn summary(message: &Message) -> Vec<String> {
    let text = |death: &FieldTable, key| death.get(key).unwrap().as_str().unwrap().to_owned();
    let deaths = deaths(message);
    let lines = deaths.iter().map(|death| {
        let count = death.get("count").unwrap().as_i64().unwrap();
        format!(
            "{} in {} ×{count}",
            text(death, "reason"),
            text(death, "queue")
        )
    });
    lines.collect()
}

#[test]
fn a_death_is_written_into_the_headers() {
    let (mut broker, c) = setup();
    broker.publish(c, publish_with("amq.direct", "k", "", |_| {}));
    broker.bind(c, "amq.direct", "k", "q");
    broker.pass(2500);
    let message = publish_with("amq.direct", "k", "one", |p| {
        p.expiration = Some("60000".try_into().unwrap());
        p.headers = table([("own", 1.into())]);
    });
    broker.publish(c, message);
    broker.consume(c, "q", "t");
    broker.reject(c, 1);
    let dead = broker.get_message(c, "dead").unwrap();
    assert_eq!((&*dead.exchange, &*dead.routing_key), ("", "dead"));
    assert_eq!(dead.properties.expiration, None);
    let death = table([
        ("count", 1_i64.into()),
        ("exchange", "amq.direct".into()),
        ("original-expiration", "60000".into()),
        ("queue", "q".into()),
        ("reason", "rejected".into()),
        ("routing-keys", vec![FieldValue::from("k")].into()),
        ("time", FieldValue::Timestamp(2)),
    ]);
    let expected = table([
        ("own", 1.into()),
        ("x-death", vec![FieldValue::from(death)].into()),
        ("x-first-death-exchange", "amq.direct".into()),
        ("x-first-death-queue", "q".into()),
        ("x-first-death-reason", "rejected".into()),
        ("x-last-death-exchange", "amq.direct".into()),
        ("x-last-death-queue", "q".into()),
        ("x-last-death-reason", "rejected".into()),
    ]);
    assert_eq!(dead.properties.headers, expected);
}

#[test]
fn deaths_that_a_client_tells_of_are_not_believed() {
    let (mut broker, c) = setup();
    let claimed = table([("queue", "q".into()), ("count", 7.into())]);
    let message = publish_with("", "q", "1", |p| {
        p.headers = table([("x-death", vec![FieldValue::from(claimed)].into())]);
    });
    broker.publish(c, message);
    broker.consume(c, "q", "t");
    broker.reject(c, 1);
    let dead = broker.get_message(c, "dead").unwrap();
    assert_eq!(summary(&dead), ["rejected in q ×1"]);
}

#[test]
fn each_reason_has_an_entry_of_its_own() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare_with(
        c,
        "work",
        [
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", "wait".into()),
        ],
    );
    broker.declare_with(
        c,
        "wait",
        [
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", "work".into()),
            ("x-message-ttl", 100.into()),
        ],
    );
    broker.put(c, "work", &["job"]);
    broker.consume(c, "work", "t");
    for tag in 1..=3 {
        broker.reject(c, tag);
        broker.pass(100);
    }
    assert_eq!(
        broker.heard(c).len(),
        4,
        "a rejected message may go round for ever"
    );
    broker.ok(c, Method::ChannelClose);
    broker.ok(c, Method::ChannelOpen);
    let job = broker.get_message(c, "work").unwrap();
    assert_eq!(summary(&job), ["expired in wait ×3", "rejected in work ×3"]);
    assert_eq!(
        job.properties
            .headers
            .get("x-first-death-queue")
            .unwrap()
            .as_str(),
        Some("work")
    );
}

#[test]
fn a_circle_that_nobody_rejects_in_ends() {
    let mut broker = Broker::new();
    let c = broker.channel();
    for (name, next) in [("a", "b"), ("b", "a")] {
        broker.declare_with(
            c,
            name,
            [
                ("x-dead-letter-exchange", "".into()),
                ("x-dead-letter-routing-key", next.into()),
                ("x-message-ttl", 10.into()),
            ],
        );
    }
    broker.put(c, "a", &["1"]);
    broker.pass(10);
    assert_eq!((broker.counts("a"), broker.counts("b")), ((0, 0), (1, 0)));
    broker.pass(10);
    assert_eq!((broker.counts("a"), broker.counts("b")), ((0, 0), (0, 0)));
}

#[test]
fn overflow_dead_letters_the_oldest_and_refusal_the_newest() {
    let (mut broker, c) = setup();
    broker.put(c, "q", &["1", "2", "3"]);
    let dead = broker.get_message(c, "dead").unwrap();
    assert_eq!(
        (&*dead.body, &*summary(&dead)),
        (&b"1"[..], &["maxlen in q ×1".to_owned()][..])
    );

    broker.declare_with(
        c,
        "strict",
        [
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", "dead".into()),
            ("x-max-length", 1.into()),
            ("x-overflow", "reject-publish-dlx".into()),
        ],
    );
    broker.put(c, "strict", &["1", "2"]);
    assert_eq!(broker.drain(c, "dead"), ["2"]);
}

#[test]
fn without_a_key_of_its_own_all_keys_are_used_and_a_missing_exchange_is_silent() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare_exchange(c, "dlx", mooq_core::ExchangeKind::Direct);
    for name in ["first", "second", "third"] {
        broker.declare(c, name);
        broker.bind(c, "dlx", name, name);
    }
    broker.declare_with(c, "q", [("x-dead-letter-exchange", "dlx".into())]);
    broker.bind(c, "amq.direct", "first", "q");
    let keys = |key: &str| FieldValue::from(vec![FieldValue::from(key)]);
    let message = || {
        publish_with("amq.direct", "first", "1", |p| {
            p.headers = table([("CC", keys("second")), ("BCC", keys("third"))]);
        })
    };
    broker.consume(c, "q", "t");
    broker.publish(c, message());
    broker.reject(c, 1);
    for name in ["first", "second", "third"] {
        let dead = broker.get_message(c, name).unwrap();
        let seen: Vec<FieldValue> = vec!["first".into(), "second".into()];
        assert_eq!(deaths(&dead)[0].get("routing-keys"), Some(&seen.into()));
    }
    let name = "dlx".try_into().unwrap();
    broker.ok(
        c,
        Method::ExchangeDelete {
            name,
            if_unused: false,
        },
    );
    broker.publish(c, message());
    assert_eq!(broker.reject(c, 5), None);
}

#[test]
fn dead_letters_that_circle_leave_time_for_others() {
    let mut broker = Broker::of(Profile::V3_10);
    let c = broker.channel();
    for (name, key, lives) in [("r", "a", None), ("a", "b", Some(0)), ("b", "a", Some(0))] {
        let mut arguments = vec![
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", key.into()),
        ];
        arguments.extend(lives.map(|millis: i32| ("x-message-ttl", millis.into())));
        let declare = QueueDeclare {
            arguments: arguments
                .into_iter()
                .map(|(key, value)| (key.try_into().unwrap(), value))
                .collect(),
            ..queue(name)
        };
        broker.ok(c, Method::QueueDeclare(declare));
    }
    broker.put(c, "r", &["m"]);
    broker.consume(c, "r", "t");
    broker.reject(c, 1);
    assert!(broker.engine.dead_letters_circle());
    assert_eq!(broker.engine.activity().circling, 1);

    let dead_lettered = |broker: &Broker| broker.queue("a").unwrap().tally.dead_lettered;
    let before = dead_lettered(&broker);
    broker.engine.carry_on(broker.time());
    assert!(dead_lettered(&broker) > before);
    broker.declare(c, "other");
    broker.put(c, "other", &["o"]);
    assert_eq!(broker.drain(c, "other"), ["o"]);

    let delete = Method::QueueDelete {
        name: "b".try_into().unwrap(),
        if_unused: false,
        if_empty: false,
    };
    broker.ok(c, delete);
    broker.engine.carry_on(broker.time());
    assert!(!broker.engine.dead_letters_circle());
}
