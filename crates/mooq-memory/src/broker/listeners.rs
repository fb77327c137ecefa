//! Sockets on which a broker is served, as far as their servers announce them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::InMemoryBroker;
use super::shared::Shared;

/// A socket on which a broker is served.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerInfo {
    /// RabbitMQ's name of the protocol: `amqp`, `amqp/ssl` or `http`.
    pub protocol: &'static str,
    /// The socket's address.
    pub address: SocketAddr,
}

/// The announcement of a socket, which ends when this is dropped.
#[must_use = "the announcement ends when this is dropped"]
pub struct ListenerGuard {
    broker: Arc<Shared>,
    listener: ListenerInfo,
}

impl InMemoryBroker {
    /// Announces a socket on which a server serves the broker, so that others can tell of it.
    ///
    /// `protocol` is RabbitMQ's name of the protocol: `amqp`, `amqp/ssl` or `http`.
    pub fn announce_listener(&self, protocol: &'static str, address: SocketAddr) -> ListenerGuard {
        let listener = ListenerInfo { protocol, address };
        self.shared.listeners().push(listener.clone());
        ListenerGuard {
            broker: Arc::clone(&self.shared),
            listener,
        }
    }

    /// The sockets that servers have announced, in the order in which they were opened.
    #[must_use]
    pub fn listeners(&self) -> Vec<ListenerInfo> {
        self.shared.listeners().clone()
    }
}

impl Drop for ListenerGuard {
    fn drop(&mut self) {
        let mut listeners = self.broker.listeners();
        let at = listeners.iter().position(|other| *other == self.listener);
        if let Some(at) = at {
            listeners.remove(at);
        }
    }
}

impl fmt::Debug for ListenerGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ListenerGuard")
            .field(&self.listener)
            .finish()
    }
}
