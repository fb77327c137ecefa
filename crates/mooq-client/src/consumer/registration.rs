//! Registering a consumer with the broker, step by step.

use std::sync::Arc;
use std::time::Duration;

use mooq_core::{
    Binding, BindingDestination, Consume, FieldTable, QueueDeclare, QueueName, Result, RoutingKey,
};

use super::handler::{AckMode, CallbackConsumer, Handler, Settings};
use super::outcome::FailurePolicy;
use super::registered::Consumer;
use crate::channel::{Addressee, Channel, Lasting, RegisterProducer};
use crate::deferred::Deferred;

/// How many deliveries a consumer may hold unacknowledged, unless said otherwise.
pub(crate) const DEFAULT_PREFETCH: u16 = 256;

/// What is to be declared, bound and consumed.
#[derive(Debug)]
pub(super) struct Registration {
    channel: Channel,
    pub(super) exchange: RegisterProducer,
    pub(super) queue: Queue,
    pub(super) routing_keys: Vec<RoutingKey>,
    pub(super) binding_arguments: FieldTable,
    pub(super) consume: Consume,
    pub(super) prefetch: u16,
    /// As many as the prefetch if it is not said.
    pub(super) concurrency: Option<usize>,
    pub(super) settings: Settings,
    pub(super) deferred: Deferred,
}

/// The options of the queue, in whatever order they were set.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) name: QueueName,
    pub(super) transient: bool,
    pub(super) exclusive: bool,
    pub(super) auto_delete: bool,
    pub(super) arguments: FieldTable,
}

impl Queue {
    fn declare(self) -> QueueDeclare {
        let usual = if self.name.is_empty() {
            QueueDeclare::server_named()
        } else {
            QueueDeclare::new(self.name)
        };
        QueueDeclare {
            durable: usual.durable && !self.transient,
            exclusive: usual.exclusive || self.exclusive,
            auto_delete: self.auto_delete,
            arguments: self.arguments,
            ..usual
        }
    }
}

impl Registration {
    pub(super) fn new(channel: &Channel, exchange: RegisterProducer) -> Self {
        Self {
            channel: channel.clone(),
            exchange,
            queue: Queue::default(),
            routing_keys: Vec::new(),
            binding_arguments: FieldTable::new(),
            consume: Consume::new(QueueName::default()),
            prefetch: DEFAULT_PREFETCH,
            concurrency: None,
            settings: Settings {
                ack_mode: AckMode::ByOutcome,
                concurrency: DEFAULT_PREFETCH.into(),
                on_error: FailurePolicy::RequeueOnce,
                on_decode_error: FailurePolicy::Reject,
            },
            deferred: Deferred::default(),
        }
    }

    /// How long registering may take in all.
    pub(super) fn deadline(&self) -> Duration {
        self.channel.deadline()
    }

    /// Registers the consumer whose deliveries `handler` handles.
    pub(super) async fn carry_out(self, handler: Arc<dyn Handler>) -> Result<Consumer> {
        self.deferred.finish()?;
        let channel = self.channel;
        let mut settings = self.settings;
        settings.concurrency = self.concurrency.unwrap_or_else(|| self.prefetch.into());
        let no_ack = settings.ack_mode == AckMode::Auto;

        let source = self.exchange.name().clone();
        self.exchange.await?;
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

        let dispatch = channel.dispatch();
        let id = dispatch.reserve();
        let addressee = Addressee {
            dispatch: Arc::downgrade(dispatch),
            id,
        };
        let consume = Consume {
            queue,
            no_ack,
            ..self.consume
        };
        let subscription = channel
            .subscribe(consume, self.prefetch, Lasting::Yes, Some(addressee))
            .await?;
        let inbox = Arc::clone(subscription.inbox());
        dispatch.add(
            id,
            Arc::new(CallbackConsumer {
                channel: Arc::clone(channel.shared()),
                inbox: Arc::clone(&inbox),
                settings,
                handler,
            }),
        );
        Ok(Consumer {
            tag: subscription.keep(),
            channel,
            inbox,
        })
    }
}
