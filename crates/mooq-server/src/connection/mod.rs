//! A client's connection as a state machine, without I/O, clock or runtime.
//!
//! The caller that drives a connection
//!
//! 1. passes in the client's bytes ([`Connection::proceed`]), unless the broker does not read from
//!    the client; the broker's effects ([`Connection::effect`]); and the time
//!    ([`Connection::advance`], by [`Connection::next_deadline`] at the latest);
//! 2. then carries out the actions ([`Connection::poll_action`]), until none is left;
//! 3. and writes the output ([`Connection::output`]). Once [`Connection::is_finished`] returns true
//!    and all output is written, the caller closes the socket.
//!
//! | File | Responsibility |
//! |---|---|
//! | `input` | the client's bytes: frames, and the methods of the connection |
//! | `effect` | the broker's effects |
//! | `handshake`, `sasl` | properties, limits and credentials |
//! | `channel` | state of a channel: frames being read, requests to answer |
//! | `command`, `answer` | methods as commands, and effects as methods |
//! | `refusal` | errors, in RabbitMQ's words |

mod answer;
mod channel;
mod command;
mod effect;
mod handshake;
mod input;
mod refusal;
mod sasl;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use mooq_core::{CloseReason, Credentials, Error, ShortString};
use mooq_engine::{self as engine, ClientSocket, Login, Mechanism};
use mooq_memory::{Hold, Options, Profile};
use mooq_wire::frame::FrameDecoder;
use mooq_wire::method::{ConnectionClose, ConnectionCloseOk};
use mooq_wire::{DecodeError, Limits, Output};

use channel::Channel;
use handshake::Client;
use handshake::Proposal;
pub(crate) use sasl::External;

/// Time limit for a client to log in, like `handshake_timeout` of RabbitMQ.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that RabbitMQ waits before it closes the socket of a client that may not log in and cannot
/// be sent the reason.
const SILENT_CLOSE_DELAY: Duration = Duration::from_secs(3);
/// Time limit for a client to answer `connection.close`.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Settings of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) profile: Profile,
    pub(crate) proposal: Proposal,
    /// The largest body that the broker takes, in bytes.
    pub(crate) message_size_limit: usize,
    /// Both ends of the socket, if there is one.
    pub(crate) socket: Option<ClientSocket>,
}

impl Settings {
    pub(crate) fn of(options: &Options) -> Self {
        Self {
            profile: options.profile,
            proposal: Proposal {
                channel_max: options.channel_max,
                frame_max: options.frame_max,
                heartbeat: options.heartbeat,
            },
            message_size_limit: options.message_size_limit(),
            socket: None,
        }
    }
}

/// An action for the caller to carry out on the broker.
#[derive(Debug)]
pub(crate) enum Action {
    /// Check the client's credentials, and answer by [`Connection::authenticated`].
    Authenticate(Mechanism, Credentials, Option<ShortString>),
    /// Log the client in, and answer by [`Connection::opened`].
    Open(Login),
    /// Pass a method of a channel, or of the connection itself, to the broker.
    Command(u16, engine::Method),
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    settings: Settings,
    external: External,
    phase: Phase,
    decoder: FrameDecoder,
    /// Requests about the connection itself that the broker has yet to answer, in order.
    requests: VecDeque<ConnectionRequest>,
    channels: HashMap<u16, Channel>,
    actions: VecDeque<Action>,
    output: Output,
    frame_max: u32,
    heartbeat: Option<Heartbeat>,
    /// Deadline of the awaited event: the login, or the answer to a close.
    deadline: Option<Instant>,
}

#[derive(Debug)]
enum Phase {
    /// The client has yet to send the protocol header.
    Header,
    /// The client has yet to send its credentials.
    Start,
    /// The broker checks the client's credentials.
    Authenticating(Client),
    /// The client has yet to agree to the limits.
    Tune(Client),
    /// The client has yet to choose a virtual host.
    Open(Client),
    /// The broker checks the client's access to the virtual host.
    Opening,
    Running,
    /// The client has made an error, and gets the reason once all its earlier methods are done.
    Refused,
    /// The client has closed the connection, and the broker has yet to answer.
    ClosedByClient,
    /// The client has been sent the close, and has yet to answer.
    Closing,
    /// The socket is closed at the deadline, without a reason.
    Silent,
    /// The socket is closed once all output is written.
    Finished,
}

/// A request about the connection itself.
#[derive(Debug)]
enum ConnectionRequest {
    UpdateSecret,
    Close,
}

/// Both directions of the heartbeat.
#[derive(Debug)]
struct Heartbeat {
    interval: Duration,
    /// Time of the last data from the client.
    heard: Instant,
    /// Time of the last heartbeat sent.
    sent: Instant,
}

impl Heartbeat {
    /// Time of the next heartbeat: two are due in each interval.
    fn due(&self) -> Instant {
        self.sent + self.interval / 2
    }

    /// Time at which a silent client counts as dead: RabbitMQ checks from time to time, and notices
    /// after two to three intervals.
    fn dead(&self) -> Instant {
        self.heard + self.interval * 5 / 2
    }
}

