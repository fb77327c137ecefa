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

/// Time limit for a queue to become empty, with no unacked deliveries: RabbitMQ's management API
/// tells these 5 s late.
const LIMIT: Duration = Duration::from_secs(20);

/// A broker, and the ways to change it.
pub(super) struct Broker<'a> {
    pub(super) conn: &'a Connection,
    pub(super) chan: Channel,
    pub(super) api: Option<Api>,
}

impl Broker<'_> {
    /// Carries out one step, after the step `before`.
    pub(super) async fn carry_out(&self, step: &Step, before: Option<&Step>) -> Result<()> {
        let chan = &self.chan;
        match step {
            Step::DeclareExchange(exchange) => declare_exchange(chan, exchange).await,
            Step::DeclareQueue(queue) => declare_queue(chan, queue).await.map(drop),
            Step::Bind(binding) => bind(chan, binding).await,
            Step::Unbind(binding) => self.unbind(binding).await,
            Step::SetPolicy(policy) => self.api()?.set_policy(policy).await,
            Step::ClearPolicy(name) => self.api()?.clear_policy(name).await,
            Step::MoveMessages { .. } => self.move_messages(step).await,
            Step::DeleteQueue {
                name,
                kind,
                with_messages,
            } => self.delete_queue(name, kind, *with_messages, before).await,
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

    async fn move_messages(&self, step: &Step) -> Result<()> {
        match step {
            Step::MoveMessages {
                from,
                to,
                through,
                limit,
            } => move_messages(self.conn, from, to, through, *limit).await,
            _ => Ok(()),
        }
    }

    async fn delete_queue(
        &self,
        name: &QueueName,
        kind: &str,
        with_messages: bool,
        before: Option<&Step>,
    ) -> Result<()> {
        let delete = self.chan.delete_queue(name);
        if with_messages {
            return delete.await.map(drop);
        }
        let was_emptied =
            |step: &&Step| matches!(step, Step::MoveMessages { from, .. } if from == name);
        let emptying = before.filter(was_emptied);
        let began = Instant::now();
        let counts = loop {
            self.until_settled(name).await?;
            let Some(counts) = counts(&self.chan, name).await? else {
                return Ok(());
            };
            match emptying {
                // Deliveries that others held have come back, such as those of a plan that was cut
                // off just before.
                Some(step) if counts.ready > 0 && began.elapsed() < LIMIT => {
                    self.move_messages(step).await?;
                }
                _ => break counts,
            }
        };
        let (ready, consumers) = (counts.ready, counts.consumers);
        if ready > 0 || consumers > 0 {
            let [ready, consumers] = [counted(ready, "message"), counted(consumers, "consumer")];
            let message = format!("it has {ready} and {consumers}");
            return Err(Error::new(ErrorKind::PreconditionFailed, message));
        }
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
