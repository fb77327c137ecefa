//! Command sequences from bytes: whatever the bytes are, they say what clients do.
//!
//! So that much of it meets, there are few clients, names and keys. The same reading serves the
//! properties of `invariants` and the fuzz target of `fuzz/`.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use mooq_core::{
    Binding, BindingDestination, Consume, ExchangeDeclare, ExchangeKind, ExchangeName, FieldTable,
    FieldValue, Message, Properties, Publish, QueueDeclare, QueueName, RoutingKey, Settle,
    Settlement,
};
use mooq_engine::{Fault, Method, Scope};

/// Number of connections.
pub(crate) const CLIENTS: usize = 3;
/// Number of channels that each connection uses.
pub(crate) const CHANNELS: u16 = 2;

const QUEUES: [&str; 8] = ["a", "b", "c", "plain", "", "quorum", "single", "full"];
const EXCHANGES: [&str; 5] = ["x", "y", "amq.topic", "amq.headers", ""];
const KEYS: [&str; 9] = [
    "a", "b", "plain", "a.b", "#", "*.b", "quorum", "single", "full",
];
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
    Ok(match u.int_in_range(0..=24)? {
        0 => Action::Fault(fault_step(u)?),
        1 | 2 => Action::CarryOn,
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
        0..30 => Method::BasicPublish(publish(u)?),
        30..54 => settle(u)?,
        54..62 => Method::BasicConsume(consume(u)?),
        62..70 => Method::BasicGet {
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
    let variant = if fits { name } else { u.int_in_range(0..=10)? };
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
        8 => &[("x-single-active-consumer", true.into())],
        _ => &[],
    };
    let entries = arguments.iter();
    Ok(Method::QueueDeclare(QueueDeclare {
        passive: u.ratio(1, 8)?,
        durable: fits,
        exclusive: !fits && u.arbitrary()?,
        auto_delete: !fits && u.arbitrary()?,
        arguments: entries
            .map(|(key, value)| ((*key).try_into().unwrap(), value.clone()))
            .collect(),
        ..QueueDeclare::new(QUEUES[name].try_into().unwrap())
    }))
}

fn exchange_declare(u: &mut Unstructured<'_>) -> Result<Method> {
    use ExchangeKind::{Direct, Fanout, Headers, Topic};
    let name = u.choose_index(EXCHANGES.len())?;
    let fits = u.ratio(7, 8)?;
    let kind = if fits { name } else { u.choose_index(4)? };
    let kind = [Direct, Topic, Topic, Headers, Fanout][kind].clone();
    let mut arguments = FieldTable::new();
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
    Ok(u.choose(&QUEUES)?.to_owned().try_into().unwrap())
}

fn exchange_name(u: &mut Unstructured<'_>) -> Result<ExchangeName> {
    Ok(u.choose(&EXCHANGES)?.to_owned().try_into().unwrap())
}

fn routing_key(u: &mut Unstructured<'_>) -> Result<RoutingKey> {
    Ok(u.choose(&KEYS)?.to_owned().try_into().unwrap())
}
