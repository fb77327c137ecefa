//! Command sequences from bytes: any bytes are actions of clients and administrators, and faults.
//!
//! There are few clients, names and keys, so that the actions meet. The properties of `invariants`
//! and the fuzz target of `fuzz/` read bytes alike.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use mooq_core::{
    Binding, BindingDestination, Consume, ExchangeDeclare, ExchangeKind, ExchangeName, FieldTable,
    FieldValue, Message, Properties, Publish, QueueDeclare, QueueName, RoutingKey, Settle,
    Settlement,
};
use mooq_engine::{Alarm, ApplyTo, Fault, Method, Permissions, Policy, Scope};

/// Number of connections.
pub(crate) const CLIENTS: usize = 3;
/// Number of channels that each connection uses.
pub(crate) const CHANNELS: u16 = 2;

const QUEUES: [&str; 10] = [
    "a", "b", "c", "plain", "", "quorum", "single", "full", "kept", "slow",
];
/// The last four are of kinds that plugins add.
const EXCHANGES: [&str; 11] = [
    "x",
    "y",
    "amq.topic",
    "amq.headers",
    "",
    "local",
    "modulus",
    "hash",
    "random",
    "recent",
    "delayed",
];
/// "1" is a weight too, for an exchange that hashes.
const KEYS: [&str; 12] = [
    "a", "b", "plain", "a.b", "#", "*.b", "quorum", "single", "full", "kept", "slow", "1",
];
const POLICIES: [&str; 2] = ["p", "q"];
const TAGS: [&str; 3] = ["t", "u", ""];

/// One client's method on one of its channels, or a fault, after some time.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) client: usize,
    pub(crate) channel: u16,
    pub(crate) action: Action,
    pub(crate) later: Duration,
    /// The client settles only what it has (the tag says which of those), and opens its channel
    /// again at once if the broker closes it.
    pub(crate) is_sensible: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// The client sends a method.
    Send(Method),
    /// Something goes wrong.
    Fault(FaultStep),
    /// An administrator changes the broker, or a resource runs low.
    Administer(Box<AdminStep>),
    /// Something arrives that is under way.
    CarryOn,
}

/// The beginning or the end of a fault.
#[derive(Debug, Clone)]
pub(crate) enum FaultStep {
    Begin(Fault, Scope),
    /// The oldest one ends.
    End,
    DropConnections(Scope),
    ForceConnections(Scope),
    CloseChannels(Scope),
    CancelConsumers(Scope),
    DeleteQueues(Scope),
    Restart,
}

/// An action of an administrator, or a resource that runs low.
#[derive(Debug, Clone)]
pub(crate) enum AdminStep {
    SetPolicy {
        name: &'static str,
        policy: Policy,
        of_operators: bool,
    },
    ClearPolicy {
        name: &'static str,
        of_operators: bool,
    },
    RaiseAlarm(Alarm),
    /// The oldest one.
    ClearAlarm,
    SetPermissions(Permissions),
}

/// Reads steps until the bytes end.
pub(crate) fn read(bytes: &[u8]) -> Vec<Step> {
    let mut bytes = Unstructured::new(bytes);
    std::iter::from_fn(|| (!bytes.is_empty()).then(|| step(&mut bytes).ok())?).collect()
}

fn step(u: &mut Unstructured<'_>) -> Result<Step> {
    Ok(Step {
        client: u.choose_index(CLIENTS)?,
        channel: u.int_in_range(1..=CHANNELS)?,
        later: Duration::from_millis(if u.ratio(1, 4)? { 1 } else { 0 }),
        action: action(u)?,
        is_sensible: u.ratio(15, 16)?,
    })
}

fn action(u: &mut Unstructured<'_>) -> Result<Action> {
    Ok(match u.int_in_range(0..=49)? {
        0 | 1 => Action::Fault(fault_step(u)?),
        2..6 => Action::CarryOn,
        6 => Action::Administer(admin_step(u)?.into()),
        _ => Action::Send(method(u)?),
    })
}

fn fault_step(u: &mut Unstructured<'_>) -> Result<FaultStep> {
    Ok(match u.int_in_range(0..=19)? {
        0..8 => FaultStep::Begin(fault(u)?, scope(u)?),
        8..16 => FaultStep::End,
        16 => match u.int_in_range(0..=3)? {
            0 => FaultStep::DropConnections(scope(u)?),
            1 => FaultStep::ForceConnections(scope(u)?),
            2 => FaultStep::DeleteQueues(scope(u)?),
            _ => FaultStep::Restart,
        },
        17 => FaultStep::CloseChannels(scope(u)?),
        _ => FaultStep::CancelConsumers(scope(u)?),
    })
}

