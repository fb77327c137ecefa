//! Permissions of a user in a virtual host
//! ([access control](https://www.rabbitmq.com/docs/access-control#authorisation)).

use std::collections::HashMap;
use std::fmt;

use foldhash::fast::RandomState;
use mooq_core::{Error, ErrorKind, ExchangeName};
use regex_lite::Regex;

use super::ids::ExchangeId;
use super::permission_cache::Grant;
use super::reply_error::ReplyError;
use super::{Caller, Engine};

/// Kinds of access to a queue or an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Configure,
    Write,
    Read,
}

/// Kinds of resource that a permission is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Queue,
    Exchange,
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

/// The queues and exchanges that a user may create and delete, write to, and read from, by patterns
/// for their names.
#[derive(Debug, Clone, Default)]
pub struct Permissions {
    configure: Pattern,
    write: Pattern,
    read: Pattern,
    /// Permitted routing keys of topic exchanges. A topic exchange without an entry has no limits.
    topics: HashMap<ExchangeName, TopicPermissions, RandomState>,
    /// True if the user has no permissions at all and may not even log in.
    are_cleared: bool,
}

/// Routing keys with which a user may publish to a topic exchange and bind from it.
#[derive(Debug, Clone)]
struct TopicPermissions {
    write: Pattern,
    read: Pattern,
}

/// A regular expression that has to match somewhere in a name.
#[derive(Debug, Clone, Default)]
enum Pattern {
    /// `.*`, without running a regular expression.
    #[default]
    Everything,
    /// The empty pattern. RabbitMQ reads it as `^$`, and no name is empty. Holds the pattern as it
    /// was given.
    Nothing(&'static str),
    Regex(Regex),
}

impl Pattern {
    fn parse(pattern: &str) -> Result<Self, Error> {
        Ok(match pattern {
            ".*" => Self::Everything,
            "" => Self::Nothing(""),
            "^$" => Self::Nothing("^$"),
            other => Self::Regex(Regex::new(other).map_err(|e| {
                let message = format!("'{other}' is not a regular expression");
                Error::new(ErrorKind::InvalidArgument, message).with_source(e)
            })?),
        })
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Nothing(_) => false,
            Self::Regex(regex) => regex.is_match(name),
        }
    }

    /// Returns the pattern as it was given.
    fn source(&self) -> &str {
        match self {
            Self::Everything => ".*",
            Self::Nothing(source) => source,
            Self::Regex(regex) => regex.as_str(),
        }
    }
}

impl Permissions {
    /// Creates permissions from three regular expressions, in rabbitmqctl's order.
    ///
    /// # Errors
    /// `InvalidArgument` if one of the three is not a regular expression.
    pub fn new(configure: &str, write: &str, read: &str) -> Result<Self, Error> {
        Ok(Self {
            configure: Pattern::parse(configure)?,
            write: Pattern::parse(write)?,
            read: Pattern::parse(read)?,
            topics: HashMap::default(),
            are_cleared: false,
        })
    }

    /// Returns no permissions at all.
    pub(crate) fn cleared() -> Self {
        Self {
            configure: Pattern::Nothing(""),
            write: Pattern::Nothing(""),
            read: Pattern::Nothing(""),
            topics: HashMap::default(),
            are_cleared: true,
        }
    }

    /// Returns the regular expressions that they were made of, in rabbitmqctl's order: configure,
    /// write, read.
    #[must_use]
    pub fn sources(&self) -> [&str; 3] {
        [&self.configure, &self.write, &self.read].map(Pattern::source)
    }

    /// Returns the topic exchanges with limits, each with the regular expressions for write and
    /// read.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (&ExchangeName, [&str; 2])> {
        let topics = self.topics.iter();
        topics.map(|(exchange, of)| (exchange, [&of.write, &of.read].map(Pattern::source)))
    }

    /// True if the user has no permissions at all and may not even log in.
    pub(crate) fn are_cleared(&self) -> bool {
        self.are_cleared
    }

    /// Limits the routing keys of a topic exchange, or removes the limits.
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

    /// Copies the limits on routing keys from `other`. These limits are set and cleared separately.
    pub(crate) fn keep_topics(&mut self, other: &Self) {
        self.topics.clone_from(&other.topics);
    }
}

