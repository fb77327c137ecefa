//! `exchange.declare` and `exchange.delete`.

use mooq_core::{ExchangeDeclare, ExchangeKind, ExchangeName, FieldTable};

use super::stripped;
use crate::engine::arena::Key;
use crate::engine::bindings::Routing;
use crate::engine::exchange::Exchange;
use crate::engine::permissions::Access;
use crate::engine::reply_error::{ReplyCode, ReplyError};
use crate::engine::vhost::{PREDECLARED, VirtualHost};
use crate::engine::{Caller, Engine};

impl Engine {
    pub(super) fn exchange_declare(
        &mut self,
        caller: Caller,
        mut declare: ExchangeDeclare,
    ) -> Result<(), ReplyError> {
        declare.name = stripped(declare.name);
        if declare.passive {
            check_not_default(&declare.name)?;
            return self.find_exchange(caller, &declare.name).map(|_| ());
        }
        let profile = self.options.profile;
        let kind = Routing::of(&declare.kind)
            .ok_or_else(|| unknown_type(&declare.kind, profile.unknown_exchange_type()))?;
        check_not_default(&declare.name)?;
        self.permit_exchange(caller, Access::Configure, &declare.name)?;
        let resource = self.vhost(caller.vhost)?.exchange(&declare.name);
        if let Ok((_, exchange)) = self.find_exchange(caller, &declare.name) {
            return exchange.assert_equivalence(&declare, kind, resource);
        }
        if declare.name.starts_with("amq.") {
            return Err(ReplyError::reserved_prefix("exchange", &declare.name));
        }
        if let Some(alternate) = Exchange::alternate_of(&declare.arguments, resource)? {
            self.permit_exchange(caller, Access::Read, &declare.name)?;
            self.permit_exchange(caller, Access::Write, alternate)?;
        }
        self.create_exchange(Exchange::new(declare, kind, caller.vhost, profile));
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
        let resource = self.vhost(caller.vhost)?.exchange(&name);
        if name.starts_with("amq.") {
            return Err(ReplyError::access_refused(format!(
                "deletion of system {resource} not allowed"
            )));
        }
        self.permit_exchange(caller, Access::Configure, &name)?;
        let Ok((key, exchange)) = self.find_exchange(caller, &name) else {
            return Ok(());
        };
        if if_unused && !exchange.bindings.is_empty() {
            return Err(ReplyError::in_use(resource));
        }
        self.delete_exchange(key);
        Ok(())
    }

    /// Gives a new virtual host what every one has.
    pub(in crate::engine) fn predeclare_exchanges(&mut self, vhost: Key<VirtualHost>) {
        for (name, kind, internal) in PREDECLARED {
            let Ok(name) = ExchangeName::try_from(name) else {
                continue;
            };
            let declare = ExchangeDeclare {
                name,
                kind: kind.into(),
                passive: false,
                durable: true,
                auto_delete: false,
                internal,
                arguments: FieldTable::new(),
            };
            let profile = self.options.profile;
            self.create_exchange(Exchange::new(declare, kind, vhost, profile));
        }
    }

    fn create_exchange(&mut self, exchange: Exchange) {
        let (name, vhost) = (exchange.name.clone(), exchange.vhost);
        let key = self.exchanges.insert(exchange);
        if let Ok(vhost) = self.vhost_mut(vhost) {
            vhost.exchanges.insert(name, key);
        }
        self.apply_exchange_policy(key);
    }
}

fn unknown_type(kind: &ExchangeKind, code: ReplyCode) -> ReplyError {
    // The empty name is one that RabbitMQ knows, though not as that of an exchange type.
    let word = if kind.as_str().is_empty() {
        "invalid"
    } else {
        "unknown"
    };
    ReplyError::new(code, format!("{word} exchange type '{kind}'"))
}

pub(super) fn check_not_default(name: &str) -> Result<(), ReplyError> {
    if name.is_empty() {
        return Err(ReplyError::default_exchange());
    }
    Ok(())
}
