//! The handshake: from the protocol header to `connection.open-ok`.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mooq_core::{
    AuthMechanism, CloseReason, Endpoint, Error, ErrorKind, FieldTable, FieldValue, ShortString,
    VirtualHost,
};
use mooq_wire::frame::{FrameDecoder, PROTOCOL_HEADER, Payload};
use mooq_wire::limits::MIN_FRAME_MAX;
use mooq_wire::method::{
    ConnectionCloseOk, ConnectionOpen, ConnectionStart, ConnectionStartOk, ConnectionTune,
    ConnectionTuneOk, Method,
};
use mooq_wire::{DecodeError, Limits, Output};

/// The largest frame before `connection.tune`, in bytes: AMQP allows 4,096, RabbitMQ 8,192 since
/// 4.1.
const UNTUNED: u32 = 8192;

/// The largest frame that is agreed to, in bytes. RabbitMQ proposes 128 KiB by default.
const LARGEST: u32 = 1 << 20;

/// Capabilities that this client announces to a broker.
const CAPABILITIES: [&str; 6] = [
    "authentication_failure_close",
    "basic.nack",
    "connection.blocked",
    "consumer_cancel_notify",
    "exchange_exchange_bindings",
    "publisher_confirms",
];

/// A login in progress.
#[derive(Debug)]
pub(crate) struct Handshake {
    step: Step,
    decoder: FrameDecoder,
    pub(crate) output: Output,
    login: Login,
    /// Seconds between heartbeats, as this side wants them.
    heartbeat: u16,
}

struct Login {
    mechanism: AuthMechanism,
    response: String,
    vhost: VirtualHost,
    name: ShortString,
}

impl fmt::Debug for Login {
    /// Leaves out the response, which has the password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("mechanism", &self.mechanism)
            .field("vhost", &self.vhost)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The broker's method that the client waits for.
#[derive(Debug, Clone, Copy)]
enum Step {
    Start,
    Tune,
    Open(Tuned),
}

/// The limits that both sides have agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tuned {
    pub(crate) channel_max: u16,
    pub(crate) frame_max: u32,
    pub(crate) heartbeat: Option<Duration>,
}

/// The reason why a login failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("its answer is not AMQP 0-9-1")]
    NotAmqp(#[source] DecodeError),
    #[error("its answer is not what AMQP 0-9-1 asks for: {0}")]
    Unexpected(&'static str),
    #[error("its login mechanisms are '{offered}', and {own} is not among them")]
    NotOffered { own: &'static str, offered: String },
    #[error(
        "it asks for frames of at most {0} bytes, and {MIN_FRAME_MAX} is the least that AMQP allows"
    )]
    FrameMax(u32),
    #[error("{0:?}")]
    Closed(CloseReason),
}

impl Refusal {
    /// The error for the caller.
    pub(crate) fn error(self, address: &str) -> Error {
        let kind = match self {
            Self::Closed(reason) => return Error::connection_refused(address, reason),
            Self::NotOffered { .. } => ErrorKind::AuthenticationFailed,
            _ => ErrorKind::ConnectFailed,
        };
        let what = format!("cannot connect to {address}: {self}");
        let error = Error::connection(kind, what);
        match self {
            Self::NotAmqp(source) => error.with_source(source),
            other => error.with_source(other),
        }
    }
}

impl Handshake {
    /// Begins a login as `endpoint` says, with `heartbeat` in seconds.
    pub(crate) fn new(endpoint: &Endpoint, heartbeat: u16) -> Self {
        let mut output = Output::new();
        output.raw(&PROTOCOL_HEADER);
        let name = endpoint.connection_name.clone();
        Self {
            step: Step::Start,
            decoder: FrameDecoder::new(Limits::tuned(UNTUNED).recording_deep_values()),
            output,
            login: Login {
                mechanism: endpoint.auth_mechanism,
                response: endpoint.login_response(),
                vhost: endpoint.vhost.clone(),
                name: name.unwrap_or_else(|| short("mooq")),
            },
            heartbeat,
        }
    }

    /// Returns true if the broker has not said anything yet.
    pub(crate) fn awaits_start(&self) -> bool {
        matches!(self.step, Step::Start)
    }