impl Engine {
    /// Checks that the caller has this access to a queue. The queue need not exist.
    pub(super) fn permit_queue(
        &mut self,
        caller: Caller,
        access: Access,
        name: &str,
    ) -> Result<(), ReplyError> {
        self.permit(caller, access, Kind::Queue, name)
    }

    /// Checks that the caller may passively declare a queue or exchange of this name.
    pub(super) fn permit_asking(
        &mut self,
        caller: Caller,
        kind: Kind,
        name: &str,
    ) -> Result<(), ReplyError> {
        if !self.options.profile.asking_takes_a_permission() {
            return Ok(());
        }
        // Any access will do. The channel remembers the first that it finds, and the refusal is
        // about the last.
        let accesses = [Access::Read, Access::Write, Access::Configure];
        let granted = &self.channel_mut(caller)?.permission_cache.resources;
        if accesses
            .into_iter()
            .any(|access| granted.has(Grant::resource(access, kind, name)))
        {
            return Ok(());
        }
        self.permit(caller, Access::Read, kind, name)
            .or_else(|_| self.permit(caller, Access::Write, kind, name))
            .or_else(|_| self.permit(caller, Access::Configure, kind, name))
    }

    /// Checks that the caller has this access to an exchange. The exchange need not exist.
    pub(super) fn permit_exchange(
        &mut self,
        caller: Caller,
        access: Access,
        name: &str,
    ) -> Result<(), ReplyError> {
        // Permissions call the default exchange by a name that patterns can match.
        let name = if name.is_empty() { "amq.default" } else { name };
        self.permit(caller, access, Kind::Exchange, name)
    }

    fn permit(
        &mut self,
        caller: Caller,
        access: Access,
        kind: Kind,
        name: &str,
    ) -> Result<(), ReplyError> {
        let grant = Grant::resource(access, kind, name);
        if self
            .channel_mut(caller)?
            .permission_cache
            .resources
            .has(grant)
        {
            return Ok(());
        }
        let connection = self.connection(caller.connection)?;
        if connection.permissions.allow(access, name) {
            self.channel_mut(caller)?
                .permission_cache
                .resources
                .enter(grant);
            return Ok(());
        }
        let vhost = self.vhost(caller.vhost)?;
        let resource = match kind {
            Kind::Queue => vhost.queue(name),
            Kind::Exchange => vhost.exchange(name),
        };
        Err(self.refused(access, &resource, &connection.username))
    }

    /// Checks that the caller may publish to an exchange with these routing keys, or bind with
    /// them. Only topic exchanges have such limits.
    pub(super) fn permit_topic<'a>(
        &mut self,
        caller: Caller,
        access: Access,
        exchange: ExchangeId,
        mut keys: impl Iterator<Item = &'a str>,
    ) -> Result<(), ReplyError> {
        let (Some(exchange), Some(channel), Some(connection)) = (
            self.exchanges.get(exchange),
            self.channels.get_mut(caller.channel),
            self.connections.get(caller.connection),
        ) else {
            return Ok(());
        };
        if exchange.kind != super::bindings::Routing::Topic {
            return Ok(());
        }
        let (granted, name) = (&mut channel.permission_cache.topics, &exchange.name);
        let refused = keys.find(|key| {
            let grant = Grant::topic(access, name, key);
            if granted.has(grant) {
                return false;
            }
            let is_allowed = connection.permissions.allow_topic(access, name, key);
            if is_allowed {
                granted.enter(grant);
            }
            !is_allowed
        });
        let Some(key) = refused else {
            return Ok(());
        };
        let vhost = &self.vhost(caller.vhost)?.name;
        let topic = format_args!("topic '{key}' in exchange '{name}' in vhost '{vhost}'");
        Err(self.refused(access, &topic, &connection.username))
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
    fn invalid_regular_expression_is_named() {
        let err = Permissions::new(".*", "[", ".*").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidArgument);
        assert_eq!(err.to_string(), "'[' is not a regular expression");
    }
}
