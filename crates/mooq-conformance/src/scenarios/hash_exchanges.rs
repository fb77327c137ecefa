//! Exchanges that send each message to one queue, chosen by a hash: `x-consistent-hash` of the
//! plugin `rabbitmq_consistent_hash_exchange`, and `x-modulus-hash`.

use std::sync::Arc;

use mooq_core::{
    Binding, Consume, ConsumerTag, Decimal, ExchangeDeclare, ExchangeKind, FieldTable, FieldValue,
    Message, Properties, Publish,
};

use crate::Fixture;
use crate::expect::expect_reason;
use crate::expect::method::{EXCHANGE_BIND, EXCHANGE_DECLARE, QUEUE_BIND};
use crate::raw::{
    Raw, binding, body, consumer, exchange, exchange_binding, message, message_with, table,
};
use crate::scenario;
use crate::version::Version;

/// Number of keys in one round.
const KEYS: usize = 3_000;

/// Queues named by one letter each, with their consumers.
pub(super) struct Bound {
    pub(super) raw: Raw,
    consumers: Vec<(ConsumerTag, char)>,
}

impl Bound {
    /// Declares queues of these names and consumes them.
    pub(super) async fn queues(fixture: &Fixture, names: &str) -> Self {
        let raw = fixture.raw().await;
        let mut consumers = Vec::new();
        for name in names.chars() {
            let queue = fixture.name(&name.to_string());
            raw.declare(&queue).await;
            let unsettled = Consume {
                no_ack: true,
                ..consumer(&queue)
            };
            consumers.push((raw.consume_with(unsettled).await, name));
        }
        Self { raw, consumers }
    }

    /// Publishes messages that each go to one queue, and returns the letters of these queues.
    pub(super) async fn places(&mut self, messages: impl IntoIterator<Item = Message>) -> String {
        let mut count = 0;
        for (number, mut message) in messages.into_iter().enumerate() {
            message.body = number.to_string().into();
            self.raw.send(Publish::new(message));
            count += 1;
        }
        let mut places = vec![' '; count];
        for _ in 0..count {
            let delivery = self.raw.delivery().await;
            let mut consumers = self.consumers.iter();
            let found = consumers.find(|(tag, _)| *tag == delivery.consumer_tag);
            let number: usize = body(&delivery.message).parse().unwrap();
            places[number] = found.expect("a consumer of this test").1;
        }
        places.into_iter().collect()
    }

    /// Does the same with messages that have nothing but keys.
    pub(super) async fn places_of_keys(&mut self, exchange: &str) -> String {
        let keys = (0..KEYS).map(|number| format!("order-{number}"));
        let messages: Vec<_> = keys.map(|key| message(exchange, &key, "")).collect();
        self.places(messages).await
    }
}

/// The number of messages in each queue, and a hash of the whole distribution.
pub(super) fn digest(places: &str) -> (Vec<usize>, u64) {
    let mut names: Vec<_> = places.chars().collect();
    names.sort_unstable();
    names.dedup();
    let count = |name: &char| places.chars().filter(|place| place == name).count();
    // FNV-1a.
    let hash = places
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    (names.iter().map(count).collect(), hash)
}

fn hashing(name: &str, arguments: FieldTable) -> ExchangeDeclare {
    ExchangeDeclare {
        arguments,
        ..exchange(name, ExchangeKind::ConsistentHash)
    }
}

#[scenario]
async fn hash_ring_sends_each_key_to_its_queue(fixture: Fixture) {
    let mut bound = Bound::queues(&fixture, "abc").await;
    let x = fixture.name("x");
    bound
        .raw
        .declare_exchange(&x, ExchangeKind::ConsistentHash)
        .await;
    for (name, weight) in [("a", "1"), ("b", "2"), ("c", "3")] {
        bound.raw.bind(&fixture.name(name), &x, weight).await;
    }
    let places = bound.places_of_keys(&x).await;
    assert_eq!(
        digest(&places),
        (vec![519, 1001, 1480], 16_627_584_792_173_684_258)
    );
    // The same keys go to the same queues.
    assert_eq!(bound.places_of_keys(&x).await, places);
    // Of several keys the first one counts.
    let cc = table([("CC", vec![FieldValue::from("order-1")].into())]);
    let with_cc = (0..40).map(|n| message_with(&x, &format!("order-{n}"), "", cc.clone()));
    let with_cc = bound.places(with_cc.collect::<Vec<_>>()).await;
    assert_eq!(with_cc, places[..40]);
}

