//! Moving the message of a failed delivery to the queue in which it waits, or is parked.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use mooq_core::{ExchangeName, Message, QueueName, Result, Settlement};
use mooq_retry::{Call, Departure, Failed, To};
use mooq_session::{Event, Fate, PublishTerms, Reply, Request};
use tokio::sync::OnceCell;

use super::attempt::{Attempt, Cause, Failure};
use super::handler::{CallbackConsumer, settle};
use super::handles::ChannelRef;
use super::inner::ConnectionInner;
use super::wire::Unsettled;
use crate::api::confirmation::Outgoing;
use crate::api::layers::PublishService;
use crate::api::published::Prepared;

/// A channel, and the terms of what is published on it.
pub(crate) struct Moves<'a> {
    pub(crate) channel: &'a Arc<ChannelRef>,
    pub(crate) terms: PublishTerms,
    /// The layers that the message goes through.
    pub(crate) through: Option<PublishService>,
}

impl<'a> Moves<'a> {
    /// Waits for confirms as long as for other answers.
    pub(crate) fn on(channel: &'a Arc<ChannelRef>) -> Self {
        let terms = PublishTerms {
            limit: channel.inner().timeout(),
            resend: false,
            expires: false,
        };
        Self {
            channel,
            terms,
            through: None,
        }
    }
}

impl mooq_retry::Channel for Moves<'_> {
    fn has_declared(&self, exchange: &ExchangeName) -> bool {
        self.channel.with(|session| session.has_declared(exchange))
    }

    async fn call(&self, call: Call) -> Result<u32> {
        let request = match call {
            Call::DeclareExchange(declare) => Request::DeclareExchange(declare),
            Call::DeclareQueue(declare) => Request::DeclareQueue(declare),
            Call::Bind(binding) => Request::Bind(binding),
            Call::DeleteExchange(name) => Request::DeleteExchange {
                name,
                if_unused: false,
            },
            Call::DeleteQueue(name) => Request::DeleteQueue {
                name,
                if_unused: false,
                if_empty: false,
            },
        };
        match self.channel.request(request).await? {
            Reply::Queue(declared) => Ok(declared.message_count),
            _ => Ok(0),
        }
    }

    async fn publish(&self, message: Message) -> Result<()> {
        let outgoing = Outgoing {
            channel: Arc::clone(self.channel),
            message,
            mandatory: true,
            terms: self.terms,
            waits_for_room: true,
        };
        let through = self.through.clone();
        Prepared { outgoing, through }.send().await?.await
    }
}

/// Moves messages of a connection's consumers.
#[derive(Debug)]
pub(super) struct Mover {
    connection: Arc<ConnectionInner>,
    /// A channel of its own, so that an error of a move costs no consumer its deliveries. It is
    /// opened by the first move.
    channel: OnceCell<Arc<ChannelRef>>,
}

impl Mover {
    pub(super) fn new(connection: &Arc<ConnectionInner>) -> Arc<Self> {
        Arc::new(Self {
            connection: Arc::clone(connection),
            channel: OnceCell::new(),
        })
    }

    pub(super) fn connection(&self) -> &ConnectionInner {
        &self.connection
    }

    /// Publishes a copy of the message, waits for the broker's confirm, and only then acks the
    /// delivery. If that fails, the delivery is kept, and the failure returned.
    pub(super) fn carry(
        self: Arc<Self>,
        consumer: Arc<CallbackConsumer>,
        mut attempt: Attempt,
        unsettled: Unsettled,
        failed: Failed,
        to: To,
    ) -> BoxFuture<'static, Option<Box<Failure>>> {
        Box::pin(async move {
            let (message, queue) = (&attempt.deliver.message, &attempt.queue);
            let trail = &attempt.trail;
            let departure = Departure::new(message, queue, trail, (failed, &to), consumer.quorum);
            match self.depart(departure).await {
                Ok(parked) => {
                    settle(unsettled, Settlement::Ack);
                    if let Some(parked) = parked {
                        let event = gave_up(&attempt, Fate::Parked(parked));
                        self.connection.with(|session| session.tell(event));
                    }
                    None
                }
                Err(err) => {
                    attempt.unsettled = Some(unsettled);
                    Some(attempt.failed(Cause::Move(to.wait()), err.to_string()))
                }
            }
        })
    }

    async fn depart(&self, departure: Result<Departure>) -> Result<Option<QueueName>> {
        let Departure {
            message,
            destination,
            parked,
        } = departure?;
        let open = || ChannelRef::open(&self.connection);
        let channel = self.channel.get_or_try_init(open).await?;
        destination.publish(&Moves::on(channel), message).await?;
        Ok(parked)
    }
}

/// The event of a message that has failed for good.
pub(super) fn gave_up(attempt: &Attempt, fate: Fate) -> Event {
    let message = &attempt.deliver.message;
    Event::GaveUp {
        queue: attempt.queue.clone(),
        routing_key: message.routing_key.clone(),
        message_id: message.properties.message_id.clone(),
        attempts: attempt.trail.attempts,
        error: attempt.trail.error.clone().unwrap_or_default(),
        fate,
    }
}
