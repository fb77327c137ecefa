//! What holds whatever clients do: no panic, no message lost or doubled, tags that rise by one,
//! the same effects for the same commands.

use std::collections::HashMap;

use mooq_core::{
    Binding, BindingDestination, ChannelEvent, ConnectionEvent, Consume, ExchangeDeclare,
    ExchangeKind, Publish, QueueDeclare, Settlement,
};
use mooq_memory::engine::{
    Command, ConnectionId, Effect, Engine, Login, Method, Options, Reply, Time,
};
use proptest::prelude::*;

use crate::harness::{
    binding, consumer, e2e, exchange, publish, publish_with, queue, settle, table,
};

const QUEUES: [&str; 4] = ["a", "b", "plain", ""];
const EXCHANGES: [&str; 4] = ["x", "y", "amq.topic", "amq.headers"];

/// What a client may do, with few names, so that much of it meets.
fn method() -> impl Strategy<Value = Method> {
    let q = || prop::sample::select(&QUEUES[..]);
    let x = || prop::sample::select(&EXCHANGES[..]);
    let key = || prop::sample::select(&["a", "a.b", "#", "*.b", ""][..]);
    let flag = any::<bool>;
    let tag = || prop::sample::select(&["t", "u", ""][..]);
    prop_oneof![
        2 => Just(Method::ChannelOpen),
        1 => Just(Method::ChannelClose),
        2 => Just(Method::ChannelCloseOk),
        1 => Just(Method::ConfirmSelect),
        1 => Just(Method::TxSelect),
        2 => Just(Method::TxCommit),
        1 => Just(Method::TxRollback),
        4 => (q(), declares()).prop_map(|(name, declare)| {
            Method::QueueDeclare(QueueDeclare { name: name.try_into().unwrap(), ..declare })
        }),
        2 => (x(), flag(), kinds()).prop_map(|(name, auto_delete, kind)| {
            Method::ExchangeDeclare(ExchangeDeclare { auto_delete, ..exchange(name, kind) })
        }),
        1 => (x(), flag()).prop_map(|(name, if_unused)| Method::ExchangeDelete {
            name: name.try_into().unwrap(),
            if_unused,
        }),
        3 => (x(), key(), q()).prop_map(|(x, key, q)| Method::Bind(binding(x, key, q))),
        2 => (x(), key(), x()).prop_map(|(x, key, y)| Method::Bind(e2e(x, key, y))),
        1 => (x(), key(), q(), flag()).prop_map(|(x, key, q, to_queue)| {
            let queue = BindingDestination::Queue(q.try_into().unwrap());
            let unbind = if to_queue { Binding { destination: queue, ..binding(x, key, q) } } else { e2e(x, key, "y") };
            Method::Unbind(unbind)
        }),
        1 => q().prop_map(|name| Method::QueuePurge { name: name.try_into().unwrap() }),
        1 => (q(), flag(), flag()).prop_map(|(name, if_unused, if_empty)| Method::QueueDelete {
            name: name.try_into().unwrap(),
            if_unused,
            if_empty,
        }),
        2 => (0_u16..4, flag()).prop_map(|(prefetch_count, global)| Method::BasicQos {
            prefetch_size: 0,
            prefetch_count,
            global,
        }),
        6 => (q(), tag(), flag(), any::<Option<i8>>()).prop_map(|(q, tag, no_ack, priority)| {
            let priority = priority.map(|p| ("x-priority".try_into().unwrap(), p.into()));
            let arguments = priority.into_iter().collect();
            Method::BasicConsume(Consume { no_ack, arguments, ..consumer(q, tag) })
        }),
        1 => tag().prop_map(|tag| Method::BasicCancel { tag: tag.try_into().unwrap() }),
        12 => publishes().prop_map(Method::BasicPublish),
        4 => (q(), flag()).prop_map(|(queue, no_ack)| Method::BasicGet {
            queue: queue.try_into().unwrap(),
            no_ack,
        }),
        8 => (0_u64..8, prop::bool::weighted(0.2), settlements())
            .prop_map(|(tag, multiple, settlement)| settle(tag, multiple, settlement)),
        1 => Just(Method::BasicRecover { requeue: true }),
    ]
}

