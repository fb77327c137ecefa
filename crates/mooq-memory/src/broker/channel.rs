//! A client's end of a channel.

use std::sync::Arc;

use async_trait::async_trait;
use mooq_core::{
    Binding, Consume, ConsumerTag, Error, ErrorKind, ExchangeDeclare, ExchangeName, Fetched,
    Handoff, Publish, QueueDeclare, QueueDeclared, QueueName, RawMethods, Result, Settle,
    TransportChannel,
};

use super::connection::Link;
use super::mailboxes::Closed;
use mooq_engine::{Command, Method, Reply};

#[derive(Debug)]
pub(super) struct MemoryChannel {
    link: Arc<Link>,
    number: u16,
    closed: Closed,
}

impl MemoryChannel {
    pub(super) fn new(link: Arc<Link>, number: u16, closed: Closed) -> Arc<Self> {
        Arc::new(Self {
            link,
            number,
            closed,
        })
    }

    fn command(&self, method: Method) -> Command {
        Command {
            connection: self.link.id,
            channel: self.number,
            method,
        }
    }

    /// Sends a method that has no answer.
    fn send(&self, method: Method) -> Result<()> {
        self.link.broker.send(&self.closed, self.command(method))
    }

    /// Sends a method without waiting for its answer.
    fn send_nowait(&self, method: Method) -> Result<()> {
        let call = self.link.broker.call(&self.closed, self.command(method));
        call.map(|_| ())
    }

    /// Sends a method and returns the answer. If the broker closes the channel instead, this
    /// returns the reason.
    async fn call(&self, method: Method) -> Result<Reply> {
        let answer = self.link.broker.call(&self.closed, self.command(method))?;
        answer.reply().await.ok_or_else(|| {
            self.closed
                .get()
                .cloned()
                .unwrap_or_else(|| self.no_answer("nothing"))
        })
    }

    async fn done(&self, method: Method) -> Result<()> {
        self.call(method).await.map(|_| ())
    }

    fn no_answer(&self, reply: impl std::fmt::Debug) -> Error {
        let message = format!("the in-memory broker answered {reply:?}, which does not fit");
        Error::new(ErrorKind::BrokerInternalError, message)
    }

    async fn message_count(&self, method: Method) -> Result<u32> {
        match self.call(method).await? {
            Reply::MessageCount(count) => Ok(count),
            other => Err(self.no_answer(other)),
        }
    }
}

#[async_trait]
impl TransportChannel for MemoryChannel {
    fn closed(&self) -> Option<Error> {
        self.closed.get().cloned()
    }

    async fn close(&self) -> Result<()> {
        let broker = &self.link.broker;
        let answer = broker.close_channel(self.link.id, self.number, &self.closed);
        answer.reply().await;
        Ok(())
    }

    async fn declare_exchange(&self, declare: ExchangeDeclare) -> Result<()> {
        self.done(Method::ExchangeDeclare(declare)).await
    }

    async fn delete_exchange(&self, name: ExchangeName, if_unused: bool) -> Result<()> {
        self.done(Method::ExchangeDelete { name, if_unused }).await
    }

    async fn bind(&self, binding: Binding) -> Result<()> {
        self.done(Method::Bind(binding)).await
    }

    async fn unbind(&self, binding: Binding) -> Result<()> {
        self.done(Method::Unbind(binding)).await
    }

    async fn declare_queue(&self, declare: QueueDeclare) -> Result<QueueDeclared> {
        match self.call(Method::QueueDeclare(declare)).await? {
            Reply::QueueDeclared(declared) => Ok(declared),
            other => Err(self.no_answer(other)),
        }
    }

    async fn purge_queue(&self, name: QueueName) -> Result<u32> {
        self.message_count(Method::QueuePurge { name }).await
    }

    async fn delete_queue(&self, name: QueueName, if_unused: bool, if_empty: bool) -> Result<u32> {
        self.message_count(Method::QueueDelete {
            name,
            if_unused,
            if_empty,
        })
        .await
    }

    async fn qos(&self, prefetch_count: u16, global: bool) -> Result<()> {
        self.done(Method::BasicQos {
            prefetch_size: 0,
            prefetch_count,
            global,
        })
        .await
    }

    async fn consume(&self, consume: Consume) -> Result<ConsumerTag> {
        match self.call(Method::BasicConsume(consume)).await? {
            Reply::Consuming(tag) => Ok(tag),
            other => Err(self.no_answer(other)),
        }
    }

    async fn cancel(&self, tag: ConsumerTag) -> Result<()> {
        self.done(Method::BasicCancel { tag }).await
    }

    async fn get(&self, queue: QueueName, no_ack: bool) -> Result<Option<Fetched>> {
        match self.call(Method::BasicGet { queue, no_ack }).await? {
            Reply::Fetched(fetched) => Ok(fetched),
            other => Err(self.no_answer(other)),
        }
    }

    async fn confirm_select(&self) -> Result<()> {
        self.done(Method::ConfirmSelect).await
    }

    fn publish(&self, publish: Publish) -> Result<Handoff> {
        self.send(Method::BasicPublish(publish))?;
        Ok(Handoff::Done)
    }

    fn settle(&self, settle: Settle) -> Result<()> {
        self.send(Method::BasicSettle(settle))?;
        Ok(())
    }

    fn raw_methods(&self) -> Option<&dyn RawMethods> {
        Some(self)
    }
}

#[async_trait]
impl RawMethods for MemoryChannel {
    async fn declare_exchange_nowait(&self, declare: ExchangeDeclare) -> Result<()> {
        self.send_nowait(Method::ExchangeDeclare(declare))
    }

    async fn declare_queue_nowait(&self, declare: QueueDeclare) -> Result<()> {
        self.send_nowait(Method::QueueDeclare(declare))
    }

    async fn bind_nowait(&self, binding: Binding) -> Result<()> {
        self.send_nowait(Method::Bind(binding))
    }

    async fn recover(&self, requeue: bool) -> Result<()> {
        self.done(Method::BasicRecover { requeue }).await
    }

    async fn tx_select(&self) -> Result<()> {
        self.done(Method::TxSelect).await
    }

    async fn tx_commit(&self) -> Result<()> {
        self.done(Method::TxCommit).await
    }

    async fn tx_rollback(&self) -> Result<()> {
        self.done(Method::TxRollback).await
    }
}

impl Drop for MemoryChannel {
    fn drop(&mut self) {
        self.link
            .broker
            .close_channel(self.link.id, self.number, &self.closed);
    }
}
