//! A client's methods, as commands of the broker.

use std::sync::Arc;

use bytes::Bytes;
use mooq_core::{
    Binding, BindingDestination, CloseReason, Consume, ConsumerTag, ExchangeDeclare, ExchangeName,
    FieldTable, Message, Properties, Publish, QueueDeclare, RoutingKey, Settle, Settlement,
};
use mooq_engine as engine;
use mooq_wire::content::Assembled;
use mooq_wire::method::Method;

use super::refusal;

/// A request whose answer is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) kind: RequestKind,
    /// True if the client wants no answer.
    pub(super) nowait: bool,
}

/// The method of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RequestKind {
    AccessRequest,
    ChannelOpen,
    ChannelClose,
    ChannelFlow,
    ExchangeDeclare,
    ExchangeDelete,
    ExchangeBind,
    ExchangeUnbind,
    QueueDeclare,
    QueueBind,
    QueueUnbind,
    QueuePurge,
    QueueDelete,
    BasicQos,
    /// True if the consumer's deliveries are settled as they are sent.
    BasicConsume {
        no_ack: bool,
    },
    BasicCancel {
        tag: ConsumerTag,
    },
    /// True if the message is settled as it is sent.
    BasicGet {
        no_ack: bool,
    },
    BasicRecover,
    ConfirmSelect,
    TxSelect,
    TxCommit,
    TxRollback,
}

/// A command, with the request that its answer belongs to, if it has an answer.
pub(super) type Translated = (engine::Method, Option<Request>);