fn kinds() -> impl Strategy<Value = ExchangeKind> {
    use ExchangeKind::{Direct, Fanout, Headers, Topic};
    prop::sample::select(vec![Direct, Topic, Fanout, Headers])
}

fn settlements() -> impl Strategy<Value = Settlement> {
    prop_oneof![
        2 => Just(Settlement::Ack),
        1 => any::<bool>().prop_map(|requeue| Settlement::Nack { requeue }),
        1 => any::<bool>().prop_map(|requeue| Settlement::Reject { requeue }),
    ]
}

fn declares() -> impl Strategy<Value = QueueDeclare> {
    let arguments = prop_oneof![
        3 => Just(table([])),
        1 => Just(table([("x-max-length", 2.into())])),
        1 => Just(table([
            ("x-max-length", 1.into()),
            ("x-overflow", "reject-publish-dlx".into()),
            ("x-dead-letter-exchange", "".into()),
        ])),
        1 => Just(table([
            ("x-message-ttl", 3.into()),
            ("x-dead-letter-exchange", "x".into()),
            ("x-dead-letter-routing-key", "a".into()),
        ])),
        1 => Just(table([("x-expires", 5.into()), ("x-max-priority", 3.into())])),
        1 => Just(table([("x-single-active-consumer", true.into())])),
    ];
    (any::<bool>(), any::<bool>(), arguments).prop_map(|(exclusive, auto_delete, arguments)| {
        QueueDeclare {
            exclusive,
            auto_delete,
            arguments,
            ..queue("")
        }
    })
}

fn publishes() -> impl Strategy<Value = Publish> {
    let exchanges = prop::sample::select(&["", "", "x", "y", "amq.topic", "amq.fanout"][..]);
    let keys = prop::sample::select(&["a", "b", "plain", "a.b", ""][..]);
    (exchanges, keys, any::<bool>(), prop::option::of(0_u8..5)).prop_map(
        |(x, key, mandatory, p)| {
            let message = publish_with(x, key, "body", |properties| {
                properties.priority = p;
                properties.expiration = p
                    .and_then(|p| p.checked_sub(3))
                    .map(|ms| ms.to_string().try_into().unwrap());
            });
            Publish {
                mandatory,
                ..message
            }
        },
    )
}

/// A step: which of the connections, which channel, what, and how much later.
type Step = (usize, u16, Method, u64);

fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0_usize..3, 1_u16..3, method(), 0_u64..2), 1..count)
}

/// Runs the steps, checks what is seen on the way, and gives every effect in words.
fn run(steps: &[Step]) -> Vec<String> {
    let mut engine = Engine::new(Options::default());
    let mut now = Time::START;
    let open = |engine: &mut Engine, now| engine.open_connection(now, Login::default()).unwrap();
    let mut connections: Vec<_> = (0..3).map(|_| open(&mut engine, now)).collect();
    let mut last_tags: HashMap<(ConnectionId, u16), u64> = HashMap::new();
    let mut seen = Vec::new();
    for (client, channel, method, later) in steps {
        now = Time::after_start(now.since_start() + std::time::Duration::from_millis(*later));
        let connection = connections[*client];
        let opens = matches!(method, Method::ChannelOpen);
        let command = Command {
            connection,
            channel: *channel,
            method: method.clone(),
        };
        engine.handle(now, command);
        while let Some(effect) = engine.poll_effect() {
            seen.push(format!("{effect:?}"));
            match effect {
                Effect::Reply {
                    reply: Reply::Done, ..
                } if opens => {
                    last_tags.insert((connection, *channel), 0);
                }
                Effect::Reply {
                    reply: Reply::Fetched(Some(fetched)),
                    ..
                } => {
                    rises_by_one(&mut last_tags, (connection, *channel), fetched.delivery_tag);
                }
                Effect::Channel {
                    connection,
                    channel,
                    event: ChannelEvent::Deliver(delivery),
                } => {
                    rises_by_one(&mut last_tags, (connection, channel), delivery.delivery_tag);
                }
                Effect::Connection {
                    connection,
                    event: ConnectionEvent::Closed(_),
                } => {
                    let new = open(&mut engine, now);
                    for other in &mut connections {
                        if *other == connection {
                            *other = new;
                        }
                    }
                }
                _ => {}
            }
        }
        if let Some(deadline) = engine.next_deadline() {
            assert!(deadline > now, "what is due has happened");
        }
    }
    seen
}

