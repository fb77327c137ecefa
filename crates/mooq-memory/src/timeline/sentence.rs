//! Events in words: the rest of a sentence that begins with the client, or with the broker.

use std::fmt::Write;

use mooq_core::{
    BindingDestination, Consume, ExchangeDeclare, FieldTable, QueueDeclare, QueueName,
};
use mooq_engine::{
    Alarm, DeadLetterReason, Fault, MessageExcerpt, Method, Scope, Settled, TimelineEvent,
};

use super::names::{body, queues, quoted};

pub(super) fn sentence(event: &TimelineEvent) -> String {
    match event {
        TimelineEvent::ConnectionOpened { user, vhost } if vhost == "/" => {
            format!("connects as {user}")
        }
        TimelineEvent::ConnectionOpened { user, vhost } => {
            format!("connects as {user} to virtual host {}", quoted(vhost))
        }
        TimelineEvent::LoginRefused { reason } => format!("is refused: {reason}"),
        TimelineEvent::ConnectionClosed { reason: None } => "closes the connection".to_owned(),
        TimelineEvent::ConnectionClosed {
            reason: Some(reason),
        } => format!("connection is closed by the broker: {reason}"),
        TimelineEvent::ConnectionLost => "connection is lost".to_owned(),
        TimelineEvent::ChannelClosed { reason } => {
            format!("channel is closed by the broker: {reason}")
        }
        TimelineEvent::Requested(method) => request(method),
        TimelineEvent::Published {
            message,
            mandatory,
            sequence,
            queues,
            is_reply,
        } => {
            let number = sequence.map_or_else(String::new, |number| format!(" #{number}"));
            let mandatory = if *mandatory { ", mandatory" } else { "" };
            format!(
                "publishes{number} to {}{mandatory}: {} -> {}",
                address(message),
                body(message),
                targets(queues, *is_reply)
            )
        }
        TimelineEvent::Returned { message } => {
            format!(
                "is returned, without a route from {}: {}",
                address(message),
                body(message)
            )
        }
        TimelineEvent::Confirmed { sequence, multiple } => match multiple {
            true => format!("is confirmed up to #{sequence}"),
            false => format!("is confirmed #{sequence}"),
        },
        TimelineEvent::Nacked { sequence } => format!("is nacked #{sequence}"),
        TimelineEvent::Delivered {
            queue,
            consumer_tag,
            delivery_tag,
            redelivered,
            no_ack,
            message,
        } => {
            let verb = match consumer_tag {
                Some(_) => "is delivered",
                None => "fetches",
            };
            let number = match delivery_tag {
                0 => String::new(),
                number => format!(" {number}"),
            };
            let redelivered = if *redelivered { ", redelivered" } else { "" };
            let no_ack = if *no_ack { ", without ack" } else { "" };
            format!(
                "{verb}{number} from {}{redelivered}{no_ack}: {}",
                quoted(queue),
                body(message)
            )
        }
        TimelineEvent::FoundEmpty { queue, times: 1 } => format!("finds {} empty", quoted(queue)),
        TimelineEvent::FoundEmpty { queue, times } => {
            format!("finds {} empty, {times} times", quoted(queue))
        }
        TimelineEvent::Settled {
            queue,
            delivery_tag,
            outcome,
            message,
        } => settled(queue.as_ref(), *delivery_tag, *outcome, message),
        TimelineEvent::GivenBack { queues } => {
            let counts = queues.iter();
            let counts = counts.map(|(queue, count)| format!("{count} to {}", quoted(queue)));
            format!("gives back {}", counts.collect::<Vec<_>>().join(", "))
        }
        TimelineEvent::DeadLettered {
            queue,
            reason,
            exchange: None,
            message,
            ..
        } => format!(
            "{} drops ({}): {}",
            quoted(queue),
            cause(*reason),
            body(message)
        ),
        TimelineEvent::DeadLettered {
            queue,
            reason,
            message,
            queues,
            ..
        } => format!(
            "{} dead-letters ({}) to {}: {} -> {}",
            quoted(queue),
            cause(*reason),
            address(message),
            body(message),
            targets(queues, false)
        ),
        TimelineEvent::ConsumerCancelled { consumer_tag } => {
            format!(
                "consumer {} is cancelled by the broker",
                quoted(consumer_tag)
            )
        }
        TimelineEvent::QueueDeleted { queue, ready: 0 } => {
            format!("queue {} is deleted", quoted(queue))
        }
        TimelineEvent::QueueDeleted { queue, ready } => {
            format!("queue {} is deleted with {ready} ready", quoted(queue))
        }
        TimelineEvent::Blocked => "is blocked, because of an alarm".to_owned(),
        TimelineEvent::Unblocked => "is unblocked".to_owned(),
        TimelineEvent::AlarmRaised(alarm) => format!("alarm begins: low on {}", resource(*alarm)),
        TimelineEvent::AlarmCleared(alarm) => format!("alarm ends: low on {}", resource(*alarm)),
        TimelineEvent::FaultBegan { fault, scope } => {
            format!("fault begins: {}{}", fault_name(fault), limits(scope))
        }
        TimelineEvent::FaultEnded { fault, strikes } => {
            let times = match (fault, strikes) {
                (Fault::Freeze | Fault::Slow(_) | Fault::HoldQueues, _) => String::new(),
                (_, 1) => ", after 1 strike".to_owned(),
                (_, strikes) => format!(", after {strikes} strikes"),
            };
            format!("fault ends: {}{times}", fault_name(fault))
        }
        TimelineEvent::FaultStruck { effect } => format!("fault: {effect}"),
        TimelineEvent::FaultHappened { effect, scope } => {
            format!("fault: {effect}{}", limits(scope))
        }
        TimelineEvent::Started => "starts".to_owned(),
        TimelineEvent::Stopped => "stops".to_owned(),
        other => format!("{other:?}"),
    }
}

