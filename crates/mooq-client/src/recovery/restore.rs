//! Putting what was on the old connection on a new one: first what was declared, then each channel
//! with its consumers, and the publishes that wait.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use mooq_core::{Error, ErrorKind, ErrorScope, OpenedChannel, Result, TransportConnection};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::declaring::{self, Exclusive};
use super::late::{UNANSWERED, Underway, told_if_late};
use super::target::Target;
use crate::channel::{ChannelShared, Claim, Generation, Restorable, Source};
use crate::connection::Event;
use crate::deadline::within;

/// How often a new channel is tried that the broker closes at once, with nothing to blame.
const TRIES: usize = 3;

/// How long lost channels may take, all of them, to hand on what came before the loss.
const HANDING_ON: Duration = Duration::from_secs(1);

/// Puts everything on `target`, but for what the broker takes its time over, which is left to the
/// caller.
///
/// # Errors
/// Why the link is of no use. What only concerns one thing is told, and left out.
pub(super) async fn everything(target: &Target) -> Result<Underway> {
    let handed_on = Instant::now() + HANDING_ON;
    let mut late = declaring::everything(target, Exclusive::Gone).await?;
    // Beside each other, so that none waits for what the broker does not answer to another.
    let channels = target.core.channels_in_order().into_iter();
    let mut opening: FuturesUnordered<_> = channels
        .map(|channel| open_again(channel, target.clone(), handed_on))
        .collect();
    let mut registering = Underway::new();
    while !(opening.is_empty() && registering.is_empty()) {
        tokio::select! {
            biased;
            Some(opened) = opening.next() => {
                if let Some(opened) = opened? {
                    registering.push(opened.register().boxed());
                }
            }
            Some(registered) = registering.next() => registered?,
            Some(declared) = late.next() => declared?,
            () = sleep(UNANSWERED), if opening.is_empty() => break,
        }
    }
    late.extend(registering);
    Ok(late)
}

/// Opens a channel of the lost connection again. None if there is nothing to do.
async fn open_again(
    channel: Arc<ChannelShared>,
    target: Target,
    handed_on: Instant,
) -> Result<Option<Opened>> {
    // Its driver may still be handing on what came before the loss, confirms among it.
    if timeout_at(handed_on, channel.left()).await.is_err() {
        channel.lose(&unheard());
    }
    let Some(claim) = channel.claim() else {
        return Ok(None);
    };
    Opened::new(claim, target).await.map(Some)
}

/// Puts a channel that was lost alone, for `reason`, on `target` again. A consumer that cannot be
/// registered again ends. One channel after the other declares what has gone with it, as
/// `declaring` sees to.
///
/// # Errors
/// Why the link is of no use.
pub(super) async fn channel(
    claim: Claim,
    reason: Error,
    target: Target,
    declaring: Arc<Mutex<()>>,
) -> Result<()> {
    let mut late = Underway::new();
    // Queues may have gone with the channel's consumers.
    if claim.channel().consumes_auto_delete() {
        let _declaring = declaring.lock().await;
        late = declaring::everything(&target, Exclusive::MayBeThere).await?;
    }
    let core = Arc::clone(&target.core);
    let opened = Opened::new(claim, target).await?;
    late.push(
        async move {
            opened.register().await?;
            core.tell(Event::ChannelReopened(reason));
            Ok(())
        }
        .boxed(),
    );
    late.try_collect().await
}

/// Opens the first generation of a channel that has no consumers yet.
///
/// # Errors
/// As the transport's.
pub(crate) async fn open_generation(
    channel: &Arc<ChannelShared>,
    link: &dyn TransportConnection,
) -> Result<()> {
    let generation = open(channel, link).await?;
    channel.admit(generation)
}

/// A channel with a new generation, which the broker has yet to be told the consumers of.
struct Opened {
    claim: Claim,
    target: Target,
    generation: Arc<Generation>,
    /// How many more generations are tried.
    tries: usize,
}

impl Opened {
    async fn new(claim: Claim, target: Target) -> Result<Self> {
        let mut tries = TRIES + claim.channel().restorable().len();
        let generation = open_with(&mut tries, claim.channel(), &*target.link).await?;
        Ok(Self {
            claim,
            target,
            generation,
            tries,
        })
    }

    /// Registers the consumers, and lets the users have the channel.
    ///
    /// However long the broker takes: a minute over a queue whose node is down. Nobody waits for
    /// it but this channel's users, whose calls have deadlines of their own.
    ///
    /// # Errors
    /// Why the link is of no use.
    async fn register(mut self) -> Result<()> {
        loop {
            let channel = self.claim.channel();
            let registered = tokio::select! {
                biased;
                // Nobody wants it any more, which is seen to there.
                () = channel.wait_gone() => return channel.admit(self.generation),
                registered = consumers(channel, &self.generation, &self.target) => registered,
            };
            let admitted = registered.and_then(|()| channel.admit(Arc::clone(&self.generation)));
            let Err(err) = admitted else {
                return Ok(());
            };
            one_less(&mut self.tries, err, &*self.target.link)?;
            self.generation = open_with(&mut self.tries, channel, &*self.target.link).await?;
        }
    }
}

/// Opens a generation of a channel, with so many tries.
async fn open_with(
    tries: &mut usize,
    channel: &Arc<ChannelShared>,
    link: &dyn TransportConnection,
) -> Result<Arc<Generation>> {
    loop {
        match open(channel, link).await {
            Ok(generation) => return Ok(generation),
            Err(err) => one_less(tries, err, link)?,
        }
    }
}

/// Counts a try that failed with `err`.
///
/// # Errors
/// Why there is no other one.
fn one_less(tries: &mut usize, err: Error, link: &dyn TransportConnection) -> Result<()> {
    *tries -= 1;
    if err.scope() != ErrorScope::Channel || link.closed().is_some() || *tries == 0 {
        return Err(err);
    }
    Ok(())
}

/// Opens a generation of a channel that nothing is on yet.
async fn open(
    channel: &Arc<ChannelShared>,
    link: &dyn TransportConnection,
) -> Result<Arc<Generation>> {
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
    Ok(generation)
}

/// Registers the consumers of a channel on a new generation of it.
async fn consumers(
    channel: &Arc<ChannelShared>,
    generation: &Arc<Generation>,
    target: &Target,
) -> Result<()> {
    let core = &target.core;
    for Restorable { inbox, record } in channel.restorable() {
        let mut consume = record.consume;
        core.use_current_name(&mut consume.queue);
        let (tag, exclusive) = (consume.tag.clone(), consume.exclusive);
        let what = format!("consumer '{tag}' of queue '{}'", consume.queue);
        inbox.renew(Source {
            generation: Arc::clone(generation),
            queue: consume.queue.clone(),
        });
        let registering = async {
            target.unanswered.wait_for(&consume.queue).await;
            generation.transport().qos(record.prefetch, false).await?;
            generation.transport().consume(consume).await
        };
        if let Err(err) = told_if_late(core, &what, registering).await {
            let in_use = err.kind() == ErrorKind::AccessRefused && exclusive;
            if err.scope() == ErrorScope::Channel && !target.patience.with(&err, in_use) {
                channel.not_restored(&tag, err.clone());
            }
            return Err(err);
        }
    }
    Ok(())
}

/// The reason of a channel whose transport did not tell of its end.
fn unheard() -> Error {
    let message = "the connection is lost, and did not tell this channel of it";
    Error::connection(ErrorKind::ConnectionLost, message)
}

#[cfg(test)]
mod tests;
