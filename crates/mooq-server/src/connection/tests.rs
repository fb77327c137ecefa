//! Whatever bytes a client sends, its connection neither panics nor grows beyond its limits.
//!
//! A case is a client with a number, which decides what it sends: a login, methods and content that
//! make sense, and bytes that do not. `MOOQ_CONNECTION_CASES=10000000` runs as many cases in place
//! of the usual number:
//!
//! `MOOQ_CONNECTION_CASES=10000000 cargo test --release -p mooq-server --lib connection::tests`

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use fastrand::Rng;
use mooq_core::{FieldTable, FieldValue, Properties, VirtualHost};
use mooq_engine::{Command, ConnectionId, Engine, Time};
use mooq_memory::{LoginRefused, Options, Profile};
use mooq_wire::Output;
use mooq_wire::frame::PROTOCOL_HEADER;
use mooq_wire::method::{self as wire, Method};

use super::{Action, Connection, Settings};

const CASES: u64 = 20_000;

/// Largest frame that the broker agrees to.
const FRAME_MAX: u32 = 8_192;

/// Most that one write of a client is answered with, in bytes: by a few thousand deliveries.
const OUTPUT: usize = 4 << 20;

const NAMES: [&str; 4] = ["a", "b", "", "amq.topic"];

#[test]
fn any_bytes_end_as_a_connection_ends() {
    let cases = match std::env::var("MOOQ_CONNECTION_CASES") {
        Ok(cases) => cases.parse().expect("MOOQ_CONNECTION_CASES is a number"),
        Err(_) => CASES,
    };
    let mut ended = 0;
    for case in 0..cases {
        let outcome = std::panic::catch_unwind(|| Client::new(case).run());
        match outcome {
            Ok(has_ended) => ended += u64::from(has_ended),
            Err(_) => panic!("client {case} broke it"),
        }
    }
    // Were they all refused or all served, this would prove little.
    assert!(
        ended > cases / 10 && ended < cases * 9 / 10,
        "{ended} of {cases}"
    );
}

/// A client, its connection, and the broker behind it.
struct Client {
    random: Rng,
    engine: Engine,
    id: Option<ConnectionId>,
    connection: Connection,
    input: BytesMut,
    /// The most bytes that were passed in at once.
    chunk: usize,
    now: Instant,
    began: Instant,
}

impl Client {
    fn new(case: u64) -> Self {
        let mut random = Rng::with_seed(case);
        let mut options = Options::of(Profile::ALL[random.usize(..Profile::ALL.len())]);
        options.frame_max = FRAME_MAX;
        let settings = Settings::of(&options);
        let now = Instant::now();
        Self {
            random,
            engine: Engine::new(options),
            id: None,
            connection: Connection::new(settings, now),
            input: BytesMut::new(),
            chunk: 0,
            now,
            began: now,
        }
    }

    /// Returns true if the broker has ended the connection.
    fn run(mut self) -> bool {
        let mut sent = BytesMut::new();
        if self.random.u8(..) < 250 {
            self.log_in(&mut sent);
        }
        for _ in 0..self.random.usize(..16) {
            self.piece(&mut sent);
        }
        if self.random.u8(..) < 50 {
            self.damage(&mut sent);
        }
        while !sent.is_empty() && !self.connection.is_finished() {
            let chunk = match self.random.u8(..4) {
                0 => 1,
                1 => self.random.usize(1..64),
                _ => sent.len(),
            };
            self.receive(&sent.split_to(chunk.min(sent.len())));
            if self.random.u8(..) < 4 {
                self.now += Duration::from_secs(self.random.u64(..20));
                self.connection.advance(self.now, None);
                self.carry_out();
            }
        }
        self.connection.is_over()
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.chunk = self.chunk.max(bytes.len());
        self.input.extend_from_slice(bytes);
        self.connection.heard(self.now);
        loop {
            self.connection.proceed(self.now, &mut self.input);
            if !self.carry_out() {
                break;
            }
        }
        let left = self.input.len();
        assert!(
            left <= FRAME_MAX as usize + self.chunk + 8,
            "{left} bytes were not taken"
        );
        let output = self.connection.output().to_bytes().len();
        assert!(output <= OUTPUT, "{output} bytes are sent");
        *self.connection.output() = Output::new();
    }

