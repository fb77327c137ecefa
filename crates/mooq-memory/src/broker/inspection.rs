//! What a test can see of a broker.

use mooq_core::VirtualHost;

use super::InMemoryBroker;
use crate::engine::{
    BindingInfo, ConnectionInfo, ConsumerInfo, ExchangeInfo, QueueInfo, ReadyMessage,
    UnackedMessage,
};

/// Looking in, which changes nothing and which no client notices. What is due by then has happened
/// before: what has expired is not seen. Names are given as themselves or as
/// [globs](https://docs.rs/glob-match), for example `orders-*`.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use mooq::{ConnectInMemory, Delivery, InMemoryBroker};
///
/// let broker = InMemoryBroker::start();
/// let conn = broker.connect().await?;
/// let chan = conn.create_channel().await?;
/// chan.register_consumer("orders", "topic")
///     .queue("orders-to-bill")
///     .routing_key("order.*")
///     .prefetch(1)
///     .callback(|_: Delivery<String>| async {})
///     .await?;
/// for thing in ["pencil", "paper"] {
///     chan.publish("orders", thing).routing_key("order.new").await?;
/// }
///
/// let binding = &broker.bindings("orders")[0];
/// assert_eq!(binding.queue().unwrap(), "orders-to-bill");
/// assert_eq!(binding.routing_key, "order.*");
///
/// // Nobody processes events, so that the first order stays with the consumer.
/// let queue = &broker.queues("orders-*")[0];
/// assert_eq!((queue.ready, queue.unacked), (1, 1));
/// assert_eq!(broker.unacked_messages("orders-*")[0].message.body, "\"pencil\"");
/// assert_eq!(broker.ready_messages("orders-*")[0].message.body, "\"paper\"");
///
/// let consumer = &broker.consumers("orders-*")[0];
/// assert_eq!((consumer.unacked, consumer.credit), (1, Some(0)));
/// assert_eq!(broker.connections("*")[0].channels.len(), 1);
/// # Ok::<(), mooq::Error>(())
/// # }).unwrap();
/// ```
impl InMemoryBroker {
    /// The queues of the virtual host `/` whose names match, by name.
    #[must_use]
    pub fn queues(&self, glob: &str) -> Vec<QueueInfo> {
        self.queues_in(&VirtualHost::root(), glob)
    }

    /// The same for any virtual host. One that does not exist has none.
    #[must_use]
    pub fn queues_in(&self, vhost: &VirtualHost, glob: &str) -> Vec<QueueInfo> {
        self.shared
            .look_now(|state, _| state.engine.queues(vhost, glob))
    }

    /// The exchanges of the virtual host `/` whose names match, by name.
    #[must_use]
    pub fn exchanges(&self, glob: &str) -> Vec<ExchangeInfo> {
        self.exchanges_in(&VirtualHost::root(), glob)
    }

    /// The same for any virtual host. One that does not exist has none.
    #[must_use]
    pub fn exchanges_in(&self, vhost: &VirtualHost, glob: &str) -> Vec<ExchangeInfo> {
        self.shared
            .look_now(|state, _| state.engine.exchanges(vhost, glob))
    }

    /// The bindings in the virtual host `/` from exchanges whose names match: by exchange,
    /// destination (queues first) and key. Those of the default exchange, which lead to every
    /// queue, are not among them.
    #[must_use]
    pub fn bindings(&self, exchange: &str) -> Vec<BindingInfo> {
        self.bindings_in(&VirtualHost::root(), exchange)
    }

    /// The same for any virtual host. One that does not exist has none.
    #[must_use]
    pub fn bindings_in(&self, vhost: &VirtualHost, exchange: &str) -> Vec<BindingInfo> {
        self.shared
            .look_now(|state, _| state.engine.bindings(vhost, exchange))
    }

    /// The consumers in the virtual host `/` of queues whose names match: by queue, and of one
    /// queue in the order in which they came. Consumers of direct replies are on no queue, and
    /// not among them.
    #[must_use]
    pub fn consumers(&self, queue: &str) -> Vec<ConsumerInfo> {
        self.consumers_in(&VirtualHost::root(), queue)
    }

    /// The same for any virtual host. One that does not exist has none.
    #[must_use]
    pub fn consumers_in(&self, vhost: &VirtualHost, queue: &str) -> Vec<ConsumerInfo> {
        self.shared
            .look_now(|state, _| state.engine.consumers(vhost, queue))
    }

    /// The messages that are ready in the queues of the virtual host `/` whose names match: by
    /// queue, and of one queue in the order in which they leave it. They stay where they are.
    #[must_use]
    pub fn ready_messages(&self, queue: &str) -> Vec<ReadyMessage> {
        self.ready_messages_in(&VirtualHost::root(), queue)
    }

    /// The same for any virtual host. One that does not exist has none.
    #[must_use]
    pub fn ready_messages_in(&self, vhost: &VirtualHost, queue: &str) -> Vec<ReadyMessage> {
        self.shared
            .look_now(|state, now| state.engine.ready_messages(now, vhost, queue))
    }

    /// The messages from queues of the virtual host `/` whose names match that are delivered and
    /// not settled: by queue, and of one queue in the order in which they came into it.
    #[must_use]
    pub fn unacked_messages(&self, queue: &str) -> Vec<UnackedMessage> {
        self.unacked_messages_in(&VirtualHost::root(), queue)
    }

    /// The same for any virtual host. One that does not exist has none.
    #[must_use]
    pub fn unacked_messages_in(&self, vhost: &VirtualHost, queue: &str) -> Vec<UnackedMessage> {
        self.shared
            .look_now(|state, _| state.engine.unacked_messages(vhost, queue))
    }

    /// The connections whose names match, whatever their virtual hosts, in the order in which they
    /// were opened. Those that their clients gave no name match the glob `*`.
    #[must_use]
    pub fn connections(&self, name: &str) -> Vec<ConnectionInfo> {
        self.shared
            .look_now(|state, _| state.engine.connections(name))
    }
}
