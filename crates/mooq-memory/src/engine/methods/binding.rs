//! `queue.bind`, `exchange.bind`, and their opposites.

use mooq_core::{Binding, BindingDestination, RoutingKey};

use super::exchange::check_not_default;
use super::stripped;
use crate::engine::arena::Key;
use crate::engine::bindings::Destination;
use crate::engine::exchange::Exchange;
use crate::engine::permissions::Access;
use crate::engine::reply_error::ReplyError;
use crate::engine::{Caller, Engine};

impl Engine {
    pub(super) fn bind(&mut self, caller: Caller, binding: Binding) -> Result<(), ReplyError> {
        let binding = self.resolve(caller, binding)?;
        // If both ends are missing, it is the exchange that is named.
        let (source, exchange) = self.find_exchange(caller, &binding.source)?;
        let destination = self.destination(caller, &binding.destination)?;
        let profile = self.options.profile;
        exchange
            .bindings
            .validate(&binding.routing_key, &binding.arguments, profile)?;
        self.check_destination_access(caller, &binding.destination)?;
        let note = (source, binding.routing_key.clone());
        match destination {
            Destination::Queue(queue) => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.bound_to.insert(note);
                }
            }
            Destination::Exchange(exchange) => {
                if let Some(exchange) = self.exchanges.get_mut(exchange) {
                    exchange.bound_to.insert(note);
                }
            }
        }
        if let Some(exchange) = self.exchanges.get_mut(source) {
            exchange
                .bindings
                .add(destination, &binding.routing_key, &binding.arguments);
        }
        Ok(())
    }

    /// What is not bound, or not there at all, is unbound without an error.
    pub(super) fn unbind(&mut self, caller: Caller, binding: Binding) -> Result<(), ReplyError> {
        let binding = self.resolve(caller, binding)?;
        let Ok((source, exchange)) = self.find_exchange(caller, &binding.source) else {
            return Ok(());
        };
        let Ok(destination) = self.destination(caller, &binding.destination) else {
            return Ok(());
        };
        if !exchange
            .bindings
            .contains(destination, &binding.routing_key, &binding.arguments)
        {
            return Ok(());
        }
        self.check_destination_access(caller, &binding.destination)?;
        self.remove_binding(
            source,
            destination,
            &binding.routing_key,
            &binding.arguments,
        );
        Ok(())
    }

    fn remove_binding(
        &mut self,
        source: Key<Exchange>,
        destination: Destination,
        key: &RoutingKey,
        arguments: &mooq_core::FieldTable,
    ) {
        let Some(exchange) = self.exchanges.get_mut(source) else {
            return;
        };
        if !exchange.bindings.remove(destination, key, arguments) {
            self.note_unbound(source, destination, key);
        }
        self.delete_exchange_if_abandoned(source);
    }

    /// Puts names in for empty ones and checks that neither end is the default exchange or closed
    /// to the caller.
    fn resolve(&mut self, caller: Caller, mut binding: Binding) -> Result<Binding, ReplyError> {
        if let BindingDestination::Queue(name) = binding.destination {
            let was_empty = name.is_empty();
            let name = self.expand_queue_name(caller, name)?;
            if was_empty && binding.routing_key.is_empty() {
                binding.routing_key = name.clone().into();
            }
            binding.destination = BindingDestination::Queue(name);
        }
        binding.source = stripped(binding.source);
        binding.destination = match binding.destination {
            BindingDestination::Queue(name) => {
                let name = stripped(name);
                self.permit_queue(caller, Access::Write, &name)?;
                BindingDestination::Queue(name)
            }
            BindingDestination::Exchange(name) => {
                let name = stripped(name);
                self.permit_exchange(caller, Access::Write, &name)?;
                check_not_default(&name)?;
                BindingDestination::Exchange(name)
            }
        };
        check_not_default(&binding.source)?;
        self.permit_exchange(caller, Access::Read, &binding.source)?;
        if let Ok((source, _)) = self.find_exchange(caller, &binding.source) {
            let key = std::iter::once(binding.routing_key.as_str());
            self.permit_topic(caller, Access::Read, source, key)?;
        }
        Ok(binding)
    }

    fn destination(
        &self,
        caller: Caller,
        destination: &BindingDestination,
    ) -> Result<Destination, ReplyError> {
        Ok(match destination {
            BindingDestination::Queue(name) => Destination::Queue(self.find_queue(caller, name)?.0),
            BindingDestination::Exchange(name) => {
                Destination::Exchange(self.find_exchange(caller, name)?.0)
            }
        })
    }

    fn check_destination_access(
        &self,
        caller: Caller,
        destination: &BindingDestination,
    ) -> Result<(), ReplyError> {
        match destination {
            BindingDestination::Queue(name) => self.accessible_queue(caller, name).map(|_| ()),
            BindingDestination::Exchange(_) => Ok(()),
        }
    }
}
