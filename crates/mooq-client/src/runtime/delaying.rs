//! Publishing to the queues in which messages wait, which are declared if they are missing.

use std::sync::Arc;

use mooq_core::{
    ErrorKind, ExchangeDeclare, ExchangeKind, ExchangeName, Message, QueueDeclare, Result,
};
use mooq_retry::{DelayQueue, Ladder};
use mooq_session::{PublishTerms, Request};

use super::handles::ChannelRef;
use crate::api::confirmation::Prepared;

/// A destination of messages that is declared if it is missing.
#[derive(Debug)]
pub(crate) enum Destination {
    /// The queue of this ladder, at once.
    Back(Ladder),
    /// The queue of this ladder, after a delay.
    Later(Ladder, DelayQueue),
    /// The target exchange of a delay queue.
    Exchange(DelayQueue),
    /// A queue for parked messages.
    Parking(QueueDeclare),
}

impl Destination {
    /// Publishes `message` to the destination, with its own routing key unless that is the queue's
    /// name, and waits for the confirm.
    pub(crate) async fn publish(
        &self,
        channel: &Arc<ChannelRef>,
        mut message: Message,
        terms: PublishTerms,
    ) -> Result<()> {
        message.exchange = match self {
            Self::Back(ladder) => ladder.back().clone(),
            Self::Later(_, place) | Self::Exchange(place) => place.exchange().clone(),
            Self::Parking(queue) => {
                message.routing_key = queue.name.clone().into();
                ExchangeName::default()
            }
        };
        let is_missing = match self {
            // The user's own: the broker is asked by publishing to it.
            Self::Parking(_) => false,
            _ => !channel.with(|session| session.has_declared(&message.exchange)),
        };
        if is_missing {
            self.declare(channel).await?;
        }
        let publish = |message| {
            let prepared = Prepared {
                channel: Arc::clone(channel),
                message,
                mandatory: true,
                terms,
            };
            async move { prepared.send().await?.await }
        };
        match publish(message.clone()).await {
            // Another client has deleted it.
            Err(err)
                if matches!(
                    err.kind(),
                    ErrorKind::Returned | ErrorKind::ExchangeNotFound
                ) =>
            {
                self.declare(channel).await?;
                publish(message).await
            }
            outcome => outcome,
        }
    }

    /// Declares what messages on their way to the destination pass.
    pub(crate) async fn declare(&self, channel: &ChannelRef) -> Result<()> {
        match self {
            Self::Back(ladder) => declare_back(channel, ladder).await,
            Self::Later(ladder, place) => {
                declare_back(channel, ladder).await?;
                declare_place(channel, place).await
            }
            Self::Exchange(place) => {
                let target = place.target().clone();
                // A message for an exchange that does not exist would be lost after its delay. The
                // default exchange always does.
                if !target.is_empty() {
                    let mut declare = ExchangeDeclare::new(target, ExchangeKind::Direct);
                    declare.passive = true;
                    channel.request(Request::DeclareExchange(declare)).await?;
                }
                declare_place(channel, place).await
            }
            Self::Parking(queue) => {
                let declare = Request::DeclareQueue(queue.clone());
                channel.request(declare).await.map(drop)
            }
        }
    }
}

async fn declare_back(channel: &ChannelRef, ladder: &Ladder) -> Result<()> {
    let (exchange, binding) = ladder.declare_back();
    channel.request(Request::DeclareExchange(exchange)).await?;
    channel.request(Request::Bind(binding)).await.map(drop)
}

/// Declares the exchange last: where it exists, so does the rest.
pub(crate) async fn declare_place(channel: &ChannelRef, place: &DelayQueue) -> Result<()> {
    let queue = Request::DeclareQueue(place.declare_queue());
    channel.request(queue).await?;
    let exchange = Request::DeclareExchange(place.declare_exchange());
    channel.request(exchange).await?;
    channel
        .request(Request::Bind(place.binding()))
        .await
        .map(drop)
}

/// Deletes those of `places` in which no message waits, and returns the number of messages that
/// wait in the others.
pub(crate) async fn delete(channel: &ChannelRef, places: &[DelayQueue]) -> Result<u64> {
    let mut waiting = 0;
    for place in places {
        let ready = ready_in(channel, place).await?;
        if ready > 0 {
            declare_place(channel, place).await?;
            waiting += ready;
            continue;
        }
        // Without its exchange the queue gets no more messages.
        channel.request(delete_exchange(place.exchange())).await?;
        let late = ready_in(channel, place).await?;
        if late > 0 {
            declare_place(channel, place).await?;
            waiting += late;
            continue;
        }
        let delete = Request::DeleteQueue {
            name: place.queue().clone(),
            if_unused: false,
            if_empty: false,
        };
        channel.request(delete).await?;
    }
    Ok(waiting)
}

pub(crate) fn delete_exchange(name: &ExchangeName) -> Request {
    Request::DeleteExchange {
        name: name.clone(),
        if_unused: false,
    }
}

/// Number of messages that wait in a place. Declares its queue, since to ask for one that does not
/// exist is an error that closes the channel.
async fn ready_in(channel: &ChannelRef, place: &DelayQueue) -> Result<u64> {
    let declare = Request::DeclareQueue(place.declare_queue());
    match channel.request(declare).await? {
        mooq_session::Reply::Queue(declared) => Ok(declared.message_count.into()),
        _ => Ok(0),
    }
}
