//! The AMQP methods, one file per class.

mod basic;
mod binding;
mod channel;
mod exchange;
mod queue;
mod settle;
mod tx;

use mooq_core::QueueName;

use super::command::{Method, Reply};
use super::reply_error::ReplyError;
use super::{Caller, Engine};

impl Engine {
    /// Executes a method on an open channel. Returns the method's reply, unless the method has none
    /// or has sent it already.
    pub(super) fn dispatch(
        &mut self,
        caller: Caller,
        method: Method,
    ) -> Result<Option<Reply>, ReplyError> {
        let done = Some(Reply::Done);
        match method {
            Method::BasicPublish(publish) => self.publish(caller, publish).map(|()| None),
            Method::PublishTooLarge { size } => {
                let max = self.options.message_size_limit();
                Err(ReplyError::message_too_large(size, max))
            }
            Method::BasicSettle(settle) => self.basic_settle(caller, settle).map(|()| None),
            Method::BasicGet { queue, no_ack } => self.basic_get(caller, queue, no_ack).map(Some),
            Method::BasicConsume(consume) => self.basic_consume(caller, consume).map(|()| None),
            Method::BasicCancel { tag } => self.basic_cancel(caller, &tag).map(|()| None),
            Method::BasicQos {
                prefetch_size,
                prefetch_count,
                global,
            } => self
                .basic_qos(caller, prefetch_size, prefetch_count, global)
                .map(|()| done),
            Method::BasicRecover { requeue } => self.basic_recover(caller, requeue).map(|()| done),
            Method::ExchangeDeclare(declare) => {
                self.exchange_declare(caller, declare).map(|()| done)
            }
            Method::ExchangeDelete { name, if_unused } => {
                self.exchange_delete(caller, name, if_unused).map(|()| done)
            }
            Method::Bind(binding) => self.bind(caller, binding).map(|()| done),
            Method::Unbind(binding) => self.unbind(caller, binding).map(|()| done),
            Method::QueueDeclare(declare) => self.queue_declare(caller, declare).map(Some),
            Method::QueuePurge { name } => self.queue_purge(caller, name).map(Some),
            Method::QueueDelete {
                name,
                if_unused,
                if_empty,
            } => self
                .queue_delete(caller, name, if_unused, if_empty)
                .map(|()| None),
            Method::ConfirmSelect => self.confirm_select(caller).map(|()| done),
            Method::TxSelect => self.tx_select(caller).map(|()| done),
            Method::TxCommit => self.tx_commit(caller).map(|()| done),
            Method::TxRollback => self.tx_rollback(caller).map(|()| done),
            Method::ChannelFlow { active } => self.channel_flow(active).map(|()| done),
            Method::ChannelClose => {
                self.channel_close(caller);
                Ok(done)
            }
            Method::ChannelOpen => Err(self.channel_open_again()),
            Method::AccessRequest => Ok(done),
            // A close-ok without a close needs no answer. The connection's own methods never get
            // here.
            Method::ChannelCloseOk
            | Method::ConnectionClose
            | Method::UpdateSecret
            | Method::Refuse { .. } => Ok(None),
        }
    }

    /// Returns `name`, or the queue that the channel declared last if `name` is empty.
    fn expand_queue_name(
        &mut self,
        caller: Caller,
        name: QueueName,
    ) -> Result<QueueName, ReplyError> {
        if !name.is_empty() {
            return Ok(name);
        }
        let last = self.channel_mut(caller)?.last_queue.clone();
        if last.is_empty() {
            return Err(ReplyError::no_previously_declared_queue());
        }
        Ok(last)
    }
}

/// Returns `name` without the line breaks that RabbitMQ strips.
fn stripped<N>(name: N) -> N
where
    N: AsRef<str> + TryFrom<String>,
{
    if !name.as_ref().contains(['\r', '\n']) {
        return name;
    }
    let text: String = name
        .as_ref()
        .chars()
        .filter(|c| !matches!(c, '\r' | '\n'))
        .collect();
    text.try_into().unwrap_or(name)
}