#[scenario]
async fn hash_ring_moves_few_keys_when_a_queue_comes_or_goes(fixture: Fixture) {
    let mut bound = Bound::queues(&fixture, "abc").await;
    let x = fixture.name("x");
    bound
        .raw
        .declare_exchange(&x, ExchangeKind::ConsistentHash)
        .await;
    for name in ["a", "b"] {
        bound.raw.bind(&fixture.name(name), &x, "10").await;
    }
    let two = bound.places_of_keys(&x).await;
    bound.raw.bind(&fixture.name("c"), &x, "10").await;
    let three = bound.places_of_keys(&x).await;
    let moved = two.chars().zip(three.chars());
    assert!(
        moved
            .clone()
            .all(|(two, three)| two == three || three == 'c')
    );
    let stayed = moved.filter(|(two, three)| two == three).count();
    assert!(stayed > KEYS / 2, "{stayed} of {KEYS} keys stayed");
    // Queues behind a removed one move up on the ring.
    let first = binding(&fixture.name("a"), &x, "10");
    bound.raw.remove(first).await;
    let without = bound.places_of_keys(&x).await;
    assert_eq!(
        digest(&without),
        (vec![1501, 1499], 3_457_829_995_246_196_222)
    );
    // Deleting the queue itself has the same effect.
    bound.raw.delete(&fixture.name("c")).await;
    bound.raw.cancelled().await;
    assert_eq!(bound.places_of_keys(&x).await, "b".repeat(KEYS));
}

#[scenario]
async fn a_second_binding_of_a_queue_has_no_weight_and_takes_the_first_along(fixture: Fixture) {
    let mut bound = Bound::queues(&fixture, "ab").await;
    let (x, a, b) = (fixture.name("x"), fixture.name("a"), fixture.name("b"));
    bound
        .raw
        .declare_exchange(&x, ExchangeKind::ConsistentHash)
        .await;
    bound.raw.bind(&a, &x, "1").await;
    bound.raw.bind(&b, &x, "1").await;
    let even = bound.places_of_keys(&x).await;
    assert_eq!(
        digest(&even),
        (vec![1507, 1493], 16_019_075_984_739_419_328)
    );
    bound.raw.bind(&a, &x, "50").await;
    assert_eq!(bound.places_of_keys(&x).await, even);

    bound.raw.remove(binding(&a, &x, "50")).await;
    assert_eq!(bound.places_of_keys(&x).await, "b".repeat(KEYS));
    // A queue that is bound already is not added again.
    bound.raw.bind(&a, &x, "1").await;
    assert_eq!(bound.places_of_keys(&x).await, "b".repeat(KEYS));
    bound.raw.bind(&a, &x, "2").await;
    assert_eq!(
        digest(&bound.places_of_keys(&x).await),
        (vec![1971, 1029], 998_121_166_935_653_354)
    );
}

