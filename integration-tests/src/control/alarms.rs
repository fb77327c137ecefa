//! Memory and disk alarms, which scenarios raise.

use mooq_memory::{Alarm, AlarmGuard};

use super::{Control, Evaluator, Management};
use crate::expect::until;
use crate::within;

/// What RabbitMQ's connections do about an alarm they do when they hear of it, and they answer in
/// the order in which they hear.
const EVERY_CONNECTION_KNOWS: &str = "rabbit_alarm:get_alarms(), \
     [catch rabbit_networking:connection_info(Pid, [state]) \
     || Pid <- rabbit_networking:local_connections()], ok.";

/// An alarm that is on until it is cleared or dropped.
#[derive(Debug)]
pub enum RaisedAlarm {
    /// Of the in-memory broker.
    Memory(AlarmGuard),
    /// Of a RabbitMQ.
    RabbitMq(Raised),
}

/// An alarm of the RabbitMQ in a container.
#[derive(Debug)]
pub struct Raised {
    management: Management,
    alarm: Alarm,
    is_on: bool,
}

impl Control {
    /// Raises an alarm, which every connection knows of then. It ends when it is cleared, or what
    /// is returned dropped.
    pub async fn raise_alarm(&self, alarm: Alarm) -> RaisedAlarm {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => {
                RaisedAlarm::Memory(broker.raise_alarm(alarm))
            }
            Self::RabbitMq(management) => {
                // From here on, or it would stay if this future were dropped.
                let raised = Raised {
                    management: management.clone(),
                    alarm,
                    is_on: true,
                };
                let raising = format!("rabbit_alarm:set_alarm({{{}, []}})", limit(alarm));
                let raising = format!("{raising}, {EVERY_CONNECTION_KNOWS}");
                assert_eq!(management.evaluate(&raising).await, "ok");
                RaisedAlarm::RabbitMq(raised)
            }
        }
    }

    /// Waits until the broker has stopped reading from so many connections, and its channels have
    /// done what it had read. In memory both are so at once.
    pub(crate) async fn until_blocked(&self, connections: usize) {
        let management = match self {
            Self::Memory(_) => return,
            Self::Wire(broker) => {
                let are_blocked = || {
                    let all = broker.connections("*").into_iter();
                    all.filter(|connection| connection.blocked).count() == connections
                };
                return until("publishers' blocking", are_blocked).await;
            }
            Self::RabbitMq(management) => management,
        };
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
}

impl RaisedAlarm {
    /// Ends it, which every connection knows of then.
    pub async fn clear(self) {
        if let Self::RabbitMq(mut raised) = self {
            assert_eq!(raised.management.evaluate(&raised.clearing()).await, "ok");
            raised.is_on = false;
        }
    }
}

impl Raised {
    fn clearing(&self) -> String {
        let clearing = format!("rabbit_alarm:clear_alarm({})", limit(self.alarm));
        format!("{clearing}, {EVERY_CONNECTION_KNOWS}")
    }
}

impl Drop for Raised {
    /// The alarm of a scenario that has failed must not hold up those after it.
    fn drop(&mut self) {
        if self.is_on {
            let _ = self.management.evaluator().evaluate_now(&self.clearing());
        }
    }
}

impl Management {
    async fn evaluate(&self, expression: &str) -> String {
        let evaluator: &Evaluator = self.evaluator();
        evaluator.evaluate(self.container(), expression).await
    }
}

/// What there is an alarm of, as RabbitMQ calls it.
fn limit(alarm: Alarm) -> &'static str {
    match alarm {
        Alarm::Memory => "{resource_limit, memory, node()}",
        Alarm::Disk => "{resource_limit, disk, node()}",
        other => panic!("RabbitMQ has no alarm of {other:?}"),
    }
}
