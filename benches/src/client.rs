//! A client of the broker's engine itself, without the shell and the runtime above it.

use mooq_engine::{Command, ConnectionId, Effect, Engine, Login, Method, Options, Time};

/// An engine, and one connection to it with channel 1 open.
#[derive(Debug)]
pub struct Client {
    engine: Engine,
    connection: ConnectionId,
}

impl Client {
    /// A client of a new broker.
    #[must_use]
    pub fn new() -> Self {
        let mut engine = Engine::new(Options::default());
        let connection = log_in(&mut engine);
        let mut client = Self { engine, connection };
        client.call(Method::ChannelOpen);
        client
    }

    /// Opens `count` channels, on as many further connections as needed.
    pub fn open_channels(&mut self, count: usize) {
        let each = usize::from(Options::default().channel_max);
        let mut left = count;
        while left > 0 {
            let connection = log_in(&mut self.engine);
            for number in 1..=left.min(each) {
                let channel = u16::try_from(number).expect("a connection's channels are few");
                self.send_on(connection, channel, Method::ChannelOpen);
                self.expect_reply();
            }
            left = left.saturating_sub(each);
        }
    }

    /// Sends a method and ignores its effects.
    pub fn send(&mut self, method: Method) {
        self.send_on(self.connection, 1, method);
    }

    fn send_on(&mut self, connection: ConnectionId, channel: u16, method: Method) {
        let command = Command {
            connection,
            channel,
            method,
        };
        self.engine.handle(Time::START, command);
    }

    /// Sends a method that has a reply.
    pub fn call(&mut self, method: Method) {
        self.send(method);
        self.expect_reply();
    }

    fn expect_reply(&mut self) {
        let effect = self.effect();
        assert!(matches!(effect, Some(Effect::Reply { .. })), "{effect:?}");
    }

    /// The next effect.
    pub fn effect(&mut self) -> Option<Effect> {
        self.engine.poll_effect()
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

fn log_in(engine: &mut Engine) -> ConnectionId {
    engine
        .open_connection(Time::START, Login::default())
        .expect("guest may log in")
}
