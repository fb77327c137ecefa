//! The policies of a broker.

use mooq_core::{Error, IntoChecked, VirtualHost};

use super::InMemoryBroker;
use crate::engine::Policy;

/// Policies.
impl InMemoryBroker {
    /// Sets a policy of a virtual host, in place of one of the same name: it adds to the
    /// arguments of queues and exchanges, of those that are there too
    /// ([policies](https://www.rabbitmq.com/docs/policies)). Of limits that an argument sets as
    /// well, the smaller one holds; otherwise the argument does. For messages that are in their
    /// queues already, no time to live begins.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if there is no such virtual host.
    ///
    /// # Examples
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use mooq_core::FieldTable;
    /// use mooq_memory::{ApplyTo, InMemoryBroker, Policy};
    ///
    /// let broker = InMemoryBroker::start();
    /// let mut definition = FieldTable::new();
    /// definition.insert("max-length".try_into()?, 1_000);
    /// definition.insert("overflow".try_into()?, "reject-publish");
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
            .administer(|engine, now| engine.set_policy(now, &vhost, name, policy))
    }

    /// Removes a policy, if there is one of this name: what it added is gone at once.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if there is no such virtual host.
    pub fn clear_policy(
        &self,
        vhost: impl IntoChecked<VirtualHost>,
        name: &str,
    ) -> Result<(), Error> {
        let vhost = vhost.into_checked()?;
        self.shared
            .administer(|engine, now| engine.clear_policy(now, &vhost, name))
    }

    /// Sets an operator policy, which applies beside the ordinary ones: of limits the smaller
    /// holds, of other settings the operators'.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if there is no such virtual host.
    pub fn set_operator_policy(
        &self,
        vhost: impl IntoChecked<VirtualHost>,
        name: &str,
        policy: Policy,
    ) -> Result<(), Error> {
        let vhost = vhost.into_checked()?;
        self.shared
            .administer(|engine, now| engine.set_operator_policy(now, &vhost, name, policy))
    }

    /// Removes an operator policy, if there is one of this name.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if there is no such virtual host.
    pub fn clear_operator_policy(
        &self,
        vhost: impl IntoChecked<VirtualHost>,
        name: &str,
    ) -> Result<(), Error> {
        let vhost = vhost.into_checked()?;
        self.shared
            .administer(|engine, now| engine.clear_operator_policy(now, &vhost, name))
    }
}
