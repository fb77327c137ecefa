//! What an administrator does with a broker, in rabbitmqctl's words.

use mooq_core::{Error, ExchangeName, IntoChecked, VirtualHost};

use super::InMemoryBroker;
use crate::engine::Permissions;

/// Virtual hosts, users and their permissions.
impl InMemoryBroker {
    /// Adds a virtual host, if there is none of this name. Every user may do everything in it
    /// for whom nothing else is said.
    ///
    /// # Errors
    /// `InvalidName` if the name is longer than 255 bytes.
    pub fn add_vhost(&self, name: impl IntoChecked<VirtualHost>) -> Result<(), Error> {
        let name = name.into_checked()?;
        self.shared.administer(|engine, _| engine.add_vhost(name));
        Ok(())
    }

    /// Deletes a virtual host with its queues and exchanges, and closes the connections to it.
    /// Nothing happens if there is none of this name.
    ///
    /// # Errors
    /// `InvalidName` if the name is longer than 255 bytes.
    pub fn delete_vhost(&self, name: impl IntoChecked<VirtualHost>) -> Result<(), Error> {
        let name = name.into_checked()?;
        self.shared
            .administer(|engine, now| engine.delete_vhost(now, &name));
        Ok(())
    }

    /// Adds a user, or changes its password. Every broker has the user `guest` with the password
    /// `guest`.
    ///
    /// Unlike one of rabbitmqctl's, it may do everything in every virtual host, until
    /// [`Self::set_permissions`] or [`Self::clear_permissions`] says something else.
    pub fn add_user(&self, username: impl Into<String>, password: impl Into<String>) {
        let (username, password) = (username.into(), password.into());
        self.shared
            .administer(|engine, _| engine.add_user(username, password));
    }

    /// Deletes a user and closes its connections. Nothing happens if there is none of this name.
    pub fn delete_user(&self, username: &str) {
        self.shared
            .administer(|engine, now| engine.delete_user(now, username));
    }

    /// Sets what a user may do in a virtual host: three regular expressions for the names of the
    /// queues and exchanges that it may create and delete (`configure`), publish to, bind or fill
    /// (`write`), and consume or bind from (`read`). One that is empty fits none, the default
    /// exchange is called `amq.default` here. It holds at once
    /// ([access control](https://www.rabbitmq.com/docs/access-control)).
    ///
    /// # Errors
    /// `InvalidArgument` if there is no such user, or if something is not a regular expression;
    /// `VirtualHostNotFound` if there is no such virtual host.
    ///
    /// # Examples
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use mooq_core::{Credentials, Endpoint, ErrorKind, QueueDeclare, Scheme, Transport};
    /// use mooq_memory::InMemoryBroker;
    ///
    /// let broker = InMemoryBroker::start();
    /// broker.add_user("billing", "secret");
    /// broker.set_permissions("billing", "/", "^billing-", ".*", "^billing-")?;
    ///
    /// let mut endpoint = Endpoint::new(Scheme::Memory);
    /// endpoint.credentials = Credentials {
    ///     username: "billing".into(),
    ///     password: "secret".into(),
    /// };
    /// let opened = broker.transport().open(&endpoint).await?;
    /// let channel = opened.connection.open_channel().await?.channel;
    /// let orders = QueueDeclare::new("orders".try_into()?);
    /// let err = channel.declare_queue(orders).await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::AccessRefused);
    /// # Ok::<(), mooq_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn set_permissions(
        &self,
        username: &str,
        vhost: impl IntoChecked<VirtualHost>,
        configure: &str,
        write: &str,
        read: &str,
    ) -> Result<(), Error> {
        let permissions = Permissions::new(configure, write, read)?;
        self.permit(username, &vhost.into_checked()?, Some(permissions))
    }

    /// Takes every permission in a virtual host from a user, which cannot log in there any more.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no such user, `VirtualHostNotFound` if there is no such
    /// virtual host.
    pub fn clear_permissions(
        &self,
        username: &str,
        vhost: impl IntoChecked<VirtualHost>,
    ) -> Result<(), Error> {
        self.permit(username, &vhost.into_checked()?, None)
    }

    fn permit(
        &self,
        username: &str,
        vhost: &VirtualHost,
        permissions: Option<Permissions>,
    ) -> Result<(), Error> {
        self.shared
            .administer(|engine, _| engine.set_permissions(username, vhost, permissions))
    }

    /// Limits the routing keys that a user may publish to a topic exchange (`write`) and bind
    /// from it (`read`), by two regular expressions.
    ///
    /// # Errors
    /// Those of [`Self::set_permissions`], and `InvalidName` if a name is longer than 255 bytes.
    pub fn set_topic_permissions(
        &self,
        username: &str,
        vhost: impl IntoChecked<VirtualHost>,
        exchange: impl IntoChecked<ExchangeName>,
        write: &str,
        read: &str,
    ) -> Result<(), Error> {
        let (vhost, exchange) = (vhost.into_checked()?, exchange.into_checked()?);
        let limits = Some((write, read));
        self.shared.administer(|engine, _| {
            engine.set_topic_permissions(username, &vhost, exchange, limits)
        })
    }

    /// Ends what [`Self::set_topic_permissions`] began.
    ///
    /// # Errors
    /// Those of [`Self::clear_permissions`], and `InvalidName` if a name is longer than 255 bytes.
    pub fn clear_topic_permissions(
        &self,
        username: &str,
        vhost: impl IntoChecked<VirtualHost>,
        exchange: impl IntoChecked<ExchangeName>,
    ) -> Result<(), Error> {
        let (vhost, exchange) = (vhost.into_checked()?, exchange.into_checked()?);
        self.shared
            .administer(|engine, _| engine.set_topic_permissions(username, &vhost, exchange, None))
    }
}
