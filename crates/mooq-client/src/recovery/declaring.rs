//! Redeclaration of the lost connection's topology: exchanges, then queues, then bindings.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use mooq_core::{
    Binding, BindingDestination, Error, ErrorKind, ErrorScope, ExchangeDeclare, OpenedChannel,
    QueueDeclare, QueueName, Result, TransportChannel,
};
use tokio::time::{Instant, timeout};

use super::late::{UNANSWERED, Underway, told_if_late};
use super::target::{Target, none_to_spare};
use crate::connection::{Core, Event};
use crate::lock::lock;
use crate::timeout::{exceeded, within};

/// Time that a queue may keep the next ones waiting, before those are declared concurrently.
const BESIDE: Duration = Duration::from_millis(100);

/// Maximum number of queues that are declared concurrently: each takes a channel, and there are
/// 2,047 by default.
const AT_ONCE: usize = 64;

/// Redeclares everything on `target`. Requests that the broker does not answer are left to the
/// caller if nothing is lost by that: those of queues, with their bindings, that the broker has
/// anyway as soon as their node is up. RabbitMQ takes a minute over a queue whose node is down.
/// Without the other resources messages would not be routed, so the broker has the time of a call
/// for each.
///
/// # Errors
/// The reason why the link is useless. An error that concerns one resource alone is reported, and
/// the resource left out.
pub(super) async fn everything(target: &Target) -> Result<Underway> {
    let core = &target.core;
    let (mut declared, staying) = {
        let topology = core.topology();
        let mut declared = topology.everything();
        let queues = &mut declared.queues;
        let staying = queues.extract_if(.., |(_, declare)| topology.stays(declare));
        let staying: Vec<_> = staying.collect();
        (declared, staying)
    };
    let names: HashSet<_> = staying.iter().map(|(name, _)| name.clone()).collect();
    // Rebound when their queues are declared.
    declared.bindings.retain(|binding| {
        !matches!(&binding.destination, BindingDestination::Queue(queue) if names.contains(queue))
    });
    let mut scratch = Scratch::new(target);
    exchanges(&mut scratch, declared.exchanges).await?;
    queues(&mut scratch, declared.queues, Exclusive::Gone).await?;
    let late = staying_queues(target, staying.into_iter().map(|(_, declare)| declare)).await?;
    bindings(&mut scratch, declared.bindings).await?;
    scratch.close().await;
    Ok(late)
}

/// Redeclares everything that was deleted with the last consumers of auto-delete `queues`. Anything
/// that still exists is unchanged by that.
///
/// # Errors
/// The reason why the link is useless. An error that concerns one resource alone is reported, and
/// the resource left out.
pub(super) async fn auto_delete(target: &Target, lost: &[QueueName]) -> Result<()> {
    let declared = target.core.topology().gone_with(lost);
    let mut scratch = Scratch::new(target);
    exchanges(&mut scratch, declared.exchanges).await?;
    queues(&mut scratch, declared.queues, Exclusive::MayBeThere).await?;
    bindings(&mut scratch, declared.bindings).await?;
    scratch.close().await;
    Ok(())
}

async fn exchanges(scratch: &mut Scratch, declares: Vec<ExchangeDeclare>) -> Result<()> {
    let core = Arc::clone(&scratch.target.core);
    for declare in declares {
        // Other tasks may be at work meanwhile, here as with queues and bindings.
        if !core.topology().has_exchange(&declare.name) {
            continue;
        }
        let what = format!("exchange '{}'", declare.name);
        let result = scratch.on_channel(|c| c.declare_exchange(declare));
        tell(&core, what, result.await?);
    }
    Ok(())
}

/// Fate of exclusive queues: deleted with their connection, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exclusive {
    Gone,
    MayBeThere,
}

