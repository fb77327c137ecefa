//! A message that was delivered, and its settlement.

use std::sync::Arc;

use mooq_core::in_flight::InFlight;
use mooq_core::{
    Error, ErrorKind, ExchangeName, FieldValue, Properties, QueueName, Result, RoutingKey, Settle,
    Settlement,
};

use crate::channel::Source;

/// A message with its body as a `T`.
///
/// In a callback its settlement follows from what the callback returns. From a stream or from
/// `get` it is settled by [`ack`](Self::ack), [`requeue`](Self::requeue) or
/// [`reject`](Self::reject); one that is dropped before goes back to its queue.
///
/// A test of a callback needs no broker: [`Delivery::new`] makes one.
///
/// ```
/// use mooq::Delivery;
///
/// async fn yell_it(resp: Delivery<String>) -> String {
///     resp.msg.to_uppercase()
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert_eq!(yell_it(Delivery::new("hello".to_string())).await, "HELLO");
/// # });
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Delivery<T> {
    /// The body.
    pub msg: T,
    /// The routing key that it was published with.
    pub routing_key: RoutingKey,
    /// The exchange that it was published to.
    pub exchange: ExchangeName,
    /// The queue that it came from.
    pub queue: QueueName,
    /// It was delivered before, to this or another consumer, and came back.
    pub redelivered: bool,
    /// Its number on the channel.
    pub delivery_tag: u64,
    /// Its properties, headers among them.
    pub properties: Arc<Properties>,
    /// Who settles it.
    pub(crate) settled_by: SettledBy,
}

/// Who settles a delivery.
#[derive(Debug)]
pub(crate) enum SettledBy {
    /// Whoever holds it.
    Holder(Unsettled),
    /// The callback's outcome.
    Outcome,
    /// The broker, as it sent it. A broker that counts what is under way counts it while it is
    /// kept.
    Broker(#[expect(dead_code, reason = "it counts until it is dropped")] InFlight),
    /// Nobody: a test made it.
    Nobody,
}

impl<T> Delivery<T> {
    /// A delivery that no broker sent, for tests of callbacks. Settling it does nothing; its
    /// fields can be set.
    #[must_use]
    pub fn new(msg: T) -> Self {
        Self {
            msg,
            routing_key: RoutingKey::default(),
            exchange: ExchangeName::default(),
            queue: QueueName::default(),
            redelivered: false,
            delivery_tag: 0,
            properties: Arc::default(),
            settled_by: SettledBy::Nobody,
        }
    }

    /// How often the message was dead-lettered from `queue`, for whatever reason, by the broker's
    /// count in the header [`x-death`](https://www.rabbitmq.com/docs/dlx#effects): with a queue that
    /// it comes back from after a while, how often it was tried before.
    ///
    /// # Examples
    /// ```
    /// use mooq::{Delivery, Outcome};
    ///
    /// async fn handle(order: Delivery<String>) -> Outcome {
    ///     let tries = order.death_count("orders") + 1;
    ///     // …
    ///     if tries < 3 { Outcome::Reject } else { Outcome::Ack }
    /// }
    /// # let _ = handle;
    /// ```
    #[must_use]
    pub fn death_count(&self, queue: &str) -> u64 {
        let Some(FieldValue::Array(deaths)) = self.properties.headers.get("x-death") else {
            return 0;
        };
        let counts = deaths.iter().filter_map(|death| match death {
            FieldValue::Table(death) if death.get("queue")?.as_str() == Some(queue) => {
                death.get("count")?.as_i64()
            }
            _ => None,
        });
        // Anybody may publish a message with such a header.
        let counts = counts.filter_map(|count| u64::try_from(count).ok());
        counts.fold(0, u64::saturating_add)
    }

    /// `basic.ack`: it is done. Gives the message.
    ///
    /// # Errors
    /// `NotAllowed` if it is settled otherwise: by the callback's outcome, or since the consumer
    /// acknowledges automatically. `StaleDelivery` if its channel was lost since it came, and the
    /// channel's close, if it is closed for good: the broker delivers it again.
    ///
    /// # Cancel safety
    /// Takes effect at its first poll.
    pub async fn ack(self) -> Result<T> {
        self.settle(Settlement::Ack)
    }

    /// `basic.nack`: back to its place in the queue.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    ///
    /// # Cancel safety
    /// Takes effect at its first poll.
    pub async fn requeue(self) -> Result<T> {
        self.settle(Settlement::Nack { requeue: true })
    }

    /// `basic.nack` without requeue: to the dead-letter exchange, if the queue has one, else
    /// dropped.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    ///
    /// # Cancel safety
    /// Takes effect at its first poll.
    pub async fn reject(self) -> Result<T> {
        self.settle(Settlement::Nack { requeue: false })
    }

    fn settle(self, settlement: Settlement) -> Result<T> {
        match self.settled_by {
            SettledBy::Holder(unsettled) => unsettled.settle(settlement)?,
            SettledBy::Nobody => {}
            SettledBy::Outcome => {
                return Err(not_allowed(
                    "the callback's outcome settles this delivery; register the consumer with \
                     manual_ack() to settle it by hand",
                ));
            }
            SettledBy::Broker(_) => {
                return Err(not_allowed(
                    "the consumer acknowledges automatically: this delivery is settled",
                ));
            }
        }
        Ok(self.msg)
    }
}

fn not_allowed(message: &str) -> Error {
    Error::new(ErrorKind::NotAllowed, message)
}

/// A delivery that is not settled yet. Dropped unsettled, it goes back to its queue.
#[derive(Debug)]
pub(crate) struct Unsettled {
    /// None once settled.
    source: Option<Arc<Source>>,
    delivery_tag: u64,
}

impl Unsettled {
    pub(crate) fn new(source: Arc<Source>, delivery_tag: u64) -> Self {
        Self {
            source: Some(source),
            delivery_tag,
        }
    }

    pub(crate) fn settle(mut self, settlement: Settlement) -> Result<()> {
        let Some(source) = self.source.take() else {
            return Ok(());
        };
        source.generation.settle(Settle {
            delivery_tag: self.delivery_tag,
            multiple: false,
            settlement,
        })
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            tracing::debug!(
                delivery_tag = self.delivery_tag,
                "dropped before it was settled: back to its queue"
            );
            source.generation.give_back(self.delivery_tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use mooq_core::FieldTable;

    use super::*;

    #[test]
    fn deaths_are_counted_whatever_stands_in_the_header() {
        let died = |queue: &str, count: FieldValue| {
            let table = FieldTable::new().with("queue", queue).unwrap();
            FieldValue::Table(table.with("count", count).unwrap())
        };
        let counted = |header: FieldValue| {
            let mut delivery = Delivery::new(());
            let headers = &mut Arc::make_mut(&mut delivery.properties).headers;
            headers.insert("x-death".try_into().unwrap(), header);
            delivery.death_count("q")
        };
        assert_eq!(Delivery::new(()).death_count("q"), 0);
        let often = FieldValue::I64(i64::MAX);
        for (deaths, count) in [
            (
                vec![
                    died("q", 2.into()),
                    died("other", 5.into()),
                    died("q", 1.into()),
                ],
                3,
            ),
            (
                vec![
                    died("q", (-1).into()),
                    died("q", "text".into()),
                    FieldValue::Void,
                ],
                0,
            ),
            (
                vec![
                    died("q", often.clone()),
                    died("q", often.clone()),
                    died("q", often),
                ],
                u64::MAX,
            ),
        ] {
            assert_eq!(counted(FieldValue::Array(deaths)), count);
        }
        assert_eq!(counted("no array".into()), 0);
    }
}
