//! Moving the message of a failed delivery to the queue in which it waits, or is parked.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use mooq_core::{Message, QueueName, Result, Settlement};
use mooq_retry::{Failed, Ladder, Mark, parked_name, parking_queue};
use mooq_session::{Event, Fate, PublishTerms};
use tokio::sync::OnceCell;

use super::attempt::{Attempt, Cause, Failure};
use super::delaying::Destination;
use super::handler::{CallbackConsumer, settle};
use super::handles::ChannelRef;
use super::inner::ConnectionInner;
use super::wire::Unsettled;

/// The longest time after which a delivery is tried again whose message could not be moved.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Moves messages of one consumer.
#[derive(Debug)]
pub(crate) struct Mover {
    quorum: bool,
    /// A channel of its own, so that an error of a move does not cost the consumer its deliveries.
    channel: OnceCell<Arc<ChannelRef>>,
}

/// Where a message is moved.
#[derive(Debug, Clone)]
pub(super) enum To {
    /// To its delay queue for this time.
    Later(Duration),
    /// To this queue, or to the one that is named after its queue.
    Parking(Option<QueueName>),
}

impl Mover {
    /// Makes a mover, to quorum queues if `quorum` is set.
    pub(crate) fn new(quorum: bool) -> Self {
        Self {
            quorum,
            channel: OnceCell::new(),
        }
    }

    /// Publishes a copy of the message, waits for the broker's confirm, and only then acks the
    /// delivery. If that fails, the delivery is kept, and the failure returned.
    pub(super) fn carry(
        consumer: Arc<CallbackConsumer>,
        connection: Arc<ConnectionInner>,
        mut attempt: Attempt,
        unsettled: Unsettled,
        failed: Failed,
        to: To,
    ) -> BoxFuture<'static, Option<Box<Failure>>> {
        Box::pin(async move {
            let mover = &consumer.mover;
            match mover.publish(&connection, &attempt, failed, &to).await {
                Ok(fate) => {
                    settle(unsettled, Settlement::Ack);
                    if let Some(fate) = fate {
                        connection.with(|session| session.tell(gave_up(&attempt, fate)));
                    }
                    None
                }
                Err(err) => {
                    attempt.unsettled = Some(unsettled);
                    let wait = match to {
                        To::Later(delay) => delay.min(LONGEST_WAIT),
                        To::Parking(_) => LONGEST_WAIT,
                    };
                    Some(attempt.failed(Cause::Move(wait), err.to_string()))
                }
            }
        })
    }

    async fn publish(
        &self,
        connection: &Arc<ConnectionInner>,
        attempt: &Attempt,
        failed: Failed,
        to: &To,
    ) -> Result<Option<Fate>> {
        let parked = match (to, failed) {
            (To::Later(_), _) => None,
            (_, Failed::Decoding) => Some("undecodable"),
            (_, Failed::Park) => Some("outcome"),
            (_, Failed::ForGood) => Some("error"),
            (_, Failed::Callback | Failed::RetryAfter(_)) => Some("attempts"),
        };
        let mark = Mark {
            attempts: attempt.trail.attempts,
            error: attempt.trail.error.as_deref().unwrap_or_default(),
            parked,
        };
        let message = Message {
            properties: mark.put(&attempt.deliver.message, &attempt.queue),
            ..(*attempt.deliver.message).clone()
        };
        let (destination, fate) = self.destination(&attempt.queue, to)?;
        let open = || ChannelRef::open(connection);
        let channel = self.channel.get_or_try_init(open).await?;
        let terms = PublishTerms {
            limit: connection.timeout(),
            resend: false,
        };
        destination.publish(channel, message, terms).await?;
        Ok(fate)
    }

    fn destination(&self, queue: &QueueName, to: &To) -> Result<(Destination, Option<Fate>)> {
        Ok(match to {
            To::Later(delay) => {
                let ladder = Ladder::new(queue, self.quorum)?;
                let place = ladder.place(*delay);
                let destination = match place {
                    Some(place) => Destination::Later(ladder, place),
                    None => Destination::Back(ladder),
                };
                (destination, None)
            }
            To::Parking(name) => {
                let name = name.clone().map_or_else(|| parked_name(queue), Ok)?;
                let queue = parking_queue(name.clone(), self.quorum);
                (Destination::Parking(queue), Some(Fate::Parked(name)))
            }
        })
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
