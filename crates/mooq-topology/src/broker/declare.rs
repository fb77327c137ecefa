//! A topology's parts as requests of a channel.

use mooq_client::{Bind, Channel, DeclareExchange, DeclareQueue};
use mooq_core::{Error, Result};

use crate::value::binding::Binding;
use crate::value::exchange::Exchange;
use crate::value::queue::Queue;

pub(crate) fn declare_exchange(chan: &Channel, exchange: &Exchange) -> DeclareExchange {
    let mut declare = chan.declare_exchange(exchange.name(), exchange.kind().clone());
    if !exchange.is_durable() {
        declare = declare.transient();
    }
    if exchange.is_auto_delete() {
        declare = declare.auto_delete();
    }
    if exchange.is_internal() {
        declare = declare.internal();
    }
    let arguments = exchange.arguments().iter();
    arguments.fold(declare, |declare, (key, value)| {
        declare.argument(key, value.clone())
    })
}

pub(crate) fn declare_queue(chan: &Channel, queue: &Queue) -> DeclareQueue {
    let mut declare = chan.declare_queue(queue.name());
    if !queue.is_durable() {
        declare = declare.transient();
    }
    if queue.is_auto_delete() {
        declare = declare.auto_delete();
    }
    let arguments = queue.arguments().iter();
    arguments.fold(declare, |declare, (key, value)| {
        declare.argument(key, value.clone())
    })
}

pub(crate) fn bind(chan: &Channel, binding: &Binding) -> Bind {
    let (source, key) = (binding.source(), binding.routing_key());
    let bind = match (binding.queue(), binding.exchange()) {
        (Some(queue), _) => chan.bind_queue(queue, source, key),
        (None, to) => chan.bind_exchange(to.cloned().unwrap_or_default(), source, key),
    };
    with_arguments(bind, binding)
}

pub(crate) fn unbind(chan: &Channel, binding: &Binding) -> Bind {
    let (source, key) = (binding.source(), binding.routing_key());
    let unbind = match (binding.queue(), binding.exchange()) {
        (Some(queue), _) => chan.unbind_queue(queue, source, key),
        (None, to) => chan.unbind_exchange(to.cloned().unwrap_or_default(), source, key),
    };
    with_arguments(unbind, binding)
}

fn with_arguments(bind: Bind, binding: &Binding) -> Bind {
    let arguments = binding.arguments().iter();
    arguments.fold(bind, |bind, (key, value)| bind.argument(key, value.clone()))
}

/// Names the part of a topology that an error is about.
pub(crate) fn about<T>(result: Result<T>, what: impl FnOnce() -> String) -> Result<T> {
    result.map_err(|err| {
        let message = format!("{}: {err}", what());
        Error::new(err.kind(), message).with_source(err)
    })
}
