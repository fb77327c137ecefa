//! Registry of the running brokers of this process, by host and port.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use super::shared::Shared;

#[derive(Default)]
pub(super) struct Registry {
    /// Weak, so that a broker ends with its last user even if it is never closed.
    brokers: Mutex<HashMap<(String, u16), Weak<Shared>>>,
}

impl Registry {
    pub(super) fn global() -> &'static Self {
        static GLOBAL: LazyLock<Registry> = LazyLock::new(Registry::default);
        &GLOBAL
    }

    pub(super) fn find(&self, host: &str, port: u16) -> Option<Arc<Shared>> {
        self.lock().get(&(host.to_owned(), port))?.upgrade()
    }

    /// Adds a broker, in place of any other with its host and port.
    pub(super) fn insert(&self, host: &str, port: u16, broker: &Arc<Shared>) {
        let mut brokers = self.lock();
        brokers.retain(|_, broker| broker.strong_count() > 0);
        brokers.insert((host.to_owned(), port), Arc::downgrade(broker));
    }

    /// Removes a broker, unless another has taken its place.
    pub(super) fn remove(&self, host: &str, port: u16, broker: &Arc<Shared>) {
        let mut brokers = self.lock();
        let key = (host.to_owned(), port);
        let is_it = |entry: &Weak<Shared>| std::ptr::eq(entry.as_ptr(), Arc::as_ptr(broker));
        if brokers.get(&key).is_some_and(is_it) {
            brokers.remove(&key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, u16), Weak<Shared>>> {
        self.brokers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
