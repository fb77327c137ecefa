//! `exchange.declare` and `exchange.delete`.

use mooq_core::{ExchangeDeclare, ExchangeName, FieldTable};

use super::stripped;
use crate::bindings::{self, Routing};
use crate::delayed_exchange;
use crate::exchange::Exchange;
use crate::ids::VhostId;
use crate::permissions::{Access, Kind};
use crate::reply_error::ReplyError;
use crate::vhost::PREDECLARED;
use crate::{Caller, Engine};

impl Engine {
    pub(super) fn exchange_declare(
        &mut self,
        caller: Caller,
        mut declare: ExchangeDeclare,
    ) -> Result<(), ReplyError> {
        declare.name = stripped(declare.name);
        if declare.passive {
            check_not_default(&declare.name)?;
            self.permit_passive_declare(caller, Kind::Exchange, &declare.name)?;
            return self.find_exchange(caller, &declare.name).map(|_| ());
        }
        let profile = self.options.profile;
        let kind = Routing::of(&declare.kind, &self.options)
            .ok_or_else(|| ReplyError::unknown_exchange_type(&declare.kind, profile))?;
        check_not_default(&declare.name)?;
        self.permit_exchange(caller, Access::Configure, &declare.name)?;
        let resource = self.vhost(caller.vhost)?.exchange(&declare.name);
        if let Ok((_, exchange)) = self.find_exchange(caller, &declare.name) {
            return exchange.assert_equivalence(&declare, kind, resource, profile);
        }
        if declare.name.starts_with("amq.") {
            return Err(ReplyError::reserved_prefix("exchange", &declare.name));
        }
        if let Some(alternate) = Exchange::alternate_of(&declare.arguments, resource)? {
            self.permit_exchange(caller, Access::Read, &declare.name)?;
            self.permit_exchange(caller, Access::Write, alternate)?;
        }
        let routes_as = match kind {
            Routing::DelayedMessage => {
                delayed_exchange::routes_as(&declare.arguments, &self.options)?
            }
            kind => kind,
        };
        bindings::validate_arguments(routes_as, &declare.arguments, profile)?;
        let exchange = Exchange::new(declare, kind, routes_as, caller.vhost, profile);
        self.create_exchange(exchange);
        Ok(())
    }

    pub(super) fn exchange_delete(
        &mut self,
        caller: Caller,
        name: ExchangeName,
        if_unused: bool,
    ) -> Result<(), ReplyError> {
        let name = stripped(name);
        check_not_default(&name)?;
        if name.starts_with("amq.") {
            let resource = self.vhost(caller.vhost)?.exchange(&name);
            return Err(ReplyError::access_refused(format!(
                "deletion of system {resource} not allowed"
            )));
        }
        self.permit_exchange(caller, Access::Configure, &name)?;
        let Ok((key, exchange)) = self.find_exchange(caller, &name) else {
            return Ok(());
        };
        if if_unused && !exchange.bindings.is_empty() {
            return Err(ReplyError::in_use(
                self.vhost(caller.vhost)?.exchange(&name),
            ));
        }
        self.delete_exchange(key);
        Ok(())
    }

    /// Declares the exchanges that every virtual host has.
    pub(crate) fn predeclare_exchanges(&mut self, vhost: VhostId) {
        for (name, kind, internal) in PREDECLARED {
            let Ok(name) = ExchangeName::try_from(name) else {
                continue;
            };
            let declare = ExchangeDeclare {
                name,
                kind: kind.kind(),
                passive: false,
                durable: true,
                auto_delete: false,
                internal,
                arguments: FieldTable::new(),
            };
            let profile = self.options.profile;
            self.create_exchange(Exchange::new(declare, kind, kind, vhost, profile));
        }
    }

    fn create_exchange(&mut self, exchange: Exchange) {
        let (name, vhost) = (exchange.name.clone(), exchange.vhost);
        self.keeps_time |= exchange.delayed.is_some();
        let key = self.exchanges.insert(exchange);
        if let Ok(vhost) = self.vhost_mut(vhost) {
            vhost.exchanges.insert(name, key);
        }
        self.apply_exchange_policy(key);
    }
}

pub(super) fn check_not_default(name: &str) -> Result<(), ReplyError> {
    if name.is_empty() {
        return Err(ReplyError::default_exchange());
    }
    Ok(())
}
