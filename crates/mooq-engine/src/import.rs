//! Exchanges, queues and bindings that the broker declares by itself, from imported
//! [definitions](https://www.rabbitmq.com/docs/definitions).

use mooq_core::{
    Binding, Credentials, Error, ErrorKind, ExchangeDeclare, QueueDeclare, VirtualHost,
};

use super::administration::no_vhost;
use super::command::{Login, Method};
use super::reply_error::ReplyError;
use super::time::Time;
use super::users::Password;
use super::{Caller, Engine};

/// The user that declares what is imported. No client has this name: SASL PLAIN ends a name at a
/// NUL.
const INTERNAL_USER: &str = "rmq-internal\0";

impl Engine {
    /// Declares an exchange of a virtual host. One that exists stays as it is.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if there is no such virtual host, `InvalidArgument` if RabbitMQ
    /// refuses the exchange.
    pub fn import_exchange(
        &mut self,
        now: Time,
        vhost: &VirtualHost,
        declare: ExchangeDeclare,
    ) -> Result<(), Error> {
        let found = self.vhosts_by_name.get(vhost);
        let found = found.and_then(|id| self.vhosts.get(*id));
        if found.is_some_and(|vhost| vhost.exchanges.contains_key(&declare.name)) {
            return Ok(());
        }
        self.import(now, vhost, Method::ExchangeDeclare(declare))
    }

    /// Declares a queue of a virtual host. One that exists stays as it is.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if there is no such virtual host, `InvalidArgument` if RabbitMQ
    /// refuses the queue.
    pub fn import_queue(
        &mut self,
        now: Time,
        vhost: &VirtualHost,
        declare: QueueDeclare,
    ) -> Result<(), Error> {
        let found = self.vhosts_by_name.get(vhost);
        let found = found.and_then(|id| self.vhosts.get(*id));
        if found.is_some_and(|vhost| vhost.queues.contains_key(&declare.name)) {
            return Ok(());
        }
        self.import(now, vhost, Method::QueueDeclare(declare))
    }

    /// Adds a binding to a virtual host.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if there is no such virtual host, `InvalidArgument` if one of the
    /// binding's ends does not exist or RabbitMQ refuses the binding.
    pub fn import_binding(
        &mut self,
        now: Time,
        vhost: &VirtualHost,
        binding: Binding,
    ) -> Result<(), Error> {
        self.import(now, vhost, Method::Bind(binding))
    }

    fn import(&mut self, now: Time, vhost: &VirtualHost, method: Method) -> Result<(), Error> {
        if !self.vhosts_by_name.contains_key(vhost) {
            return Err(no_vhost(vhost));
        }
        let password = Password::Plain(String::new());
        self.users.add(INTERNAL_USER.into(), password, true);
        let login = Login {
            credentials: Credentials {
                username: INTERNAL_USER.into(),
                ..Credentials::default()
            },
            vhost: Some(vhost.clone()),
            ..Login::default()
        };
        let id = method.id();
        let opened = self.open_authenticated(now, login);
        self.users.remove(INTERNAL_USER);
        let connection = opened.map_err(|reason| refused(&reason.text))?;
        let declared = self
            .open_channel(connection, 1, &Method::ChannelOpen)
            .and_then(|_| {
                let open = self.connection(connection)?;
                let channel = open
                    .channel(1)
                    .ok_or_else(|| ReplyError::internal("channel"))?;
                let caller = Caller {
                    connection,
                    number: 1,
                    channel,
                    vhost: open.vhost,
                };
                self.dispatch(caller, method).map(drop)
            });
        self.end_connection(connection);
        self.finish();
        declared.map_err(|error| refused(&error.into_reason(id).text))
    }
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, why.to_owned())
}
