//! An exchange.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use mooq_core::{ExchangeDeclare, ExchangeName, FieldTable, RoutingKey};

use super::arena::Key;
use super::arguments::assert_args_equivalence;
use super::bindings::{Bindings, Routing};
use super::profile::Profile;
use super::reply_error::{ReplyError, Resource};
use super::vhost::VirtualHost;

#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) name: ExchangeName,
    pub(crate) vhost: Key<VirtualHost>,
    pub(crate) kind: Routing,
    pub(crate) durable: bool,
    pub(crate) auto_delete: bool,
    pub(crate) internal: bool,
    arguments: FieldTable,
    /// What a policy adds to them.
    pub(crate) policy_alternate: Option<ExchangeName>,
    /// The bindings of which it is the source.
    pub(crate) bindings: Bindings,
    /// The source and key of the bindings of which it is the destination.
    pub(crate) bound_to: HashSet<(Key<Self>, RoutingKey), RandomState>,
    /// The last message that was routed through it, so that cycles end.
    pub(crate) routed: u64,
}

/// The one argument that RabbitMQ honours and compares.
const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

impl Exchange {
    pub(crate) fn new(
        declare: ExchangeDeclare,
        kind: Routing,
        vhost: Key<VirtualHost>,
        profile: Profile,
    ) -> Self {
        Self {
            name: declare.name,
            vhost,
            kind,
            durable: declare.durable,
            auto_delete: declare.auto_delete,
            internal: declare.internal,
            arguments: declare.arguments,
            policy_alternate: None,
            bindings: Bindings::new(kind, profile),
            bound_to: HashSet::default(),
            routed: 0,
        }
    }

    /// Where a message goes that its bindings lead nowhere
    /// ([alternate exchanges](https://www.rabbitmq.com/docs/ae)).
    pub(crate) fn alternate(&self) -> Option<&str> {
        match self.arguments.get(ALTERNATE_EXCHANGE) {
            Some(name) => name.as_str(),
            None => self.policy_alternate.as_deref(),
        }
    }

    /// Whether it goes, now that a binding has gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.auto_delete && self.bindings.is_empty()
    }

    /// The alternate exchange that a new exchange's arguments name.
    pub(crate) fn alternate_of<'a>(
        arguments: &'a FieldTable,
        resource: Resource<'_>,
    ) -> Result<Option<&'a str>, ReplyError> {
        super::arguments::name_arg(arguments, ALTERNATE_EXCHANGE, resource)
    }

    /// Checks that a declare asks for nothing else than what is here already.
    pub(crate) fn assert_equivalence(
        &self,
        declare: &ExchangeDeclare,
        kind: Routing,
        resource: Resource<'_>,
    ) -> Result<(), ReplyError> {
        let quoted = |value: &str| format!("'{value}'");
        if self.kind != kind {
            return Err(ReplyError::inequivalent(
                resource,
                "type",
                &quoted(kind.as_str()),
                &quoted(self.kind.as_str()),
            ));
        }
        for (what, received, current) in [
            ("durable", declare.durable, self.durable),
            ("auto_delete", declare.auto_delete, self.auto_delete),
            ("internal", declare.internal, self.internal),
        ] {
            if received != current {
                return Err(ReplyError::inequivalent(
                    resource,
                    what,
                    &quoted(if received { "true" } else { "false" }),
                    &quoted(if current { "true" } else { "false" }),
                ));
            }
        }
        assert_args_equivalence(
            &self.arguments,
            &declare.arguments,
            resource,
            &[ALTERNATE_EXCHANGE],
        )
    }
}
