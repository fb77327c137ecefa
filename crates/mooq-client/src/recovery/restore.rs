//! Restoration of the old connection's state on a new one: first the topology, then each channel
//! with its consumers and waiting publishes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use mooq_core::{
    Error, ErrorKind, ErrorScope, OpenedChannel, QueueName, Result, TransportConnection,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::declaring;
use super::late::{UNANSWERED, Underway, told_if_late};
use super::target::{Target, none_to_spare};
use crate::channel::{ChannelShared, Claim, Generation, Restorable, Restorables, Source};
use crate::connection::Event;
use crate::timeout::within;

/// Number of times a new channel is tried that the broker closes at once, for no known reason.
const TRIES: usize = 3;

/// Pauses between attempts to register a consumer whose place is taken, and to open a channel when
/// as many are open as the broker allows.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Time that all lost channels together may take to hand on the events from before the loss.
const HANDING_ON: Duration = Duration::from_secs(1);

/// Restores everything on `target`, except for requests that the broker is slow to answer, which
/// are left to the caller.
///
/// # Errors
/// The reason why the link is useless. An error that concerns one resource alone is reported, and
/// the resource left out.
pub(super) async fn everything(target: &Target) -> Result<Underway> {
    let handed_on = Instant::now() + HANDING_ON;
    let mut late = declaring::everything(target).await?;
    // Concurrently, so that no channel waits for a request of another that the broker does not
    // answer.
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

/// Reopens a channel of the lost connection. None if there is nothing to do.
async fn open_again(
    channel: Arc<ChannelShared>,
    target: Target,
    handed_on: Instant,
) -> Result<Option<Opened>> {
    // Its driver may still be handing on events from before the loss, confirms among them.
    if timeout_at(handed_on, channel.left()).await.is_err() {
        channel.lose(&unheard());
    }
    let Some(claim) = channel.claim() else {
        return Ok(None);
    };
    Opened::new(claim, target).await.map(Some)
}

/// Reopens a channel that was lost alone, for `reason`, on `target`. A consumer that cannot be
/// registered again ends. Channels take `turn` one after the other to redeclare what was deleted
/// with them.
///
/// # Errors
/// The reason why the link is useless.
pub(super) async fn channel(
    claim: Claim,
    reason: Error,
    target: Target,
    turn: Arc<Mutex<()>>,
) -> Result<()> {
    // Queues may have been deleted with the channel's consumers.
    let lost = claim.channel().auto_delete_queues();
    if !lost.is_empty() {
        let _turn = turn.lock().await;
        declaring::auto_delete(&target, &lost).await?;
    }
    let (core, channel) = (Arc::clone(&target.core), Arc::downgrade(claim.channel()));
    Opened::new(claim, target).await?.register().await?;
    // Its user may have closed it, or dropped it, meanwhile.
    if channel
        .upgrade()
        .is_some_and(|channel| channel.gone().is_none())
    {
        core.tell(Event::ChannelReopened(reason));
    }
    Ok(())
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

/// A channel with a new generation, on which its consumers are not registered yet.
struct Opened {
    claim: Claim,
    target: Target,
    /// None while all channels that the broker allows are in use. Late requests use some of them
    /// for a time.
    generation: Option<Arc<Generation>>,
    /// Number of further generations that are tried if the broker closes them.
    tries: usize,
    /// Time to wait until a taken resource is tried again.
    pause: Duration,
}

/// Result of registering consumers.
enum Registered {
    /// The users have the channel, or no handle of it is left.
    Done,
    /// A user has cancelled one of the consumers meanwhile.
    Outdated,
    /// There is no channel yet to register the consumers on, or the lost connection may still hold
    /// a queue.
    Taken,
    /// This auto-delete queue was deleted after it was declared again, because the broker learned
    /// only then that the consumer's last registration had ended.
    Gone(QueueName, Error),
}

impl Opened {
    async fn new(claim: Claim, target: Target) -> Result<Self> {
        let tries = TRIES + claim.channel().restorable().all.len();
        let mut opened = Self {
            claim,
            target,
            generation: None,
            tries,
            pause: SHORTEST_PAUSE,
        };
        if let Some(error) = opened.open().await? {
            let what = "a channel, which waits for others to be closed".into();
            opened.target.core.tell(Event::NotRestored { what, error });
        }
        Ok(opened)
    }

    /// Opens a generation, or returns the reason why no channel is free.
    async fn open(&mut self) -> Result<Option<Error>> {
        loop {
            let link = &*self.target.link;
            match open(self.claim.channel(), link).await {
                Ok(generation) => {
                    self.generation = Some(generation);
                    return Ok(None);
                }
                Err(err) if none_to_spare(&err) && link.closed().is_none() => {
                    self.generation = None;
                    return Ok(Some(err));
                }
                Err(err) => one_less(&mut self.tries, err, link)?,
            }
        }
    }

    /// Registers the consumers, and admits the channel for its users.
    ///
    /// There is no timeout: the broker takes a minute over a queue whose node is down. Only this
    /// channel's users wait for it, and their calls have timeouts of their own.
    ///
    /// # Errors
    /// The reason why the link is useless.
    async fn register(mut self) -> Result<()> {
        loop {
            match self.register_on_generation().await {
                Ok(Registered::Done) => return Ok(()),
                Ok(Registered::Outdated) => {
                    if let Some(generation) = &self.generation {
                        self.claim.channel().discard(generation);
                    }
                }
                Ok(Registered::Taken) => {
                    sleep(self.pause).await;
                    self.pause = (2 * self.pause).min(LONGEST_PAUSE);
                }
                Ok(Registered::Gone(queue, err)) => {
                    one_less(&mut self.tries, err, &*self.target.link)?;
                    declaring::auto_delete(&self.target, &[queue]).await?;
                }
                Err(err) => one_less(&mut self.tries, err, &*self.target.link)?,
            }
            self.open().await?;
        }
    }

    async fn register_on_generation(&self) -> Result<Registered> {
        let channel = self.claim.channel();
        let Some(generation) = &self.generation else {
            return Ok(match channel.gone() {
                Some(_) => Registered::Done,
                None => Registered::Taken,
            });
        };
        let Restorables { all, forgotten } = channel.restorable();
        let registered = tokio::select! {
            biased;
            () = channel.wait_gone() => Ok(Registered::Done),
            () = channel.forgets(forgotten) => return Ok(Registered::Outdated),
            registered = self.consumers(generation, all) => registered,
        }?;
        if let Registered::Done = registered
            && !channel.admit(generation, forgotten)?
        {
            return Ok(Registered::Outdated);
        }
        Ok(registered)
    }

    /// Registers `consumers`; those that cannot be registered any more end.
    async fn consumers(
        &self,
        generation: &Arc<Generation>,
        consumers: Vec<Restorable>,
    ) -> Result<Registered> {
        let (core, unanswered) = (&self.target.core, &self.target.unanswered);
        let transport = generation.transport();
        for Restorable { inbox, record } in consumers {
            let mut consume = record.consume;
            core.use_current_name(&mut consume.queue);
            let (tag, exclusive) = (consume.tag.clone(), consume.exclusive);
            let queue = consume.queue.clone();
            let what = format!("consumer '{tag}' of queue '{}'", consume.queue);
            inbox.renew(Source {
                generation: Arc::clone(generation),
                queue: consume.queue.clone(),
            });
            let registering = async {
                unanswered.wait_for(&consume.queue).await;
                transport.qos(record.prefetch, false).await?;
                transport.consume(consume).await
            };
            if let Err(err) = told_if_late(core, &what, registering).await {
                if err.scope() == ErrorScope::Operation {
                    // The channel goes on, without this consumer.
                    self.claim.channel().not_restored(&tag, err);
                    continue;
                }
                let refused = err.scope() == ErrorScope::Channel;
                let taken = err.kind() == ErrorKind::AccessRefused && exclusive;
                if refused && self.target.may_become_free(&err, taken) {
                    tracing::debug!(%err, what, "its place may still be the lost connection's");
                    return Ok(Registered::Taken);
                }
                let missing = err.kind() == ErrorKind::ConsumerQueueNotFound;
                if refused && missing && core.topology().is_auto_delete(&queue) {
                    return Ok(Registered::Gone(queue, err));
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

/// Counts an attempt that failed with `err`.
///
/// # Errors
/// The reason why there is no further attempt.
fn one_less(tries: &mut usize, err: Error, link: &dyn TransportConnection) -> Result<()> {
    *tries -= 1;
    if err.scope() != ErrorScope::Channel || link.closed().is_some() || *tries == 0 {
        return Err(err);
    }
    Ok(())
}

/// Opens a generation of a channel that has nothing on it yet.
async fn open(
    channel: &Arc<ChannelShared>,
    link: &dyn TransportConnection,
) -> Result<Arc<Generation>> {
    let core = channel.core();
    let limit = core.timeout();
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

/// The close reason of a channel whose transport did not report its end.
fn unheard() -> Error {
    let message = "the connection is lost, and did not tell this channel of it";
    Error::connection(ErrorKind::ConnectionLost, message)
}

#[cfg(test)]
mod tests;
