//! Temporary conditions of a RabbitMQ: alarms, limits of users.

use async_trait::async_trait;
use mooq_conformance::{Condition, within};
use mooq_memory::Alarm;
use serde_json::json;

use super::management::Management;

/// Waits until every connection knows of a change of alarms. Connections handle it in the order of
/// their messages, so an answer proves that they have.
const EVERY_CONNECTION_KNOWS: &str = "rabbit_alarm:get_alarms(), \
     [catch rabbit_networking:connection_info(Pid, [state]) \
     || Pid <- rabbit_networking:local_connections()], ok.";

/// An alarm that is on.
#[derive(Debug)]
pub(super) struct RaisedAlarm {
    management: Management,
    alarm: Alarm,
    is_on: bool,
}

impl RaisedAlarm {
    pub(super) async fn raise(management: &Management, alarm: Alarm) -> Self {
        // The guard comes first, or the alarm would stay if this future were dropped.
        let raised = Self {
            management: management.clone(),
            alarm,
            is_on: true,
        };
        let raising = format!("rabbit_alarm:set_alarm({{{}, []}})", limit(alarm));
        let raising = format!("{raising}, {EVERY_CONNECTION_KNOWS}");
        assert_eq!(management.evaluate(&raising).await, "ok");
        raised
    }

    fn clearing(&self) -> String {
        let clearing = format!("rabbit_alarm:clear_alarm({})", limit(self.alarm));
        format!("{clearing}, {EVERY_CONNECTION_KNOWS}")
    }
}

#[async_trait]
impl Condition for RaisedAlarm {
    async fn end(mut self: Box<Self>) {
        assert_eq!(self.management.evaluate(&self.clearing()).await, "ok");
        self.is_on = false;
    }
}

impl Drop for RaisedAlarm {
    /// The alarm of a failed scenario must not hold up later ones.
    fn drop(&mut self) {
        if self.is_on {
            let _ = self.management.evaluator().evaluate_now(&self.clearing());
        }
    }
}

/// The resource that an alarm is about, by RabbitMQ's name.
fn limit(alarm: Alarm) -> &'static str {
    match alarm {
        Alarm::Memory => "{resource_limit, memory, node()}",
        Alarm::Disk => "{resource_limit, disk, node()}",
        other => panic!("RabbitMQ has no alarm of {other:?}"),
    }
}

/// Waits until RabbitMQ has stopped reading from this number of connections, and their channels
/// have handled everything read before.
pub(super) async fn until_blocked(management: &Management, connections: usize) {
    let question = "length([Pid || Pid <- rabbit_networking:local_connections(), \
         (catch rabbit_networking:connection_info(Pid, [state])) =:= [{state, blocked}]]).";
    let blocked = connections.to_string();
    within("publishers' blocking", async {
        while management.evaluate(question).await != blocked {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let flushing = "[catch rabbit_channel:flush(Pid) || Pid <- rabbit_channel:list_local()].";
    management.evaluate(flushing).await;
}

/// A limit to the channels of a user.
#[derive(Debug)]
pub(super) struct ChannelLimit {
    management: Management,
    user: String,
}

impl ChannelLimit {
    pub(super) async fn set(management: &Management, user: &str, max: u16) -> Self {
        let path = ["user-limits", user, "max-channels"];
        management.put(&path, json!({ "value": max })).await;
        Self {
            management: management.clone(),
            user: user.to_owned(),
        }
    }
}

/// A drop does not lift the limit: the user is the scenario's own.
#[async_trait]
impl Condition for ChannelLimit {
    async fn end(self: Box<Self>) {
        let path = ["user-limits", &*self.user, "max-channels"];
        self.management.delete(&path).await;
    }
}