async fn queues(
    scratch: &mut Scratch,
    declares: Vec<(QueueName, QueueDeclare)>,
    exclusive: Exclusive,
) -> Result<()> {
    let core = Arc::clone(&scratch.target.core);
    for (name, declare) in declares {
        if !core.topology().has_queue(&name) {
            continue;
        }
        let what = format!("queue '{name}'");
        match queue(scratch, &name, declare, exclusive).await? {
            Ok(now) if now != name => core.queue_renamed(name, now),
            Err(err) if scratch.target.may_become_free(&err, false) => return Err(err),
            declared => tell(&core, what, declared.map(drop)),
        }
    }
    Ok(())
}

async fn bindings(scratch: &mut Scratch, bindings: Vec<Binding>) -> Result<()> {
    for mut binding in bindings {
        // Queues may have got new names just now.
        if let BindingDestination::Queue(queue) = &mut binding.destination {
            scratch.target.core.use_current_name(queue);
        }
        bind(scratch, binding).await?;
    }
    Ok(())
}

/// Redeclares queues that survive a restart of the broker, each with its bindings, and concurrently
/// if the broker is slow. Returns the requests that take even longer.
async fn staying_queues(
    target: &Target,
    declares: impl Iterator<Item = QueueDeclare>,
) -> Result<Underway> {
    // Queues that are being declared already were left over before.
    let left: VecDeque<_> = declares
        .filter(|declare| target.unanswered.add(declare.name.clone()))
        .collect();
    let left = Arc::new(Mutex::new(left));
    let mut asking = Underway::new();
    let (mut unanswered, mut answered_at) = (target.unanswered.len(), Instant::now());
    loop {
        let more = lock(&left).len().min(asking.len().max(1));
        for _ in 0..more.min(AT_ONCE.saturating_sub(asking.len())) {
            asking.push(staying_queue_by_queue(target.clone(), Arc::clone(&left)).boxed());
        }
        match timeout(BESIDE, asking.next()).await {
            Ok(Some(done)) => done?,
            Ok(None) => return Ok(asking),
            Err(_) => {}
        }
        let before = std::mem::replace(&mut unanswered, target.unanswered.len());
        if unanswered < before {
            answered_at = Instant::now();
        } else if answered_at.elapsed() >= UNANSWERED {
            return Ok(asking);
        }
    }
}

/// Declares queues of those `left`, one after the other, each with its bindings.
async fn staying_queue_by_queue(
    target: Target,
    left: Arc<Mutex<VecDeque<QueueDeclare>>>,
) -> Result<()> {
    let mut scratch = Scratch::new(&target);
    loop {
        let Some(declare) = lock(&left).pop_front() else {
            break;
        };
        if !target.core.topology().has_queue(&declare.name) {
            target.unanswered.answered(&declare.name);
            continue;
        }
        let (name, what) = (declare.name.clone(), format!("queue '{}'", declare.name));
        let asking = scratch.ask(|c| c.declare_queue(declare));
        let answer = told_if_late(&target.core, &what, asking).await?;
        let kind = answer.as_ref().err().map(Error::kind);
        tell(&target.core, what, answer.map(drop));
        if kind != Some(ErrorKind::ConsumerQueueNotFound) {
            // The current bindings: the connection may be in use meanwhile.
            let bindings = target.core.topology().bindings_to(&name);
            for binding in bindings {
                bind(&mut scratch, binding).await?;
            }
        }
        target.unanswered.answered(&name);
    }
    scratch.close().await;
    Ok(())
}

/// Binds again, unless the user has unbound it. The user may do so, and bind it once more,
/// meanwhile: the last request has to be the one that the user wants.
async fn bind(scratch: &mut Scratch, binding: Binding) -> Result<()> {
    let core = Arc::clone(&scratch.target.core);
    let mut bound = false;
    while core.topology().is_bound(&binding) != bound {
        bound = !bound;
        let again = binding.clone();
        let asking = scratch.on_channel(|c| match bound {
            true => c.bind(again),
            false => c.unbind(again),
        });
        if let Err(error) = asking.await? {
            let what = format!("binding to exchange '{}'", binding.source);
            core.tell(Event::NotRestored { what, error });
            break;
        }
    }
    Ok(())
}

