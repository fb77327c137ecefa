//! The broker's answers and events, as methods on the wire.

use mooq_core::{Fetched, Returned};
use mooq_engine::Reply;
use mooq_wire::method::*;

use super::command::RequestKind;

/// Returns the answer to a request. A fetched message is answered with its content, by [`fetched`].
///
/// Returns `None` if the reply does not fit the request, which the engine's contract excludes.
pub(super) fn answer(request: RequestKind, reply: Reply) -> Option<Method> {
    Some(match (request, reply) {
        (RequestKind::QueueDeclare, Reply::QueueDeclared(declared)) => QueueDeclareOk {
            queue: declared.name,
            message_count: declared.message_count,
            consumer_count: declared.consumer_count,
        }
        .into(),
        (RequestKind::QueuePurge, Reply::MessageCount(message_count)) => {
            QueuePurgeOk { message_count }.into()
        }
        (RequestKind::QueueDelete, Reply::MessageCount(message_count)) => {
            QueueDeleteOk { message_count }.into()
        }
        (RequestKind::BasicConsume { .. }, Reply::Consuming(consumer_tag)) => {
            BasicConsumeOk { consumer_tag }.into()
        }
        (RequestKind::BasicCancel { tag: consumer_tag }, Reply::Done) => {
            BasicCancelOk { consumer_tag }.into()
        }
        (RequestKind::BasicGet { .. }, Reply::Fetched(None)) => BasicGetEmpty {}.into(),
        // The access class is obsolete: RabbitMQ answers every request with the ticket 1.
        (RequestKind::AccessRequest, Reply::Done) => AccessRequestOk { ticket: 1 }.into(),
        (RequestKind::ChannelOpen, Reply::Done) => ChannelOpenOk {}.into(),
        (RequestKind::ChannelClose, Reply::Done) => ChannelCloseOk {}.into(),
        // RabbitMQ refuses to be stopped, so the flow is always active.
        (RequestKind::ChannelFlow, Reply::Done) => ChannelFlowOk { active: true }.into(),
        (RequestKind::ExchangeDeclare, Reply::Done) => ExchangeDeclareOk {}.into(),
        (RequestKind::ExchangeDelete, Reply::Done) => ExchangeDeleteOk {}.into(),
        (RequestKind::ExchangeBind, Reply::Done) => ExchangeBindOk {}.into(),
        (RequestKind::ExchangeUnbind, Reply::Done) => ExchangeUnbindOk {}.into(),
        (RequestKind::QueueBind, Reply::Done) => QueueBindOk {}.into(),
        (RequestKind::QueueUnbind, Reply::Done) => QueueUnbindOk {}.into(),
        (RequestKind::BasicQos, Reply::Done) => BasicQosOk {}.into(),
        (RequestKind::BasicRecover, Reply::Done) => BasicRecoverOk {}.into(),
        (RequestKind::ConfirmSelect, Reply::Done) => ConfirmSelectOk {}.into(),
        (RequestKind::TxSelect, Reply::Done) => TxSelectOk {}.into(),
        (RequestKind::TxCommit, Reply::Done) => TxCommitOk {}.into(),
        (RequestKind::TxRollback, Reply::Done) => TxRollbackOk {}.into(),
        _ => return None,
    })
}

/// `basic.get-ok`.
pub(super) fn fetched(fetched: &Fetched) -> Method {
    BasicGetOk {
        delivery_tag: fetched.delivery_tag,
        redelivered: fetched.redelivered,
        exchange: fetched.message.exchange.clone(),
        routing_key: fetched.message.routing_key.clone(),
        message_count: fetched.message_count,
    }
    .into()
}

/// `basic.deliver`.
pub(super) fn deliver(deliver: &mooq_core::Deliver) -> Method {
    BasicDeliver {
        consumer_tag: deliver.consumer_tag.clone(),
        delivery_tag: deliver.delivery_tag,
        redelivered: deliver.redelivered,
        exchange: deliver.message.exchange.clone(),
        routing_key: deliver.message.routing_key.clone(),
    }
    .into()
}

/// `basic.return`.
pub(super) fn returned(returned: &Returned) -> Method {
    BasicReturn {
        reply_code: returned.reply_code,
        reply_text: returned.reply_text.clone(),
        exchange: returned.message.exchange.clone(),
        routing_key: returned.message.routing_key.clone(),
    }
    .into()
}
