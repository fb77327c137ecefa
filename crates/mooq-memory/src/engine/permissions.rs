//! What a user may do in a virtual host
//! ([access control](https://www.rabbitmq.com/docs/access-control#authorisation)).

use std::collections::HashMap;
use std::fmt;

use foldhash::fast::RandomState;
use mooq_core::{Error, ErrorKind, ExchangeName};
use regex_lite::Regex;

use super::arena::Key;
use super::reply_error::{ReplyError, Resource};
use super::vhost::VirtualHost;
use super::{Caller, Engine};

/// What somebody wants to do with a queue or an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Configure,
    Write,
    Read,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configure => "configure",
            Self::Write => "write",
            Self::Read => "read",
        })
    }
}

/// Which names of queues and exchanges a user may create and delete, write to, and read from.
#[derive(Debug, Clone, Default)]
pub struct Permissions {
    configure: Pattern,
    write: Pattern,
    read: Pattern,
    /// For topic exchanges: which routing keys. Those without an entry know no limits.
    topics: HashMap<ExchangeName, TopicPermissions, RandomState>,
}

/// Which routing keys a user may publish to and bind from a topic exchange.
#[derive(Debug, Clone)]
struct TopicPermissions {
    write: Pattern,
    read: Pattern,
}

/// A regular expression that names have to match somewhere.
#[derive(Debug, Clone, Default)]
enum Pattern {
    /// `.*`, spared the matching.
    #[default]
    Everything,
    /// The empty one: RabbitMQ reads it as `^$`, and there are no empty names.
    Nothing,
    Regex(Regex),
}

impl Pattern {
    fn parse(pattern: &str) -> Result<Self, Error> {
        Ok(match pattern {
            ".*" => Self::Everything,
            "" | "^$" => Self::Nothing,
            other => Self::Regex(Regex::new(other).map_err(|e| {
                let message = format!("'{other}' is not a regular expression");
                Error::new(ErrorKind::InvalidArgument, message).with_source(e)
            })?),
        })
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Nothing => false,
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}

impl Permissions {
    /// Those given by three regular expressions, in rabbitmqctl's order.
    ///
    /// # Errors
    /// `InvalidArgument` if one of them is not a regular expression.
    pub fn new(configure: &str, write: &str, read: &str) -> Result<Self, Error> {
        Ok(Self {
            configure: Pattern::parse(configure)?,
            write: Pattern::parse(write)?,
            read: Pattern::parse(read)?,
            topics: HashMap::default(),
        })
    }

    /// Limits the routing keys of a topic exchange, or ends that.
    pub(crate) fn limit_topic(
        &mut self,
        exchange: ExchangeName,
        write_and_read: Option<(&str, &str)>,
    ) -> Result<(), Error> {
        let Some((write, read)) = write_and_read else {
            self.topics.remove(&exchange);
            return Ok(());
        };
        let limits = TopicPermissions {
            write: Pattern::parse(write)?,
            read: Pattern::parse(read)?,
        };
        self.topics.insert(exchange, limits);
        Ok(())
    }

    fn allow(&self, access: Access, name: &str) -> bool {
        let pattern = match access {
            Access::Configure => &self.configure,
            Access::Write => &self.write,
            Access::Read => &self.read,
        };
        pattern.matches(name)
    }

    fn allow_topic(&self, access: Access, exchange: &str, key: &str) -> bool {
        let Some(limits) = self.topics.get(exchange) else {
            return true;
        };
        match access {
            Access::Read => limits.read.matches(key),
            Access::Write | Access::Configure => limits.write.matches(key),
        }
    }

    /// Takes over the limits on routing keys, which are given and taken by themselves.
    pub(crate) fn keep_topics(&mut self, other: &Self) {
        self.topics.clone_from(&other.topics);
    }
}

impl Engine {
    /// Checks that the caller may do this with a queue, be it there or not.
    pub(super) fn permit_queue(
        &self,
        caller: Caller,
        access: Access,
        name: &str,
    ) -> Result<(), ReplyError> {
        self.permit(caller, access, name, VirtualHost::queue)
    }

    /// Checks that the caller may do this with an exchange, be it there or not.
    pub(super) fn permit_exchange(
        &self,
        caller: Caller,
        access: Access,
        name: &str,
    ) -> Result<(), ReplyError> {
        // The default exchange has a name here that patterns can match.
        let name = if name.is_empty() { "amq.default" } else { name };
        self.permit(caller, access, name, VirtualHost::exchange)
    }

    fn permit(
        &self,
        caller: Caller,
        access: Access,
        name: &str,
        resource: for<'a> fn(&'a VirtualHost, &'a str) -> Resource<'a>,
    ) -> Result<(), ReplyError> {
        let Some(connection) = self.connections.get(caller.connection.0) else {
            return Err(ReplyError::internal("connection"));
        };
        if let Some(permissions) = &connection.permissions
            && permissions.allow(access, name)
        {
            return Ok(());
        }
        let resource = resource(self.vhost(caller.vhost)?, name);
        let user = &connection.username;
        Err(self.refused(access, &resource, user))
    }

    /// Checks that the caller may publish to this routing key of an exchange, or bind it. Only
    /// topic exchanges know such limits.
    pub(super) fn permit_topic<'a>(
        &self,
        caller: Caller,
        access: Access,
        exchange: Key<super::exchange::Exchange>,
        mut keys: impl Iterator<Item = &'a str>,
    ) -> Result<(), ReplyError> {
        let connection = self.connections.get(caller.connection.0);
        let Some((connection, permissions)) =
            connection.and_then(|c| Some((c, c.permissions.as_ref()?)))
        else {
            return Ok(());
        };
        if permissions.topics.is_empty() {
            return Ok(());
        }
        let Some(exchange) = self.exchanges.get(exchange) else {
            return Ok(());
        };
        let is_topic = exchange.kind == super::bindings::Routing::Topic;
        let refused = keys.find(|key| !permissions.allow_topic(access, &exchange.name, key));
        match refused {
            Some(key) if is_topic => {
                let vhost = &self.vhost(caller.vhost)?.name;
                let (name, user) = (&exchange.name, &connection.username);
                let topic = format_args!("topic '{key}' in exchange '{name}' in vhost '{vhost}'");
                Err(self.refused(access, &topic, user))
            }
            _ => Ok(()),
        }
    }

    fn refused(&self, access: Access, to: &dyn fmt::Display, user: &str) -> ReplyError {
        let mut text = format!("access to {to} refused for user '{user}'");
        if self.options.profile.names_refused_access() {
            text = format!("{access} {text}");
        }
        ReplyError::access_refused(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_anywhere_unless_it_is_anchored() {
        let permissions = Permissions::new("", "orders", "^orders$").unwrap();
        assert!(!permissions.allow(Access::Configure, "orders"));
        assert!(permissions.allow(Access::Write, "new-orders-1"));
        assert!(!permissions.allow(Access::Read, "new-orders-1"));
        assert!(permissions.allow(Access::Read, "orders"));
    }

    #[test]
    fn what_is_no_regular_expression_is_named() {
        let err = Permissions::new(".*", "[", ".*").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidArgument);
        assert_eq!(err.to_string(), "'[' is not a regular expression");
    }
}