/// Translates a method on a channel into a command.
///
/// # Errors
/// 503 for a method that clients do not send on channels.
pub(super) fn translate(assembled: Assembled) -> Result<Translated, CloseReason> {
    use engine::Method as To;
    let with = |kind, nowait| Some(Request { kind, nowait });
    let answered = |kind| with(kind, false);
    Ok(match assembled.method {
        Method::AccessRequest(_) => (To::AccessRequest, answered(RequestKind::AccessRequest)),
        Method::ChannelOpen(_) => (To::ChannelOpen, answered(RequestKind::ChannelOpen)),
        Method::ChannelClose(_) => (To::ChannelClose, answered(RequestKind::ChannelClose)),
        Method::ChannelCloseOk(_) => (To::ChannelCloseOk, None),
        Method::ChannelFlow(flow) => {
            let active = flow.active;
            let request = answered(RequestKind::ChannelFlow);
            (To::ChannelFlow { active }, request)
        }
        Method::ExchangeDeclare(m) => {
            let mut declare = ExchangeDeclare::new(m.exchange, m.kind);
            declare.passive = m.passive;
            declare.durable = m.durable;
            declare.auto_delete = m.auto_delete;
            declare.internal = m.internal;
            declare.arguments = m.arguments;
            let request = with(RequestKind::ExchangeDeclare, m.nowait);
            (To::ExchangeDeclare(declare), request)
        }
        Method::ExchangeDelete(m) => {
            let command = To::ExchangeDelete {
                name: m.exchange,
                if_unused: m.if_unused,
            };
            (command, with(RequestKind::ExchangeDelete, m.nowait))
        }
        Method::ExchangeBind(m) => {
            let destination = BindingDestination::Exchange(m.destination);
            let binding = binding(m.source, destination, m.routing_key, m.arguments);
            (To::Bind(binding), with(RequestKind::ExchangeBind, m.nowait))
        }
        Method::ExchangeUnbind(m) => {
            let destination = BindingDestination::Exchange(m.destination);
            let binding = binding(m.source, destination, m.routing_key, m.arguments);
            let request = with(RequestKind::ExchangeUnbind, m.nowait);
            (To::Unbind(binding), request)
        }
        Method::QueueDeclare(m) => {
            let mut declare = QueueDeclare::new(m.queue);
            declare.passive = m.passive;
            declare.durable = m.durable;
            declare.exclusive = m.exclusive;
            declare.auto_delete = m.auto_delete;
            declare.arguments = m.arguments;
            let request = with(RequestKind::QueueDeclare, m.nowait);
            (To::QueueDeclare(declare), request)
        }
        Method::QueueBind(m) => {
            let destination = BindingDestination::Queue(m.queue);
            let binding = binding(m.exchange, destination, m.routing_key, m.arguments);
            (To::Bind(binding), with(RequestKind::QueueBind, m.nowait))
        }
        Method::QueueUnbind(m) => {
            let destination = BindingDestination::Queue(m.queue);
            let binding = binding(m.exchange, destination, m.routing_key, m.arguments);
            (To::Unbind(binding), answered(RequestKind::QueueUnbind))
        }
        Method::QueuePurge(m) => {
            let request = with(RequestKind::QueuePurge, m.nowait);
            (To::QueuePurge { name: m.queue }, request)
        }
        Method::QueueDelete(m) => {
            let command = To::QueueDelete {
                name: m.queue,
                if_unused: m.if_unused,
                if_empty: m.if_empty,
            };
            (command, with(RequestKind::QueueDelete, m.nowait))
        }
        Method::BasicQos(m) => {
            let command = To::BasicQos {
                prefetch_size: m.prefetch_size,
                prefetch_count: m.prefetch_count,
                global: m.global,
            };
            (command, answered(RequestKind::BasicQos))
        }
        Method::BasicConsume(m) => {
            let mut consume = Consume::new(m.queue);
            consume.tag = m.consumer_tag;
            consume.no_local = m.no_local;
            consume.no_ack = m.no_ack;
            consume.exclusive = m.exclusive;
            consume.arguments = m.arguments;
            let no_ack = m.no_ack;
            let request = with(RequestKind::BasicConsume { no_ack }, m.nowait);
            (To::BasicConsume(consume), request)
        }
        Method::BasicCancel(m) => {
            let tag = m.consumer_tag;
            let request = with(RequestKind::BasicCancel { tag: tag.clone() }, m.nowait);
            (To::BasicCancel { tag }, request)
        }
        Method::BasicPublish(m) => {
            let (properties, body) = assembled.content.unwrap_or_default();
            let mut publish = Publish::new(message(m.exchange, m.routing_key, properties, body));
            publish.mandatory = m.mandatory;
            publish.immediate = m.immediate;
            (To::BasicPublish(publish), None)
        }
        Method::BasicGet(m) => {
            let no_ack = m.no_ack;
            let command = To::BasicGet {
                queue: m.queue,
                no_ack,
            };
            (command, answered(RequestKind::BasicGet { no_ack }))
        }
        Method::BasicAck(m) => settle(m.delivery_tag, m.multiple, Settlement::Ack),
        Method::BasicReject(m) => {
            let requeue = m.requeue;
            settle(m.delivery_tag, false, Settlement::Reject { requeue })
        }
        Method::BasicNack(m) => {
            let requeue = m.requeue;
            settle(m.delivery_tag, m.multiple, Settlement::Nack { requeue })
        }
        Method::BasicRecover(m) => {
            let requeue = m.requeue;
            (
                To::BasicRecover { requeue },
                answered(RequestKind::BasicRecover),
            )
        }
        Method::BasicRecoverAsync(m) => {
            let requeue = m.requeue;
            (
                To::BasicRecover { requeue },
                with(RequestKind::BasicRecover, true),
            )
        }
        Method::ConfirmSelect(m) => (
            To::ConfirmSelect,
            with(RequestKind::ConfirmSelect, m.nowait),
        ),
        Method::TxSelect(_) => (To::TxSelect, answered(RequestKind::TxSelect)),
        Method::TxCommit(_) => (To::TxCommit, answered(RequestKind::TxCommit)),
        Method::TxRollback(_) => (To::TxRollback, answered(RequestKind::TxRollback)),
        other => return Err(refusal::unimplemented_method(&other)),
    })
}

fn binding(
    source: ExchangeName,
    destination: BindingDestination,
    routing_key: RoutingKey,
    arguments: FieldTable,
) -> Binding {
    Binding {
        source,
        destination,
        routing_key,
        arguments,
    }
}

fn message(
    exchange: ExchangeName,
    routing_key: RoutingKey,
    properties: Properties,
    body: Bytes,
) -> Message {
    Message {
        exchange,
        routing_key,
        properties: Arc::new(properties),
        body,
    }
}

fn settle(delivery_tag: u64, multiple: bool, settlement: Settlement) -> Translated {
    let settle = Settle {
        delivery_tag,
        multiple,
        settlement,
    };
    (engine::Method::BasicSettle(settle), None)
}
