//! Exchanges, queues and bindings that the broker declares by itself, from imported
//! [definitions](https://www.rabbitmq.com/docs/definitions).

use std::sync::Arc;

use mooq_core::{Binding, Error, ErrorKind, ExchangeDeclare, QueueDeclare, VirtualHost};

use super::administration::no_vhost;
use super::command::{Capabilities, Method};
use super::connection::Connection;
use super::reply_error::ReplyError;
use super::time::Time;
use super::{Caller, Engine};

/// RabbitMQ's name for the user as which it acts by itself. It is permitted everything.
const INTERNAL_USER: &str = "rmq-internal";

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
        let found = self.vhost_named(vhost);
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
        let found = self.vhost_named(vhost);
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
        self.advance(now);
        let Some(&vhost) = self.vhosts_by_name.get(vhost) else {
            return Err(no_vhost(vhost));
        };
        let connection = self.add_connection(Connection::new(
            vhost,
            INTERNAL_USER.into(),
            None,
            Arc::default(),
            Capabilities::default(),
        ));
        let id = method.id();
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
                    vhost,
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
