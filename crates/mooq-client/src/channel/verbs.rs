//! Declaring and undoing it: each verb once, for all builders, so that each is recorded for
//! recovery.

use mooq_core::{
    Binding, BindingDestination, ExchangeDeclare, ExchangeName, QueueDeclare, QueueDeclared,
    QueueName, Result,
};

use super::Channel;

impl Channel {
    pub(crate) async fn exchange_declare(&self, declare: ExchangeDeclare) -> Result<()> {
        let what = format!("declaring exchange '{}'", declare.name);
        let call = declare.clone();
        self.rpc(&what, |c| c.declare_exchange(call)).await?;
        self.topology(|topology| topology.exchange_declared(&declare));
        Ok(())
    }

    pub(crate) async fn exchange_delete(&self, name: ExchangeName, if_unused: bool) -> Result<()> {
        let what = format!("deleting exchange '{name}'");
        let call = name.clone();
        self.rpc(&what, |c| c.delete_exchange(call, if_unused))
            .await?;
        self.topology(|topology| topology.exchange_deleted(&name));
        Ok(())
    }

    pub(crate) async fn queue_declare(&self, mut declare: QueueDeclare) -> Result<QueueDeclared> {
        let what = format!("declaring queue '{}'", declare.name);
        declare.name = self.now(declare.name);
        let call = declare.clone();
        let declared = self.rpc(&what, |c| c.declare_queue(call)).await?;
        self.topology(|topology| topology.queue_declared(&declare, &declared.name));
        Ok(declared)
    }

    pub(crate) async fn queue_delete(
        &self,
        name: QueueName,
        if_unused: bool,
        if_empty: bool,
    ) -> Result<u32> {
        let what = format!("deleting queue '{name}'");
        let name = self.now(name);
        let call = name.clone();
        let deleted = self.rpc(&what, |c| c.delete_queue(call, if_unused, if_empty));
        let deleted = deleted.await?;
        self.topology(|topology| topology.queue_deleted(&name));
        Ok(deleted)
    }

    pub(crate) async fn queue_purge(&self, name: QueueName) -> Result<u32> {
        let what = format!("purging queue '{name}'");
        let name = self.now(name);
        self.rpc(&what, |c| c.purge_queue(name)).await
    }

    pub(crate) async fn bind(&self, binding: Binding) -> Result<()> {
        let what = format!("binding to exchange '{}'", binding.source);
        let binding = self.binding_now(binding);
        let call = binding.clone();
        self.rpc(&what, |c| c.bind(call)).await?;
        self.topology(|topology| topology.bound(&binding));
        Ok(())
    }

    pub(crate) async fn unbind(&self, binding: Binding) -> Result<()> {
        let what = format!("unbinding from exchange '{}'", binding.source);
        let binding = self.binding_now(binding);
        let call = binding.clone();
        self.rpc(&what, |c| c.unbind(call)).await?;
        self.topology(|topology| topology.unbound(&binding));
        Ok(())
    }

    fn topology(&self, record: impl FnOnce(&mut crate::recovery::Topology)) {
        record(&mut self.shared().core().topology());
    }

    /// What the queue that the user calls `name` is called now.
    fn now(&self, name: QueueName) -> QueueName {
        self.shared().core().current_name(name)
    }

    fn binding_now(&self, mut binding: Binding) -> Binding {
        if let BindingDestination::Queue(queue) = binding.destination {
            binding.destination = BindingDestination::Queue(self.now(queue));
        }
        binding
    }
}
