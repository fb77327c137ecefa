//! Carrying out a script, with an eye on what must always hold.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use mooq_core::{ChannelEvent, ConnectionEvent, VirtualHost};
use mooq_memory::engine::{
    Command, ConnectionId, Effect, Engine, Login, Method, Options, Profile, Reply, Time,
};

use crate::script::{CHANNELS, CLIENTS, Step};

/// The versions that a broker may behave as.
pub(crate) const PROFILES: [Profile; 3] = [Profile::V3_10, Profile::V4_0, Profile::V4_3];

/// What came of a script.
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
    /// What was delivered on a channel, and no settlement was tried of.
    outstanding: HashMap<(ConnectionId, u16), Vec<u64>>,
    run: Run,
    keep_effects: bool,
}

/// Carries out `steps` on a new broker that behaves as one version of RabbitMQ.
///
/// # Panics
/// If tags do not rise by one, messages are lost or doubled, or what is due does not happen.
pub(crate) fn run(profile: Profile, steps: &[Step], keep_effects: bool) -> Run {
    let mut engine = Engine::new(Options::of(profile));
    let mut open = || {
        engine
            .open_connection(Time::START, Login::default())
            .unwrap()
    };
    let clients = std::array::from_fn(|_| open());
    let mut runner = Runner {
        engine,
        now: Duration::ZERO,
        clients,
        last_tags: HashMap::new(),
        outstanding: HashMap::new(),
        run: Run::default(),
        keep_effects,
    };
    for client in clients {
        runner.open_channels(client);
    }
    for step in steps {
        runner.take(step);
    }
    runner.run
}

impl Runner {
    fn take(&mut self, step: &Step) {
        self.now += step.later;
        let connection = self.clients[step.client];
        let mut method = step.method.clone();
        if step.is_sensible
            && let Method::BasicSettle(settle) = &mut method
        {
            let outstanding = self.outstanding.entry((connection, step.channel));
            let outstanding = outstanding.or_default();
            if outstanding.is_empty() {
                return;
            }
            // Settled or not, it is not tried again.
            let nth = usize::try_from(settle.delivery_tag).unwrap() % outstanding.len();
            settle.delivery_tag = outstanding.remove(nth);
        }
        self.run.commands += 1;
        let closes = self.run.closes;
        self.handle(connection, step.channel, method);
        let closed = self.run.closes > closes || matches!(step.method, Method::ChannelClose);
        if step.is_sensible && closed {
            self.handle(connection, step.channel, Method::ChannelCloseOk);
            self.handle(connection, step.channel, Method::ChannelOpen);
        }
        if matches!(step.method, Method::ConnectionClose) {
            self.replace(connection);
        }
        // A miscount stays, so that now and then is often enough to look.
        if self.run.commands.is_multiple_of(8) {
            self.check_queues();
        }
        if let Some(deadline) = self.engine.next_deadline() {
            assert!(deadline > self.time(), "what is due has happened");
        }
    }

    fn handle(&mut self, connection: ConnectionId, channel: u16, method: Method) {
        let opens = matches!(method, Method::ChannelOpen);
        let command = Command {
            connection,
            channel,
            method,
        };
        self.engine.handle(self.time(), command);
        let mut closed = HashSet::new();
        while let Some(effect) = self.engine.poll_effect() {
            if self.keep_effects {
                self.run.effects.push(format!("{effect:?}"));
            }
            match effect {
                Effect::Reply {
                    reply: Reply::Done, ..
                } if opens => {
                    self.last_tags.insert((connection, channel), 0);
                    self.outstanding.remove(&(connection, channel));
                }
                Effect::Reply {
                    reply: Reply::Fetched(Some(fetched)),
                    ..
                } => self.delivered((connection, channel), fetched.delivery_tag),
                Effect::Channel {
                    connection,
                    channel,
                    event: ChannelEvent::Deliver(delivery),
                } => self.delivered((connection, channel), delivery.delivery_tag),
                Effect::Channel {
                    event: ChannelEvent::Closed(_),
                    ..
                } => self.run.closes += 1,
                Effect::Connection {
                    connection,
                    event: ConnectionEvent::Closed(_),
                } => {
                    self.run.closes += 1;
                    closed.insert(connection);
                }
                _ => {}
            }
        }
        for connection in closed {
            self.replace(connection);
        }
    }

    fn delivered(&mut self, channel: (ConnectionId, u16), tag: u64) {
        let last = self.last_tags.entry(channel).or_default();
        assert_eq!(tag, *last + 1, "a channel's tags rise by one");
        *last = tag;
        self.run.deliveries += 1;
        self.outstanding.entry(channel).or_default().push(tag);
    }

    /// A client whose connection has gone connects anew.
    fn replace(&mut self, gone: ConnectionId) {
        let new = self.engine.open_connection(self.time(), Login::default());
        let new = new.unwrap();
        for client in &mut self.clients {
            if *client == gone {
                *client = new;
            }
        }
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
            let (present, counted) = (queue.ready + queue.unacked, queue.tally.present());
            assert_eq!(present, counted, "{queue:?}");
        }
    }

    fn time(&self) -> Time {
        Time::after_start(self.now)
    }
}