    /// Takes bytes from the broker. Returns the agreed limits once the login is done; what is left
    /// of `input` then belongs to the connection.
    ///
    /// # Errors
    /// The reason why the login failed. There may be output left even then.
    pub(crate) fn receive(&mut self, input: &mut BytesMut) -> Result<Option<Tuned>, Refusal> {
        loop {
            let frame = self.decoder.decode(input).map_err(Refusal::NotAmqp)?;
            let Some(frame) = frame else {
                return Ok(None);
            };
            let payload = match frame.payload {
                Payload::Method(payload) if frame.channel == 0 => payload,
                Payload::Heartbeat if !self.awaits_start() => continue,
                Payload::Heartbeat => return Err(Refusal::Unexpected("a heartbeat came first")),
                _ => return Err(Refusal::Unexpected("a frame for a channel")),
            };
            let method =
                Method::decode(payload, self.decoder.limits()).map_err(Refusal::NotAmqp)?;
            if let Some(tuned) = self.method(method)? {
                return Ok(Some(tuned));
            }
        }
    }

    fn method(&mut self, method: Method) -> Result<Option<Tuned>, Refusal> {
        match (self.step, method) {
            (Step::Start, Method::ConnectionStart(start)) => self.start(&start)?,
            (Step::Tune, Method::ConnectionTune(tune)) => self.tune(&tune)?,
            (Step::Open(tuned), Method::ConnectionOpenOk(_)) => return Ok(Some(tuned)),
            (_, Method::ConnectionClose(close)) => {
                // A courtesy: the broker already knows.
                self.send(ConnectionCloseOk {});
                return Err(Refusal::Closed(CloseReason {
                    code: close.reply_code,
                    text: close.reply_text,
                    class_id: close.class_id,
                    method_id: close.method_id,
                }));
            }
            (_, method) => return Err(Refusal::Unexpected(method.name())),
        }
        Ok(None)
    }

    fn send(&mut self, method: impl Into<Method>) {
        self.output.method(0, &method.into());
    }

    fn start(&mut self, start: &ConnectionStart) -> Result<(), Refusal> {
        let own = self.login.mechanism.as_str();
        let mut offered = start.mechanisms.split(|byte| *byte == b' ');
        if !offered.any(|mechanism| mechanism == own.as_bytes()) {
            let offered = String::from_utf8_lossy(&start.mechanisms).into_owned();
            return Err(Refusal::NotOffered { own, offered });
        }
        let response = Bytes::from(std::mem::take(&mut self.login.response));
        let start_ok = ConnectionStartOk {
            client_properties: client_properties(&self.login.name),
            mechanism: short(own),
            response,
            locale: short("en_US"),
        };
        self.send(start_ok);
        self.step = Step::Tune;
        Ok(())
    }

    fn tune(&mut self, tune: &ConnectionTune) -> Result<(), Refusal> {
        let frame_max = match tune.frame_max {
            // The broker sets no limit.
            0 => LARGEST,
            1..MIN_FRAME_MAX => return Err(Refusal::FrameMax(tune.frame_max)),
            bytes => bytes.min(LARGEST),
        };
        let channel_max = match tune.channel_max {
            0 => u16::MAX,
            highest => highest,
        };
        // 0 stands for none, which is the longest interval.
        let heartbeat = [tune.heartbeat, self.heartbeat].into_iter();
        let heartbeat = heartbeat.filter(|seconds| *seconds > 0).min().unwrap_or(0);
        self.send(ConnectionTuneOk {
            channel_max,
            frame_max,
            heartbeat,
        });
        let virtual_host = self.login.vhost.clone();
        self.send(ConnectionOpen { virtual_host });
        let tuned = Tuned {
            channel_max,
            frame_max,
            heartbeat: (heartbeat > 0).then(|| Duration::from_secs(heartbeat.into())),
        };
        self.decoder.set_limits(tuned.limits());
        self.step = Step::Open(tuned);
        Ok(())
    }
}

impl Tuned {
    pub(crate) fn limits(&self) -> Limits {
        Limits::tuned(self.frame_max).recording_deep_values()
    }
}

fn client_properties(name: &ShortString) -> FieldTable {
    let capabilities = CAPABILITIES.map(|name| (short(name), FieldValue::Bool(true)));
    let capabilities: FieldTable = capabilities.into_iter().collect();
    let text = |text: &str| FieldValue::from(text);
    let entries = [
        ("product", text("mooq")),
        ("platform", text("Rust")),
        ("version", text(env!("CARGO_PKG_VERSION"))),
        ("connection_name", text(name)),
        ("capabilities", capabilities.into()),
    ];
    let entries = entries.into_iter();
    entries.map(|(key, value)| (short(key), value)).collect()
}

/// A short string of this module.
fn short(text: &'static str) -> ShortString {
    ShortString::try_from(text).unwrap_or_default()
}
