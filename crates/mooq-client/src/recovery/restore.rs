//! Putting what was on the old connection on a new one, in order: exchanges, queues, bindings;
//! then each channel with its consumers, and the publishes that wait.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use mooq_core::{
    BindingDestination, Error, ErrorKind, ErrorScope, OpenedChannel, QueueDeclare, QueueName,
    Result, TransportChannel, TransportConnection,
};

use tokio::time::{Instant, timeout_at};

use super::supervisor::Patience;
use crate::channel::{ChannelShared, Generation, Restorable, Source};
use crate::connection::{Core, Event};
use crate::deadline::within;

/// How often a new channel is tried that the broker closes at once, with nothing to blame.
const TRIES: usize = 3;

/// How long lost channels may take, all of them, to hand on what came before the loss.
const HANDING_ON: Duration = Duration::from_secs(1);

/// Puts everything on `link`.
///
/// # Errors
/// Why `link` is of no use. What only concerns one thing is told, and left out.
pub(super) async fn everything(
    core: &Core,
    link: &dyn TransportConnection,
    patience: Patience,
) -> Result<()> {
    let handed_on = Instant::now() + HANDING_ON;
    topology(core, link, patience, Exclusive::Gone).await?;
    for lost in core.channels_in_order() {
        // Its driver may still be handing on what came before the loss, confirms among it.
        if timeout_at(handed_on, lost.left()).await.is_err() {
            lost.lose(&unheard());
        }
        if lost.away().is_some() {
            reopen(&lost, link, patience).await?;
        }
    }
    Ok(())
}

/// Puts a channel that was lost alone on `link` again. A consumer that cannot be registered again ends.
///
/// # Errors
/// Why `link` is of no use.
pub(super) async fn channel(
    channel: &Arc<ChannelShared>,
    link: &dyn TransportConnection,
    patience: Patience,
) -> Result<()> {
    // Queues may have gone with the channel's consumers.
    if channel.consumes_auto_delete() {
        topology(channel.core(), link, patience, Exclusive::MayBeThere).await?;
    }
    reopen(channel, link, patience).await
}

async fn reopen(
    channel: &Arc<ChannelShared>,
    link: &dyn TransportConnection,
    patience: Patience,
) -> Result<()> {
    let mut tries = TRIES + channel.restorable().len();
    loop {
        let err = match open(channel, link, patience).await {
            Ok(()) => return Ok(()),
            Err(err) => err,
        };
        tries -= 1;
        if err.scope() != ErrorScope::Channel || link.closed().is_some() || tries == 0 {
            return Err(err);
        }
    }
}

/// Opens the first generation of a channel that has no consumers yet.
///
/// # Errors
/// As the transport's.
pub(crate) async fn open_generation(
    channel: &Arc<ChannelShared>,
    link: &dyn TransportConnection,
) -> Result<()> {
    open(channel, link, Patience::Over).await
}

async fn open(
    channel: &Arc<ChannelShared>,
    link: &dyn TransportConnection,
    patience: Patience,
) -> Result<()> {
    let core = channel.core();
    let limit = core.deadline();
    let opening = link.open_channel();
    let opened = within(limit, "opening a channel", opening).await?;
    let OpenedChannel {
        channel: transport,
        events,
    } = opened;
    let generation = Arc::new(Generation::new(transport, core.recovers()));
    channel.attach(&generation, events);
    let selecting = generation.transport().confirm_select();
    within(limit, "confirm.select", selecting).await?;
    for Restorable { inbox, record } in channel.restorable() {
        let mut consume = record.consume;
        core.use_current_name(&mut consume.queue);
        let (tag, exclusive) = (consume.tag.clone(), consume.exclusive);
        inbox.renew(Source {
            generation: Arc::clone(&generation),
            queue: consume.queue.clone(),
        });
        let registering = async {
            generation.transport().qos(record.prefetch, false).await?;
            generation.transport().consume(consume).await
        };
        if let Err(err) = within(limit, "registering a consumer again", registering).await {
            let in_use = err.kind() == ErrorKind::AccessRefused && exclusive;
            if err.scope() == ErrorScope::Channel && !patience.with(&err, in_use) {
                channel.not_restored(&tag, err.clone());
            }
            // As over declaring a queue whose node is down.
            if err.kind() == ErrorKind::DeadlineExceeded && answers(link, limit).await {
                channel.not_restored(&tag, err.clone());
                return Err(Error::channel(err.kind(), err.to_string()).with_source(err));
            }
            return Err(err);
        }
    }
    channel.admit(generation)
}

