//! Random sequences: few names, so that much of a sequence meets, and mostly operations that
//! succeed, so that much of it happens.

use std::sync::Arc;

use mooq_core::{
    Binding, BindingDestination, Consume, DeliveryMode, ExchangeDeclare, ExchangeKind, FieldTable,
    FieldValue, Message, Properties, Publish, QueueDeclare, Settlement,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::operation::{Action, CHANNELS, EXCHANGES, Operation, Pick, QUEUES};

/// Far longer than a sequence takes, in milliseconds: it never passes.
const LONG: i32 = 3_600_000;

/// Whole sequences: some queues and exchanges first, then anything.
pub(super) fn sequence() -> impl Strategy<Value = Vec<Operation>> {
    let mut begin: Vec<BoxedStrategy<Option<Operation>>> = Vec::new();
    for queue in QUEUES {
        let declare = operation(declare_queue(Just(queue)));
        begin.push(option::weighted(0.8, declare).boxed());
    }
    for exchange in EXCHANGES {
        let declare = operation(declare_exchange(Just(exchange)));
        begin.push(option::weighted(0.7, declare).boxed());
    }
    let binds = vec(operation(bind()), 0..6);
    let modes = vec(operation(Just(Action::ConfirmSelect)), 0..3);
    let limits = vec(operation(qos()), 0..2);
    let consumers = vec(operation(consume().prop_map(Action::Consume)), 0..4);
    let rest = vec(operation(action()), 12..44);
    (begin, binds, modes, limits, consumers, rest).prop_map(|parts| {
        let (begin, binds, modes, limits, consumers, rest) = parts;
        let begin = begin.into_iter().flatten().collect();
        let mut sequence = [begin, binds, modes, limits, consumers, rest].concat();
        sequence.iter_mut().enumerate().for_each(tell_apart);
        sequence
    })
}

/// Gives each message a body of its own, as long as it was.
fn tell_apart((number, operation): (usize, &mut Operation)) {
    if let Action::Publish(publish) = &mut operation.action {
        let size = publish.message.body.len();
        publish.message.body = format!("{number:0size$}").into();
    }
}

fn operation(action: impl Strategy<Value = Action>) -> impl Strategy<Value = Operation> {
    (0..CHANNELS, action, prop::bool::weighted(0.03)).prop_map(|(channel, action, daring)| {
        Operation {
            channel,
            action,
            daring,
        }
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => declare_queue(select(&QUEUES[..])),
        2 => declare_exchange(exchange()),
        5 => bind(),
        2 => binding().prop_map(Action::Unbind),
        36 => publish().prop_map(Action::Publish),
        10 => (queue(), prop::bool::weighted(0.25))
            .prop_map(|(queue, no_ack)| Action::Get { queue: name(queue), no_ack }),
        10 => consume().prop_map(Action::Consume),
        2 => tag().prop_map(|tag| Action::Cancel(name(tag))),
        18 => settle(),
        2 => prop::bool::weighted(0.9).prop_map(|requeue| Action::Recover { requeue }),
        3 => qos(),
        1 => queue().prop_map(|queue| Action::Purge(name(queue))),
        2 => (queue(), prop::bool::weighted(0.3), prop::bool::weighted(0.3)).prop_map(
            |(queue, if_unused, if_empty)| Action::DeleteQueue {
                queue: name(queue),
                if_unused,
                if_empty,
            },
        ),
        1 => (exchange(), any::<bool>()).prop_map(|(exchange, if_unused)| Action::DeleteExchange {
            exchange: name(exchange),
            if_unused,
        }),
        3 => Just(Action::ConfirmSelect),
        1 => Just(Action::TxSelect),
        2 => Just(Action::TxCommit),
        1 => Just(Action::TxRollback),
        2 => Just(Action::CloseChannel),
        1 => Just(Action::CloseConnection),
    ]
}

/// Text that is short enough for a name.
fn name<N: TryFrom<&'static str>>(text: &'static str) -> N
where
    N::Error: std::fmt::Debug,
{
    text.try_into().expect("a short name")
}

/// A queue, now and then the channel's last declared one.
fn queue() -> impl Strategy<Value = &'static str> {
    prop_oneof![12 => select(&QUEUES[..]), 1 => Just("")]
}

/// An exchange, now and then the default exchange.
fn exchange() -> impl Strategy<Value = &'static str> {
    prop_oneof![20 => select(&EXCHANGES[..]), 1 => Just("")]
}

fn key() -> impl Strategy<Value = &'static str> {
    select(&["a", "a.b", "b", "", "q0", "q1", "a.b.c"][..])
}

fn pattern() -> impl Strategy<Value = &'static str> {
    select(&["a", "a.b", "#", "a.*", "*.b", "", "a.#", "*"][..])
}

fn tag() -> impl Strategy<Value = &'static str> {
    select(&["t0", "t1", "t2"][..])
}

