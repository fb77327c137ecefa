//! `queue.declare`, `queue.purge` and `queue.delete`.

use mooq_core::{QueueDeclare, QueueDeclared, QueueName};

use super::stripped;
use crate::arguments::name_arg;
use crate::command::Reply;
use crate::deprecated::Deprecated;
use crate::direct_reply::is_pseudo_queue;
use crate::ids::QueueId;
use crate::permissions::{Access, Kind};
use crate::queue::Queue;
use crate::queue::arguments::{QueueArguments, with_queue_type};
use crate::queue::kind::QueueType;
use crate::reply_error::{ReplyError, Resource};
use crate::{Caller, Engine};

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
            self.permit_passive_declare(caller, Kind::Queue, &declare.name)?;
            self.accessible_queue(caller, &declare.name)?.0
        } else {
            self.declare_actively(caller, declare)?
        };
        if !self.is_quorum(key) {
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
    ) -> Result<QueueId, ReplyError> {
        let profile = self.options.profile;
        if declare.name.is_empty() {
            let resource = self.vhost(caller.vhost)?.queue(&declare.name);
            QueueType::of(&declare.arguments, resource, profile)?.check_server_named()?;
            declare.name = self.generate_queue_name(caller)?;
        } else if declare.name.starts_with("amq.") {
            // Unlike the name of an exchange, a queue's name is checked even if the queue exists.
            return Err(ReplyError::reserved_prefix("queue", &declare.name));
        }
        self.permit_queue(caller, Access::Configure, &declare.name)?;
        if profile.completes_queue_type() {
            declare.arguments = with_queue_type(declare.arguments);
        }
        let owner = declare.exclusive.then_some(caller.connection);
        // An exclusive queue is never durable, even if its client asks for that.
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
        let resource = self.vhost(caller.vhost)?.queue(&declare.name);
        let options = QueueArguments::parse(&declare.arguments, resource, profile)?;
        if !declare.durable && owner.is_none() {
            self.options
                .check_permitted(Deprecated::TransientSharedQueues)?;
        }
        options.kind.check_properties(&declare, resource)?;
        if let Some(locator) = declare.arguments.get("x-queue-master-locator") {
            self.options
                .check_permitted(Deprecated::QueueMasterLocator)?;
            if !profile.takes_master_locator(locator.as_str()) {
                return Err(ReplyError::crash());
            }
        }
        self.keeps_time |= options.depend_on_time(self.options.profile);
        let name = declare.name.clone();
        let mut queue = Queue::new(declare, options, caller.vhost, owner, profile);
        self.queues_declared += 1;
        queue.number = self.queues_declared;
        let key = self.queues.insert(queue);
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
            // A queue of that name may have survived from an earlier run with the same seed.
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
        if self.is_volatile_queue(&name) {
            return Ok(Reply::MessageCount(0));
        }
        let (key, _) = self.accessible_queue(caller, &name)?;
        let profile = self.options.profile;
        let queue = self.queues.get_mut(key);
        let purged = queue.map_or(0, |queue| queue.purge(profile));
        Ok(Reply::MessageCount(count(purged)))
    }

    /// Deletes a queue. Sends its own reply, since the queue's consumers are cancelled after the
    /// reply.
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

/// Checks that a delete of a quorum queue has no conditions.
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
