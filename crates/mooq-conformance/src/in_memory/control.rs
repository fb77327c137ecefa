//! Control of an in-memory broker, and the faults of its network.

use std::sync::Arc;

use async_trait::async_trait;
use mooq_core::FieldTable;
use mooq_memory::faults::{FaultGuard, Outage};
use mooq_memory::{Alarm, AlarmGuard, ApplyTo, InMemoryBroker, Policy};
use mooq_server::{ListenManagement, ManagementServer};
use tokio::sync::Mutex;

use crate::control::{Condition, Control};
use crate::expect::until;
use crate::line::{ClientNetwork, Disturbance, Disturbed};

/// The control of one broker.
#[derive(Debug, Clone)]
pub(super) struct ControlInMemory {
    broker: InMemoryBroker,
    /// The broker is reached over a socket, and its time is the system's.
    served: bool,
    /// The broker has the timeouts of hurried channels and queues.
    short_timeouts: bool,
    /// The broker's management API, once it was asked for.
    management: Arc<Mutex<Option<ManagementServer>>>,
}

impl ControlInMemory {
    pub(super) fn of(broker: InMemoryBroker, served: bool, short_timeouts: bool) -> Self {
        Self {
            broker,
            served,
            short_timeouts,
            management: Arc::default(),
        }
    }

    /// The condition that channels and queues are hurried, which the broker's options set.
    fn hurried(&self) -> Box<dyn Condition> {
        assert!(
            self.short_timeouts,
            "a scenario that hurries channels or dead letters says #[scenario(short_timeouts)]"
        );
        self.hurry_time();
        Box::new(ByOptions)
    }
}

#[async_trait]
impl Control for ControlInMemory {
    async fn add_vhost(&self, name: &str) {
        self.broker.add_vhost(name).unwrap();
    }

    async fn delete_vhost(&self, name: &str) {
        self.broker.delete_vhost(name).unwrap();
    }

    async fn add_user(&self, username: &str, password: &str) {
        self.broker.add_user(username, password);
        self.broker.clear_permissions(username, "/").unwrap();
    }

    async fn delete_user(&self, username: &str) {
        self.broker.delete_user(username);
    }

    async fn set_permissions(&self, username: &str, [configure, write, read]: [&str; 3]) {
        self.broker
            .set_permissions(username, "/", configure, write, read)
            .unwrap();
    }

    async fn clear_permissions(&self, username: &str) {
        self.broker.clear_permissions(username, "/").unwrap();
    }

    async fn set_topic_permissions(&self, username: &str, exchange: &str, write: &str, read: &str) {
        self.broker
            .set_topic_permissions(username, "/", exchange, write, read)
            .unwrap();
    }

    async fn set_policy(
        &self,
        name: &str,
        pattern: &str,
        apply_to: ApplyTo,
        priority: i64,
        definition: &FieldTable,
    ) {
        let policy = Policy::new(pattern, definition).unwrap();
        let policy = policy.apply_to(apply_to).priority(priority);
        self.broker.set_policy("/", name, policy).unwrap();
    }

    async fn clear_policy(&self, name: &str) {
        self.broker.clear_policy("/", name).unwrap();
    }

    async fn set_operator_policy(&self, name: &str, pattern: &str, definition: &FieldTable) {
        let policy = Policy::new(pattern, definition).unwrap();
        let policy = policy.apply_to(ApplyTo::Queues);
        self.broker.set_operator_policy("/", name, policy).unwrap();
    }

    async fn clear_operator_policy(&self, name: &str) {
        self.broker.clear_operator_policy("/", name).unwrap();
    }

    async fn hurry_channels(&self) -> Box<dyn Condition> {
        self.hurried()
    }

    async fn hurry_dead_letters(&self) -> Box<dyn Condition> {
        self.hurried()
    }

    fn hurry_time(&self) {
        if !self.served {
            tokio::time::pause();
        }
    }

    async fn restart(&self) {
        self.broker.run();
    }

    async fn stop(&self) -> Box<dyn Condition> {
        Box::new(self.broker.faults().stop())
    }

    async fn freeze(&self) -> Box<dyn Condition> {
        Box::new(self.broker.faults().freeze())
    }

    async fn raise_alarm(&self, alarm: Alarm) -> Box<dyn Condition> {
        Box::new(self.broker.raise_alarm(alarm))
    }

    async fn until_blocked(&self, connections: usize) {
        // Over its own transport the broker reads a publish as soon as it is sent.
        if self.served {
            let are_blocked = || {
                let all = self.broker.connections("*").into_iter();
                all.filter(|connection| connection.blocked).count() == connections
            };
            until("publishers' blocking", are_blocked).await;
        }
    }

    async fn limit_channels(&self, name: &str, max: u16) -> Box<dyn Condition> {
        Box::new(self.broker.faults().connection(name).limit_channels(max))
    }

    async fn close_connections(&self, name: &str, text: &str) {
        let closed = self
            .broker
            .faults()
            .connection(name)
            .close_connections(text);
        assert!(closed > 0, "there is no connection '{name}'");
    }

    async fn drop_connections(&self, name: &str) {
        self.cut(name);
    }

    async fn management(&self) -> String {
        let mut management = self.management.lock().await;
        if management.is_none() {
            let server = self.broker.listen_management("127.0.0.1:0").await;
            *management = Some(server.expect("a socket opens"));
        }
        management.as_ref().expect("it was started").url()
    }

    async fn delete_queue(&self, name: &str) {
        assert_eq!(self.broker.faults().queue(name).delete_queues(), 1);
    }
}

impl ClientNetwork for ControlInMemory {
    fn port(&self) -> Option<u16> {
        None
    }

    fn cut(&self, name: &str) {
        let dropped = self.broker.faults().connection(name).drop_connections();
        assert!(dropped > 0, "there is no connection '{name}'");
    }

    fn disturb(&self, how: Disturbance) -> Box<dyn Disturbed + '_> {
        let faults = self.broker.faults();
        Box::new(match how {
            Disturbance::LoseConfirm => faults.lose_confirms(1),
            Disturbance::LoseAck => faults.lose_acks(1),
            Disturbance::Slow(delay) => faults.slow(delay),
            Disturbance::Down => faults.refuse_connections(),
        })
    }

    fn refuse_connections(&self) -> Option<Box<dyn Condition>> {
        Some(Box::new(self.broker.faults().refuse_connections()))
    }
}

#[async_trait]
impl Disturbed for FaultGuard {
    async fn cut(&self) {
        until("the fault's strike", || self.strikes() == 1).await;
    }

    fn end(self: Box<Self>) {}
}

/// A condition set by the options of the scenario's own broker. It never ends.
#[derive(Debug)]
struct ByOptions;

impl Condition for ByOptions {}

impl Condition for FaultGuard {}

impl Condition for Outage {}

impl Condition for AlarmGuard {}
