//! Publishing to the queues in which messages wait, which are declared if they are missing.

use std::collections::BTreeSet;
use std::future::Future;

use mooq_core::{
    Binding, Error, ErrorKind, ExchangeDeclare, ExchangeKind, ExchangeName, FieldTable, Message,
    QueueDeclare, QueueName, Result,
};

use crate::ladder::{DelayQueue, Ladder, parking_queue};
use crate::retry::Retry;

/// The channel of a broker's, as far as moving messages takes it.
pub trait Channel: Sync {
    /// Returns true if the channel's connection has declared the exchange.
    fn has_declared(&self, exchange: &ExchangeName) -> bool;

    /// Makes a call, and returns the number of messages that are ready in the queue that it
    /// declares, or else 0.
    fn call(&self, call: Call) -> impl Future<Output = Result<u32>> + Send;

    /// Publishes a mandatory message, and waits for the confirm.
    fn publish(&self, message: Message) -> impl Future<Output = Result<()>> + Send;
}

/// A call of a channel's.
#[derive(Debug)]
pub enum Call {
    /// Declares an exchange.
    DeclareExchange(ExchangeDeclare),
    /// Declares a queue.
    DeclareQueue(QueueDeclare),
    /// Adds a binding.
    Bind(Binding),
    /// Deletes an exchange.
    DeleteExchange(ExchangeName),
    /// Deletes a queue.
    DeleteQueue(QueueName),
}

/// A destination of messages that is declared if it is missing.
#[derive(Debug)]
pub enum Destination {
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
    ///
    /// # Errors
    /// Those of the calls.
    pub async fn publish(&self, channel: &impl Channel, mut message: Message) -> Result<()> {
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
            _ => !channel.has_declared(&message.exchange),
        };
        if is_missing {
            self.declare(channel).await?;
        }
        match channel.publish(message.clone()).await {
            // Another client has deleted it.
            Err(err)
                if matches!(
                    err.kind(),
                    ErrorKind::Returned | ErrorKind::ExchangeNotFound
                ) =>
            {
                self.declare(channel).await?;
                channel.publish(message).await
            }
            outcome => outcome,
        }
    }

    /// Declares what messages on their way to the destination pass.
    async fn declare(&self, channel: &impl Channel) -> Result<()> {
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
                    channel.call(Call::DeclareExchange(declare)).await?;
                }
                declare_place(channel, place).await
            }
            Self::Parking(queue) => {
                let declare = Call::DeclareQueue(queue.clone());
                channel.call(declare).await.map(drop)
            }
        }
    }
}

async fn declare_back(channel: &impl Channel, ladder: &Ladder) -> Result<()> {
    let (exchange, binding) = ladder.declare_back();
    channel.call(Call::DeclareExchange(exchange)).await?;
    channel.call(Call::Bind(binding)).await.map(drop)
}

/// Declares the exchange after its queue: where it exists, so does the queue.
async fn declare_place(channel: &impl Channel, place: &DelayQueue) -> Result<()> {
    let queue = Call::DeclareQueue(place.declare_queue());
    channel.call(queue).await?;
    let exchange = Call::DeclareExchange(place.declare_exchange());
    channel.call(exchange).await?;
    channel.call(Call::Bind(place.binding())).await.map(drop)
}

/// Declares the delay queues of a consumer's policies, and the queues in which they park messages.
/// The channel is closed if one of the latter exists with other options, which is no error.
///
/// # Errors
/// Those of the calls; `InvalidName` if the queue's name is too long.
pub async fn declare_for(
    channel: &impl Channel,
    queue: &QueueName,
    policies: [&Retry; 2],
    quorum: bool,
) -> Result<()> {
    let delaying = policies
        .into_iter()
        .filter(|policy| policy.uses_delay_queues());
    let delaying: Vec<_> = delaying.collect();
    if !delaying.is_empty() {
        let ladder = Ladder::new(queue, quorum)?;
        declare_back(channel, &ladder).await?;
        for place in delaying
            .into_iter()
            .flat_map(|policy| ladder.planned(policy))
        {
            declare_place(channel, &place).await?;
        }
    }
    let parking = policies.into_iter().filter_map(Retry::parking);
    let parking: BTreeSet<_> = parking.collect();
    for name in parking {
        let declare = Call::DeclareQueue(parking_queue(name.clone(), quorum));
        match channel.call(declare).await {
            Err(err) if err.kind() == ErrorKind::PreconditionFailed => {}
            declared => declared.map(drop)?,
        }
    }
    Ok(())
}

