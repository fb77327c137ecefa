//! Carrying out a script, with an eye on what must always hold.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use mooq_core::{ChannelEvent, ConnectionEvent, VirtualHost};
use mooq_engine::{
    Alarm, Command, ConnectionId, Effect, Engine, Fault, FaultId, Login, Method, Options, Plugin,
    Profile, Reply, Scope, Time,
};

use crate::script::{Action, AdminStep, CHANNELS, CLIENTS, FaultStep, Step};

/// The options of the broker of the given number: each version in turn; every second five with a
/// seed; and of every four fives, two with plugins, and timeouts so short that scripts reach them.
pub(crate) fn options(number: u64) -> Options {
    let mut options = Options::of(Profile::ALL[usize::try_from(number % 5).unwrap()]);
    options.seed = (number / 5).is_multiple_of(2).then_some(number);
    if (number / 10).is_multiple_of(2) {
        options.plugins.extend(Plugin::ALL);
        options.consumer_timeout = Some(Duration::from_millis(40));
        options.channel_tick_interval = Duration::from_millis(20);
        options.dead_letter_retry_interval = Duration::from_millis(3);
    }
    options
}

/// Outcome of a script.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    /// Every effect, in words, if they were asked for.
    pub(crate) effects: Vec<String>,
    pub(crate) commands: usize,
    pub(crate) deliveries: usize,
    pub(crate) closes: usize,
}

struct Runner {
    engine: Engine,
    now: Duration,
    clients: [ConnectionId; CLIENTS],
    last_tags: HashMap<(ConnectionId, u16), u64>,
    /// Deliveries on a channel of which no settlement was tried.
    outstanding: HashMap<(ConnectionId, u16), Vec<u64>>,
    faults: VecDeque<FaultId>,
    alarms: VecDeque<Alarm>,
    /// A client hears late that its channel was opened: its tags begin anew before that.
    hears_late: bool,
    run: Run,
    keep_effects: bool,
}

/// Carries out `steps` on a new broker that behaves as one version of RabbitMQ.
///
/// # Panics
/// If tags do not rise by one, messages are lost or doubled, or what is due does not happen.
pub(crate) fn run(options: &Options, steps: &[Step], keep_effects: bool) -> Run {
    let mut engine = Engine::new(options.clone());
    let mut number = 0;
    let clients = std::array::from_fn(|_| {
        number += 1;
        connect(&mut engine, Time::START, number - 1)
    });
    let mut runner = Runner {
        engine,
        now: Duration::ZERO,
        clients,
        last_tags: HashMap::new(),
        outstanding: HashMap::new(),
        faults: VecDeque::new(),
        alarms: VecDeque::new(),
        hears_late: false,
        run: Run::default(),
        keep_effects,
    };
    for client in clients {
        runner.open_channels(client);
    }
    for step in steps {
        runner.take(step);
    }
    runner.come_to_rest();
    runner.run
}

/// A connection that is called by its client's number.
fn connect(engine: &mut Engine, now: Time, client: usize) -> ConnectionId {
    let login = Login {
        connection_name: Some(client.to_string().try_into().unwrap()),
        ..Login::default()
    };
    engine.open_connection(now, login).unwrap()
}

impl Runner {
    fn take(&mut self, step: &Step) {
        self.now += step.later;
        let closed = match &step.action {
            Action::Send(method) => {
                let Some(method) = self.sensible(step, method) else {
                    return;
                };
                self.send(step, method)
            }
            Action::Fault(fault) => self.let_go_wrong(fault),
            Action::Administer(step) => self.administer(step),
            Action::CarryOn => {
                self.engine.carry_on(self.time());
                self.hear()
            }
        };
        self.run.commands += 1;
        if self.engine.dead_letters_circle() {
            // It would last for ever.
            self.let_go_wrong(&FaultStep::DeleteQueues(Scope::default()));
        }
        if step.is_sensible {
            for (connection, channel) in closed {
                self.reopen(connection, channel);
            }
        }
        // A miscount stays, so that now and then is often enough to look.
        if self.run.commands.is_multiple_of(8) {
            self.check_queues();
        }
        if let Some(deadline) = self.engine.next_deadline() {
            assert!(deadline > self.time(), "what is due has happened");
        }
    }