/// Redeclares a queue, and returns its current name.
async fn queue(
    scratch: &mut Scratch,
    name: &QueueName,
    declare: QueueDeclare,
    exclusive: Exclusive,
) -> Result<Result<QueueName>> {
    // A server-named queue may still exist, but no client may declare it by that name.
    let gone = declare.exclusive && exclusive == Exclusive::Gone;
    if declare.name.is_empty() && !gone {
        let ask = QueueDeclare {
            passive: true,
            ..QueueDeclare::new(name.clone())
        };
        let there = scratch.on_channel(|c| c.declare_queue(ask)).await?;
        match there {
            Ok(_) => return Ok(Ok(name.clone())),
            Err(err) if err.kind() == ErrorKind::ConsumerQueueNotFound => {}
            // In either case there must not be a second queue beside it.
            Err(err) => return Ok(Err(err)),
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

/// A channel for redeclaring: the broker closes it with each request that it refuses.
struct Scratch {
    target: Target,
    channel: Option<OpenedChannel>,
}

impl Scratch {
    fn new(target: &Target) -> Self {
        Self {
            target: target.clone(),
            channel: None,
        }
    }

    /// Makes a call, for which the broker has the connection's timeout. The inner error concerns
    /// this call alone.
    ///
    /// # Errors
    /// The reason why the connection is useless.
    async fn on_channel<T>(
        &mut self,
        call: impl for<'c> FnOnce(&'c dyn TransportChannel) -> BoxFuture<'c, Result<T>>,
    ) -> Result<Result<T>> {
        let open = match self.take().await? {
            Ok(open) => open,
            Err(err) => return Ok(Err(err)),
        };
        let limit = self.target.core.timeout();
        match timeout(limit, self.ask_on(open, call)).await {
            Ok(answer) => answer,
            // The channel is given up. If the whole connection hangs, no other channel opens.
            Err(_) => Ok(Err(exceeded("declaring again", limit))),
        }
    }

    /// Makes a call without a timeout. If the future is dropped, so is the channel.
    async fn ask<T>(
        &mut self,
        call: impl for<'c> FnOnce(&'c dyn TransportChannel) -> BoxFuture<'c, Result<T>>,
    ) -> Result<Result<T>> {
        match self.take().await? {
            Ok(open) => self.ask_on(open, call).await,
            Err(err) => Ok(Err(err)),
        }
    }

    async fn ask_on<T>(
        &mut self,
        open: OpenedChannel,
        call: impl for<'c> FnOnce(&'c dyn TransportChannel) -> BoxFuture<'c, Result<T>>,
    ) -> Result<Result<T>> {
        match call(&*open.channel).await {
            Ok(done) => {
                self.channel = Some(open);
                Ok(Ok(done))
            }
            Err(err) if err.scope() == ErrorScope::Channel => Ok(Err(err)),
            Err(err) => Err(err),
        }
    }

    /// Returns a channel. The inner error means that no channel is free.
    ///
    /// # Errors
    /// The reason why the connection is useless.
    async fn take(&mut self) -> Result<Result<OpenedChannel>> {
        if let Some(open) = self.channel.take() {
            return Ok(Ok(open));
        }
        let opening = self.target.link.open_channel();
        let limit = self.target.core.timeout();
        match within(limit, "opening a channel", opening).await {
            Err(err) if none_to_spare(&err) => Ok(Err(err)),
            opened => opened.map(Ok),
        }
    }

    async fn close(self) {
        if let Some(open) = self.channel {
            let closing = open.channel.close();
            if let Err(err) = within(self.target.core.timeout(), "closing a channel", closing).await
            {
                tracing::debug!(%err, "the channel for declaring again did not close");
            }
        }
    }
}
