//! Registering a consumer with the broker, step by step.

use std::sync::Arc;

use mooq_core::{
    Binding, BindingDestination, Error, ErrorKind, FieldTable, IntoChecked, QueueName, Result,
    RoutingKey,
};
use mooq_retry::{Retry, check_broker, declare_for};
use mooq_session::Sink;

use super::channel::Channel;
use super::consumer::Consumer;
use super::consumer_options::ConsumerOptions;
use super::declare::DeclareQueue;
use super::exchange::DeclareExchange;
use super::layers::CallbackLayers;
use crate::runtime::handler::{AckMode, CallbackConsumer, Handler};
use crate::runtime::moving::Moves;

/// Settings of a consumer to register: its exchange, queue, bindings and options.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) channel: Channel,
    /// The exchange to declare and bind to. None if the queue is only consumed from.
    pub(super) exchange: Option<DeclareExchange>,
    /// The queue to declare, if there is an exchange to bind it to.
    pub(super) queue: DeclareQueue,
    pub(super) routing_keys: Vec<RoutingKey>,
    pub(super) binding_arguments: FieldTable,
    pub(super) options: ConsumerOptions,
    pub(super) layers: CallbackLayers,
    /// None for as many as the prefetch.
    concurrency: Option<usize>,
    pub(super) ack_mode: AckMode,
    /// None for the default.
    pub(super) retry: Option<Retry>,
    /// None for what follows from `retry`.
    pub(super) on_decode_error: Option<Retry>,
}

impl Registration {
    /// A consumer that declares its exchange and its queue.
    pub(super) fn declaring(channel: &Channel, exchange: DeclareExchange) -> Self {
        let options = ConsumerOptions::of(QueueName::default());
        Self::new(channel, Some(exchange), options)
    }

    /// A consumer that declares nothing.
    pub(super) fn on_queue(channel: &Channel, queue: impl IntoChecked<QueueName>) -> Self {
        Self::new(channel, None, ConsumerOptions::of(queue))
    }

    fn new(channel: &Channel, exchange: Option<DeclareExchange>, options: ConsumerOptions) -> Self {
        Self {
            channel: channel.clone(),
            exchange,
            queue: channel.declare_queue(QueueName::default()),
            routing_keys: Vec::new(),
            binding_arguments: FieldTable::new(),
            options,
            layers: channel.layers().callbacks.clone(),
            concurrency: None,
            ack_mode: AckMode::ByOutcome,
            retry: None,
            on_decode_error: None,
        }
    }

    pub(super) fn concurrency(&mut self, n: usize) {
        if n == 0 {
            self.options.deferred.fail(Error::new(
                ErrorKind::InvalidArgument,
                "a concurrency of 0 would never run a callback",
            ));
        }
        self.concurrency = Some(n);
    }

    /// Checks the policies for failures.
    fn check_policies(&self) -> Result<()> {
        let is_named = match self.exchange {
            Some(_) => !self.queue.name().is_empty(),
            None => !self.options.consume.queue.is_empty(),
        };
        let auto_ack = self.ack_mode == AckMode::Auto;
        let mut policies = [&self.retry, &self.on_decode_error].into_iter().flatten();
        policies.try_for_each(|policy| policy.check_consumer(auto_ack, is_named))
    }

    /// Registers the consumer whose deliveries `handler` handles.
    pub(super) async fn carry_out(mut self, handler: Arc<dyn Handler>) -> Result<Consumer> {
        self.options.deferred.clone().finish()?;
        self.check_policies()?;
        let retry = self.retry.unwrap_or_default();
        let arguments = retry.queue_arguments();
        if self.exchange.is_some() && !arguments.is_empty() {
            // On a channel of its own, which the broker closes if it knows them.
            let asking = self.channel.sibling().await?;
            check_broker(&Moves::on(asking.shared()), self.queue.name(), &retry).await?;
        }
        self.queue = self.queue.or_arguments(arguments);
        let ConsumerOptions {
            mut consume,
            prefetch,
            place,
            ..
        } = self.options;
        let channel = self.channel;
        let concurrency = self.concurrency.unwrap_or_else(|| {
            // A user who wants one consumer at a time wants one message at a time.
            match self.queue.is_single_active() {
                true => 1,
                false => prefetch.into(),
            }
        });
        consume.no_ack = self.ack_mode == AckMode::Auto;
        let quorum_queue = self.queue.is_quorum();
        if let Some(exchange) = self.exchange {
            let declare = self.queue.for_consumer()?;
            let source = exchange.name().clone();
            exchange.await?;
            consume.queue = channel.queue_declare(declare).await?.name;
            let mut routing_keys = self.routing_keys;
            if routing_keys.is_empty() {
                routing_keys.push(RoutingKey::default());
            }
            for routing_key in routing_keys {
                let binding = Binding {
                    source: source.clone(),
                    destination: BindingDestination::Queue(consume.queue.clone()),
                    routing_key,
                    arguments: self.binding_arguments.clone(),
                };
                channel.bind(binding).await?;
            }
        }

        let undecodable = self
            .on_decode_error
            .unwrap_or_else(|| retry.for_undecodable());
        let quorum = quorum_queue || retry.is_quorum() || undecodable.is_quorum();
        if retry.needs_queues() || undecodable.needs_queues() {
            // On a channel of its own, which is closed if a queue to park in has other options.
            let declaring = channel.sibling().await?;
            let moves = Moves::on(declaring.shared());
            declare_for(&moves, &consume.queue, [&retry, &undecodable], quorum).await?;
        }
        let callback = Arc::new(CallbackConsumer {
            ack_mode: self.ack_mode,
            retry,
            on_decode_error: undecodable,
            quorum,
            handler: self.layers.around(handler),
        });
        let sink = Sink::callback(callback, concurrency);
        channel.register(consume, prefetch, place, sink).await
    }
}
