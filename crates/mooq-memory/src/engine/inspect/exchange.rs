//! A look at exchanges.

use mooq_core::{ExchangeKind, ExchangeName, VirtualHost};

use crate::engine::Engine;
use crate::engine::bindings::Routing;
use crate::engine::exchange::Exchange;

/// An exchange as it is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExchangeInfo {
    /// Its name.
    pub name: ExchangeName,
    /// How it routes.
    pub kind: ExchangeKind,
    /// It survives a restart.
    pub durable: bool,
    /// It goes when its last binding as source goes.
    pub auto_delete: bool,
    /// Only other exchanges may publish to it.
    pub internal: bool,
}

impl Engine {
    /// The exchanges of a virtual host whose names match, by name, those that every virtual host
    /// has included.
    #[must_use]
    pub fn exchanges(&self, vhost: &VirtualHost, glob: &str) -> Vec<ExchangeInfo> {
        let found = self.matching_exchanges(vhost, glob).into_iter();
        found.map(ExchangeInfo::of).collect()
    }
}

impl ExchangeInfo {
    fn of(exchange: &Exchange) -> Self {
        Self {
            name: exchange.name.clone(),
            kind: exchange.kind.into(),
            durable: exchange.durable,
            auto_delete: exchange.auto_delete,
            internal: exchange.internal,
        }
    }
}

impl From<Routing> for ExchangeKind {
    fn from(routing: Routing) -> Self {
        match routing {
            Routing::Direct => Self::Direct,
            Routing::Topic => Self::Topic,
            Routing::Fanout => Self::Fanout,
            Routing::Headers => Self::Headers,
        }
    }
}
