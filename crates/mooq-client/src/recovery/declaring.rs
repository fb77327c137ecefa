//! Declaring again what was declared over the lost connection: exchanges, then queues, then
//! bindings.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mooq_core::{
    Binding, BindingDestination, ErrorKind, ErrorScope, OpenedChannel, QueueDeclare, QueueName,
    Result, TransportChannel,
};
use tokio::time::{Instant, timeout};

use super::late::{UNANSWERED, Underway, told_late};
use super::target::Target;
use crate::connection::{Core, Event};
use crate::deadline::within;

/// Whether exclusive queues went with their connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exclusive {
    Gone,
    MayBeThere,
}

/// Declares everything on `target` again. Durable queues that the broker does not answer to are
/// left to the caller, with their bindings: they are there already, if only their node is up, and
/// RabbitMQ takes a minute over one whose node is down. Without anything else messages would be
/// lost, so that the broker has the time of a call for it.
///
/// # Errors
/// Why the link is of no use. What only concerns one thing is told, and left out.
pub(super) async fn everything(target: &Target, exclusive: Exclusive) -> Result<Underway> {
    let core = &target.core;
    let (exchanges, queues, bindings) = {
        let topology = core.topology();
        (topology.exchanges(), topology.queues(), topology.bindings())
    };
    let mut late = Underway::new();
    let mut scratch = Scratch::new(target);
    for declare in exchanges {
        let what = format!("exchange '{}'", declare.name);
        let result = scratch.on_channel(|c| c.declare_exchange(declare));
        tell(core, what, result.await?);
    }
    for (name, declare) in queues {
        if declare.durable && !declare.exclusive && !declare.name.is_empty() {
            late.extend(durable_queue(&mut scratch, declare).await?);
            continue;
        }
        let what = format!("queue '{name}'");
        match queue(&mut scratch, &name, declare, exclusive).await? {
            Ok(now) if now != name => {
                core.queue_renamed(name, now);
            }
            Err(err) if target.patience.with(&err, false) => return Err(err),
            declared => tell(core, what, declared.map(drop)),
        }
    }
    for mut binding in bindings {
        // Queues may have got new names just now.
        if let BindingDestination::Queue(queue) = &mut binding.destination {
            core.use_current_name(queue);
            if target.unanswered.contains(queue) {
                late.push(late_binding(target.clone(), queue.clone(), binding).boxed());
                continue;
            }
        }
        bind(&mut scratch, binding).await?;
    }
    scratch.close().await;
    Ok(late)
}

async fn bind(scratch: &mut Scratch, binding: Binding) -> Result<()> {
    let what = format!("binding to exchange '{}'", binding.source);
    let result = scratch.on_channel(|c| c.bind(binding)).await?;
    tell(&scratch.target.core, what, result);
    Ok(())
}

async fn late_binding(target: Target, queue: QueueName, binding: Binding) -> Result<()> {
    target.unanswered.wait_for(&queue).await;
    // The connection is in use meanwhile.
    if !target.core.topology().is_bound(&binding) {
        return Ok(());
    }
    let mut scratch = Scratch::new(&target);
    bind(&mut scratch, binding).await?;
    scratch.close().await;
    Ok(())
}

/// Declares a queue again, and gives the name that it has now.
async fn queue(
    scratch: &mut Scratch,
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

/// Declares a durable queue again. If there is no answer, gives what waits for it.
async fn durable_queue(
    scratch: &mut Scratch,
    declare: QueueDeclare,
) -> Result<Option<BoxFuture<'static, Result<()>>>> {
    let target = scratch.target.clone();
    let (name, what) = (declare.name.clone(), format!("queue '{}'", declare.name));
    let open = scratch.take().await?;
    let began = Instant::now();
    let mut asking = async move {
        let answer = open.channel.declare_queue(declare).await;
        (open, answer)
    }
    .boxed();
    // One that hangs is seldom alone.
    let limit = match target.unanswered.is_empty() {
        true => UNANSWERED,
        false => UNANSWERED / 10,
    };
    if let Ok((open, answer)) = timeout(limit, &mut asking).await {
        let answer = scratch.put_back(open, answer)?;
        tell(&target.core, what, answer.map(drop));
        return Ok(None);
    }
    target.unanswered.add(name.clone());
    let waiting = async move {
        let mut scratch = Scratch::new(&target);
        let (open, answer) = told_late(&target.core, &what, began, asking).await;
        let answer = scratch.put_back(open, answer)?;
        tell(&target.core, what, answer.map(drop));
        target.unanswered.answered(&name);
        scratch.close().await;
        Ok(())
    };
    Ok(Some(waiting.boxed()))
}

fn tell(core: &Core, what: String, result: Result<()>) {
    if let Err(error) = result {
        core.tell(Event::NotRestored { what, error });
    }
}

/// A channel for declaring: the broker closes it with each thing that it does not accept.
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

    /// Makes a call. The inner error concerns this call alone.
    ///
    /// # Errors
    /// Why the connection is of no use.
    async fn on_channel<T>(
        &mut self,
        call: impl for<'c> FnOnce(&'c dyn TransportChannel) -> BoxFuture<'c, Result<T>>,
    ) -> Result<Result<T>> {
        let open = self.take().await?;
        let limit = self.target.core.deadline();
        match within(limit, "declaring again", call(&*open.channel)).await {
            // The channel is given up. If all hangs, no other one opens.
            Err(err) if err.kind() == ErrorKind::DeadlineExceeded => Ok(Err(err)),
            answer => self.put_back(open, answer),
        }
    }

    /// A channel to make one call on.
    async fn take(&mut self) -> Result<OpenedChannel> {
        match self.channel.take() {
            Some(open) => Ok(open),
            None => {
                let opening = self.target.link.open_channel();
                within(self.target.core.deadline(), "opening a channel", opening).await
            }
        }
    }

    /// The channel with the call's answer: the inner error concerns this call alone.
    ///
    /// # Errors
    /// Why the connection is of no use.
    fn put_back<T>(&mut self, open: OpenedChannel, answer: Result<T>) -> Result<Result<T>> {
        match answer {
            Ok(done) => {
                self.channel = Some(open);
                Ok(Ok(done))
            }
            Err(err) if err.scope() == ErrorScope::Channel => Ok(Err(err)),
            Err(err) => Err(err),
        }
    }

    async fn close(self) {
        if let Some(open) = self.channel {
            let closing = open.channel.close();
            if let Err(err) =
                within(self.target.core.deadline(), "closing a channel", closing).await
            {
                tracing::debug!(%err, "the channel for declaring again did not close");
            }
        }
    }
}
