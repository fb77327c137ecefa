//! Carrying out the steps of a plan.

use std::time::Duration;

use mooq_client::{Channel, Connection};
use mooq_core::{Error, ErrorKind, QueueName, Result};
use tokio::time::{Instant, sleep};

use super::moving::move_messages;
use super::planner::counted;
use super::step::Step;
use crate::broker::api::Api;
use crate::broker::declare::{bind, declare_exchange, declare_queue, unbind};
use crate::broker::probe::counts;
use crate::value::binding::Binding;

/// Pause before the management API is asked once more.
const PAUSE: Duration = Duration::from_millis(200);

/// Time limit for the management API to tell that a queue has no unacked deliveries. RabbitMQ tells
/// it 5 s late.
const LIMIT: Duration = Duration::from_secs(20);

/// A broker, and the ways to change it.
pub(super) struct Broker<'a> {
    pub(super) conn: &'a Connection,
    pub(super) chan: Channel,
    pub(super) api: Option<Api>,
}

impl Broker<'_> {
    /// Carries out one step.
    pub(super) async fn carry_out(&self, step: &Step) -> Result<()> {
        let chan = &self.chan;
        match step {
            Step::DeclareExchange(exchange) => declare_exchange(chan, exchange).await,
            Step::DeclareQueue(queue) => declare_queue(chan, queue).await.map(drop),
            Step::Bind(binding) => bind(chan, binding).await,
            Step::Unbind(binding) => self.unbind(binding).await,
            Step::SetPolicy(policy) => self.api()?.set_policy(policy).await,
            Step::ClearPolicy(name) => self.api()?.clear_policy(name).await,
            Step::MoveMessages {
                from,
                to,
                through,
                limit,
            } => move_messages(self.conn, from, to, through, *limit).await,
            Step::DeleteQueue {
                name,
                kind,
                with_messages,
            } => self.delete_queue(name, kind, *with_messages).await,
            Step::DeleteExchange {
                name,
                with_bindings,
            } => {
                let delete = chan.delete_exchange(name);
                match with_bindings {
                    true => delete.await,
                    false => delete.if_unused().await,
                }
            }
        }
    }

    fn api(&self) -> Result<&Api> {
        self.api.as_ref().ok_or_else(|| {
            let message = "AMQP has no policies: give the management API to set them";
            Error::new(ErrorKind::InvalidArgument, message)
        })
    }

    async fn unbind(&self, binding: &Binding) -> Result<()> {
        match &self.api {
            Some(api) if !binding.arguments().is_empty() => api.unbind(binding).await,
            _ => unbind(&self.chan, binding).await,
        }
    }

    async fn delete_queue(&self, name: &QueueName, kind: &str, with_messages: bool) -> Result<()> {
        let delete = self.chan.delete_queue(name);
        if with_messages {
            return delete.await.map(drop);
        }
        let Some(counts) = counts(&self.chan, name).await? else {
            return Ok(());
        };
        let (ready, consumers) = (counts.ready, counts.consumers);
        if ready > 0 || consumers > 0 {
            let [ready, consumers] = [counted(ready, "message"), counted(consumers, "consumer")];
            let message = format!("it has {ready} and {consumers}");
            return Err(Error::new(ErrorKind::PreconditionFailed, message));
        }
        self.until_settled(name).await?;
        if kind == "classic" {
            return delete.if_unused().if_empty().await.map(drop);
        }
        // RabbitMQ has no conditions for other types.
        delete.await.map(drop)
    }

    /// Waits until no delivery of a queue is unacked.
    async fn until_settled(&self, queue: &QueueName) -> Result<()> {
        let Some(api) = &self.api else {
            return Ok(());
        };
        let began = Instant::now();
        loop {
            let unacked = api.unacked(queue).await?;
            if unacked == 0 {
                return Ok(());
            }
            if began.elapsed() > LIMIT {
                let message = format!("{unacked} of its deliveries are unacked after {LIMIT:?}");
                return Err(Error::new(ErrorKind::PreconditionFailed, message));
            }
            sleep(PAUSE).await;
        }
    }
}