#[scenario]
async fn a_header_is_hashed_in_place_of_the_key(fixture: Fixture) {
    let mut bound = Bound::queues(&fixture, "abcdefgh").await;
    let x = fixture.name("x");
    let by_header = hashing(&x, table([("hash-header", "customer".into())]));
    bound.raw.channel.declare_exchange(by_header).await.unwrap();
    for name in "abcdefgh".chars() {
        bound
            .raw
            .bind(&fixture.name(&name.to_string()), &x, "7")
            .await;
    }
    let with = |value: FieldValue| message_with(&x, "", "", table([("customer", value)]));
    let texts = (0..KEYS).map(|n| with(format!("customer {n}").into()));
    let texts = bound.places(texts.collect::<Vec<_>>()).await;
    let numbers = (0..KEYS as i64).map(|n| with((n * n * n - 1_000_000).into()));
    let numbers = bound.places(numbers.collect::<Vec<_>>()).await;
    let nested = FieldValue::Table(table([("a", "x".into())]));
    let array = FieldValue::Array(vec![FieldValue::I16(-3), "y".into(), FieldValue::Void]);
    let others = [
        FieldValue::Bool(true),
        FieldValue::Bool(false),
        FieldValue::I8(-1),
        FieldValue::U8(200),
        FieldValue::I16(-300),
        FieldValue::U16(60_000),
        FieldValue::I32(i32::MIN),
        FieldValue::U32(u32::MAX),
        FieldValue::I64(i64::MIN),
        FieldValue::I64(i64::MAX),
        FieldValue::F32(0.1),
        FieldValue::F64(-1.5e300),
        FieldValue::F64(0.0),
        FieldValue::Decimal(Decimal {
            scale: 2,
            value: 314,
        }),
        FieldValue::Timestamp(1_700_000_000),
        FieldValue::Bytes(vec![0, 255].into()),
        "".into(),
        "customer 1".into(),
        array,
        nested,
        FieldValue::Void,
    ];
    let mut others: Vec<_> = others.into_iter().map(with).collect();
    // Messages without the header all go to the same queue.
    others.push(message(&x, "some key", ""));
    others.push(message_with(
        &x,
        "another",
        "",
        table([("other", 1.into())]),
    ));
    let others = bound.places(others).await;
    // The type of a header counts only before 4.0, and there a message without headers is one
    // without this one as well.
    if fixture.version() >= Version::V4_0 {
        assert_eq!(others, "egbfhbgbgbchaddggdabfff");
        assert_eq!(
            digest(&texts),
            (
                vec![372, 406, 350, 355, 403, 388, 340, 386],
                11_672_674_224_769_785_090
            )
        );
        assert_eq!(
            digest(&numbers),
            (
                vec![407, 332, 376, 366, 349, 405, 391, 374],
                9_737_633_764_488_458_590
            )
        );
    } else {
        assert_eq!(others, "adbbgfeedhdgbaaeebcafff");
        assert_eq!(
            digest(&texts),
            (
                vec![381, 382, 365, 341, 378, 382, 393, 378],
                1_542_100_026_545_581_948
            )
        );
        assert_eq!(
            digest(&numbers),
            (
                vec![370, 379, 368, 348, 359, 373, 398, 405],
                14_687_518_553_589_456_778
            )
        );
    }
}

#[scenario]
async fn a_property_is_hashed_in_place_of_the_key(fixture: Fixture) {
    type Set = fn(&mut Properties, usize);
    let correlation: Set = |p, n| p.correlation_id = Some(format!("c{n}").try_into().unwrap());
    let id: Set = |p, n| p.message_id = Some(format!("m{n}").try_into().unwrap());
    let time: Set = |p, n| p.timestamp = Some(n as u64 * 1_000);
    let mut bound = Bound::queues(&fixture, "abc").await;
    for (property, set, expected) in [
        (
            "correlation_id",
            correlation,
            (vec![1019, 967, 1014], 12_760_275_264_293_323_810),
        ),
        (
            "message_id",
            id,
            (vec![931, 1009, 1060], 11_358_821_488_383_493_696),
        ),
        (
            "timestamp",
            time,
            (vec![970, 1031, 999], 2_465_336_650_255_722_544),
        ),
    ] {
        let x = fixture.name(property);
        let by_property = hashing(&x, table([("hash-property", property.into())]));
        bound
            .raw
            .channel
            .declare_exchange(by_property)
            .await
            .unwrap();
        for name in ["a", "b", "c"] {
            bound.raw.bind(&fixture.name(name), &x, "5").await;
        }
        let with = |number| {
            let mut message = message(&x, "", "");
            set(Arc::make_mut(&mut message.properties), number);
            message
        };
        let places = bound.places((0..KEYS).map(with).collect::<Vec<_>>()).await;
        assert_eq!(digest(&places), expected, "{property}");
        // Messages without the property all go to the same queue.
        let without = (0..20).map(|n| message(&x, &n.to_string(), ""));
        let without = bound.places(without.collect::<Vec<_>>()).await;
        assert_eq!(without, "a".repeat(20), "{property}");
    }
}