    /// Returns the method that the client sends, if it has reason to.
    fn sensible(&mut self, step: &Step, method: &Method) -> Option<Method> {
        let mut method = method.clone();
        if step.is_sensible
            && let Method::BasicSettle(settle) = &mut method
        {
            let channel = (self.clients[step.client], step.channel);
            let outstanding = self.outstanding.entry(channel).or_default();
            if outstanding.is_empty() {
                return None;
            }
            // Settled or not, it is not tried again.
            let nth = usize::try_from(settle.delivery_tag).unwrap() % outstanding.len();
            settle.delivery_tag = outstanding.remove(nth);
        }
        Some(method)
    }

    fn send(&mut self, step: &Step, method: Method) -> Vec<(ConnectionId, u16)> {
        let connection = self.clients[step.client];
        let closes_channel = matches!(method, Method::ChannelClose);
        let closes_connection = matches!(method, Method::ConnectionClose);
        let mut closed = self.handle(connection, step.channel, method);
        if closes_channel {
            closed.push((connection, step.channel));
        }
        if closes_connection {
            self.replace(connection);
            closed.clear();
        }
        closed
    }

    fn let_go_wrong(&mut self, step: &FaultStep) -> Vec<(ConnectionId, u16)> {
        let now = self.time();
        let engine = &mut self.engine;
        engine.advance(now);
        match step {
            FaultStep::Begin(fault, scope) => {
                self.hears_late |= matches!(fault, Fault::Freeze | Fault::Slow(_));
                let fault = engine.begin_fault(now, fault.clone(), scope.clone());
                self.faults.push_back(fault);
            }
            FaultStep::End => {
                if let Some(fault) = self.faults.pop_front() {
                    engine.end_fault(now, fault);
                }
            }
            FaultStep::DropConnections(scope) => {
                engine.drop_connections(now, scope);
            }
            FaultStep::ForceConnections(scope) => {
                engine.force_connections(now, scope, "test");
            }
            FaultStep::CloseChannels(scope) => {
                engine.close_channels(now, scope, 406, "PRECONDITION_FAILED - test");
            }
            FaultStep::CancelConsumers(scope) => {
                engine.cancel_consumers(now, scope);
            }
            FaultStep::DeleteQueues(scope) => {
                engine.delete_queues(now, scope);
            }
            FaultStep::Restart => {
                engine.shut_down(now);
                engine.forget_transient();
            }
        }
        self.hear()
    }

    fn administer(&mut self, step: &AdminStep) -> Vec<(ConnectionId, u16)> {
        let (now, vhost) = (self.time(), VirtualHost::root());
        let engine = &mut self.engine;
        engine.advance(now);
        // A version refuses policies with settings that it does not know.
        let _ = match step {
            AdminStep::SetPolicy {
                name,
                policy,
                of_operators: false,
            } => engine.set_policy(now, &vhost, name, policy.clone()),
            AdminStep::SetPolicy { name, policy, .. } => {
                engine.set_operator_policy(now, &vhost, name, policy.clone())
            }
            AdminStep::ClearPolicy {
                name,
                of_operators: false,
            } => engine.clear_policy(now, &vhost, name),
            AdminStep::ClearPolicy { name, .. } => engine.clear_operator_policy(now, &vhost, name),
            AdminStep::RaiseAlarm(alarm) => {
                self.hears_late = true;
                self.alarms.push_back(*alarm);
                engine.raise_alarm(*alarm);
                Ok(())
            }
            AdminStep::ClearAlarm => {
                if let Some(alarm) = self.alarms.pop_front() {
                    engine.clear_alarm(now, alarm);
                }
                Ok(())
            }
            AdminStep::SetPermissions(permissions) => {
                engine.set_permissions("guest", &vhost, Some(permissions.clone()))
            }
        };
        self.hear()
    }