    /// Carries out what the connection asks of the broker. Returns true if it asked for anything.
    fn carry_out(&mut self) -> bool {
        let time = Time::after_start(self.now - self.began);
        let mut any = false;
        while let Some(action) = self.connection.poll_action() {
            any = true;
            match action {
                Action::Authenticate(mechanism, credentials, name) => {
                    let checked =
                        self.engine
                            .authenticate(mechanism, &credentials, name.as_deref());
                    let checked = checked.map_err(LoginRefused::Closed);
                    self.connection.authenticated(self.now, checked);
                }
                Action::Open(login) => {
                    let opened = self.engine.open_authenticated(time, login);
                    let opened = opened.map(|id| self.id = Some(id));
                    let opened = opened.map_err(LoginRefused::Closed);
                    self.connection.opened(self.now, opened);
                }
                Action::Command(channel, method) => {
                    let connection = self.id.expect("methods follow the login");
                    let command = Command {
                        connection,
                        channel,
                        method,
                    };
                    self.engine.handle(time, command);
                }
            }
            while let Some(effect) = self.engine.poll_effect() {
                self.connection.effect(self.now, effect);
            }
        }
        any
    }

    fn log_in(&mut self, sent: &mut BytesMut) {
        sent.put_slice(&PROTOCOL_HEADER);
        let heartbeat = self.random.u16(..3);
        let methods: [Method; 4] = [
            wire::ConnectionStartOk {
                client_properties: FieldTable::new(),
                mechanism: "PLAIN".try_into().unwrap(),
                response: Bytes::from_static(b"\0guest\0guest"),
                locale: "en_US".try_into().unwrap(),
            }
            .into(),
            wire::ConnectionTuneOk {
                channel_max: 2_047,
                frame_max: FRAME_MAX,
                heartbeat,
            }
            .into(),
            wire::ConnectionOpen {
                virtual_host: VirtualHost::root(),
            }
            .into(),
            wire::ChannelOpen {}.into(),
        ];
        for (number, method) in methods.iter().enumerate() {
            encode(u16::from(number == 3), method, sent);
        }
    }

    /// One method, content, or something else.
    fn piece(&mut self, sent: &mut BytesMut) {
        let channel = [1, 1, 1, 1, 2, 0][self.random.usize(..6)];
        match self.random.u8(..20) {
            0 => self.garbage(sent),
            1 => self.frame(channel, sent),
            2 => self.nested(channel, sent),
            3..8 => self.publish(channel, sent),
            _ => {
                let method = self.method();
                encode(channel, &method, sent);
            }
        }
    }

    fn garbage(&mut self, sent: &mut BytesMut) {
        for _ in 0..self.random.usize(1..40) {
            sent.put_u8(self.random.u8(..));
        }
    }

    /// A frame of any type and payload, whose size may be a lie.
    fn frame(&mut self, channel: u16, sent: &mut BytesMut) {
        let frame_type = [1, 2, 3, 8, self.random.u8(..)][self.random.usize(..5)];
        let mut payload = BytesMut::new();
        if frame_type == 1 {
            payload.put_u16([10, 20, 40, 50, 60, 85, 90][self.random.usize(..7)]);
            payload.put_u16([10, 11, 20, 30, 31, 40, 50, 60, 80, 120][self.random.usize(..10)]);
        }
        self.garbage(&mut payload);
        let size = match self.random.u8(..8) {
            0 => self.random.u32(..),
            1 => FRAME_MAX + 1,
            _ => payload.len() as u32,
        };
        sent.put_u8(frame_type);
        sent.put_u16(channel);
        sent.put_u32(size);
        sent.put_slice(&payload);
        sent.put_u8(if self.random.u8(..) < 250 { 206 } else { 0 });
    }

    /// A declaration with a table that nests deeply.
    fn nested(&mut self, channel: u16, sent: &mut BytesMut) {
        let depth = [10, 100, 101, 900][self.random.usize(..4)];
        // A table with the key "k" and another table as its value, and so on.
        let mut table = BytesMut::new();
        for level in (0..depth).rev() {
            table.put_u32(level * 7);
            if level > 0 {
                table.put_slice(b"\x01kF");
            }
        }
        let mut payload = BytesMut::new();
        payload.put_slice(&[0, 50, 0, 10, 0, 0, 1, b'a', 0]);
        payload.put_slice(&table);
        sent.put_u8(1);
        sent.put_u16(channel);
        sent.put_u32(payload.len() as u32);
        sent.put_slice(&payload);
        sent.put_u8(206);
    }

