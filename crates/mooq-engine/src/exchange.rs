//! An exchange.

use std::collections::HashSet;

use super::arguments::assert_args_equivalence;
use super::bindings::{Bindings, Routing};
use super::delayed::DelayedMessages;
use super::erlang::text::atom_text;
use super::history::History;
use super::ids::{ExchangeId, VhostId};
use super::profile::Profile;
use super::reply_error::{ReplyError, Resource};
use foldhash::fast::RandomState;
use mooq_core::{ExchangeDeclare, ExchangeName, FieldTable, RoutingKey};

#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) name: ExchangeName,
    pub(crate) vhost: VhostId,
    pub(crate) kind: Routing,
    pub(crate) durable: bool,
    pub(crate) auto_delete: bool,
    pub(crate) internal: bool,
    pub(crate) arguments: FieldTable,
    /// Alternate exchange that a policy adds to the arguments.
    pub(crate) policy_alternate: Option<ExchangeName>,
    /// Bindings of which the exchange is the source.
    pub(crate) bindings: Bindings,
    /// Source and key of the bindings of which the exchange is the destination.
    pub(crate) bound_to: HashSet<(ExchangeId, RoutingKey), RandomState>,
    /// The last message that was routed through the exchange, so that cycles end.
    pub(crate) routed: u64,
    /// Messages that the exchange keeps for later bindings, if its kind does that.
    pub(crate) history: Option<Box<History>>,
    /// Messages that the exchange holds back, if its kind does that.
    pub(crate) delayed: Option<Box<DelayedMessages>>,
}

/// The one argument that RabbitMQ honours and compares.
const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

impl Exchange {
    /// Creates an exchange. `routes_as` is the kind itself or, for `x-delayed-message`, its
    /// `x-delayed-type`.
    pub(crate) fn new(
        declare: ExchangeDeclare,
        kind: Routing,
        routes_as: Routing,
        vhost: VhostId,
        profile: Profile,
    ) -> Self {
        let bindings = Bindings::new(routes_as, &declare.arguments, profile);
        let history = (routes_as == Routing::RecentHistory)
            .then(|| Box::new(History::new(&declare.arguments)));
        Self {
            name: declare.name,
            vhost,
            kind,
            durable: declare.durable,
            auto_delete: declare.auto_delete,
            internal: declare.internal,
            arguments: declare.arguments,
            policy_alternate: None,
            bindings,
            bound_to: HashSet::default(),
            routed: 0,
            history,
            delayed: (kind == Routing::DelayedMessage).then(Box::default),
        }
    }

    /// Returns the exchange that a message goes to if the bindings lead nowhere
    /// ([alternate exchanges](https://www.rabbitmq.com/docs/ae)).
    pub(crate) fn alternate(&self) -> Option<&str> {
        match self.arguments.get(ALTERNATE_EXCHANGE) {
            Some(name) => name.as_str(),
            None => self.policy_alternate.as_deref(),
        }
    }

    /// Returns true if the exchange is to be deleted, now that a binding is gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.auto_delete && self.bindings.is_empty()
    }

    /// Returns the alternate exchange that a new exchange's arguments name.
    pub(crate) fn alternate_of<'a>(
        arguments: &'a FieldTable,
        resource: Resource<'_>,
    ) -> Result<Option<&'a str>, ReplyError> {
        super::arguments::name_arg(arguments, ALTERNATE_EXCHANGE, resource)
    }

    /// Checks that a declare asks for the exchange as it already is.
    pub(crate) fn assert_equivalence(
        &self,
        declare: &ExchangeDeclare,
        kind: Routing,
        resource: Resource<'_>,
        profile: Profile,
    ) -> Result<(), ReplyError> {
        let quoted = |value: &str| format!("'{value}'");
        if self.kind != kind {
            return Err(ReplyError::inequivalent(
                resource,
                "type",
                &quoted(&atom_text(kind.kind().as_str())),
                &quoted(&atom_text(self.kind.kind().as_str())),
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
            profile,
        )
    }
}