#[scenario]
async fn hash_weights_are_positive_integers(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::ConsistentHash).await;
    raw.declare(&q).await;
    let unicode = if fixture.version() >= Version::V4_0 {
        ["<<\"é\"/utf8>>", "<<\"日\"/utf8>>"]
    } else {
        ["<<\"é\">>", "<<230,151,165>>"]
    };
    for (key, shown) in [
        ("heavy", "<<\"heavy\">>"),
        ("1.0", "<<\"1.0\">>"),
        (" 1", "<<\" 1\">>"),
        ("1_000", "<<\"1_000\">>"),
        ("a\"b\\", "<<\"a\\\"b\\\\\">>"),
        ("-", "<<\"-\">>"),
        ("é", unicode[0]),
        ("日", unicode[1]),
    ] {
        let outcome = raw.channel.bind(binding(&q, &x, key)).await;
        let text = format!("PRECONDITION_FAILED - The binding key must be an integer: {shown}");
        raw.refused(outcome, 406, QUEUE_BIND, &text).await;
    }
    for key in ["0", "-1", "-10001"] {
        let outcome = raw.channel.bind(binding(&q, &x, key)).await;
        let text = "PRECONDITION_FAILED - The binding key must be greater than 0";
        raw.refused(outcome, 406, QUEUE_BIND, text).await;
    }
    for key in ["+5", "007", "10000"] {
        raw.bind(&q, &x, key).await;
    }
    let outcome = raw
        .channel
        .bind(exchange_binding("amq.fanout", &x, ""))
        .await;
    let text = "PRECONDITION_FAILED - The binding key must be an integer: <<>>";
    raw.refused(outcome, 406, EXCHANGE_BIND, text).await;
    // The refused binding does not exist.
    raw.remove(binding(&q, &x, "heavy")).await;
}

#[scenario]
async fn a_long_weight_is_broken_as_erlang_breaks_it(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::ConsistentHash).await;
    raw.declare(&q).await;
    let below = " ".repeat(38);
    let ones = "\u{1}".repeat(21);
    for (key, shown) in [
        // A text is never broken, bytes are.
        ("a".repeat(60), format!("<<\"{}\">>", "a".repeat(60))),
        (
            format!("{ones}\u{1}"),
            format!("<<{}\n{below}1,1>>", "1,".repeat(20)),
        ),
        (ones, format!("<<{}1>>", "1,".repeat(20))),
        (
            format!("{}abcdef", "\u{1}".repeat(15)),
            format!("<<{}97,98,99,\n{below}100,101,102>>", "1,".repeat(15)),
        ),
        (
            "é".repeat(30),
            if fixture.version() >= Version::V4_0 {
                format!("<<\"{}\"/utf8>>", "é".repeat(30))
            } else {
                format!("<<\"{}\">>", "é".repeat(30))
            },
        ),
    ] {
        let outcome = raw.channel.bind(binding(&q, &x, &key)).await;
        let text = format!("PRECONDITION_FAILED - The binding key must be an integer: {shown}");
        raw.refused(outcome, 406, QUEUE_BIND, &text).await;
    }
}

#[scenario(since = V4_3)]
async fn a_weight_is_at_most_ten_thousand(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::ConsistentHash).await;
    raw.declare(&q).await;
    let outcome = raw.channel.bind(binding(&q, &x, "10001")).await;
    let text = "PRECONDITION_FAILED - The binding key must not exceed 10000";
    raw.refused(outcome, 406, QUEUE_BIND, text).await;
}

#[scenario]
async fn hashed_value_is_one_header_or_one_of_three_properties(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let x = fixture.name("x");
    let both = table([
        ("hash-header", "h".into()),
        ("hash-property", "message_id".into()),
    ]);
    let unknown = table([("hash-property", "app_id".into())]);
    for (arguments, text) in [
        (
            both,
            "PRECONDITION_FAILED - hash-header and hash-property are mutually exclusive",
        ),
        (
            unknown,
            "PRECONDITION_FAILED - Unsupported property: app_id",
        ),
    ] {
        let outcome = raw.channel.declare_exchange(hashing(&x, arguments)).await;
        raw.refused(outcome, 406, EXCHANGE_DECLARE, text).await;
    }
    assert!(!raw.has_exchange(&x).await);

    let by_header = hashing(&x, table([("hash-header", "h".into())]));
    raw.channel.declare_exchange(by_header).await.unwrap();
    // Declaring again neither compares nor checks these arguments.
    let otherwise = hashing(&x, table([("hash-property", "app_id".into())]));
    raw.channel.declare_exchange(otherwise).await.unwrap();
    let outcome = raw
        .channel
        .declare_exchange(exchange(&x, ExchangeKind::Direct))
        .await;
    let text = format!(
        "PRECONDITION_FAILED - inequivalent arg 'type' for exchange '{x}' in vhost '/': received \
         'direct' but current is ''x-consistent-hash''"
    );
    raw.refused(outcome, 406, EXCHANGE_DECLARE, &text).await;
}