    /// A message whose body may be longer or shorter than announced, or interrupted.
    fn publish(&mut self, channel: u16, sent: &mut BytesMut) {
        let publish = wire::BasicPublish {
            exchange: ["", "", "amq.topic", "none"][self.random.usize(..4)]
                .try_into()
                .unwrap(),
            routing_key: self.name().try_into().unwrap(),
            mandatory: self.random.bool(),
            immediate: self.random.u8(..) < 8,
        };
        let mut properties = Properties::default();
        properties.priority = Some(self.random.u8(..));
        let key = "x-delay".try_into().unwrap();
        properties.headers.insert(key, FieldValue::from(1));
        let body = Bytes::from(vec![b'x'; self.random.usize(..3 * FRAME_MAX as usize)]);
        let mut output = Output::new();
        output.content(channel, &publish.into(), &properties, &body, FRAME_MAX);
        let bytes = output.to_bytes();
        match self.random.u8(..10) {
            0 => sent.put_slice(&bytes[..self.random.usize(..bytes.len())]),
            1 => {
                sent.put_slice(&bytes);
                let mut more = Output::new();
                more.content(channel, &self.method(), &properties, &body, FRAME_MAX);
                sent.put_slice(&more.to_bytes());
            }
            _ => sent.put_slice(&bytes),
        }
    }

    fn name(&mut self) -> &'static str {
        NAMES[self.random.usize(..NAMES.len())]
    }

    fn method(&mut self) -> Method {
        let name = self.name();
        let delivery_tag = self.random.u64(..4);
        let nowait = self.random.u8(..4) == 0;
        let flag = self.random.bool();
        match self.random.u8(..20) {
            0 => wire::ChannelOpen {}.into(),
            1 => wire::ChannelClose {
                reply_code: 200,
                reply_text: "bye".into(),
                class_id: 0,
                method_id: 0,
            }
            .into(),
            2 => wire::ChannelCloseOk {}.into(),
            3 => wire::ChannelFlow { active: flag }.into(),
            4..7 => wire::QueueDeclare {
                queue: name.try_into().unwrap(),
                passive: self.random.u8(..8) == 0,
                durable: flag,
                exclusive: !flag,
                auto_delete: false,
                nowait,
                arguments: FieldTable::new(),
            }
            .into(),
            7 => wire::QueueBind {
                queue: name.try_into().unwrap(),
                exchange: "amq.topic".try_into().unwrap(),
                routing_key: "#".try_into().unwrap(),
                nowait,
                arguments: FieldTable::new(),
            }
            .into(),
            8 => wire::QueuePurge {
                queue: name.try_into().unwrap(),
                nowait,
            }
            .into(),
            9 => wire::QueueDelete {
                queue: name.try_into().unwrap(),
                if_unused: flag,
                if_empty: false,
                nowait,
            }
            .into(),
            10 | 11 => wire::BasicConsume {
                queue: name.try_into().unwrap(),
                consumer_tag: name.try_into().unwrap(),
                no_local: false,
                no_ack: flag,
                exclusive: false,
                nowait,
                arguments: FieldTable::new(),
            }
            .into(),
            12 => wire::BasicCancel {
                consumer_tag: name.try_into().unwrap(),
                nowait,
            }
            .into(),
            13 => wire::BasicGet {
                queue: name.try_into().unwrap(),
                no_ack: flag,
            }
            .into(),
            14 => wire::BasicAck {
                delivery_tag,
                multiple: flag,
            }
            .into(),
            15 => wire::BasicNack {
                delivery_tag,
                multiple: flag,
                requeue: self.random.bool(),
            }
            .into(),
            16 => wire::ConfirmSelect { nowait }.into(),
            17 => wire::TxSelect {}.into(),
            18 => wire::ConnectionClose {
                reply_code: 200,
                reply_text: "bye".into(),
                class_id: 0,
                method_id: 0,
            }
            .into(),
            _ => wire::BasicQos {
                prefetch_size: 0,
                prefetch_count: self.random.u16(..3),
                global: flag,
            }
            .into(),
        }
    }

    /// Changes, takes out or repeats a few bytes.
    fn damage(&mut self, sent: &mut BytesMut) {
        for _ in 0..self.random.usize(1..4) {
            if sent.is_empty() {
                return;
            }
            let at = self.random.usize(..sent.len());
            match self.random.u8(..3) {
                0 => sent[at] = self.random.u8(..),
                1 => sent.truncate(at),
                _ => {
                    let again = sent[at..].to_vec();
                    sent.put_slice(&again);
                }
            }
        }
    }
}

fn encode(channel: u16, method: &Method, sent: &mut BytesMut) {
    let mut output = Output::new();
    output.method(channel, method);
    sent.put_slice(&output.to_bytes());
}
