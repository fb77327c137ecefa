//! `queue.declare`, `queue.purge` and `queue.delete`.

use mooq_core::{QueueDeclare, QueueDeclared, QueueName};

use super::stripped;
use crate::engine::arena::Key;
use crate::engine::arguments::name_arg;
use crate::engine::command::Reply;
use crate::engine::direct_reply::is_pseudo_queue;
use crate::engine::permissions::Access;
use crate::engine::queue::Queue;
use crate::engine::queue::arguments::{QueueArguments, with_queue_type};
use crate::engine::queue::kind::QueueType;
use crate::engine::reply_error::{ReplyError, Resource};
use crate::engine::{Caller, Engine};

impl Engine {
    pub(super) fn queue_declare(
        &mut self,
        caller: Caller,
        mut declare: QueueDeclare,
    ) -> Result<Reply, ReplyError> {
        declare.name = stripped(declare.name);
        if is_pseudo_queue(&declare.name) {
            let declared = self.declare_pseudo_queue(caller, declare.name)?;
            self.channel_mut(caller)?.last_queue = declared.name.clone();
            return Ok(Reply::QueueDeclared(declared));
        }
        let key = if declare.passive {
            self.accessible_queue(caller, &declare.name)?.0
        } else {
            self.declare_actively(caller, declare)?
        };
        if !self.queues.get(key).is_some_and(Queue::is_quorum) {
            self.renew_lease(key);
        }
        let queue = self
            .queues
            .get(key)
            .ok_or_else(|| ReplyError::internal("queue"))?;
        let declared = QueueDeclared {
            name: queue.name.clone(),
            message_count: count(queue.ready.len()),
            consumer_count: queue.consumer_count(),
        };
        self.channel_mut(caller)?.last_queue = declared.name.clone();
        Ok(Reply::QueueDeclared(declared))
    }

    fn declare_actively(
        &mut self,
        caller: Caller,
        mut declare: QueueDeclare,
    ) -> Result<Key<Queue>, ReplyError> {
        if declare.name.is_empty() {
            let resource = self.vhost(caller.vhost)?.queue(&declare.name);
            QueueType::of(&declare.arguments, resource)?.check_server_named()?;
            declare.name = self.generate_queue_name(caller)?;
        } else if declare.name.starts_with("amq.") {
            // Unlike an exchange's, a queue's name is checked even if there is such a queue.
            return Err(ReplyError::reserved_prefix("queue", &declare.name));
        }
        self.permit_queue(caller, Access::Configure, &declare.name)?;
        let profile = self.options.profile;
        if profile.completes_queue_type() {
            declare.arguments = with_queue_type(declare.arguments);
        }
        let owner = declare.exclusive.then_some(caller.connection);
        // An exclusive queue is never durable, whatever its client says.
        declare.durable &= !declare.exclusive;

        let vhost = self.vhost(caller.vhost)?;
        let resource = vhost.queue(&declare.name);
        if let Ok((key, queue)) = self.find_queue(caller, &declare.name) {
            queue.assert_equivalence(&declare, owner, resource, profile)?;
            return Ok(key);
        }
        if let Some(exchange) = name_arg(&declare.arguments, "x-dead-letter-exchange", resource)? {
            self.permit_queue(caller, Access::Read, &declare.name)?;
            self.permit_exchange(caller, Access::Write, exchange)?;
        }
        let options = QueueArguments::parse(&declare.arguments, resource, profile)?;
        if !declare.durable && owner.is_none() && !profile.permits_transient_shared_queues() {
            return Err(ReplyError::transient_shared_queue());
        }
        options.kind.check_properties(&declare, resource)?;
        self.keeps_time |= options.depend_on_time();
        let name = declare.name.clone();
        let key = self
            .queues
            .insert(Queue::new(declare, options, caller.vhost, owner, profile));
        self.vhost_mut(caller.vhost)?.queues.insert(name, key);
        self.apply_queue_policies(key);
        self.renew_lease(key);
        if owner.is_some() {
            self.connection_mut(caller.connection)?
                .exclusive_queues
                .push(key);
        }
        Ok(key)
    }

    fn generate_queue_name(&mut self, caller: Caller) -> Result<QueueName, ReplyError> {
        loop {
            let name = self.names.generate("amq.gen");
            let name = QueueName::try_from(name).map_err(|_| ReplyError::internal("name"))?;
            // A queue of that name may have outlived an earlier run with the same seed.
            if !self.vhost(caller.vhost)?.queues.contains_key(&name) {
                return Ok(name);
            }
        }
    }

    pub(super) fn queue_purge(
        &mut self,
        caller: Caller,
        name: QueueName,
    ) -> Result<Reply, ReplyError> {
        let name = self.expand_queue_name(caller, name)?;
        self.permit_queue(caller, Access::Read, &name)?;
        let (key, _) = self.accessible_queue(caller, &name)?;
        let queue = self.queues.get_mut(key);
        Ok(Reply::MessageCount(count(queue.map_or(0, Queue::purge))))
    }

    /// Sends its reply itself: the queue's consumers hear of its end after that.
    pub(super) fn queue_delete(
        &mut self,
        caller: Caller,
        name: QueueName,
        if_unused: bool,
        if_empty: bool,
    ) -> Result<(), ReplyError> {
        let name = stripped(self.expand_queue_name(caller, name)?);
        self.permit_queue(caller, Access::Configure, &name)?;
        let resource = self.vhost(caller.vhost)?.queue(&name);
        let Ok((key, queue)) = self.find_queue(caller, &name) else {
            self.reply(caller.connection, caller.number, Reply::MessageCount(0));
            return Ok(());
        };
        queue.check_access(caller.connection, resource)?;
        if queue.is_quorum() {
            check_unconditional(if_unused, if_empty, resource)?;
        }
        if if_empty && !queue.ready.is_empty() {
            return Err(ReplyError::precondition_failed(format!(
                "{resource} not empty"
            )));
        }
        if if_unused && queue.consumers.count() > 0 {
            return Err(ReplyError::in_use(resource));
        }
        let ready = count(queue.ready.len());
        self.reply(caller.connection, caller.number, Reply::MessageCount(ready));
        self.delete_queue(key);
        Ok(())
    }
}

/// A quorum queue is not deleted on conditions.
fn check_unconditional(
    if_unused: bool,
    if_empty: bool,
    resource: Resource<'_>,
) -> Result<(), ReplyError> {
    let flags = [(if_unused, "if-unused"), (if_empty, "if-empty")];
    match flags.into_iter().find(|(set, _)| *set) {
        None => Ok(()),
        Some((_, flag)) => Err(ReplyError::not_implemented(format!(
            "cannot delete {resource}. queue.delete operations with {flag} flag set are not \
             supported by quorum queues"
        ))),
    }
}

pub(super) fn count(messages: usize) -> u32 {
    u32::try_from(messages).unwrap_or(u32::MAX)
}
