//! Requests and their answers.

use std::time::Instant;

use mooq_core::{ConsumerTag, Fetched, QueueDeclared};
use mooq_wire::method::Method;

/// The number of a request, by which its answer is found.
pub(crate) type Ticket = u64;

/// The broker's answer to a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The answer carries nothing.
    Done,
    Declared(QueueDeclared),
    /// Number of messages.
    Count(u32),
    Consumer(ConsumerTag),
    Fetched(Option<Fetched>),
}

/// The request whose answer a channel waits for.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) request: Method,
    /// True if no caller waits.
    pub(super) is_forsaken: bool,
    /// The time until which a close waits for the answer although no caller does.
    pub(super) until: Option<Instant>,
}

/// Returns the answer to `request` in `method`, if `method` is one. `basic.get-ok` has content, and
/// is read elsewhere.
pub(super) fn answer(request: &Method, method: Method) -> Option<Answer> {
    use Method as M;
    Some(match (request, method) {
        (M::ChannelOpen(_), M::ChannelOpenOk(_))
        | (M::ExchangeDeclare(_), M::ExchangeDeclareOk(_))
        | (M::ExchangeDelete(_), M::ExchangeDeleteOk(_))
        | (M::ExchangeBind(_), M::ExchangeBindOk(_))
        | (M::ExchangeUnbind(_), M::ExchangeUnbindOk(_))
        | (M::QueueBind(_), M::QueueBindOk(_))
        | (M::QueueUnbind(_), M::QueueUnbindOk(_))
        | (M::BasicQos(_), M::BasicQosOk(_))
        | (M::BasicCancel(_), M::BasicCancelOk(_))
        | (M::BasicRecover(_), M::BasicRecoverOk(_))
        | (M::ConfirmSelect(_), M::ConfirmSelectOk(_))
        | (M::TxSelect(_), M::TxSelectOk(_))
        | (M::TxCommit(_), M::TxCommitOk(_))
        | (M::TxRollback(_), M::TxRollbackOk(_)) => Answer::Done,
        (M::QueueDeclare(_), M::QueueDeclareOk(ok)) => Answer::Declared(QueueDeclared {
            name: ok.queue,
            message_count: ok.message_count,
            consumer_count: ok.consumer_count,
        }),
        (M::QueuePurge(_), M::QueuePurgeOk(ok)) => Answer::Count(ok.message_count),
        (M::QueueDelete(_), M::QueueDeleteOk(ok)) => Answer::Count(ok.message_count),
        (M::BasicConsume(_), M::BasicConsumeOk(ok)) => Answer::Consumer(ok.consumer_tag),
        (M::BasicGet(_), M::BasicGetEmpty(_)) => Answer::Fetched(None),
        _ => return None,
    })
}
