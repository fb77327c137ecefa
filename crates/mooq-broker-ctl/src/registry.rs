//! The brokers that this process has registered, by host and port.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::address::BrokerAddress;
use crate::broker::RabbitMQBroker;

type Brokers = HashMap<BrokerAddress, RabbitMQBroker>;

static BROKERS: LazyLock<Mutex<Brokers>> = LazyLock::new(Mutex::default);

/// Adds a broker, in place of any other at its address.
pub(crate) fn register(broker: &RabbitMQBroker) {
    lock().insert(broker.address().clone(), broker.clone());
}

/// Returns the broker that was registered last for that address.
pub(crate) fn lookup(address: &BrokerAddress) -> Option<RabbitMQBroker> {
    lock().get(address).cloned()
}

fn lock() -> MutexGuard<'static, Brokers> {
    BROKERS.lock().unwrap_or_else(PoisonError::into_inner)
}
