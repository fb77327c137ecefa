//! Inspection of a broker by tests.

use mooq_core::VirtualHost;

use super::InMemoryBroker;
use mooq_engine::{
    Alarm, BindingInfo, ConnectionInfo, ConsumerInfo, ExchangeInfo, PermissionsInfo, PolicyInfo,
    QueueDetails, QueueInfo, ReadyMessage, TopicPermissionsInfo, UnackedMessage, UserInfo,
    VirtualHostInfo,
};

/// Inspection, which changes nothing and which no client notices. Everything due by then has
/// happened before: expired messages and queues are not seen. Names are given literally or as
/// [globs](https://docs.rs/glob-match), for example `orders-*`.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use mooq::memory::InMemoryBroker;
/// use mooq::Delivery;
///
/// let broker = InMemoryBroker::start();
/// let conn = mooq::connect(&broker).await?;
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
/// // No task processes events, so the first order stays with the consumer.
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
    /// Queues of the virtual host `/` whose names match, by name.
    #[must_use]
    pub fn queues(&self, glob: &str) -> Vec<QueueInfo> {
        self.queues_in(&VirtualHost::root(), glob)
    }

    /// Like [`Self::queues`], for any virtual host. A virtual host that does not exist has no
    /// queues.
    #[must_use]
    pub fn queues_in(&self, vhost: &VirtualHost, glob: &str) -> Vec<QueueInfo> {
        self.shared
            .with_state_now(|state, _| state.engine.queues(vhost, glob))
    }

    /// Queues of a virtual host whose names match, by name, with sizes, policies and consumers.
    /// Looks at every message of every queue.
    #[must_use]
    pub fn queue_details_in(&self, vhost: &VirtualHost, glob: &str) -> Vec<QueueDetails> {
        self.shared
            .with_state_now(|state, _| state.engine.queue_details(vhost, glob))
    }

    /// Exchanges of the virtual host `/` whose names match, by name.
    #[must_use]
    pub fn exchanges(&self, glob: &str) -> Vec<ExchangeInfo> {
        self.exchanges_in(&VirtualHost::root(), glob)
    }

    /// Like [`Self::exchanges`], for any virtual host. A virtual host that does not exist has no
    /// exchanges.
    #[must_use]
    pub fn exchanges_in(&self, vhost: &VirtualHost, glob: &str) -> Vec<ExchangeInfo> {
        self.shared
            .with_state_now(|state, _| state.engine.exchanges(vhost, glob))
    }

    /// Bindings in the virtual host `/` from exchanges whose names match: by exchange, destination
    /// (queues first) and key. The default exchange's bindings, which lead to every queue, are left
    /// out.
    #[must_use]
    pub fn bindings(&self, exchange: &str) -> Vec<BindingInfo> {
        self.bindings_in(&VirtualHost::root(), exchange)
    }

    /// Like [`Self::bindings`], for any virtual host. A virtual host that does not exist has no
    /// bindings.
    #[must_use]
    pub fn bindings_in(&self, vhost: &VirtualHost, exchange: &str) -> Vec<BindingInfo> {
        self.shared
            .with_state_now(|state, _| state.engine.bindings(vhost, exchange))
    }

    /// Consumers in the virtual host `/` of queues whose names match: by queue, and for each queue
    /// in the order in which they were registered. Consumers of direct replies are on no queue, and
    /// are left out.
    #[must_use]
    pub fn consumers(&self, queue: &str) -> Vec<ConsumerInfo> {
        self.consumers_in(&VirtualHost::root(), queue)
    }

    /// Like [`Self::consumers`], for any virtual host. A virtual host that does not exist has no
    /// consumers.
    #[must_use]
    pub fn consumers_in(&self, vhost: &VirtualHost, queue: &str) -> Vec<ConsumerInfo> {
        self.shared
            .with_state_now(|state, _| state.engine.consumers(vhost, queue))
    }

    /// Ready messages in the queues of the virtual host `/` whose names match: by queue, and for
    /// each queue in the order in which they leave it. The messages stay in their queues.
    #[must_use]
    pub fn ready_messages(&self, queue: &str) -> Vec<ReadyMessage> {
        self.ready_messages_in(&VirtualHost::root(), queue)
    }

    /// Like [`Self::ready_messages`], for any virtual host. A virtual host that does not exist has
    /// no messages.
    #[must_use]
    pub fn ready_messages_in(&self, vhost: &VirtualHost, queue: &str) -> Vec<ReadyMessage> {
        self.shared
            .with_state_now(|state, now| state.engine.ready_messages(now, vhost, queue))
    }

    /// Unacked messages from queues of the virtual host `/` whose names match: by queue, and for
    /// each queue in the order in which they entered it.
    #[must_use]
    pub fn unacked_messages(&self, queue: &str) -> Vec<UnackedMessage> {
        self.unacked_messages_in(&VirtualHost::root(), queue)
    }

    /// Like [`Self::unacked_messages`], for any virtual host. A virtual host that does not exist
    /// has no messages.
    #[must_use]
    pub fn unacked_messages_in(&self, vhost: &VirtualHost, queue: &str) -> Vec<UnackedMessage> {
        self.shared
            .with_state_now(|state, _| state.engine.unacked_messages(vhost, queue))
    }

    /// All virtual hosts, by name.
    #[must_use]
    pub fn vhosts(&self) -> Vec<VirtualHostInfo> {
        self.shared.with_state_now(|state, _| state.engine.vhosts())
    }

    /// All users, by name.
    #[must_use]
    pub fn users(&self) -> Vec<UserInfo> {
        self.shared.with_engine(mooq_engine::Engine::users)
    }

    /// The permissions of all users, by virtual host and user. A user without permissions in a
    /// virtual host is left out.
    #[must_use]
    pub fn permissions(&self) -> Vec<PermissionsInfo> {
        self.shared.with_engine(mooq_engine::Engine::permissions)
    }

    /// The topic permissions of all users, by virtual host, user and exchange.
    #[must_use]
    pub fn topic_permissions(&self) -> Vec<TopicPermissionsInfo> {
        self.shared
            .with_engine(mooq_engine::Engine::topic_permissions)
    }

    /// The policies of all virtual hosts, by virtual host and name.
    #[must_use]
    pub fn policies(&self) -> Vec<PolicyInfo> {
        self.shared.with_engine(mooq_engine::Engine::policies)
    }

    /// The operator policies of all virtual hosts, by virtual host and name.
    #[must_use]
    pub fn operator_policies(&self) -> Vec<PolicyInfo> {
        self.shared
            .with_engine(mooq_engine::Engine::operator_policies)
    }

    /// The alarms that are on.
    #[must_use]
    pub fn raised_alarms(&self) -> Vec<Alarm> {
        self.shared.with_engine(mooq_engine::Engine::raised_alarms)
    }

    /// Connections whose names match, in all virtual hosts, in the order in which they were opened.
    /// A connection to which its client gave no name matches the glob `*`.
    #[must_use]
    pub fn connections(&self, name: &str) -> Vec<ConnectionInfo> {
        self.shared
            .with_state_now(|state, _| state.engine.connections(name))
    }
}
