//! Control of a broker beyond AMQP.

use std::fmt::Debug;

use async_trait::async_trait;
use mooq_core::FieldTable;
use mooq_memory::{Alarm, ApplyTo};

/// The broker's timeout for deliveries where channels are [hurried](Control::hurry_channels), in
/// milliseconds.
pub const CONSUMER_TIMEOUT: u64 = 1500;

/// Time between two looks of a hurried channel for overdue deliveries, in milliseconds.
pub const CHANNEL_TICK: u64 = 600;

/// Time after which a quorum queue publishes a dead letter again, where that is
/// [hurried](Control::hurry_dead_letters), in milliseconds.
pub const DEAD_LETTER_RETRY: u64 = 1500;

/// Control of a broker: an administrator's actions, and faults.
///
/// Each method panics if the broker refuses. Users, permissions and policies are those of the
/// virtual host `/`.
#[async_trait]
pub trait Control: Debug + Send + Sync {
    /// Adds a virtual host, in which `guest` has every permission.
    async fn add_vhost(&self, name: &str);

    /// Deletes a virtual host.
    async fn delete_vhost(&self, name: &str);

    /// Adds a user without permissions, or changes the password of one.
    async fn add_user(&self, username: &str, password: &str);

    /// Deletes a user.
    async fn delete_user(&self, username: &str);

    /// Sets a user's permissions: to configure, to write, to read.
    async fn set_permissions(&self, username: &str, patterns: [&str; 3]);

    /// Clears a user's permissions.
    async fn clear_permissions(&self, username: &str);

    /// Limits the routing keys with which a user may publish to a topic exchange and bind from it.
    async fn set_topic_permissions(&self, username: &str, exchange: &str, write: &str, read: &str);

    /// Sets a policy.
    async fn set_policy(
        &self,
        name: &str,
        pattern: &str,
        apply_to: ApplyTo,
        priority: i64,
        definition: &FieldTable,
    );

    /// Clears a policy.
    async fn clear_policy(&self, name: &str);

    /// Sets an operator policy for queues.
    async fn set_operator_policy(&self, name: &str, pattern: &str, definition: &FieldTable);

    /// Clears an operator policy.
    async fn clear_operator_policy(&self, name: &str);

    /// Hurries the channels that are opened from now on: deliveries are overdue after
    /// [`CONSUMER_TIMEOUT`], and channels look for them every [`CHANNEL_TICK`]. An in-memory broker
    /// panics unless the scenario says [`short_timeouts`](crate::Scenario::short_timeouts).
    async fn hurry_channels(&self) -> Box<dyn Condition>;

    /// Hurries the quorum queues that are declared from now on: dead letters that were not
    /// confirmed are published again after [`DEAD_LETTER_RETRY`]. An in-memory broker panics unless
    /// the scenario says [`short_timeouts`](crate::Scenario::short_timeouts).
    async fn hurry_dead_letters(&self) -> Box<dyn Condition>;

    /// Lets virtual time pass as fast as it can, where the broker's time is virtual.
    fn hurry_time(&self) {}

    /// Restarts the broker.
    async fn restart(&self);

    /// Stops the broker, until the condition ends.
    async fn stop(&self) -> Box<dyn Condition>;

    /// Freezes the broker: it answers nothing until the condition ends.
    async fn freeze(&self) -> Box<dyn Condition>;

    /// Raises an alarm. When this returns, every connection knows of the alarm.
    async fn raise_alarm(&self, alarm: Alarm) -> Box<dyn Condition>;

    /// Waits until an alarm has stopped the broker from reading this number of connections, and
    /// their channels have handled everything read before.
    async fn until_blocked(&self, connections: usize);

    /// Limits the number of channels of the client of this name, which is also the name of its
    /// user.
    async fn limit_channels(&self, name: &str, max: u16) -> Box<dyn Condition>;

    /// Closes the connections of the client of this name, at least one, with 320 and a text.
    async fn close_connections(&self, name: &str, text: &str);

    /// Cuts the connections of the client of this name, at least one, without `connection.close`.
    async fn drop_connections(&self, name: &str);

    /// The URL of the broker's management API, which takes the user `guest`.
    async fn management(&self) -> String;

    /// Deletes a queue, even if it is in use.
    async fn delete_queue(&self, name: &str);
}

/// A condition that lasts until it is ended or dropped.
///
/// By default [`end`](Self::end) does no more than drop it.
#[async_trait]
#[must_use = "the condition ends when this is dropped"]
pub trait Condition: Debug + Send {
    /// Ends the condition. When this returns, the broker and every connection know of the end.
    async fn end(self: Box<Self>) {}
}