fn rises_by_one(
    last_tags: &mut HashMap<(ConnectionId, u16), u64>,
    channel: (ConnectionId, u16),
    tag: u64,
) {
    let last = last_tags.entry(channel).or_default();
    assert_eq!(tag, *last + 1);
    *last = tag;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_panics_tags_rise_by_one_and_the_same_commands_have_the_same_effects(
        steps in steps(150),
    ) {
        prop_assert_eq!(run(&steps), run(&steps));
    }

    /// One queue without limits: what was published is ready, unacked or settled.
    #[test]
    fn no_message_is_lost_or_doubled(
        steps in prop::collection::vec((0_usize..3, 0_u8..10, 1_u64..12), 1..200),
    ) {
        let mut broker = crate::harness::Broker::new();
        let owner = broker.channel();
        broker.declare(owner, "q");
        let mut clients = [broker.channel(), broker.channel(), broker.channel()];
        let (mut published, mut settled) = (0, 0);
        for (client, action, tag) in steps {
            let c = clients[client];
            let before = broker.counts("q").1;
            let closed = match action {
                0..4 => {
                    published += 1;
                    broker.publish(c, publish("", "q", "body"))
                }
                4 => broker.call(c, Method::BasicConsume(consumer("q", "t"))).err(),
                5 => {
                    broker.prefetch(c, (tag % 4) as u16, tag > 8);
                    None
                }
                6 | 7 => {
                    let multiple = tag > 10;
                    let closed = broker.send(c, settle(tag, multiple, Settlement::Ack));
                    if closed.is_none() {
                        // Deliveries that follow are unacked as well: count by what is left.
                        settled = published - broker.counts("q").0 - broker.counts("q").1;
                        prop_assert!(settled > 0);
                    }
                    closed
                }
                8 => broker.requeue(c, tag),
                _ => {
                    let cancel = Method::BasicCancel { tag: "t".try_into().unwrap() };
                    broker.ok(c, cancel);
                    None
                }
            };
            let (ready, unacked) = broker.counts("q");
            prop_assert_eq!(published, ready + unacked + settled, "{} before", before);
            if closed.is_some() {
                clients[client] = broker.channel();
            }
        }
    }

    /// The order of a queue survives any requeueing.
    #[test]
    fn messages_leave_in_the_order_in_which_they_came(requeued in prop::collection::vec(1_u64..20, 0..40)) {
        let mut broker = crate::harness::Broker::new();
        let c = broker.channel();
        broker.declare(c, "q");
        let bodies: Vec<_> = (1..20).map(|n| n.to_string()).collect();
        for body in &bodies {
            broker.put(c, "q", &[body]);
        }
        for _ in 0..10 {
            let get = Method::BasicGet { queue: "q".try_into().unwrap(), no_ack: false };
            broker.ok(c, get);
        }
        let mut outstanding: Vec<_> = (1..=10).collect();
        for tag in requeued {
            if let Some(at) = outstanding.iter().position(|other| *other == tag) {
                outstanding.remove(at);
                prop_assert_eq!(broker.requeue(c, tag), None);
            }
        }
        let left: Vec<_> = (1..20_u64).filter(|n| !outstanding.contains(n)).map(|n| n.to_string()).collect();
        prop_assert_eq!(broker.drain(c, "q"), left);
    }
}