impl Connection {
    pub(crate) fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            external: External::Off,
            phase: Phase::Header,
            decoder: FrameDecoder::new(Limits::tuned(settings.profile.min_frame_max())),
            requests: VecDeque::new(),
            channels: HashMap::new(),
            actions: VecDeque::new(),
            output: Output::new(),
            frame_max: 0,
            heartbeat: None,
            deadline: Some(now + HANDSHAKE_TIMEOUT),
        }
    }

    /// Takes the user that the client's certificate stands for, before any of the client's bytes.
    pub(crate) fn set_external(&mut self, external: External) {
        self.external = external;
    }

    /// Output for the client.
    pub(crate) fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// The next action for the broker.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns true if the socket is to be closed once all output is written.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished)
    }

    /// The time by which [`Self::advance`] has to be called, if nothing happens before.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let heartbeat = self.heartbeat.as_ref();
        let heartbeat = heartbeat.map(|heartbeat| heartbeat.due().min(heartbeat.dead()));
        match (self.deadline, heartbeat) {
            (Some(deadline), Some(heartbeat)) => Some(deadline.min(heartbeat)),
            (deadline, heartbeat) => deadline.or(heartbeat),
        }
    }

    /// Advances the time. `hold` is the reason why the broker does not read from the client: it then
    /// does not notice that the client is silent, and over a frozen link it sends no heartbeats.
    pub(crate) fn advance(&mut self, now: Instant, hold: Option<Hold>) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return self.finish();
        }
        if let Some(heartbeat) = &mut self.heartbeat {
            if hold.is_some() {
                heartbeat.heard = now;
            }
            if heartbeat.dead() <= now {
                tracing::warn!("client missed its heartbeats: closing its connection");
                return self.finish();
            }
            if heartbeat.due() <= now {
                heartbeat.sent = now;
                if hold != Some(Hold::Frozen) {
                    self.output.heartbeat();
                }
            }
        }
    }

    /// Notes that data from the client has arrived.
    pub(crate) fn heard(&mut self, now: Instant) {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.heard = now;
        }
    }

    /// Closes the connection because of a malformed frame.
    fn refuse_frame(&mut self, now: Instant, error: &DecodeError) {
        match self.phase {
            Phase::Running => self.refuse(now, refusal::of_frame(error)),
            Phase::Closing | Phase::ClosedByClient => self.finish(),
            _ => self.fall_silent(now),
        }
    }

    /// Ends the connection because of a client's error, once all earlier methods of the client are
    /// done.
    fn refuse(&mut self, now: Instant, reason: Option<CloseReason>) {
        match self.phase {
            Phase::Running => {
                self.phase = Phase::Refused;
                let refuse = engine::Method::Refuse { reason };
                self.actions.push_back(Action::Command(0, refuse));
            }
            Phase::Refused | Phase::Closing | Phase::ClosedByClient | Phase::Finished => {}
            _ => self.fall_silent(now),
        }
    }

    /// Returns true if the broker is done with the client: the connection has ended, or never
    /// began.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Silent | Phase::Finished)
    }

    /// Ends the connection, which the broker has forgotten.
    pub(crate) fn lost(&mut self) {
        if !self.is_over() {
            self.finish();
        }
    }

    /// Sends the client the reason of the close, and waits for its answer. Closes the socket at
    /// once if RabbitMQ gives no reason.
    fn close(&mut self, now: Instant, reason: Option<CloseReason>) {
        if self.is_over() {
            return;
        }
        let Some(reason) = reason else {
            return self.finish();
        };
        self.output.method(0, &connection_close(&reason).into());
        if matches!(self.phase, Phase::ClosedByClient) {
            // Both sides have closed at once.
            self.output.method(0, &ConnectionCloseOk {}.into());
        }
        self.channels.clear();
        self.requests.clear();
        self.actions.clear();
        self.heartbeat = None;
        self.phase = Phase::Closing;
        self.deadline = Some(now + CLOSE_TIMEOUT);
    }

    /// Closes the socket after a delay, as RabbitMQ does with a client that it cannot send the
    /// reason.
    fn fall_silent(&mut self, now: Instant) {
        self.phase = Phase::Silent;
        self.deadline = Some(now + SILENT_CLOSE_DELAY);
        self.heartbeat = None;
    }

    fn finish(&mut self) {
        self.phase = Phase::Finished;
        self.deadline = None;
        self.heartbeat = None;
        self.channels.clear();
        self.requests.clear();
        self.actions.clear();
    }
}

fn connection_close(reason: &CloseReason) -> ConnectionClose {
    ConnectionClose {
        reply_code: reason.code,
        reply_text: reason.text.clone(),
        class_id: reason.class_id,
        method_id: reason.method_id,
    }
}

/// The broker's reason; the engine gives one with each close of its own.
fn reason_of(why: &Error) -> CloseReason {
    why.reason().cloned().unwrap_or_else(|| CloseReason {
        code: 541,
        text: format!("INTERNAL_ERROR - {why}"),
        class_id: 0,
        method_id: 0,
    })
}