fn request(method: &Method) -> String {
    match method {
        Method::ChannelOpen => "opens the channel".to_owned(),
        Method::ChannelClose => "closes the channel".to_owned(),
        Method::ExchangeDeclare(declare) => exchange(declare),
        Method::ExchangeDelete { name, .. } => format!("deletes exchange {}", quoted(name)),
        Method::Bind(binding) => {
            let key = &binding.routing_key;
            let (to, from) = (destination(&binding.destination), quoted(&binding.source));
            format!("binds {to} to {from}, key {}", quoted(key))
        }
        Method::Unbind(binding) => {
            let key = &binding.routing_key;
            let (to, from) = (destination(&binding.destination), quoted(&binding.source));
            format!("unbinds {to} from {from}, key {}", quoted(key))
        }
        Method::QueueDeclare(declare) => queue(declare),
        Method::QueuePurge { name } => format!("purges queue {}", quoted(name)),
        Method::QueueDelete { name, .. } => format!("deletes queue {}", quoted(name)),
        Method::BasicQos { prefetch_count, .. } => format!("sets prefetch {prefetch_count}"),
        Method::BasicConsume(consume) => consumer(consume),
        Method::BasicCancel { tag } => format!("cancels consumer {}", quoted(tag)),
        Method::BasicRecover { .. } => "recovers its unacked deliveries".to_owned(),
        Method::TxSelect => "begins transactions".to_owned(),
        Method::TxCommit => "commits the transaction".to_owned(),
        Method::TxRollback => "rolls the transaction back".to_owned(),
        other => format!("{other:?}"),
    }
}

fn exchange(declare: &ExchangeDeclare) -> String {
    if declare.passive {
        return format!("looks for exchange {}", quoted(&declare.name));
    }
    let flags = [
        (!declare.durable, "transient"),
        (declare.auto_delete, "auto-delete"),
        (declare.internal, "internal"),
    ];
    let kind = declare.kind.to_string();
    let options = options(Some(kind), &flags, &declare.arguments);
    format!("declares exchange {}{options}", quoted(&declare.name))
}

fn queue(declare: &QueueDeclare) -> String {
    if declare.passive {
        return format!("looks for queue {}", quoted(&declare.name));
    }
    let flags = [
        (!declare.durable, "transient"),
        (declare.exclusive, "exclusive"),
        (declare.auto_delete, "auto-delete"),
    ];
    let options = options(None, &flags, &declare.arguments);
    format!("declares queue {}{options}", quoted(&declare.name))
}