fn admin_step(u: &mut Unstructured<'_>) -> Result<AdminStep> {
    // What keeps clients from doing much lasts for a short time.
    Ok(match u.int_in_range(0..=26)? {
        0..5 => AdminStep::SetPolicy {
            name: u.choose(&POLICIES)?,
            policy: policy(u)?,
            of_operators: u.ratio(1, 4)?,
        },
        5..13 => AdminStep::ClearPolicy {
            name: u.choose(&POLICIES)?,
            of_operators: u.ratio(1, 4)?,
        },
        13 => AdminStep::RaiseAlarm(*u.choose(&[Alarm::Memory, Alarm::Disk])?),
        14..20 => AdminStep::ClearAlarm,
        20 => AdminStep::SetPermissions(permissions(pattern(u)?, pattern(u)?, pattern(u)?)),
        _ => AdminStep::SetPermissions(permissions(".*", ".*", ".*")),
    })
}

fn permissions(configure: &str, write: &str, read: &str) -> Permissions {
    Permissions::new(configure, write, read).expect("the patterns are regular expressions")
}

/// A pattern for names that fits all, some or few.
fn pattern(u: &mut Unstructured<'_>) -> Result<&'static str> {
    Ok(*u.choose(&["", "^a$", "^(quorum|single|kept|slow)$", "^[bxfr]"])?)
}

fn policy(u: &mut Unstructured<'_>) -> Result<Policy> {
    let definition: &[(&str, FieldValue)] = match u.int_in_range(0..=9)? {
        0 => &[("max-length", 1.into())],
        1 => &[
            ("max-length", 2.into()),
            ("overflow", "reject-publish".into()),
        ],
        2 => &[
            ("message-ttl", 2.into()),
            ("dead-letter-exchange", "".into()),
            ("dead-letter-routing-key", "full".into()),
        ],
        3 => &[("expires", 4.into())],
        4 => &[("delivery-limit", 1.into())],
        5 => &[
            ("dead-letter-exchange", "x".into()),
            ("dead-letter-strategy", "at-least-once".into()),
            ("overflow", "reject-publish".into()),
        ],
        6 => &[
            ("delayed-retry-type", "all".into()),
            ("delayed-retry-min", 2.into()),
            ("delayed-retry-max", 4.into()),
        ],
        7 => &[("alternate-exchange", "y".into())],
        8 => &[("consumer-timeout", 30.into())],
        _ => &[("max-length-bytes", 8.into())],
    };
    let apply_to = *u.choose(&[ApplyTo::All, ApplyTo::Queues, ApplyTo::Exchanges])?;
    let policy = Policy::new(pattern(u)?, &table(definition)).expect("RabbitMQ knows the settings");
    Ok(policy.apply_to(apply_to).priority(u.int_in_range(0..=1)?))
}

fn table(entries: &[(&str, FieldValue)]) -> FieldTable {
    let entries = entries.iter();
    entries
        .map(|(key, value)| ((*key).try_into().unwrap(), value.clone()))
        .collect()
}

/// Not those that keep clients out: these connect again at once, however often.
fn fault(u: &mut Unstructured<'_>) -> Result<Fault> {
    let times = u.int_in_range(0..=2)?;
    Ok(match u.int_in_range(0..=10)? {
        0 => Fault::Freeze,
        1 => Fault::Slow(Duration::from_millis(u.int_in_range(0..=2)?)),
        2 => Fault::NackPublishes(times),
        3 => Fault::LosePublishes(times),
        4 => Fault::LoseConfirms(times),
        5 => Fault::LoseAcks(times),
        6 => Fault::Redeliver(times),
        7 => Fault::CorruptBodies(times),
        8 => Fault::FillQueues,
        9 => Fault::HoldQueues,
        _ => Fault::ReorderQueues,
    })
}

fn scope(u: &mut Unstructured<'_>) -> Result<Scope> {
    let mut scope = Scope::default();
    match u.int_in_range(0..=4)? {
        0 => scope.queue = Some(u.choose(&QUEUES)?.to_string()),
        1 => scope.exchange = Some(u.choose(&EXCHANGES)?.to_string()),
        2 => scope.connection = Some(u.int_in_range(0..=CLIENTS)?.to_string()),
        _ => {}
    }
    Ok(scope)
}

fn method(u: &mut Unstructured<'_>) -> Result<Method> {
    Ok(match u.int_in_range(0..=99)? {
        0..28 => Method::BasicPublish(publish(u)?),
        28..44 => settle(u)?,
        44..55 => Method::BasicConsume(consume(u)?),
        55..70 => Method::BasicGet {
            queue: queue_name(u)?,
            no_ack: u.arbitrary()?,
        },
        70..77 => queue_declare(u)?,
        77..80 => Method::Bind(binding(u)?),
        80 => Method::Unbind(binding(u)?),
        81 => exchange_declare(u)?,
        82 => Method::ExchangeDelete {
            name: exchange_name(u)?,
            if_unused: u.arbitrary()?,
        },
        83 => Method::QueuePurge {
            name: queue_name(u)?,
        },
        84 => Method::QueueDelete {
            name: queue_name(u)?,
            if_unused: u.arbitrary()?,
            if_empty: u.arbitrary()?,
        },
        85 | 86 => Method::BasicQos {
            prefetch_size: u32::from(u.ratio(1, 100)?),
            prefetch_count: u.int_in_range(0..=3)?,
            global: u.arbitrary()?,
        },
        87 => Method::BasicCancel {
            tag: u.choose(&TAGS)?.to_owned().try_into().unwrap(),
        },
        88 => Method::BasicRecover {
            requeue: u.ratio(15, 16)?,
        },
        89 => Method::ConfirmSelect,
        90 => Method::TxSelect,
        91 => Method::TxCommit,
        92 => Method::TxRollback,
        93..98 => Method::ChannelCloseOk,
        98 => Method::ChannelFlow {
            active: u.ratio(15, 16)?,
        },
        // Methods that end much are rare.
        _ => match u.int_in_range(0..=7)? {
            0 => Method::ConnectionClose,
            1 => Method::ChannelOpen,
            2 | 3 => Method::ChannelClose,
            _ => Method::BasicRecover { requeue: true },
        },
    })
}

fn publish(u: &mut Unstructured<'_>) -> Result<Publish> {
    let mut properties = Properties::default();
    if u.ratio(1, 4)? {
        properties.priority = Some(u.int_in_range(0..=6)?);
    }
    if u.ratio(1, 8)? {
        let millis: u8 = u.int_in_range(0..=3)?;
        properties.expiration = Some(millis.to_string().try_into().unwrap());
    }
    if u.ratio(1, 16)? {
        let delay: u8 = u.int_in_range(0..=3)?;
        let header = "x-delay".try_into().unwrap();
        properties.headers.insert(header, i32::from(delay));
    }
    if u.ratio(1, 8)? {
        let keys = FieldValue::Array(vec![(*u.choose(&KEYS)?).into()]);
        let header = if u.arbitrary()? { "CC" } else { "BCC" };
        properties.headers.insert(header.try_into().unwrap(), keys);
    }
    Ok(Publish {
        mandatory: u.ratio(1, 4)?,
        immediate: u.ratio(1, 200)?,
        message: Message {
            // Most go to a queue by its name.
            exchange: if u.ratio(2, 3)? {
                ExchangeName::default()
            } else {
                exchange_name(u)?
            },
            routing_key: routing_key(u)?,
            properties: properties.into(),
            body: "body".into(),
        },
    })
}

fn settle(u: &mut Unstructured<'_>) -> Result<Method> {
    Ok(Method::BasicSettle(Settle {
        delivery_tag: u.int_in_range(0..=12)?,
        multiple: u.ratio(1, 6)?,
        settlement: match u.int_in_range(0..=4)? {
            0 | 1 => Settlement::Ack,
            2 => Settlement::Nack {
                requeue: u.arbitrary()?,
            },
            _ => Settlement::Reject {
                requeue: u.arbitrary()?,
            },
        },
    }))
}

fn consume(u: &mut Unstructured<'_>) -> Result<Consume> {
    let mut arguments = FieldTable::new();
    if u.ratio(1, 4)? {
        let priority: i8 = u.int_in_range(-1..=2)?;
        arguments.insert("x-priority".try_into().unwrap(), priority);
    }
    if u.ratio(1, 16)? {
        arguments.insert("x-consumer-timeout".try_into().unwrap(), 20);
    }
    Ok(Consume {
        tag: u.choose(&TAGS)?.to_owned().try_into().unwrap(),
        no_ack: u.ratio(1, 4)?,
        exclusive: u.ratio(1, 8)?,
        arguments,
        ..Consume::new(queue_name(u)?)
    })
}

fn queue_declare(u: &mut Unstructured<'_>) -> Result<Method> {
    let name = u.choose_index(QUEUES.len())?;
    let fits = u.ratio(7, 8)?;
    // A queue is mostly declared as it was before, or it would mostly be refused.
    let variant = if fits { name } else { u.int_in_range(0..=12)? };
    let arguments: &[(&str, FieldValue)] = match variant {
        0 => &[("x-max-length", 2.into())],
        1 => &[
            ("x-max-length", 1.into()),
            ("x-overflow", "reject-publish-dlx".into()),
            ("x-dead-letter-exchange", "".into()),
        ],
        2 => &[
            ("x-max-length-bytes", 10.into()),
            ("x-overflow", "reject-publish".into()),
        ],
        3 => &[
            ("x-message-ttl", 3.into()),
            ("x-dead-letter-exchange", "x".into()),
            ("x-dead-letter-routing-key", "a".into()),
        ],
        4 => &[("x-expires", 5.into()), ("x-max-priority", 3.into())],
        5 => &[
            ("x-queue-type", "quorum".into()),
            ("x-delivery-limit", 2.into()),
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", "full".into()),
        ],
        6 => &[
            ("x-queue-type", "quorum".into()),
            ("x-delivery-limit", (-1).into()),
            ("x-single-active-consumer", true.into()),
            ("x-message-ttl", 3.into()),
            ("x-expires", 5.into()),
        ],
        7 => &[
            ("x-queue-type", "quorum".into()),
            ("x-max-length", 2.into()),
            ("x-overflow", "reject-publish".into()),
        ],
        8 => &[
            ("x-queue-type", "quorum".into()),
            ("x-overflow", "reject-publish".into()),
            ("x-message-ttl", 2.into()),
            ("x-dead-letter-exchange", "x".into()),
            ("x-dead-letter-routing-key", "a".into()),
            ("x-dead-letter-strategy", "at-least-once".into()),
        ],
        9 => &[
            ("x-queue-type", "quorum".into()),
            ("x-delayed-retry-type", "failed".into()),
            ("x-delayed-retry-min", 2.into()),
            ("x-delayed-retry-max", 3.into()),
            ("x-consumer-timeout", 25.into()),
        ],
        10 => &[("x-single-active-consumer", true.into())],
        _ => &[],
    };
    Ok(Method::QueueDeclare(QueueDeclare {
        passive: u.ratio(1, 8)?,
        durable: fits,
        exclusive: !fits && u.arbitrary()?,
        auto_delete: !fits && u.arbitrary()?,
        arguments: table(arguments),
        ..QueueDeclare::new(QUEUES[name].try_into().unwrap())
    }))
}

fn exchange_declare(u: &mut Unstructured<'_>) -> Result<Method> {
    use ExchangeKind::{
        ConsistentHash, DelayedMessage, Direct, Fanout, Headers, LocalRandom, ModulusHash, Random,
        RecentHistory, Topic,
    };
    const KINDS: [ExchangeKind; EXCHANGES.len()] = [
        Direct,
        Topic,
        Topic,
        Headers,
        Fanout,
        LocalRandom,
        ModulusHash,
        ConsistentHash,
        Random,
        RecentHistory,
        DelayedMessage,
    ];
    // Some versions and brokers have no such kinds, and refuse the declare.
    let name = match u.ratio(7, 8)? {
        true => u.choose_index(5)?,
        false => u.int_in_range(5..=EXCHANGES.len() - 1)?,
    };
    let fits = u.ratio(7, 8)?;
    let kind = if fits { name } else { u.choose_index(4)? };
    let kind = KINDS[kind].clone();
    let mut arguments = FieldTable::new();
    if kind == DelayedMessage {
        arguments.insert("x-delayed-type".try_into().unwrap(), "direct");
    }
    if !fits {
        arguments.insert(
            "alternate-exchange".try_into().unwrap(),
            *u.choose(&EXCHANGES)?,
        );
    }
    Ok(Method::ExchangeDeclare(ExchangeDeclare {
        passive: u.ratio(1, 8)?,
        auto_delete: !fits && u.arbitrary()?,
        internal: !fits && u.arbitrary()?,
        arguments,
        ..ExchangeDeclare::new(EXCHANGES[name].try_into().unwrap(), kind)
    }))
}

fn binding(u: &mut Unstructured<'_>) -> Result<Binding> {
    Ok(Binding {
        source: exchange_name(u)?,
        destination: if u.ratio(3, 4)? {
            BindingDestination::Queue(queue_name(u)?)
        } else {
            BindingDestination::Exchange(exchange_name(u)?)
        },
        routing_key: routing_key(u)?,
        arguments: FieldTable::new(),
    })
}

fn queue_name(u: &mut Unstructured<'_>) -> Result<QueueName> {
    let names = often(u, &QUEUES, 8)?;
    Ok(u.choose(names)?.to_owned().try_into().unwrap())
}

fn exchange_name(u: &mut Unstructured<'_>) -> Result<ExchangeName> {
    let names = often(u, &EXCHANGES, 5)?;
    Ok(u.choose(names)?.to_owned().try_into().unwrap())
}

fn routing_key(u: &mut Unstructured<'_>) -> Result<RoutingKey> {
    let keys = often(u, &KEYS, 9)?;
    Ok(u.choose(keys)?.to_owned().try_into().unwrap())
}

/// Mostly the first names: the others are rarely declared, and what is sent to an exchange that is
/// not there closes the channel.
fn often<'a, T>(u: &mut Unstructured<'_>, names: &'a [T], first: usize) -> Result<&'a [T]> {
    let (often, seldom) = names.split_at(first);
    Ok(if u.ratio(15, 16)? { often } else { seldom })
}
