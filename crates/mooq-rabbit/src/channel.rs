//! A channel for the runtime above: each method becomes a command in the channel's queue.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use amqprs::channel::Channel;
use async_trait::async_trait;
use mooq_core::{
    Binding, BindingDestination, Consume, ConsumerTag, Error, ErrorKind, ExchangeDeclare,
    ExchangeName, Fetched, Handoff, Publish, QueueDeclare, QueueDeclared, QueueName, RawMethods,
    Result, Settle, TransportChannel,
};
use tokio::sync::oneshot;

use crate::channel_state::ChannelState;
use crate::command::{Command, Outcome};
use crate::consumer::Consumers;
use crate::convert;

#[derive(Debug)]
pub(crate) struct RabbitChannel {
    state: Arc<ChannelState>,
}

impl RabbitChannel {
    pub(crate) fn new(state: Arc<ChannelState>) -> Self {
        Self { state }
    }

    /// Passes `request` to the worker and waits for the answer. The worker performs the request
    /// even if this future is dropped.
    async fn call<T, F>(&self, request: impl FnOnce(Channel) -> F + Send + 'static) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        let (mut reply, answer) = oneshot::channel();
        let state = Arc::clone(&self.state);
        self.state.push(Command::Call(Box::new(|channel| {
            let request = request(channel);
            Box::pin(async move {
                let mut request = pin!(request);
                let answer = tokio::select! {
                    biased;
                    answer = &mut request => answer,
                    () = reply.closed() => state.forsaken(request).await,
                };
                // If the request fails, the reply is dropped, and the caller looks up the reason.
                let _ = reply.send(answer?);
                Ok(())
            })
        })))?;
        match answer.await {
            Ok(answer) => Ok(answer),
            // A request fails only with its channel.
            Err(_) => Err(self.state.ended().await),
        }
    }

    /// Begins to close the channel, once all earlier commands are performed.
    fn begin_close(&self) {
        self.state.commands.push_close(Error::channel(
            ErrorKind::ChannelClosed,
            "the channel was closed from this side",
        ));
    }
}

#[async_trait]
impl TransportChannel for RabbitChannel {
    fn closed(&self) -> Option<Error> {
        self.state.closed()
    }

    async fn close(&self) -> Result<()> {
        self.begin_close();
        self.state.ended().await;
        Ok(())
    }

    async fn declare_exchange(&self, declare: ExchangeDeclare) -> Result<()> {
        let args = convert::exchange_declare(&declare);
        self.call(move |channel| async move { channel.exchange_declare(args).await })
            .await
    }

    async fn delete_exchange(&self, name: ExchangeName, if_unused: bool) -> Result<()> {
        let args = convert::exchange_delete(&name, if_unused);
        self.call(move |channel| async move { channel.exchange_delete(args).await })
            .await
    }

    async fn bind(&self, binding: Binding) -> Result<()> {
        match &binding.destination {
            BindingDestination::Queue(queue) => {
                let args = convert::queue_bind(&binding, queue);
                self.call(move |channel| async move { channel.queue_bind(args).await })
                    .await
            }
            BindingDestination::Exchange(exchange) => {
                let args = convert::exchange_bind(&binding, exchange);
                self.call(move |channel| async move { channel.exchange_bind(args).await })
                    .await
            }
        }
    }

    async fn unbind(&self, binding: Binding) -> Result<()> {
        match &binding.destination {
            BindingDestination::Queue(queue) => {
                let args = convert::queue_unbind(&binding, queue);
                self.call(move |channel| async move { channel.queue_unbind(args).await })
                    .await
            }
            BindingDestination::Exchange(exchange) => {
                let args = convert::exchange_unbind(&binding, exchange);
                self.call(move |channel| async move { channel.exchange_unbind(args).await })
                    .await
            }
        }
    }

    async fn declare_queue(&self, declare: QueueDeclare) -> Result<QueueDeclared> {
        let args = convert::queue_declare(&declare);
        self.call(move |channel| async move {
            let declared = channel.queue_declare(args).await?;
            Ok(convert::queue_declared(declared))
        })
        .await
    }

    async fn purge_queue(&self, name: QueueName) -> Result<u32> {
        let args = convert::queue_purge(&name);
        self.call(move |channel| async move {
            // `None` is the answer to a request with `nowait`, which this is not.
            Ok(channel.queue_purge(args).await?.unwrap_or_default())
        })
        .await
    }

    async fn delete_queue(&self, name: QueueName, if_unused: bool, if_empty: bool) -> Result<u32> {
        let args = convert::queue_delete(&name, if_unused, if_empty);
        self.call(move |channel| async move {
            Ok(channel.queue_delete(args).await?.unwrap_or_default())
        })
        .await
    }