fn declare_queue(queue: impl Strategy<Value = &'static str>) -> impl Strategy<Value = Action> {
    let options = (
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    );
    (queue, options, queue_arguments()).prop_map(
        |(queue, (passive, durable, exclusive, auto_delete), arguments)| {
            Action::DeclareQueue(QueueDeclare {
                passive,
                durable,
                exclusive: exclusive && !passive,
                auto_delete,
                arguments,
                ..QueueDeclare::new(name(queue))
            })
        },
    )
}

fn queue_arguments() -> impl Strategy<Value = FieldTable> {
    let limits = (
        option::weighted(0.3, integer(0..4)),
        option::weighted(0.1, integer(0..24)),
        option::weighted(
            0.3,
            select(&["drop-head", "reject-publish", "reject-publish-dlx"][..]),
        ),
    );
    let times = (
        option::weighted(0.2, prop_oneof![integer(0..1), integer(LONG..LONG + 2)]),
        option::weighted(0.1, integer(LONG..LONG + 2)),
    );
    let dead_letters = option::weighted(
        0.4,
        (
            prop_oneof![2 => Just(""), 1 => select(&EXCHANGES[..])],
            option::weighted(0.8, select(&["q0", "q1", "q2", "q3", "a", "a.b"][..])),
        ),
    );
    let others = (
        option::weighted(0.15, integer(1..4)),
        option::weighted(0.15, any::<bool>()),
        option::weighted(0.03, wrong_argument()),
    );
    let all = (limits, times, dead_letters, others);
    prop_oneof![
        2 => Just(FieldTable::new()),
        3 => all.prop_map(|(limits, times, dead_letters, others)| {
            let text = |text: &str| FieldValue::from(text);
            let (exchange, key) = dead_letters.unzip();
            let (wrong, value) = others.2.unzip();
            let entries = [
                ("x-max-length", limits.0),
                ("x-max-length-bytes", limits.1),
                ("x-overflow", limits.2.map(text)),
                ("x-message-ttl", times.0),
                ("x-expires", times.1),
                ("x-dead-letter-exchange", exchange.map(text)),
                ("x-dead-letter-routing-key", key.flatten().map(text)),
                ("x-max-priority", others.0),
                ("x-single-active-consumer", others.1.map(FieldValue::from)),
                (wrong.unwrap_or(""), value),
            ];
            table(entries.into_iter().filter_map(|(key, value)| Some((key, value?))))
        }),
    ]
}

/// An integer, in one of its widths on the wire.
fn integer(range: std::ops::Range<i32>) -> impl Strategy<Value = FieldValue> {
    (range, any::<bool>()).prop_map(|(value, wide)| {
        if wide {
            FieldValue::I64(value.into())
        } else {
            FieldValue::I32(value)
        }
    })
}

fn wrong_argument() -> impl Strategy<Value = (&'static str, FieldValue)> {
    select(vec![
        ("x-max-length", FieldValue::I32(-1)),
        ("x-max-length", "many".into()),
        ("x-max-length-bytes", FieldValue::Bool(true)),
        ("x-message-ttl", FieldValue::I32(-1)),
        ("x-message-ttl", "soon".into()),
        ("x-expires", FieldValue::I32(0)),
        ("x-overflow", "drop-tail".into()),
        ("x-max-priority", FieldValue::I32(256)),
        ("x-single-active-consumer", "yes".into()),
        ("x-dead-letter-exchange", FieldValue::I32(1)),
        ("x-queue-mode", "default".into()),
        ("x-queue-type", "classic".into()),
        ("x-delivery-limit", FieldValue::I32(3)),
        ("x-unheard-of", FieldValue::Void),
    ])
}

fn table(entries: impl IntoIterator<Item = (&'static str, FieldValue)>) -> FieldTable {
    let entries = entries.into_iter();
    entries.map(|(key, value)| (name(key), value)).collect()
}

fn declare_exchange(
    declared: impl Strategy<Value = &'static str>,
) -> impl Strategy<Value = Action> {
    use ExchangeKind::{Direct, Fanout, Headers, Topic};
    let kinds = select(vec![Direct, Topic, Fanout, Headers]);
    let options = (
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.03),
    );
    let alternate = option::weighted(0.25, exchange());
    (declared, kinds, options, alternate).prop_map(
        |(exchange, kind, (passive, auto_delete, internal), alternate)| {
            let alternate = alternate.map(|to| ("alternate-exchange", to.into()));
            Action::DeclareExchange(ExchangeDeclare {
                passive,
                auto_delete,
                internal,
                arguments: table(alternate),
                ..ExchangeDeclare::new(name(exchange), kind)
            })
        },
    )
}

fn bind() -> impl Strategy<Value = Action> {
    binding().prop_map(Action::Bind)
}

