//! Random sequences: few names, so that operations interact, and mostly operations that succeed, so
//! that much happens.

use std::sync::Arc;

use mooq_core::{
    Binding, BindingDestination, Consume, DeliveryMode, ExchangeDeclare, ExchangeKind, FieldTable,
    FieldValue, Message, Properties, Publish, QueueDeclare, Settlement,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::arguments::{integer, queue_arguments, set_policy, table};
use super::operation::{
    Action, BEYOND_CHANNEL, CHANNELS, EXCHANGES, Operation, POLICIES, Permissions, Permitted, Pick,
    QUEUES, REPLY_ADDRESS, REPLY_TO, SERVER_NAMED, USER,
};

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
    let vhost = option::weighted(0.1, operation(Just(Action::AddVhost)));
    (vhost, begin, binds, modes, limits, consumers, rest).prop_map(|parts| {
        let (vhost, begin, binds, modes, limits, consumers, rest) = parts;
        let begin = begin.into_iter().flatten().collect();
        let mut sequence = [begin, binds, modes, limits, consumers, rest].concat();
        match vhost {
            Some(add) => sequence.insert(0, add),
            None => stay(&mut sequence),
        }
        sequence.iter_mut().enumerate().for_each(tell_apart);
        sequence
    })
}

/// Keeps a sequence in the first virtual host: adding one takes RabbitMQ long.
fn stay(sequence: &mut Vec<Operation>) {
    sequence.retain(|operation| operation.action != Action::AddVhost);
    for (number, operation) in sequence.iter_mut().enumerate() {
        if operation.channel == BEYOND_CHANNEL {
            operation.channel = number % BEYOND_CHANNEL;
        }
    }
}

/// Gives each message a body of its own, of unchanged length.
fn tell_apart((number, operation): (usize, &mut Operation)) {
    if let Action::Publish(publish) = &mut operation.action {
        let size = publish.message.body.len();
        publish.message.body = format!("{number:0size$}").into();
    }
}

fn operation(action: impl Strategy<Value = Action>) -> impl Strategy<Value = Operation> {
    let despite = (prop::bool::weighted(0.03), prop::bool::weighted(0.2));
    (0..CHANNELS, action, despite).prop_map(|(channel, action, (daring, defiant))| Operation {
        channel,
        action,
        daring,
        defiant,
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => declare_queue(select(&QUEUES[..])),
        3 => declare_server_named(),
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
        2 => set_policy().prop_map(Action::SetPolicy),
        1 => select(&POLICIES[..]).prop_map(Action::ClearPolicy),
        1 => permissions().prop_map(Action::SetPermissions),
        1 => prop::bool::weighted(0.3).prop_map(|clear| if clear {
            Action::ClearPermissions
        } else {
            Action::SetPermissions(Permissions([Permitted::All, Permitted::All, Permitted::All]))
        }),
        1 => prop_oneof![Just(Action::AddVhost), Just(Action::DeleteVhost)],
        2 => Just(Action::CloseChannel),
        1 => Just(Action::CloseConnection),
    ]
}

/// Text that is short enough for a name.
pub(super) fn name<N: TryFrom<&'static str>>(text: &'static str) -> N
where
    N::Error: std::fmt::Debug,
{
    text.try_into().expect("a short name")
}

/// A queue, now and then the channel's last declared one.
fn queue() -> impl Strategy<Value = &'static str> {
    prop_oneof![12 => select(&QUEUES[..]), 2 => select(&SERVER_NAMED[..]), 1 => Just("")]
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

/// A queue that the broker names, mostly exclusive or auto-delete.
fn declare_server_named() -> impl Strategy<Value = Action> {
    let options = (
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.7),
        prop::bool::weighted(0.4),
    );
    let arguments = prop_oneof![3 => Just(FieldTable::new()), 1 => queue_arguments()];
    (select(&SERVER_NAMED[..]), options, arguments).prop_map(
        |(queue, (durable, exclusive, auto_delete), arguments)| {
            Action::DeclareQueue(QueueDeclare {
                durable,
                exclusive,
                auto_delete,
                arguments,
                ..QueueDeclare::new(name(queue))
            })
        },
    )
}

/// Permissions, full or restricted.
fn permissions() -> impl Strategy<Value = Permissions> {
    let mut names: Vec<&str> = vec![SERVER_NAMED[0], ""];
    names.extend(QUEUES.iter().chain(&EXCHANGES));
    let permitted = move || {
        prop_oneof![
            3 => Just(Permitted::All),
            4 => subsequence(names.clone(), 3..=names.len()).prop_map(Permitted::Only),
            1 => Just(Permitted::Only(Vec::new())),
        ]
    };
    [permitted(), permitted(), permitted()].prop_map(Permissions)
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
        1 => select(&SERVER_NAMED[..]).prop_map(|queue| ("", queue)),
        4 => (select(&EXCHANGES[..]), key()),
        1 => Just(("", REPLY_ADDRESS)),
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
        option::weighted(0.1, prop_oneof![Just("guest"), Just(USER)]),
        option::weighted(0.1, Just("c-1")),
        option::weighted(0.1, any::<u32>()),
        option::weighted(0.08, prop_oneof![4 => Just(REPLY_TO), 1 => Just("q0")]),
    );
    (headers, expiration, others).prop_map(|((header, copies), expiration, others)| {
        let (priority, persistent, user, correlation, timestamp, reply_to) = others;
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
        properties.reply_to = reply_to.map(name);
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
    let queues = prop_oneof![
        9 => (queue(), prop::bool::weighted(0.25)),
        1 => Just((REPLY_TO, true)),
    ];
    (queues, tag(), prop::bool::weighted(0.15), priority).prop_map(
        |((queue, no_ack), tag, exclusive, priority)| Consume {
            tag: name(tag),
            no_ack,
            exclusive,
            arguments: table(priority.map(|priority| ("x-priority", priority))),
            ..Consume::new(name(queue))
        },
    )
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