/// Checks that the broker holds what a policy has it hold. If it does not, the channel stays open,
/// and otherwise it is closed: a classic queue with an argument that the broker knows of quorum
/// queues only is refused.
///
/// # Errors
/// Those of the calls; `NotImplemented` if the broker does not know delayed retry: it would ignore
/// the arguments of the queue, and retry at once.
pub async fn check_broker(channel: &impl Channel, queue: &QueueName, policy: &Retry) -> Result<()> {
    if policy.queue_arguments().is_empty() {
        return Ok(());
    }
    let name: QueueName = format!("{queue}.retry.probe").try_into()?;
    let probe = QueueDeclare {
        durable: false,
        exclusive: true,
        arguments: FieldTable::new()
            .with("x-queue-type", "classic")?
            .with("x-delayed-retry-type", "failed")?,
        ..QueueDeclare::new(name.clone())
    };
    match channel.call(Call::DeclareQueue(probe)).await {
        Err(err) if err.kind() == ErrorKind::PreconditionFailed => return Ok(()),
        // Another instance is asking.
        Err(err) if err.kind() == ErrorKind::ResourceLocked => {}
        Err(err) => return Err(err),
        Ok(_) => channel.call(Call::DeleteQueue(name)).await.map(drop)?,
    }
    Err(Error::new(
        ErrorKind::NotImplemented,
        "the broker does not know delayed retry, which RabbitMQ has from 4.3 on: use a policy with \
         delay queues, such as Retry::exponential, instead of Retry::by_broker",
    ))
}

/// Deletes the delay queues of `queue` and `policy` in which no message waits, and returns the
/// number of messages that wait in the others.
///
/// # Errors
/// Those of the calls and of the policy; `InvalidName` if the queue's name is too long.
pub async fn delete_for(channel: &impl Channel, queue: &QueueName, policy: &Retry) -> Result<u64> {
    policy.check()?;
    let ladder = Ladder::new(queue, false)?;
    let mut places = ladder.all(policy);
    if policy.is_quorum() {
        places.extend(Ladder::new(queue, true)?.all(policy));
    }
    let waiting = delete(channel, &places).await?;
    if waiting == 0 {
        let delete = Call::DeleteExchange(ladder.back().clone());
        channel.call(delete).await?;
    }
    Ok(waiting)
}

/// Deletes the delay queues of `exchange` in which no message waits, and returns the number of
/// messages that wait in the others.
///
/// # Errors
/// Those of the calls; `InvalidName` if the exchange's name is too long.
pub async fn delete_of_exchange(channel: &impl Channel, exchange: &ExchangeName) -> Result<u64> {
    delete(channel, &DelayQueue::all_of_exchange(exchange)?).await
}

async fn delete(channel: &impl Channel, places: &[DelayQueue]) -> Result<u64> {
    let mut waiting = 0;
    for place in places {
        // To ask for a queue that does not exist is an error that closes the channel.
        let ready = || channel.call(Call::DeclareQueue(place.declare_queue()));
        let mut left = ready().await?;
        if left == 0 {
            // Without its exchange the queue gets no more messages.
            let delete = Call::DeleteExchange(place.exchange().clone());
            channel.call(delete).await?;
            left = ready().await?;
        }
        if left == 0 {
            let delete = Call::DeleteQueue(place.queue().clone());
            channel.call(delete).await?;
        } else {
            declare_place(channel, place).await?;
            waiting += u64::from(left);
        }
    }
    Ok(waiting)
}

/// Checks a message that is to be published after a delay.
///
/// # Errors
/// `InvalidArgument` if it has something that a delay would lose.
pub fn check_delayed(message: &Message, mandatory: bool) -> Result<()> {
    let properties = &message.properties;
    let what = if mandatory {
        "be mandatory: it is routed when its publisher has its confirm"
    } else if properties.expiration.is_some() {
        "have an expiration: it would end the delay, and be gone afterwards"
    } else if properties.headers.get("BCC").is_some() {
        "have a header BCC: the broker removes it before the delay"
    } else {
        return Ok(());
    };
    let text = format!("a delayed message cannot {what}");
    Err(Error::new(ErrorKind::InvalidArgument, text))
}
