//! A channel for the runtime above: each method becomes a method on the wire.

use std::sync::Arc;

use async_trait::async_trait;
use mooq_core::{
    Binding, BindingDestination, Consume, ConsumerTag, Error, ErrorKind, ExchangeDeclare,
    ExchangeName, Fetched, Handoff, Publish, QueueDeclare, QueueDeclared, QueueName, RawMethods,
    Result, Settle, TransportChannel,
};
use mooq_wire::method::{self, Method};
use tokio::sync::oneshot;

use super::connection::ConnectionHandle;
use super::end::End;
use super::session::{Answer, ChannelId, Ticket};
use super::task::now;

#[derive(Debug)]
pub(super) struct NativeChannel {
    handle: Arc<ConnectionHandle>,
    id: ChannelId,
    end: Arc<End>,
}

impl NativeChannel {
    pub(super) fn new(handle: Arc<ConnectionHandle>, id: ChannelId, end: Arc<End>) -> Self {
        Self { handle, id, end }
    }

    /// The reason why the channel has ended, in place of one that only says that it has.
    fn reason(&self, error: Error) -> Error {
        self.end.reason().cloned().unwrap_or(error)
    }

    /// Makes a request and waits for its answer. The request happens even if this future is
    /// dropped.
    async fn request(&self, method: impl Into<Method>) -> Result<Answer> {
        let (reply, answer) = oneshot::channel();
        let shared = &self.handle.0;
        let ticket = shared
            .request(reply, |session| session.request(self.id, method))
            .map_err(|error| self.reason(error))?;
        self.answer(ticket, answer).await
    }

    /// Waits for the answer to a request.
    pub(super) async fn answer(
        &self,
        ticket: Ticket,
        answer: oneshot::Receiver<Result<Answer>>,
    ) -> Result<Answer> {
        let mut caller = Caller {
            channel: self,
            waits_for: Some(ticket),
        };
        let answer = answer.await;
        caller.waits_for = None;
        match answer {
            Ok(answer) => answer,
            // Every request is answered, at the latest when the channel ends.
            Err(_) => Err(self.end.wait().await),
        }
    }

    /// Makes a request whose answer carries nothing.
    async fn done(&self, method: impl Into<Method>) -> Result<()> {
        self.request(method).await.map(drop)
    }

    /// Makes a request that is answered with a number of messages.
    async fn count(&self, method: impl Into<Method>) -> Result<u32> {
        match self.request(method).await? {
            Answer::Count(count) => Ok(count),
            _ => Err(misread()),
        }
    }

    /// Sends a method that has no answer.
    fn send(&self, method: impl Into<Method>) -> Result<()> {
        let sent = self.handle.0.push(|session| session.send(self.id, method));
        sent.map(drop).map_err(|error| self.reason(error))
    }

    fn begin_close(&self) {
        let shared = &self.handle.0;
        shared.call(|session| session.close_channel(self.id, now()));
    }
}

/// The caller of a request. Its drop reports that nobody waits any more.
struct Caller<'a> {
    channel: &'a NativeChannel,
    waits_for: Option<Ticket>,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.waits_for {
            let NativeChannel { handle, id, .. } = self.channel;
            handle.0.call(|session| session.forsake(*id, ticket, now()));
        }
    }
}

/// The session matches answers with requests, so this error does not happen.
fn misread() -> Error {
    Error::new(ErrorKind::ProtocolError, "the answer is not the request's")
}

fn declare_exchange(declare: ExchangeDeclare, nowait: bool) -> Method {
    Method::ExchangeDeclare(method::ExchangeDeclare {
        exchange: declare.name,
        kind: declare.kind,
        passive: declare.passive,
        durable: declare.durable,
        auto_delete: declare.auto_delete,
        internal: declare.internal,
        nowait,
        arguments: declare.arguments,
    })
}

fn declare_queue(declare: QueueDeclare, nowait: bool) -> Method {
    Method::QueueDeclare(method::QueueDeclare {
        queue: declare.name,
        passive: declare.passive,
        durable: declare.durable,
        exclusive: declare.exclusive,
        auto_delete: declare.auto_delete,
        nowait,
        arguments: declare.arguments,
    })
}

fn bind(binding: Binding, nowait: bool) -> Method {
    let Binding {
        source,
        destination,
        routing_key,
        arguments,
    } = binding;
    match destination {
        BindingDestination::Queue(queue) => Method::QueueBind(method::QueueBind {
            queue,
            exchange: source,
            routing_key,
            nowait,
            arguments,
        }),
        BindingDestination::Exchange(destination) => Method::ExchangeBind(method::ExchangeBind {
            destination,
            source,
            routing_key,
            nowait,
            arguments,
        }),
    }
}

fn unbind(binding: Binding) -> Method {
    let Binding {
        source,
        destination,
        routing_key,
        arguments,
    } = binding;
    match destination {
        BindingDestination::Queue(queue) => Method::QueueUnbind(method::QueueUnbind {
            queue,
            exchange: source,
            routing_key,
            arguments,
        }),
        BindingDestination::Exchange(destination) => {
            Method::ExchangeUnbind(method::ExchangeUnbind {
                destination,
                source,
                routing_key,
                nowait: false,
                arguments,
            })
        }
    }
}

