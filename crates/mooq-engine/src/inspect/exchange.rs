//! Inspection of exchanges.

use mooq_core::{ExchangeKind, ExchangeName, FieldTable, VirtualHost};

use crate::Engine;
use crate::exchange::Exchange;

/// Snapshot of an exchange.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ExchangeInfo {
    /// Name of the exchange.
    pub name: ExchangeName,
    /// Kind of the exchange, by which it routes.
    pub kind: ExchangeKind,
    /// True if the exchange survives a restart.
    pub durable: bool,
    /// True if the exchange is deleted when the last binding from it is removed.
    pub auto_delete: bool,
    /// True if only other exchanges may publish to the exchange.
    pub internal: bool,
    /// Arguments of the exchange's declare.
    pub arguments: FieldTable,
    /// Name of the policy that applies.
    pub policy: Option<String>,
}

impl Engine {
    /// Returns the exchanges of a virtual host whose names match, sorted by name. Exchanges that
    /// every virtual host has are included.
    #[must_use]
    pub fn exchanges(&self, vhost: &VirtualHost, glob: &str) -> Vec<ExchangeInfo> {
        let policies = self.vhost_named(vhost).map(|vhost| &vhost.policies);
        let found = self.matching_exchanges(vhost, glob).into_iter();
        found
            .map(|exchange| {
                let policy = policies.and_then(|of| of.for_exchange(&exchange.name));
                ExchangeInfo::of(exchange, policy.map(|(name, _)| name))
            })
            .collect()
    }
}

impl ExchangeInfo {
    fn of(exchange: &Exchange, policy: Option<&str>) -> Self {
        Self {
            name: exchange.name.clone(),
            kind: exchange.kind.kind(),
            durable: exchange.durable,
            auto_delete: exchange.auto_delete,
            internal: exchange.internal,
            arguments: exchange.arguments.clone(),
            policy: policy.map(str::to_owned),
        }
    }
}
