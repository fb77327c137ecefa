//! Exchanges that send each message to one queue, chosen at random: `x-local-random`, and
//! `x-random` of the plugin `rabbitmq_random_exchange`.

use mooq_core::{ExchangeDeclare, ExchangeKind};

use crate::Fixture;
use crate::expect::expect_reason;
use crate::expect::method::{EXCHANGE_BIND, EXCHANGE_DECLARE, QUEUE_BIND};
use crate::raw::{Raw, binding, exchange, exchange_binding, quorum_queue, table};
use crate::scenario;
use crate::version::Version;

/// Number of messages in a round: enough for a queue with three bindings to get more than one with
/// a single binding.
const MESSAGES: u32 = 400;

/// Publishes messages and returns the number of them in each queue.
async fn shares(raw: &mut Raw, exchange: &str, queues: [&str; 2]) -> [u32; 2] {
    for number in 0..MESSAGES {
        raw.put(exchange, &number.to_string(), "m").await;
    }
    let mut shares = [0; 2];
    for (share, queue) in shares.iter_mut().zip(queues) {
        let name = queue.try_into().unwrap();
        *share = raw.channel.purge_queue(name).await.unwrap();
    }
    shares
}

#[scenario]
async fn a_random_exchange_chooses_one_binding_for_each_message(fixture: Fixture) {
    one_binding_is_chosen(&fixture, ExchangeKind::Random, ["", "k1", "k2"]).await;
}

#[scenario(since = V4_0)]
async fn a_local_random_exchange_chooses_one_binding_for_each_message(fixture: Fixture) {
    one_binding_is_chosen(&fixture, ExchangeKind::LocalRandom, [""; 3]).await;
}

/// Asserts that one binding is chosen for each message: one queue is bound once, another three
/// times, by these keys and by different arguments.
async fn one_binding_is_chosen(fixture: &Fixture, kind: ExchangeKind, keys: [&str; 3]) {
    let mut raw = fixture.publisher().await;
    let (x, a, b) = (fixture.name("x"), fixture.name("a"), fixture.name("b"));
    raw.declare_exchange(&x, kind).await;
    raw.declare(&a).await;
    raw.declare(&b).await;
    raw.bind(&a, &x, "").await;
    assert_eq!(shares(&mut raw, &x, [&a, &b]).await, [MESSAGES, 0]);

    for (number, key) in keys.into_iter().enumerate() {
        let number = i64::try_from(number).unwrap();
        let arguments = table([("number", number.into())]);
        raw.bind_with(&b, &x, key, arguments).await;
    }
    let [few, many] = shares(&mut raw, &x, [&a, &b]).await;
    assert_eq!(few + many, MESSAGES);
    assert!(0 < few && few < many, "{few} and {many}");
}

#[scenario(since = V4_0)]
async fn a_local_random_exchange_takes_classic_queues_and_the_empty_key(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (x, q, quorum) = (fixture.name("x"), fixture.name("q"), fixture.name("quorum"));
    raw.declare_exchange(&x, ExchangeKind::LocalRandom).await;
    raw.declare(&q).await;
    raw.declare_with(quorum_queue(&quorum)).await;

    let key = "PRECONDITION_FAILED - Non empty binding 'key' key not permitted";
    for queue in [&q, &quorum] {
        let outcome = raw.channel.bind(binding(queue, &x, "key")).await;
        raw.refused(outcome, 406, QUEUE_BIND, key).await;
    }
    let outcome = raw
        .channel
        .bind(exchange_binding("amq.fanout", &x, "key"))
        .await;
    raw.refused(outcome, 406, EXCHANGE_BIND, key).await;

    let outcome = raw.channel.bind(binding(&quorum, &x, "")).await;
    let text = "PRECONDITION_FAILED - Queue type rabbit_quorum_queue not valid for this exchange \
                type";
    raw.refused(outcome, 406, QUEUE_BIND, text).await;
    let outcome = raw
        .channel
        .bind(exchange_binding("amq.fanout", &x, ""))
        .await;
    let text = "PRECONDITION_FAILED - Destination not found";
    raw.refused(outcome, 406, EXCHANGE_BIND, text).await;
    raw.bind(&q, &x, "").await;
}

#[scenario]
async fn an_exchange_that_chooses_from_nothing_leads_to_its_alternate(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, fanout, q) = (fixture.name("x"), fixture.name("fanout"), fixture.name("q"));
    let declare = ExchangeDeclare {
        arguments: table([("alternate-exchange", fanout.as_str().into())]),
        ..exchange(&x, ExchangeKind::Random)
    };
    raw.channel.declare_exchange(declare).await.unwrap();
    raw.declare_exchange(&fanout, ExchangeKind::Fanout).await;
    raw.declare(&q).await;
    raw.bind(&q, &fanout, "").await;
    raw.put(&x, "k", "to the alternate").await;
    raw.add(exchange_binding(&fanout, &x, "any key")).await;
    raw.put(&x, "k", "by the binding").await;
    assert_eq!(raw.drain(&q).await, ["to the alternate", "by the binding"]);
}

#[scenario(before = V4_3)]
async fn exchange_kinds_of_later_versions_are_unknown(fixture: Fixture) {
    refuses_kind(&fixture, ExchangeKind::ModulusHash, "x-modulus-hash").await;
    if fixture.version() < Version::V4_0 {
        refuses_kind(&fixture, ExchangeKind::LocalRandom, "x-local-random").await;
    }
}

async fn refuses_kind(fixture: &Fixture, kind: ExchangeKind, name: &str) {
    let mut raw = fixture.raw().await;
    let declare = exchange(&fixture.name("x"), kind);
    let outcome = raw.channel.declare_exchange(declare).await;
    if fixture.version() >= Version::V4_0 {
        let text = format!("PRECONDITION_FAILED - unknown exchange type '{name}'");
        raw.refused(outcome, 406, EXCHANGE_DECLARE, &text).await;
    } else {
        let text = format!("COMMAND_INVALID - unknown exchange type '{name}'");
        expect_reason(&outcome.unwrap_err(), 503, EXCHANGE_DECLARE, &text);
        raw.closes_connection(503, EXCHANGE_DECLARE, &text).await;
    }
}
