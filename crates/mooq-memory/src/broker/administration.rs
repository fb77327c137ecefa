//! Administration of a broker, in rabbitmqctl's words.

use mooq_core::{Credentials, Error, ExchangeName, IntoChecked, VirtualHost};

use super::InMemoryBroker;
use mooq_engine::{Permissions, UserInfo};

/// Virtual hosts, users and their permissions.
impl InMemoryBroker {
    /// Adds a virtual host, if none of this name exists. Every user has full permissions in it,
    /// unless other permissions are set.
    ///
    /// # Errors
    /// `InvalidName` if the name is longer than 255 bytes.
    pub fn add_vhost(&self, name: impl IntoChecked<VirtualHost>) -> Result<(), Error> {
        let name = name.into_checked()?;
        self.shared.admin(|engine, _| engine.add_vhost(name));
        Ok(())
    }

    /// Deletes a virtual host with its queues and exchanges, and closes the connections to it.
    /// Nothing happens if no virtual host has this name.
    ///
    /// # Errors
    /// `InvalidName` if the name is longer than 255 bytes.
    pub fn delete_vhost(&self, name: impl IntoChecked<VirtualHost>) -> Result<(), Error> {
        let name = name.into_checked()?;
        self.shared
            .admin(|engine, now| engine.delete_vhost(now, &name));
        Ok(())
    }

    /// Adds a user, or changes its password. Every broker has the user `guest` with the password
    /// `guest`.
    ///
    /// Unlike a user of rabbitmqctl, the new user has full permissions in every virtual host, until
    /// [`Self::set_permissions`] or [`Self::clear_permissions`] changes them.
    pub fn add_user(&self, username: impl Into<String>, password: impl Into<String>) {
        let (username, password) = (username.into(), password.into());
        self.shared
            .admin(|engine, _| engine.add_user(username, password));
    }

    /// Sets a user's tags, as `rabbitmqctl set_user_tags` does. Tags permit access to a management
    /// API (`administrator`, `monitoring`, `policymaker`, `management`), and nothing else. `guest`
    /// is an administrator; other users have no tags at first.
    ///
    /// # Errors
    /// `InvalidArgument` if the user does not exist.
    pub fn set_user_tags<T: Into<String>>(
        &self,
        username: &str,
        tags: impl IntoIterator<Item = T>,
    ) -> Result<(), Error> {
        let tags = tags.into_iter().map(Into::into).collect();
        self.shared
            .admin(|engine, _| engine.set_user_tags(username, tags))
    }

    /// The user with this name and password. `None` if no user has this name, or if the password is
    /// wrong. Unlike a login, the check is no subject of faults.
    #[must_use]
    pub fn user_with(&self, credentials: &Credentials) -> Option<UserInfo> {
        self.shared
            .with_engine(|engine| engine.user_with(credentials))
    }

    /// Closes a connection, as the management plugin does: with 320 and the text `CONNECTION_FORCED
    /// - ` and `why`. Returns false if no connection has this number, which
    /// [`ConnectionInfo`](mooq_engine::ConnectionInfo) has.
    pub fn close_connection(&self, number: u64, why: &str) -> bool {
        self.shared
            .admin(|engine, now| engine.close_connection(now, number, why))
    }

    /// Deletes a user and closes its connections. Nothing happens if no user has this name.
    pub fn delete_user(&self, username: &str) {
        self.shared
            .admin(|engine, now| engine.delete_user(now, username));
    }

    /// Sets a user's permissions in a virtual host: three regular expressions for the names of the
    /// queues and exchanges that the user may create and delete (`configure`), publish to, bind or
    /// fill (`write`), and consume or bind from (`read`). An empty expression matches no name. The
    /// default exchange is called `amq.default` here ([access
    /// control](https://www.rabbitmq.com/docs/access-control)). The permissions apply at once, but
    /// a channel keeps the permissions that it has used, until it has been idle for a second.
    ///
    /// # Errors
    /// `InvalidArgument` if the user does not exist, or if one of the three texts is not a regular
    /// expression; `VirtualHostNotFound` if the virtual host does not exist.
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
    /// endpoint.credentials = Credentials::new("billing", "secret");
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

    /// Removes a user's permissions in a virtual host. The user can no longer log in there.
    ///
    /// # Errors
    /// `InvalidArgument` if the user does not exist, `VirtualHostNotFound` if the virtual host does
    /// not exist.
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
            .admin(|engine, _| engine.set_permissions(username, vhost, permissions))
    }

    /// Limits the routing keys with which a user may publish to a topic exchange (`write`) and bind
    /// from it (`read`), by two regular expressions.
    ///
    /// # Errors
    /// The errors of [`Self::set_permissions`], and `InvalidName` if a name is longer than 255
    /// bytes.
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
        self.shared
            .admin(|engine, _| engine.set_topic_permissions(username, &vhost, exchange, limits))
    }

    /// Removes the limits that [`Self::set_topic_permissions`] set.
    ///
    /// # Errors
    /// The errors of [`Self::clear_permissions`], and `InvalidName` if a name is longer than 255
    /// bytes.
    pub fn clear_topic_permissions(
        &self,
        username: &str,
        vhost: impl IntoChecked<VirtualHost>,
        exchange: impl IntoChecked<ExchangeName>,
    ) -> Result<(), Error> {
        let (vhost, exchange) = (vhost.into_checked()?, exchange.into_checked()?);
        self.shared
            .admin(|engine, _| engine.set_topic_permissions(username, &vhost, exchange, None))
    }
}