fn binding() -> impl Strategy<Value = Binding> {
    let destination = prop_oneof![
        3 => queue().prop_map(|queue| BindingDestination::Queue(name(queue))),
        1 => exchange().prop_map(|exchange| BindingDestination::Exchange(name(exchange))),
    ];
    let matched = option::weighted(0.3, header());
    let how = option::weighted(
        0.3,
        prop_oneof![
            12 => select(&["all", "any", "all-with-x", "any-with-x"][..]),
            1 => Just("some"),
        ],
    );
    let keys = prop_oneof![key(), pattern()];
    (exchange(), destination, keys, matched, how).prop_map(
        |(source, destination, key, matched, how)| Binding {
            source: name(source),
            destination,
            routing_key: name(key),
            arguments: table(
                matched
                    .into_iter()
                    .chain(how.map(|how| ("x-match", how.into()))),
            ),
        },
    )
}

fn header() -> impl Strategy<Value = (&'static str, FieldValue)> {
    select(vec![
        ("h", FieldValue::I32(1)),
        ("h", FieldValue::I64(1)),
        ("h", "v".into()),
        ("h", FieldValue::Void),
        ("x-h", true.into()),
        ("i", FieldValue::F64(1.0)),
    ])
}

fn publish() -> impl Strategy<Value = Publish> {
    let address = prop_oneof![
        7 => select(&QUEUES[..]).prop_map(|queue| ("", queue)),
        4 => (select(&EXCHANGES[..]), key()),
    ];
    let flags = (prop::bool::weighted(0.3), prop::bool::weighted(0.01));
    (address, flags, properties(), 1_usize..9).prop_map(
        |((exchange, key), (mandatory, immediate), properties, size)| Publish {
            message: Message {
                exchange: name(exchange),
                routing_key: name(key),
                properties: Arc::new(properties),
                body: "m".repeat(size).into(),
            },
            mandatory,
            immediate,
        },
    )
}

fn properties() -> impl Strategy<Value = Properties> {
    let keys = || vec(select(&["q0", "q1", "q2", "a", "b"][..]), 0..3);
    let mut copies = Vec::new();
    for header in ["CC", "BCC"] {
        let keys = keys()
            .prop_map(|keys| FieldValue::Array(keys.into_iter().map(FieldValue::from).collect()));
        let value = prop_oneof![20 => keys, 1 => Just(FieldValue::from("q0"))];
        copies.push(option::weighted(
            0.06,
            value.prop_map(move |value| (header, value)),
        ));
    }
    let headers = (option::weighted(0.3, header()), copies);
    let expiration = option::weighted(
        0.15,
        prop_oneof![
            10 => select(&["0", "3600000", "+3600001"][..]),
            1 => select(&["soon", "-1", "1x"][..]),
        ],
    );
    let others = (
        option::weighted(0.2, 0_u8..6),
        option::of(any::<bool>()),
        option::weighted(0.1, prop_oneof![8 => Just("guest"), 1 => Just("other")]),
        option::weighted(0.1, Just("c-1")),
        option::weighted(0.1, any::<u32>()),
    );
    (headers, expiration, others).prop_map(|((header, copies), expiration, others)| {
        let (priority, persistent, user, correlation, timestamp) = others;
        let mut properties = Properties::default();
        properties.headers = table(header.into_iter().chain(copies.into_iter().flatten()));
        properties.expiration = expiration.map(name);
        properties.priority = priority;
        properties.delivery_mode = persistent.map(|persistent| {
            if persistent {
                DeliveryMode::Persistent
            } else {
                DeliveryMode::Transient
            }
        });
        properties.user_id = user.map(name);
        properties.correlation_id = correlation.map(name);
        properties.timestamp = timestamp.map(u64::from);
        properties
    })
}

fn qos() -> impl Strategy<Value = Action> {
    let count = select(vec![0_u16, 1, 1, 2, 3]);
    (count, prop::bool::weighted(0.3)).prop_map(|(count, global)| Action::Qos { count, global })
}

fn consume() -> impl Strategy<Value = Consume> {
    let priority = option::weighted(
        0.2,
        prop_oneof![15 => integer(-1..3), 1 => Just(FieldValue::from("high"))],
    );
    (
        queue(),
        tag(),
        prop::bool::weighted(0.25),
        prop::bool::weighted(0.1),
        priority,
    )
        .prop_map(|(queue, tag, no_ack, exclusive, priority)| Consume {
            tag: name(tag),
            no_ack,
            exclusive,
            arguments: table(priority.map(|priority| ("x-priority", priority))),
            ..Consume::new(name(queue))
        })
}

fn settle() -> impl Strategy<Value = Action> {
    let delivery = prop_oneof![
        20 => any::<prop::sample::Index>().prop_map(|index| Pick::Outstanding(index.index(16))),
        1 => (0_u64..6).prop_map(Pick::Tag),
    ];
    let settlement = prop_oneof![
        3 => Just(Settlement::Ack),
        4 => any::<bool>().prop_map(|requeue| Settlement::Nack { requeue }),
        2 => any::<bool>().prop_map(|requeue| Settlement::Reject { requeue }),
    ];
    (delivery, prop::bool::weighted(0.2), settlement).prop_map(
        |(delivery, multiple, settlement)| Action::Settle {
            delivery,
            multiple,
            settlement,
        },
    )
}