#[scenario]
async fn hashed_value_is_named_by_text(fixture: Fixture) {
    for argument in ["hash-header", "hash-property"] {
        let mut raw = fixture.raw().await;
        let declare = hashing(&fixture.name("x"), table([(argument, 5.into())]));
        let err = raw.channel.declare_exchange(declare).await.unwrap_err();
        expect_reason(&err, 541, (0, 0), "INTERNAL_ERROR");
        raw.closes_connection(541, (0, 0), "INTERNAL_ERROR").await;
    }
}

#[scenario]
async fn an_unbound_consistent_hash_leads_to_the_alternate(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, fanout, q) = (fixture.name("x"), fixture.name("fanout"), fixture.name("q"));
    let alternate = table([("alternate-exchange", fanout.as_str().into())]);
    raw.channel
        .declare_exchange(hashing(&x, alternate))
        .await
        .unwrap();
    raw.declare_exchange(&fanout, ExchangeKind::Fanout).await;
    raw.declare(&q).await;
    raw.bind(&q, &fanout, "").await;
    raw.put(&x, "k", "to the alternate").await;
    // A bound exchange takes its share, as a queue does.
    raw.add(exchange_binding(&fanout, &x, "1")).await;
    raw.put(&x, "k", "by the binding").await;
    assert_eq!(raw.drain(&q).await, ["to the alternate", "by the binding"]);
}

#[scenario(since = V4_3)]
async fn a_modulus_hash_sends_each_key_to_one_queue(fixture: Fixture) {
    let mut bound = Bound::queues(&fixture, "cab").await;
    let x = fixture.name("x");
    bound
        .raw
        .declare_exchange(&x, ExchangeKind::ModulusHash)
        .await;
    for name in ["c", "a", "b"] {
        // Keys of bindings do not matter.
        bound.raw.bind(&fixture.name(name), &x, name).await;
    }
    let places = bound.places_of_keys(&x).await;
    assert_eq!(
        digest(&places),
        (vec![1012, 960, 1028], 16_725_052_481_886_975_631)
    );
    // A modulus hash uses all keys.
    let cc = table([("CC", vec![FieldValue::from("order-1")].into())]);
    let with_cc = (0..40).map(|n| message_with(&x, &format!("order-{n}"), "", cc.clone()));
    let with_cc = bound.places(with_cc.collect::<Vec<_>>()).await;
    assert_eq!(with_cc, "abccaabbcbbbbaacacaccccabccccaaccabbbabb");
    // A queue that is bound twice has two shares, also if only the arguments differ.
    bound.raw.bind(&fixture.name("a"), &x, "again").await;
    let arguments = table([("any", 1.into())]);
    let again = Binding {
        arguments,
        ..binding(&fixture.name("a"), &x, "again")
    };
    bound.raw.add(again.clone()).await;
    assert_eq!(
        digest(&bound.places_of_keys(&x).await),
        (vec![1778, 616, 606], 4_237_867_479_470_967_307)
    );
    // An exchange stands before the queues.
    let inner = fixture.name("z");
    bound
        .raw
        .declare_exchange(&inner, ExchangeKind::Fanout)
        .await;
    bound.raw.bind(&fixture.name("b"), &inner, "").await;
    bound.raw.add(exchange_binding(&inner, &x, "")).await;
    assert_eq!(
        digest(&bound.places_of_keys(&x).await),
        (vec![1493, 974, 533], 5_166_901_359_691_750_805)
    );
    bound.raw.remove(exchange_binding(&inner, &x, "")).await;
    bound.raw.remove(again).await;
    bound
        .raw
        .remove(binding(&fixture.name("a"), &x, "again"))
        .await;
    assert_eq!(bound.places_of_keys(&x).await, places);
}
