//! Registering a consumer with the broker, step by step.

use std::sync::Arc;
use std::time::Duration;

use mooq_core::{
    Binding, BindingDestination, Error, ErrorKind, FieldTable, IntoChecked, QueueName, Result,
    RoutingKey,
};
use mooq_session::Sink;

use super::channel::Channel;
use super::consumer::Consumer;
use super::consumer_options::{ConsumerOptions, DEFAULT_PREFETCH};
use super::declare::DeclareQueue;
use super::exchange::DeclareExchange;
use super::failure::FailurePolicy;
use crate::runtime::handler::{AckMode, CallbackConsumer, Handler, Settings};

/// Settings of a consumer to register: its exchange, queue, bindings and options.
#[derive(Debug)]
pub(super) struct Registration {
    channel: Channel,
    /// The exchange to declare and bind to. None if the queue is only consumed from.
    pub(super) exchange: Option<DeclareExchange>,
    /// The queue to declare, if there is an exchange to bind it to.
    pub(super) queue: DeclareQueue,
    pub(super) routing_keys: Vec<RoutingKey>,
    pub(super) binding_arguments: FieldTable,
    pub(super) options: ConsumerOptions,
    /// None for as many as the prefetch.
    concurrency: Option<usize>,
    pub(super) settings: Settings,
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
            concurrency: None,
            settings: Settings {
                ack_mode: AckMode::ByOutcome,
                concurrency: DEFAULT_PREFETCH.into(),
                on_error: FailurePolicy::default(),
                on_decode_error: FailurePolicy::default(),
            },
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

    /// Returns the time limit of the whole registration.
    pub(super) fn timeout(&self) -> Duration {
        self.channel.timeout()
    }

    /// Registers the consumer whose deliveries `handler` handles.
    pub(super) async fn carry_out(self, handler: Arc<dyn Handler>) -> Result<Consumer> {
        let ConsumerOptions {
            mut consume,
            prefetch,
            place,
            deferred,
        } = self.options;
        deferred.finish()?;
        let channel = self.channel;
        let mut settings = self.settings;
        settings.concurrency = self.concurrency.unwrap_or_else(|| {
            // A user who wants one consumer at a time wants one message at a time.
            match self.queue.is_single_active() {
                true => 1,
                false => prefetch.into(),
            }
        });
        consume.no_ack = settings.ack_mode == AckMode::Auto;
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

        let concurrency = settings.concurrency;
        let callback = Arc::new(CallbackConsumer { settings, handler });
        let sink = Sink::callback(callback, concurrency);
        channel.register(consume, prefetch, place, sink).await
    }
}