    /// Ends all that goes wrong, and lets everything arrive.
    fn come_to_rest(&mut self) {
        while !self.faults.is_empty() {
            self.let_go_wrong(&FaultStep::End);
        }
        while !self.alarms.is_empty() {
            self.administer(&AdminStep::ClearAlarm);
        }
        while self.engine.is_under_way() {
            self.engine.carry_on(self.time());
            self.hear();
        }
        self.check_queues();
    }

    fn handle(
        &mut self,
        connection: ConnectionId,
        channel: u16,
        method: Method,
    ) -> Vec<(ConnectionId, u16)> {
        if matches!(method, Method::ChannelOpen) {
            self.last_tags.insert((connection, channel), 0);
            self.outstanding.remove(&(connection, channel));
        }
        let command = Command {
            connection,
            channel,
            method,
        };
        self.engine.handle(self.time(), command);
        self.hear()
    }

    /// Takes in what the engine did. Gives the channels that it closed.
    fn hear(&mut self) -> Vec<(ConnectionId, u16)> {
        let mut lost = Vec::new();
        let mut closed = Vec::new();
        while let Some(effect) = self.engine.poll_effect() {
            if self.keep_effects {
                self.run.effects.push(format!("{effect:?}"));
            }
            match effect {
                Effect::Reply {
                    connection,
                    channel,
                    reply: Reply::Fetched(Some(fetched)),
                } => self.delivered((connection, channel), fetched.delivery_tag),
                Effect::Channel {
                    connection,
                    channel,
                    event: ChannelEvent::Deliver(delivery),
                } => self.delivered((connection, channel), delivery.delivery_tag),
                Effect::Channel {
                    connection,
                    channel,
                    event: ChannelEvent::Closed(_),
                } => {
                    self.run.closes += 1;
                    closed.push((connection, channel));
                }
                Effect::Connection {
                    connection,
                    event: ConnectionEvent::Closed(_),
                } => {
                    self.run.closes += 1;
                    lost.push(connection);
                }
                _ => {}
            }
        }
        closed.retain(|(connection, _)| !lost.contains(connection));
        for connection in lost {
            self.replace(connection);
        }
        closed
    }

    fn delivered(&mut self, channel: (ConnectionId, u16), tag: u64) {
        let last = self.last_tags.entry(channel).or_default();
        let begins_anew = self.hears_late && tag == 1;
        assert!(
            tag == *last + 1 || self.hears_late,
            "a channel's tags rise by one"
        );
        assert!(tag > *last || begins_anew, "a channel's tags rise");
        *last = tag;
        self.run.deliveries += 1;
        self.outstanding.entry(channel).or_default().push(tag);
    }

    /// A client opens a channel again that is closed.
    fn reopen(&mut self, connection: ConnectionId, channel: u16) {
        self.handle(connection, channel, Method::ChannelCloseOk);
        self.handle(connection, channel, Method::ChannelOpen);
    }

    /// A client whose connection has gone connects anew.
    fn replace(&mut self, gone: ConnectionId) {
        let Some(at) = self.clients.iter().position(|client| *client == gone) else {
            return;
        };
        let now = self.time();
        let new = connect(&mut self.engine, now, at);
        self.clients[at] = new;
        self.open_channels(new);
    }

    fn open_channels(&mut self, connection: ConnectionId) {
        for channel in 1..=CHANNELS {
            self.handle(connection, channel, Method::ChannelOpen);
        }
    }

    /// Messages are where they were put: what came is there, or has left in one way.
    fn check_queues(&self) {
        for queue in self.engine.queues(&VirtualHost::root(), "**") {
            let (present, counted) = (
                queue.ready + queue.delayed + queue.unacked,
                queue.tally.present(),
            );
            assert_eq!(present, counted, "{queue:?}");
        }
    }

    fn time(&self) -> Time {
        Time::after_start(self.now)
    }
}