fn consumer(consume: &Consume) -> String {
    let flags = [
        (consume.no_ack, "without ack"),
        (consume.exclusive, "exclusive"),
    ];
    let options = options(None, &flags, &consume.arguments);
    let tag = match &*consume.tag {
        "" => String::new(),
        tag => format!(" as {}", quoted(tag)),
    };
    format!("consumes {}{tag}{options}", quoted(&consume.queue))
}

/// Options in parentheses, of which the usual ones are left out.
fn options(first: Option<String>, flags: &[(bool, &str)], arguments: &FieldTable) -> String {
    let flags = flags.iter().filter(|(is_set, _)| *is_set);
    let flags = flags.map(|(_, name)| (*name).to_owned());
    let names = arguments.iter().map(|(name, _)| name.to_string());
    let all: Vec<_> = first.into_iter().chain(flags).chain(names).collect();
    match all.is_empty() {
        true => String::new(),
        false => format!(" ({})", all.join(", ")),
    }
}

fn destination(destination: &BindingDestination) -> String {
    match destination {
        BindingDestination::Queue(name) => format!("queue {}", quoted(name)),
        BindingDestination::Exchange(name) => format!("exchange {}", quoted(name)),
    }
}

fn settled(
    queue: Option<&QueueName>,
    tag: u64,
    outcome: Settled,
    message: &MessageExcerpt,
) -> String {
    let verb = match outcome {
        Settled::Acked => "acks",
        Settled::Requeued => "requeues",
        Settled::Rejected => "rejects",
        other => other.as_str(),
    };
    let of = queue.map_or_else(|| "a deleted queue".to_owned(), |queue| quoted(queue));
    format!("{verb} {tag} of {of}: {}", body(message))
}

/// Exchange and routing key of a message.
fn address(message: &MessageExcerpt) -> String {
    let (exchange, key) = (quoted(&message.exchange), quoted(&message.routing_key));
    format!("{exchange}, key {key}")
}

fn targets(names: &[QueueName], is_reply: bool) -> String {
    match (names, is_reply) {
        ([], true) => "a direct reply".to_owned(),
        ([], false) => "no queue".to_owned(),
        (names, _) => queues(names),
    }
}

/// The reason of a dead letter.
pub(super) fn cause(reason: DeadLetterReason) -> &'static str {
    match reason {
        DeadLetterReason::Rejected => "rejected",
        DeadLetterReason::Expired => "expired",
        DeadLetterReason::MaxLen => "queue full",
        DeadLetterReason::DeliveryLimit => "delivery limit reached",
        other => other.as_str(),
    }
}

fn resource(alarm: Alarm) -> &'static str {
    match alarm {
        Alarm::Memory => "memory",
        Alarm::Disk => "disk",
        _ => "a resource",
    }
}

/// The name of the method that begins the fault.
fn fault_name(fault: &Fault) -> String {
    match fault {
        Fault::RefuseConnections => "refuse_connections".to_owned(),
        Fault::Freeze => "freeze".to_owned(),
        Fault::Slow(by) => format!("slow({by:?})"),
        Fault::RefuseLogins => "refuse_logins".to_owned(),
        Fault::LimitChannels(max) => format!("limit_channels({max})"),
        Fault::NackPublishes(times) => format!("nack_publishes({times})"),
        Fault::LosePublishes(times) => format!("lose_publishes({times})"),
        Fault::LoseConfirms(times) => format!("lose_confirms({times})"),
        Fault::LoseAcks(times) => format!("lose_acks({times})"),
        Fault::Redeliver(times) => format!("duplicate_deliveries({times})"),
        Fault::CorruptBodies(times) => format!("corrupt_bodies({times})"),
        Fault::FillQueues => "fill_queues".to_owned(),
        Fault::HoldQueues => "hold_queues".to_owned(),
        Fault::ReorderQueues => "reorder_queues".to_owned(),
        other => format!("{other:?}"),
    }
}

/// The limits of a fault, after a comma each.
fn limits(scope: &Scope) -> String {
    let limits = [
        ("connection", &scope.connection),
        ("exchange", &scope.exchange),
        ("queue", &scope.queue),
    ];
    let mut text = String::new();
    for (of, glob) in limits {
        if let Some(glob) = glob {
            let _ = write!(text, ", {of} {}", quoted(glob)); // Writing to a string cannot fail.
        }
    }
    text
}