#[async_trait]
impl TransportChannel for NativeChannel {
    fn closed(&self) -> Option<Error> {
        let ended = self.end.reason().cloned();
        ended.or_else(|| self.handle.0.call(|session| session.refusal(self.id)))
    }

    async fn close(&self) -> Result<()> {
        self.begin_close();
        self.end.wait().await;
        Ok(())
    }

    async fn declare_exchange(&self, declare: ExchangeDeclare) -> Result<()> {
        self.done(declare_exchange(declare, false)).await
    }

    async fn delete_exchange(&self, name: ExchangeName, if_unused: bool) -> Result<()> {
        self.done(method::ExchangeDelete {
            exchange: name,
            if_unused,
            nowait: false,
        })
        .await
    }

    async fn bind(&self, binding: Binding) -> Result<()> {
        self.done(bind(binding, false)).await
    }

    async fn unbind(&self, binding: Binding) -> Result<()> {
        self.done(unbind(binding)).await
    }

    async fn declare_queue(&self, declare: QueueDeclare) -> Result<QueueDeclared> {
        match self.request(declare_queue(declare, false)).await? {
            Answer::Declared(declared) => Ok(declared),
            _ => Err(misread()),
        }
    }

    async fn purge_queue(&self, name: QueueName) -> Result<u32> {
        self.count(method::QueuePurge {
            queue: name,
            nowait: false,
        })
        .await
    }

    async fn delete_queue(&self, name: QueueName, if_unused: bool, if_empty: bool) -> Result<u32> {
        self.count(method::QueueDelete {
            queue: name,
            if_unused,
            if_empty,
            nowait: false,
        })
        .await
    }

    async fn qos(&self, prefetch_count: u16, global: bool) -> Result<()> {
        self.done(method::BasicQos {
            prefetch_size: 0,
            prefetch_count,
            global,
        })
        .await
    }

    async fn consume(&self, consume: Consume) -> Result<ConsumerTag> {
        let request = method::BasicConsume {
            queue: consume.queue,
            consumer_tag: consume.tag,
            no_local: consume.no_local,
            no_ack: consume.no_ack,
            exclusive: consume.exclusive,
            nowait: false,
            arguments: consume.arguments,
        };
        match self.request(request).await? {
            Answer::Consumer(tag) => Ok(tag),
            _ => Err(misread()),
        }
    }

    async fn cancel(&self, tag: ConsumerTag) -> Result<()> {
        self.done(method::BasicCancel {
            consumer_tag: tag,
            nowait: false,
        })
        .await
    }

    async fn get(&self, queue: QueueName, no_ack: bool) -> Result<Option<Fetched>> {
        match self.request(method::BasicGet { queue, no_ack }).await? {
            Answer::Fetched(fetched) => Ok(fetched),
            _ => Err(misread()),
        }
    }

    async fn confirm_select(&self) -> Result<()> {
        self.done(method::ConfirmSelect { nowait: false }).await
    }

    fn publish(&self, publish: Publish) -> Result<Handoff> {
        let shared = &self.handle.0;
        let is_full = shared
            .push(|session| session.publish(self.id, publish))
            .map_err(|error| self.reason(error))?;
        if !is_full {
            return Ok(Handoff::Done);
        }
        let shared = Arc::clone(shared);
        Ok(Handoff::Full(Box::pin(async move {
            shared.has_room().await;
        })))
    }

    fn settle(&self, settle: Settle) -> Result<()> {
        let shared = &self.handle.0;
        let taken = shared.push(|session| session.settle(self.id, settle));
        taken.map(drop).map_err(|error| self.reason(error))
    }

    fn raw_methods(&self) -> Option<&dyn RawMethods> {
        Some(self)
    }
}

#[async_trait]
impl RawMethods for NativeChannel {
    async fn declare_exchange_nowait(&self, declare: ExchangeDeclare) -> Result<()> {
        self.send(declare_exchange(declare, true))
    }

    async fn declare_queue_nowait(&self, declare: QueueDeclare) -> Result<()> {
        self.send(declare_queue(declare, true))
    }

    async fn bind_nowait(&self, binding: Binding) -> Result<()> {
        self.send(bind(binding, true))
    }

    async fn recover(&self, requeue: bool) -> Result<()> {
        self.done(method::BasicRecover { requeue }).await
    }

    async fn tx_select(&self) -> Result<()> {
        self.done(method::TxSelect {}).await
    }

    async fn tx_commit(&self) -> Result<()> {
        self.done(method::TxCommit {}).await
    }

    async fn tx_rollback(&self) -> Result<()> {
        self.done(method::TxRollback {}).await
    }
}

impl Drop for NativeChannel {
    fn drop(&mut self) {
        self.begin_close();
    }
}