    async fn qos(&self, prefetch_count: u16, global: bool) -> Result<()> {
        let args = convert::qos(prefetch_count, global);
        self.call(move |channel| async move { channel.basic_qos(args).await })
            .await
    }

    async fn consume(&self, consume: Consume) -> Result<ConsumerTag> {
        let state = Arc::clone(&self.state);
        let args = convert::consume(&consume);
        let read = self.state.connection.read(consume.queue).await?;
        self.call(move |channel| async move {
            // The tag in the answer is the broker's choice if the request had none. Messages that
            // the broker delivers before amqprs knows the consumer are kept by amqprs.
            let (tag, deliveries) = channel.basic_consume_rx(args).await?;
            let tag: ConsumerTag = convert::name(&tag);
            // The broker may have cancelled a consumer with this tag just before: that event is
            // sent first.
            state.consumers.finished(&tag).await;
            Consumers::start(&state, tag.clone(), deliveries, read);
            Ok(tag)
        })
        .await
    }

    async fn cancel(&self, tag: ConsumerTag) -> Result<()> {
        let state = Arc::clone(&self.state);
        self.call(move |channel| async move {
            // All deliveries arrive before the broker's answer, so amqprs has put them into the
            // consumer's queue, which amqprs ends now. (amqprs would keep later deliveries for 5 s
            // and then drop them.)
            channel.basic_cancel(convert::cancel(&tag)).await?;
            state.consumers.finished(&tag).await;
            Ok(())
        })
        .await
    }

    async fn get(&self, queue: QueueName, no_ack: bool) -> Result<Option<Fetched>> {
        let args = convert::get(&queue, no_ack);
        let read = self.state.connection.read(queue).await?;
        self.call(move |channel| async move {
            let fetched = channel.basic_get(args).await?;
            drop(read);
            Ok(fetched.map(convert::fetched))
        })
        .await
    }

    async fn confirm_select(&self) -> Result<()> {
        self.state.confirms.begin();
        self.call(|channel| async move { channel.confirm_select(convert::confirm()).await })
            .await
    }

    fn publish(&self, publish: Publish) -> Result<Handoff> {
        if !self.state.publish(publish)? {
            return Ok(Handoff::Done);
        }
        let state = Arc::clone(&self.state);
        Ok(Handoff::Full(Box::pin(async move {
            state.commands.room().await;
        })))
    }

    fn settle(&self, settle: Settle) -> Result<()> {
        self.state.push(Command::Settle(settle)).map(drop)
    }

    fn raw_methods(&self) -> Option<&dyn RawMethods> {
        Some(self)
    }
}

#[async_trait]
impl RawMethods for RabbitChannel {
    async fn declare_exchange_nowait(&self, declare: ExchangeDeclare) -> Result<()> {
        let mut args = convert::exchange_declare(&declare);
        args.no_wait(true);
        self.call(move |channel| async move { channel.exchange_declare(args).await })
            .await
    }

    async fn declare_queue_nowait(&self, declare: QueueDeclare) -> Result<()> {
        let mut args = convert::queue_declare(&declare);
        args.no_wait(true);
        self.call(move |channel| async move { channel.queue_declare(args).await.map(|_| ()) })
            .await
    }

    async fn bind_nowait(&self, binding: Binding) -> Result<()> {
        match &binding.destination {
            BindingDestination::Queue(queue) => {
                let mut args = convert::queue_bind(&binding, queue);
                args.no_wait(true);
                self.call(move |channel| async move { channel.queue_bind(args).await })
                    .await
            }
            BindingDestination::Exchange(exchange) => {
                let mut args = convert::exchange_bind(&binding, exchange);
                args.no_wait(true);
                self.call(move |channel| async move { channel.exchange_bind(args).await })
                    .await
            }
        }
    }

    async fn recover(&self, requeue: bool) -> Result<()> {
        self.call(move |channel| async move { channel.basic_recover(requeue).await })
            .await
    }

    async fn tx_select(&self) -> Result<()> {
        self.call(|channel| async move { channel.tx_select().await })
            .await
    }

    async fn tx_commit(&self) -> Result<()> {
        self.call(|channel| async move { channel.tx_commit().await })
            .await
    }

    async fn tx_rollback(&self) -> Result<()> {
        self.call(|channel| async move { channel.tx_rollback().await })
            .await
    }
}

impl Drop for RabbitChannel {
    fn drop(&mut self) {
        self.begin_close();
    }
}
