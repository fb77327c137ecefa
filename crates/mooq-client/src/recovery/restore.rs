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
use crate::channel::{ChannelShared, Claim, Generation, Restorable, Restorables, Source};
use crate::connection::Event;
use crate::deadline::within;

/// How often a new channel is tried that the broker closes at once, with nothing to blame.
const TRIES: usize = 3;

/// The pauses between tries to register a consumer whose place is taken.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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
/// registered again ends. One channel after the other takes its `turn` to declare what has gone with
/// it.
///
/// # Errors
/// Why the link is of no use.
pub(super) async fn channel(
    claim: Claim,
    reason: Error,
    target: Target,
    turn: Arc<Mutex<()>>,
) -> Result<()> {
    let mut late = Underway::new();
    // Queues may have gone with the channel's consumers.
    if claim.channel().consumes_auto_delete() {
        let _turn = turn.lock().await;
        late = declaring::everything(&target, Exclusive::MayBeThere).await?;
    }
    let (core, channel) = (Arc::clone(&target.core), Arc::downgrade(claim.channel()));
    let opened = Opened::new(claim, target).await?;
    late.push(
        async move {
            opened.register().await?;
            // Its user may have closed it, or let go of it, meanwhile.
            if channel
                .upgrade()
                .is_some_and(|channel| channel.gone().is_none())
            {
                core.tell(Event::ChannelReopened(reason));
            }
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
    channel.admit(&generation, channel.restorable().forgotten)?;
    Ok(())
}

/// A channel with a new generation, which the broker has yet to be told the consumers of.
struct Opened {
    claim: Claim,
    target: Target,
    generation: Arc<Generation>,
    /// How many more generations are tried that the broker closes.
    tries: usize,
    /// How long to wait until what is taken is tried again.
    pause: Duration,
}

/// What became of registering consumers.
enum Registered {
    /// The users have the channel, or nobody wants it any more.
    Done,
    /// One of them was cancelled by its user meanwhile.
    Outdated,
    /// One of them cannot be registered yet, since the lost connection may still hold its queue.
    Taken,
}

impl Opened {
    async fn new(claim: Claim, target: Target) -> Result<Self> {
        let mut tries = TRIES + claim.channel().restorable().all.len();
        let generation = open_with(&mut tries, claim.channel(), &*target.link).await?;
        Ok(Self {
            claim,
            target,
            generation,
            tries,
            pause: SHORTEST_PAUSE,
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
            match self.register_on_generation().await {
                Ok(Registered::Done) => return Ok(()),
                Ok(Registered::Outdated) => self.claim.channel().discard(&self.generation),
                Ok(Registered::Taken) => {
                    sleep(self.pause).await;
                    self.pause = (2 * self.pause).min(LONGEST_PAUSE);
                }
                Err(err) => one_less(&mut self.tries, err, &*self.target.link)?,
            }
            let channel = self.claim.channel();
            self.generation = open_with(&mut self.tries, channel, &*self.target.link).await?;
        }
    }

    async fn register_on_generation(&self) -> Result<Registered> {
        let channel = self.claim.channel();
        let Restorables { all, forgotten } = channel.restorable();
        let registered = tokio::select! {
            biased;
            () = channel.wait_gone() => Ok(Registered::Done),
            () = channel.forgets(forgotten) => return Ok(Registered::Outdated),
            registered = self.consumers(all) => registered,
        }?;
        if let Registered::Done = registered
            && !channel.admit(&self.generation, forgotten)?
        {
            return Ok(Registered::Outdated);
        }
        Ok(registered)
    }

    /// Registers `consumers`, of which those that cannot be registered any more end.
    async fn consumers(&self, consumers: Vec<Restorable>) -> Result<Registered> {
        let (core, unanswered) = (&self.target.core, &self.target.unanswered);
        let transport = self.generation.transport();
        for Restorable { inbox, record } in consumers {
            let mut consume = record.consume;
            core.use_current_name(&mut consume.queue);
            let (tag, exclusive) = (consume.tag.clone(), consume.exclusive);
            let what = format!("consumer '{tag}' of queue '{}'", consume.queue);
            inbox.renew(Source {
                generation: Arc::clone(&self.generation),
                queue: consume.queue.clone(),
            });
            let registering = async {
                unanswered.wait_for(&consume.queue).await;
                transport.qos(record.prefetch, false).await?;
                transport.consume(consume).await
            };
            if let Err(err) = told_if_late(core, &what, registering).await {
                let refused = err.scope() == ErrorScope::Channel;
                let taken = err.kind() == ErrorKind::AccessRefused && exclusive;
                if refused && self.target.may_become_free(&err, taken) {
                    tracing::debug!(%err, what, "its place may still be the lost connection's");
                    return Ok(Registered::Taken);
                }
                if refused {
                    self.claim.channel().not_restored(&tag, err.clone());
                }
                return Err(err);
            }
        }
        Ok(Registered::Done)
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

/// The reason of a channel whose transport did not tell of its end.
fn unheard() -> Error {
    let message = "the connection is lost, and did not tell this channel of it";
    Error::connection(ErrorKind::ConnectionLost, message)
}

#[cfg(test)]
mod tests;
