//! Delayed publishes, and the removal of delay queues.

use std::future::IntoFuture;
use std::time::Duration;

use futures_util::future::BoxFuture;
use mooq_core::{ExchangeName, IntoChecked, QueueName, Result};
use mooq_retry::{DelayQueue, Destination, Retry, check_delayed, delete_for, delete_of_exchange};

use super::channel::Channel;
use super::publish::Publish;
use super::published::{Prepared, Published};
use crate::runtime::moving::Moves;

/// A message to publish after a delay: made by [`Publish::delay`].
#[derive(Debug)]
#[must_use = "nothing is published until it is awaited"]
pub struct DelayedPublish<'a> {
    publish: Publish<'a>,
    delay: Duration,
}

impl<'a> Publish<'a> {
    /// Has the exchange get the message after `delay`. Until then it waits in the broker, in a
    /// queue, and no process needs to remember it.
    ///
    /// The delay is rounded up to the next of 36 steps, from 50 ms to 49 days and 17 hours, which is
    /// the most: 1 s, 2 s, 3 s, 5 s, 10 s, 15 s, 20 s, 30 s, 45 s and so on. For each that
    /// is used there is an exchange and a queue, `<exchange>.delay.30s` or, for the default
    /// exchange, `mooq.delay.30s`. The first delayed publish declares them;
    /// [`Channel::delete_delay_queues`] deletes them.
    ///
    /// The confirm says that the message waits. What happens after the delay is as with any dead
    /// letter: it is dropped if the exchange is gone or has no route for it then.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// # let chan = conn.create_channel().await?;
    /// chan.declare_queue("reminders").await?;
    /// let hour = Duration::from_secs(3_600);
    /// chan.publish("", "pay the invoice").routing_key("reminders").delay(hour).await?;
    ///
    /// assert!(chan.get::<String>("reminders").await?.is_none());
    /// let reminder = chan.get::<String>("reminders").timeout(2 * hour).await?;
    /// assert_eq!(reminder.ack().await?, "pay the invoice");
    /// # Ok(())
    /// # }
    /// ```
    pub fn delay(self, delay: Duration) -> DelayedPublish<'a> {
        DelayedPublish {
            publish: self,
            delay,
        }
    }
}

impl IntoFuture for DelayedPublish<'_> {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    /// # Errors
    /// As [`Publish`]; `ExchangeNotFound` if the exchange does not exist when its delay queue is
    /// declared; `InvalidArgument` for a delay over the longest, and for a message that is
    /// mandatory, or has an expiration or a header `BCC`; `InvalidName` if the name of the exchange
    /// leaves no room for `.delay.30s`; `AccessRefused` without permission to declare the delay
    /// queue; `PreconditionFailed` if its name is taken.
    ///
    /// # Cancel safety
    /// Nothing happens before the first poll. If the future is dropped midway, the message may or
    /// may not be published, and the delay queue declared.
    fn into_future(self) -> Self::IntoFuture {
        let (prepared, delay) = (self.publish.prepare(), self.delay);
        Box::pin(async move {
            let prepared = prepared?;
            let exchange = &prepared.outgoing.message.exchange;
            let Some(place) = DelayQueue::of_exchange(exchange, delay)? else {
                return Published::new(Ok(prepared)).await;
            };
            let Prepared { outgoing, through } = prepared;
            check_delayed(&outgoing.message, outgoing.mandatory)?;
            let moves = Moves {
                channel: &outgoing.channel,
                terms: outgoing.terms,
                through,
            };
            let destination = Destination::Exchange(place);
            destination.publish(&moves, outgoing.message).await
        })
    }
}

impl Channel {
    /// Deletes the delay queues of a queue's consumers with this policy, and those of every
    /// [`Outcome::RetryAfter`](crate::Outcome::RetryAfter), except for those in which messages
    /// wait. Returns the number of these messages: if it is 0, nothing is left, and if not, try
    /// again once they have been retried.
    ///
    /// Quorum queues are deleted if the policy has [`quorum`](Retry::quorum). Stop the consumers
    /// first: those that go on declare what they need again.
    ///
    /// # Errors
    /// `InvalidArgument` for an invalid policy, `InvalidName`; `AccessRefused` without permission to
    /// configure these queues; the channel's close if it is closed.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, some of the queues are deleted, and no message is lost.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use mooq::{Delivery, Retry};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// # let chan = conn.create_channel().await?;
    /// let policy = Retry::every(Duration::from_secs(30)).attempts(5);
    /// let consumer = chan
    ///     .register_consumer("orders", "direct")
    ///     .queue("orders")
    ///     .retry(policy.clone())
    ///     .callback(|_order: Delivery<String>| async {})
    ///     .await?;
    ///
    /// consumer.cancel().await?;
    /// assert_eq!(chan.delete_retry_queues("orders", &policy).await?, 0);
    /// # assert!(broker.queues("orders.retry*").is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_retry_queues(
        &self,
        queue: impl IntoChecked<QueueName>,
        policy: &Retry,
    ) -> Result<u64> {
        delete_for(&Moves::on(self.shared()), &queue.into_checked()?, policy).await
    }

    /// Deletes the delay queues of an exchange, [`Publish::delay`], except for those in which
    /// messages wait. Returns the number of these messages.
    ///
    /// # Errors
    /// `InvalidName`; `AccessRefused` without permission to configure these queues; the channel's
    /// close if it is closed.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, some of the queues are deleted, and no message is lost.
    pub async fn delete_delay_queues(
        &self,
        exchange: impl IntoChecked<ExchangeName>,
    ) -> Result<u64> {
        delete_of_exchange(&Moves::on(self.shared()), &exchange.into_checked()?).await
    }
}
