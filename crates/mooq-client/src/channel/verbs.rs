//! Declarations and their removal: each verb once, for all builders, so that each is recorded for
//! recovery.

use futures_util::future::BoxFuture;
use mooq_core::{
    Binding, BindingDestination, Error, ErrorKind, ErrorScope, ExchangeDeclare, ExchangeName,
    FieldTable, QueueDeclare, QueueDeclared, QueueName, Result, TransportChannel,
};

use super::Channel;
use crate::connection::Core;
use crate::frame::check_arguments;
use crate::recovery::Topology;
use crate::timeout::within;

/// Subject of a verb. It may name queues by names from before a loss.
trait Subject: Clone {
    fn use_current_names(&mut self, core: &Core);

    fn arguments(&self) -> Option<&FieldTable> {
        None
    }
}

impl Channel {
    pub(crate) async fn exchange_declare(&self, declare: ExchangeDeclare) -> Result<()> {
        let what = format!("declaring exchange '{}'", declare.name);
        let record = |topology: &mut Topology, declare: &_, (): &_| {
            topology.exchange_declared(declare);
        };
        self.verb(
            &what,
            declare,
            |c, declare| c.declare_exchange(declare),
            record,
        )
        .await
    }

    pub(crate) async fn exchange_delete(&self, name: ExchangeName, if_unused: bool) -> Result<()> {
        let what = format!("deleting exchange '{name}'");
        let record = |topology: &mut Topology, name: &_, (): &_| topology.exchange_deleted(name);
        self.verb(
            &what,
            name,
            |c, name| c.delete_exchange(name, if_unused),
            record,
        )
        .await
    }

    pub(crate) async fn queue_declare(&self, declare: QueueDeclare) -> Result<QueueDeclared> {
        let what = format!("declaring queue '{}'", declare.name);
        let record = |topology: &mut Topology, declare: &_, declared: &QueueDeclared| {
            topology.queue_declared(declare, &declared.name);
        };
        self.verb(
            &what,
            declare,
            |c, declare| c.declare_queue(declare),
            record,
        )
        .await
    }

    pub(crate) async fn queue_delete(
        &self,
        name: QueueName,
        if_unused: bool,
        if_empty: bool,
    ) -> Result<u32> {
        let what = format!("deleting queue '{name}'");
        let record = |topology: &mut Topology, name: &_, _: &_| topology.queue_deleted(name);
        self.verb(
            &what,
            name,
            |c, name| c.delete_queue(name, if_unused, if_empty),
            record,
        )
        .await
    }

    pub(crate) async fn queue_purge(&self, name: QueueName) -> Result<u32> {
        let what = format!("purging queue '{name}'");
        self.verb(&what, name, |c, name| c.purge_queue(name), |_, _, _| {})
            .await
    }

    pub(crate) async fn bind(&self, binding: Binding) -> Result<()> {
        let what = format!("binding to exchange '{}'", binding.source);
        let record = |topology: &mut Topology, binding: &_, (): &_| topology.bound(binding);
        self.verb(&what, binding, |c, binding| c.bind(binding), record)
            .await
    }

    pub(crate) async fn unbind(&self, binding: Binding) -> Result<()> {
        let what = format!("unbinding from exchange '{}'", binding.source);
        let record = |topology: &mut Topology, binding: &_, (): &_| topology.unbound(binding);
        self.verb(&what, binding, |c, binding| c.unbind(binding), record)
            .await
    }

    /// Makes one call to the broker, within the connection's timeout, once the channel is open, and
    /// records it.
    async fn verb<S: Subject, T>(
        &self,
        what: &str,
        mut subject: S,
        call: impl for<'a> FnOnce(&'a dyn TransportChannel, S) -> BoxFuture<'a, Result<T>>,
        record: impl FnOnce(&mut Topology, &S, &T),
    ) -> Result<T> {
        // A transport may always answer at once: a loop of calls has to leave other tasks their
        // turn.
        tokio::task::consume_budget().await;
        let core = self.shared().core();
        if let Some(arguments) = subject.arguments() {
            check_arguments(arguments, core.frame_max())?;
        }
        within(self.timeout(), what, async {
            let generation = self.shared().generation().await?;
            // Only now: a queue may have got a new name while this waited.
            subject.use_current_names(core);
            let answer = call(generation.transport(), subject.clone()).await?;
            record(&mut core.topology(), &subject, &answer);
            match generation.transport().closed() {
                // Recovery may have begun before the record was made.
                Some(reason)
                    if reason.scope() == ErrorScope::Connection && core.replaces(&reason) =>
                {
                    Err(lost_just_then(what, reason))
                }
                _ => Ok(answer),
            }
        })
        .await
    }
}

fn lost_just_then(what: &str, reason: Error) -> Error {
    let message = format!(
        "the connection was lost with the broker's answer to {what}, which may not last: {reason}"
    );
    Error::connection(ErrorKind::ConnectionLost, message).with_source(reason)
}

impl Subject for ExchangeName {
    fn use_current_names(&mut self, _: &Core) {}
}

impl Subject for ExchangeDeclare {
    fn use_current_names(&mut self, _: &Core) {}

    fn arguments(&self) -> Option<&FieldTable> {
        Some(&self.arguments)
    }
}

impl Subject for QueueName {
    fn use_current_names(&mut self, core: &Core) {
        core.use_current_name(self);
    }
}

impl Subject for QueueDeclare {
    fn use_current_names(&mut self, core: &Core) {
        core.use_current_name(&mut self.name);
    }

    fn arguments(&self) -> Option<&FieldTable> {
        Some(&self.arguments)
    }
}

impl Subject for Binding {
    fn use_current_names(&mut self, core: &Core) {
        if let BindingDestination::Queue(queue) = &mut self.destination {
            core.use_current_name(queue);
        }
    }

    fn arguments(&self) -> Option<&FieldTable> {
        Some(&self.arguments)
    }
}
