//! `queue.bind`, `exchange.bind`, `queue.unbind` and `exchange.unbind`.

use mooq_core::{Binding, BindingDestination, RoutingKey};

use super::exchange::check_not_default;
use super::stripped;
use crate::bindings::{Destination, DestinationKind};
use crate::ids::ExchangeId;
use crate::permissions::Access;
use crate::reply_error::ReplyError;
use crate::{Caller, Engine};

impl Engine {
    pub(super) fn bind(&mut self, caller: Caller, binding: Binding) -> Result<(), ReplyError> {
        let binding = self.resolve(caller, binding)?;
        // If both ends are missing, the error names the exchange.
        let (source, exchange) = self.find_exchange(caller, &binding.source)?;
        let destination = self.destination(caller, &binding.destination)?;
        let target = match destination {
            Destination::Exchange(_) => DestinationKind::Exchange,
            Destination::Queue(queue) => match self.queues.get(queue) {
                Some(queue) if queue.is_quorum() => DestinationKind::QuorumQueue,
                _ => DestinationKind::ClassicQueue,
            },
        };
        exchange.bindings.validate(
            &binding.routing_key,
            &binding.arguments,
            target,
            self.options.profile,
        )?;
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
        let is_new = self.exchanges.get_mut(source).is_some_and(|exchange| {
            exchange.bindings.add(
                destination,
                name_of(&binding.destination),
                &binding.routing_key,
                &binding.arguments,
            )
        });
        if is_new && let Err(error) = self.deliver_history(caller, source, destination) {
            if self.options.profile.unbinds_where_history_fails() {
                self.remove_binding(
                    source,
                    destination,
                    &binding.routing_key,
                    &binding.arguments,
                );
            }
            return Err(error);
        }
        Ok(())
    }

    /// Removes a binding. A binding that does not exist, or whose ends do not exist, is no error.
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
        source: ExchangeId,
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

    /// Replaces empty names, and checks that neither end is the default exchange or forbidden to
    /// the caller.
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
                self.check_bindable(&name)?;
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

fn name_of(destination: &BindingDestination) -> &str {
    match destination {
        BindingDestination::Queue(name) => name,
        BindingDestination::Exchange(name) => name,
    }
}
