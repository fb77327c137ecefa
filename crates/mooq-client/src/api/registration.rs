//! Registering a consumer with the broker, step by step.

use std::sync::Arc;
use std::time::Duration;

use mooq_core::{
    Binding, BindingDestination, Consume, FieldTable, FieldValue, QueueDeclare, QueueName, Result,
    RoutingKey,
};
use mooq_session::Sink;

use super::channel::Channel;
use super::consumer::Consumer;
use super::exchange::RegisterProducer;
use super::failure::FailurePolicy;
use super::first_error::FirstError;
use super::subscription::Place;
use crate::runtime::handler::{AckMode, CallbackConsumer, Handler, Settings};

/// Default number of unacked deliveries that a consumer may hold.
pub(crate) const DEFAULT_PREFETCH: u16 = 256;

/// Settings of a consumer to register: its exchange, queue, bindings and options.
#[derive(Debug)]
pub(super) struct Registration {
    channel: Channel,
    /// The exchange to declare and bind to. None if the queue is only consumed from.
    pub(super) exchange: Option<RegisterProducer>,
    pub(super) queue: Queue,
    pub(super) routing_keys: Vec<RoutingKey>,
    pub(super) binding_arguments: FieldTable,
    pub(super) consume: Consume,
    pub(super) prefetch: u16,
    pub(super) place: Place,
    /// None for as many as the prefetch.
    pub(super) concurrency: Option<usize>,
    pub(super) settings: Settings,
    pub(super) deferred: FirstError,
}

/// Options of the queue, in any order of their setters.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) name: QueueName,
    pub(super) transient: bool,
    pub(super) exclusive: bool,
    pub(super) auto_delete: bool,
    pub(super) arguments: FieldTable,
}

impl Queue {
    fn is_single_active(&self) -> bool {
        let single = self.arguments.get("x-single-active-consumer");
        matches!(single, Some(FieldValue::Bool(true)))
    }

    fn declare(self) -> QueueDeclare {
        let unnamed = self.name.is_empty();
        let usual = match unnamed {
            true => QueueDeclare::server_named(),
            false => QueueDeclare::new(self.name),
        };
        QueueDeclare {
            durable: usual.durable && !self.transient,
            exclusive: usual.exclusive || self.exclusive,
            // Without auto-delete the queue would stay until the connection closes.
            auto_delete: unnamed || self.auto_delete,
            arguments: self.arguments,
            ..usual
        }
    }
}

impl Registration {
    pub(super) fn new(channel: &Channel, exchange: Option<RegisterProducer>) -> Self {
        Self {
            channel: channel.clone(),
            exchange,
            queue: Queue::default(),
            routing_keys: Vec::new(),
            binding_arguments: FieldTable::new(),
            consume: Consume::new(QueueName::default()),
            prefetch: DEFAULT_PREFETCH,
            place: Place::default(),
            concurrency: None,
            settings: Settings {
                ack_mode: AckMode::ByOutcome,
                concurrency: DEFAULT_PREFETCH.into(),
                on_error: FailurePolicy::default(),
                on_decode_error: FailurePolicy::default(),
            },
            deferred: FirstError::default(),
        }
    }

    /// Returns the time limit of the whole registration.
    pub(super) fn timeout(&self) -> Duration {
        self.channel.timeout()
    }

    /// Registers the consumer whose deliveries `handler` handles.
    pub(super) async fn carry_out(self, handler: Arc<dyn Handler>) -> Result<Consumer> {
        self.deferred.finish()?;
        let channel = self.channel;
        let mut settings = self.settings;
        settings.concurrency = self.concurrency.unwrap_or_else(|| {
            // A user who wants one consumer at a time wants one message at a time.
            match self.queue.is_single_active() {
                true => 1,
                false => self.prefetch.into(),
            }
        });
        let no_ack = settings.ack_mode == AckMode::Auto;

        let queue = match self.exchange {
            None => self.consume.queue.clone(),
            Some(exchange) => {
                let source = exchange.name().clone();
                exchange.await?;
                let queue = channel.queue_declare(self.queue.declare()).await?.name;
                let mut routing_keys = self.routing_keys;
                if routing_keys.is_empty() {
                    routing_keys.push(RoutingKey::default());
                }
                for routing_key in routing_keys {
                    let binding = Binding {
                        source: source.clone(),
                        destination: BindingDestination::Queue(queue.clone()),
                        routing_key,
                        arguments: self.binding_arguments.clone(),
                    };
                    channel.bind(binding).await?;
                }
                queue
            }
        };

        let consume = Consume {
            queue,
            no_ack,
            ..self.consume
        };
        let concurrency = settings.concurrency;
        let callback = Arc::new(CallbackConsumer { settings, handler });
        let sink = Sink::callback(callback, concurrency);
        channel
            .register(consume, self.prefetch, self.place, sink)
            .await
    }
}
