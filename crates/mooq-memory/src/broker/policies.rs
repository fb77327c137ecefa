//! The policies of a broker.

use mooq_core::{Error, IntoChecked, VirtualHost};

use super::InMemoryBroker;
use mooq_engine::Policy;

/// Policies.
impl InMemoryBroker {
    /// Sets a policy of a virtual host, in place of a policy of the same name. A policy adds to the
    /// arguments of queues and exchanges, including existing ones
    /// ([policies](https://www.rabbitmq.com/docs/policies)). If an argument and a policy set the
    /// same limit, the smaller one applies; for other settings the argument applies, except for the
    /// overflow of a quorum queue, which a policy overrides. In RabbitMQ 3.10 a policy also
    /// overrides the expiry of a quorum queue. A policy's time to live does not apply to messages
    /// that are already in their queues.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if the virtual host does not exist, `InvalidArgument` if the policy
    /// has a setting that the broker's version of RabbitMQ does not know.
    ///
    /// # Examples
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use mooq_core::FieldTable;
    /// use mooq_memory::{ApplyTo, InMemoryBroker, Policy};
    ///
    /// let broker = InMemoryBroker::start();
    /// let definition = FieldTable::new()
    ///     .with("max-length", 1_000)?
    ///     .with("overflow", "reject-publish")?;
    /// let policy = Policy::new("^orders-", &definition)?.apply_to(ApplyTo::Queues);
    /// broker.set_policy("/", "bounded", policy)?;
    /// # Ok::<(), mooq_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn set_policy(
        &self,
        vhost: impl IntoChecked<VirtualHost>,
        name: &str,
        policy: Policy,
    ) -> Result<(), Error> {
        let vhost = vhost.into_checked()?;
        self.shared
            .admin(|engine, now| engine.set_policy(now, &vhost, name, policy))
    }

    /// Removes a policy, if one of this name exists: its settings end at once.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if the virtual host does not exist.
    pub fn clear_policy(
        &self,
        vhost: impl IntoChecked<VirtualHost>,
        name: &str,
    ) -> Result<(), Error> {
        let vhost = vhost.into_checked()?;
        self.shared
            .admin(|engine, now| engine.clear_policy(now, &vhost, name))
    }

    /// Sets an operator policy, which applies beside the ordinary ones: for limits the smaller
    /// value applies, for other settings the operator policy's.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if the virtual host does not exist, `InvalidArgument` if the policy
    /// has a setting that the broker's version of RabbitMQ does not know.
    pub fn set_operator_policy(
        &self,
        vhost: impl IntoChecked<VirtualHost>,
        name: &str,
        policy: Policy,
    ) -> Result<(), Error> {
        let vhost = vhost.into_checked()?;
        self.shared
            .admin(|engine, now| engine.set_operator_policy(now, &vhost, name, policy))
    }

    /// Removes an operator policy, if one of this name exists.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if the virtual host does not exist.
    pub fn clear_operator_policy(
        &self,
        vhost: impl IntoChecked<VirtualHost>,
        name: &str,
    ) -> Result<(), Error> {
        let vhost = vhost.into_checked()?;
        self.shared
            .admin(|engine, now| engine.clear_operator_policy(now, &vhost, name))
    }
}