/// Whether the broker still answers, whatever it leaves without an answer.
async fn answers(link: &dyn TransportConnection, limit: Duration) -> bool {
    let opening = within(limit, "opening a channel", link.open_channel());
    opening.await.is_ok()
}

/// Whether exclusive queues went with their connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exclusive {
    Gone,
    MayBeThere,
}

async fn topology(
    core: &Core,
    link: &dyn TransportConnection,
    patience: Patience,
    exclusive: Exclusive,
) -> Result<()> {
    let (exchanges, queues, bindings) = {
        let topology = core.topology();
        (topology.exchanges(), topology.queues(), topology.bindings())
    };
    let mut scratch = Scratch::new(core, link);
    for declare in exchanges {
        let what = format!("exchange '{}'", declare.name);
        let result = scratch.on_channel(|c| c.declare_exchange(declare));
        tell(core, what, result.await?);
    }
    for (name, declare) in queues {
        let what = format!("queue '{name}'");
        match queue(&mut scratch, &name, declare, exclusive).await? {
            Ok(now) if now != name => {
                core.queue_renamed(name, now);
            }
            Err(err) if patience.with(&err, false) => return Err(err),
            declared => tell(core, what, declared.map(drop)),
        }
    }
    for mut binding in bindings {
        // Queues may have got new names just now.
        if let BindingDestination::Queue(queue) = &mut binding.destination {
            core.use_current_name(queue);
        }
        let what = format!("binding to exchange '{}'", binding.source);
        let result = scratch.on_channel(|c| c.bind(binding));
        tell(core, what, result.await?);
    }
    scratch.close().await;
    Ok(())
}

/// Declares a queue again, and gives the name that it has now.
async fn queue(
    scratch: &mut Scratch<'_>,
    name: &QueueName,
    declare: QueueDeclare,
    exclusive: Exclusive,
) -> Result<Result<QueueName>> {
    // One that the broker named may still be there, but nobody may declare it by that name.
    let gone = declare.exclusive && exclusive == Exclusive::Gone;
    if declare.name.is_empty() && !gone {
        let ask = QueueDeclare {
            passive: true,
            ..QueueDeclare::new(name.clone())
        };
        let there = scratch.on_channel(|c| c.declare_queue(ask));
        if there.await?.is_ok() {
            return Ok(Ok(name.clone()));
        }
    }
    let declared = scratch.on_channel(|c| c.declare_queue(declare));
    Ok(declared.await?.map(|declared| declared.name))
}

fn tell(core: &Core, what: String, result: Result<()>) {
    if let Err(error) = result {
        core.tell(Event::NotRestored { what, error });
    }
}

/// A channel for declaring: the broker closes it with each thing that it does not accept.
struct Scratch<'a> {
    core: &'a Core,
    link: &'a dyn TransportConnection,
    channel: Option<OpenedChannel>,
}

impl<'a> Scratch<'a> {
    fn new(core: &'a Core, link: &'a dyn TransportConnection) -> Self {
        Self {
            core,
            link,
            channel: None,
        }
    }

    /// Makes a call. The inner error concerns this call alone.
    ///
    /// # Errors
    /// Why the connection is of no use.
    async fn on_channel<T>(
        &mut self,
        call: impl for<'c> FnOnce(&'c dyn TransportChannel) -> BoxFuture<'c, Result<T>>,
    ) -> Result<Result<T>> {
        let limit = self.core.deadline();
        let open = match self.channel.take() {
            Some(open) => open,
            None => within(limit, "opening a channel", self.link.open_channel()).await?,
        };
        match within(limit, "declaring again", call(&*open.channel)).await {
            Ok(done) => {
                self.channel = Some(open);
                Ok(Ok(done))
            }
            Err(err) if err.scope() == ErrorScope::Channel => Ok(Err(err)),
            // RabbitMQ takes a minute over a queue whose node is down, and nothing else is to wait
            // for that: the channel is given up. If all hangs, no other one opens.
            Err(err) if err.kind() == ErrorKind::DeadlineExceeded => Ok(Err(err)),
            Err(err) => Err(err),
        }
    }

    async fn close(self) {
        if let Some(open) = self.channel {
            let closing = open.channel.close();
            if let Err(err) = within(self.core.deadline(), "closing a channel", closing).await {
                tracing::debug!(%err, "the channel for declaring again did not close");
            }
        }
    }
}

/// The reason of a channel whose transport did not tell of its end.
fn unheard() -> Error {
    let message = "the connection is lost, and did not tell this channel of it";
    Error::connection(ErrorKind::ConnectionLost, message)
}

#[cfg(test)]
mod tests;
