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
//! | `handshake`, `sasl` | properties, limits and credentials |
//! | `channel` | state of a channel: frames being read, requests to answer |
//! | `command`, `answer` | methods as commands, and effects as methods |
//! | `refusal` | errors, in RabbitMQ's words |

mod answer;
mod channel;
mod command;
mod handshake;
mod refusal;
mod sasl;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mooq_core::{ChannelEvent, CloseReason, ConnectionEvent, Credentials, Error, ShortString};
use mooq_engine::{self as engine, ClientSocket, Effect, Login, Mechanism, Reply};
use mooq_memory::{Hold, LoginRefused, Options, Profile};
use mooq_wire::content::{Assembled, Assembler, AssemblyError};
use mooq_wire::frame::{Frame, FrameDecoder, PROTOCOL_HEADER, Payload};
use mooq_wire::method::{
    BasicAck, BasicCancel, BasicNack, ChannelClose, ConnectionBlocked, ConnectionClose,
    ConnectionCloseOk, ConnectionOpenOk, ConnectionUnblocked, ConnectionUpdateSecretOk, Method,
};
use mooq_wire::{DecodeError, Limits, Output};

use channel::Channel;
use command::{Request, RequestKind};
use handshake::Client;
use handshake::Proposal;

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

    /// Takes the client's bytes from the front of `input`, as far as they can be handled now.
    pub(crate) fn proceed(&mut self, now: Instant, input: &mut BytesMut) {
        loop {
            match self.phase {
                Phase::Header => {
                    if !self.receive_header(now, input) {
                        return;
                    }
                }
                // The broker's answer decides the next step.
                Phase::Authenticating(_) | Phase::Opening => return,
                Phase::Refused | Phase::Silent | Phase::Finished => return input.clear(),
                _ => match self.decoder.decode(input) {
                    Ok(Some(frame)) => self.receive_frame(now, frame),
                    Ok(None) => return,
                    Err(error) => {
                        // The beginning of the next frame is unknown.
                        input.clear();
                        return self.refuse_frame(now, &error);
                    }
                },
            }
        }
    }

    /// Returns true if a complete header of the right protocol has arrived.
    fn receive_header(&mut self, now: Instant, input: &mut BytesMut) -> bool {
        let Some(received) = input.first_chunk::<8>() else {
            return false;
        };
        if *received != PROTOCOL_HEADER {
            let header = self.settings.profile.counter_header(received);
            self.output.raw(&header);
            self.finish();
            return false;
        }
        let _ = input.split_to(PROTOCOL_HEADER.len());
        self.output
            .method(0, &handshake::start(self.settings.profile).into());
        self.phase = Phase::Start;
        self.deadline = Some(now + HANDSHAKE_TIMEOUT);
        true
    }

    fn receive_frame(&mut self, now: Instant, frame: Frame) {
        match (frame.channel, frame.payload) {
            (_, Payload::Heartbeat) => {}
            (0, Payload::Method(payload)) => {
                match Method::decode(payload.clone(), self.decoder.limits()) {
                    Ok(method) => self.receive_method(now, method),
                    Err(error) => self.refuse(now, refusal::of_method(&error, &payload)),
                }
            }
            (number, payload) if matches!(self.phase, Phase::Running) => {
                self.receive_on_channel(now, number, payload);
            }
            // Frames on channels are ignored while a connection ends.
            _ if matches!(self.phase, Phase::Closing | Phase::ClosedByClient) => {}
            _ => self.fall_silent(now),
        }
    }

    /// Takes a method of the connection itself.
    fn receive_method(&mut self, now: Instant, method: Method) {
        match (std::mem::replace(&mut self.phase, Phase::Finished), method) {
            (Phase::Start, Method::ConnectionStartOk(start_ok)) => {
                let client = handshake::client(&start_ok, self.settings.socket);
                match client.credentials.clone() {
                    Some((mechanism, credentials)) => {
                        let name = client.connection_name.clone();
                        self.actions
                            .push_back(Action::Authenticate(mechanism, credentials, name));
                        self.phase = Phase::Authenticating(client);
                    }
                    None => self.fall_silent(now),
                }
            }
            (Phase::Tune(mut client), Method::ConnectionTuneOk(chosen)) => {
                let Settings {
                    profile, proposal, ..
                } = self.settings;
                let Some(tuned) = handshake::check(&chosen, proposal, profile) else {
                    return self.fall_silent(now);
                };
                client.channel_max = tuned.channel_max;
                client.details.frame_max = chosen.frame_max;
                client.details.heartbeat = tuned.heartbeat;
                self.frame_max = tuned.frame_max;
                self.decoder.set_limits(Limits::tuned(tuned.frame_max));
                self.heartbeat = tuned.heartbeat.map(|interval| Heartbeat {
                    interval,
                    heard: now,
                    sent: now,
                });
                self.phase = Phase::Open(client);
            }
            (Phase::Open(client), Method::ConnectionOpen(open)) => {
                let credentials = client.credentials.map(|(_, credentials)| credentials);
                let login = Login {
                    credentials: credentials.unwrap_or_default(),
                    vhost: Some(open.virtual_host),
                    connection_name: client.connection_name,
                    capabilities: client.capabilities,
                    channel_max: client.channel_max,
                    client: client.details,
                };
                self.actions.push_back(Action::Open(login));
                self.phase = Phase::Opening;
            }
            (Phase::Running, Method::ConnectionClose(_)) => {
                let close = engine::Method::ConnectionClose;
                self.requests.push_back(ConnectionRequest::Close);
                self.actions.push_back(Action::Command(0, close));
                self.phase = Phase::ClosedByClient;
                self.heartbeat = None;
            }
            (Phase::Running, Method::ConnectionUpdateSecret(_)) => {
                self.phase = Phase::Running;
                let update = engine::Method::UpdateSecret;
                self.requests.push_back(ConnectionRequest::UpdateSecret);
                self.actions.push_back(Action::Command(0, update));
            }
            (Phase::Running, method) => {
                self.phase = Phase::Running;
                self.refuse(now, Some(refusal::unexpected_method(method.id())));
            }
            (Phase::Closing, Method::ConnectionCloseOk(_)) => self.finish(),
            // Both sides have closed at once. The client still owes the answer to the broker's close.
            (Phase::Closing, Method::ConnectionClose(_)) => {
                self.output.method(0, &ConnectionCloseOk {}.into());
                self.phase = Phase::Closing;
            }
            (phase @ (Phase::Closing | Phase::ClosedByClient), _) => self.phase = phase,
            _ => self.fall_silent(now),
        }
    }

    /// Takes the broker's answer to [`Action::Authenticate`].
    pub(crate) fn authenticated(&mut self, now: Instant, answer: Result<(), LoginRefused>) {
        let Phase::Authenticating(client) = std::mem::replace(&mut self.phase, Phase::Finished)
        else {
            return;
        };
        match answer {
            Ok(()) => {
                let tune = handshake::tune(self.settings.proposal);
                self.output.method(0, &tune.into());
                self.phase = Phase::Tune(client);
            }
            Err(LoginRefused::Closed(reason)) if client.authentication_failure_close => {
                self.output.method(0, &connection_close(&reason).into());
                self.finish();
            }
            Err(LoginRefused::Closed(_)) => self.fall_silent(now),
            Err(_) => self.finish(),
        }
    }

    /// Takes the broker's answer to [`Action::Open`].
    pub(crate) fn opened(&mut self, now: Instant, answer: Result<(), LoginRefused>) {
        match answer {
            Ok(()) => {
                self.output.method(0, &ConnectionOpenOk {}.into());
                self.phase = Phase::Running;
                self.deadline = None;
            }
            Err(LoginRefused::Closed(reason)) => self.close(now, Some(reason)),
            Err(_) => self.finish(),
        }
    }

    fn receive_on_channel(&mut self, now: Instant, number: u16, payload: Payload) {
        let limits = *self.decoder.limits();
        let Some(channel) = self.channels.get_mut(&number) else {
            return self.receive_on_unopened_channel(now, number, payload);
        };
        if channel.closing {
            return self.receive_on_closing_channel(number, payload);
        }
        let bytes = match &payload {
            Payload::Method(bytes) | Payload::ContentHeader(bytes) | Payload::Body(bytes) => {
                bytes.clone()
            }
            Payload::Heartbeat => return,
        };
        let expected = channel.assembler.method().map(Method::id);
        let assembled = match channel.assembler.push(payload, &limits) {
            Ok(Some(assembled)) => assembled,
            Ok(None) => return self.check_announced_size(number),
            Err(error) => {
                let tells_excess = self.settings.profile.tells_excess_of_body();
                let reason = refusal::of_assembly(&error, expected, &bytes, tells_excess);
                return self.refuse(now, reason);
            }
        };
        match &assembled.method {
            Method::BasicAck(ack) => {
                channel.unsettled.settle(ack.delivery_tag, ack.multiple);
            }
            Method::BasicNack(nack) => {
                channel.unsettled.settle(nack.delivery_tag, nack.multiple);
            }
            Method::BasicReject(reject) => channel.unsettled.settle(reject.delivery_tag, false),
            Method::BasicRecover(_) | Method::BasicRecoverAsync(_) => channel.unsettled.clear(),
            _ => {}
        }
        match command::translate(assembled) {
            Ok((command, request)) => {
                channel.requests.extend(request);
                self.actions.push_back(Action::Command(number, command));
            }
            Err(reason) => self.refuse(now, Some(reason)),
        }
    }

    /// Takes a frame on a channel that is not open. The broker refuses any method but an open, and
    /// does not wait for its content.
    fn receive_on_unopened_channel(&mut self, now: Instant, number: u16, payload: Payload) {
        let bytes = match payload {
            Payload::Method(bytes) => bytes,
            Payload::ContentHeader(bytes) | Payload::Body(bytes) => {
                let error = AssemblyError::ExpectedMethod;
                return self.refuse(now, refusal::of_assembly(&error, None, &bytes, false));
            }
            Payload::Heartbeat => return,
        };
        let method = match Method::decode(bytes.clone(), self.decoder.limits()) {
            Ok(method) => method,
            Err(error) => return self.refuse(now, refusal::of_method(&error, &bytes)),
        };
        let opens = matches!(method, Method::ChannelOpen(_));
        let id = method.id();
        let content = None;
        match command::translate(Assembled { method, content }) {
            Ok((command, request)) => {
                if opens {
                    let channel = self.channels.entry(number).or_default();
                    channel.requests.extend(request);
                }
                self.actions.push_back(Action::Command(number, command));
            }
            Err(_) => self.refuse(now, Some(refusal::expected_open(id))),
        }
    }

    /// Takes a frame on a channel that the broker has closed: everything up to the client's answer
    /// was sent before the client knew of the close.
    fn receive_on_closing_channel(&mut self, number: u16, payload: Payload) {
        let Payload::Method(bytes) = payload else {
            return;
        };
        let Ok(method) = Method::decode(bytes, self.decoder.limits()) else {
            return;
        };
        let (command, request) = match method {
            Method::ChannelCloseOk(_) => {
                match self.channels.get_mut(&number) {
                    // The answer to the client's own close, which crossed the broker's, is still to
                    // come.
                    Some(channel) if !channel.requests.is_empty() => channel.closing = false,
                    _ => drop(self.channels.remove(&number)),
                }
                (engine::Method::ChannelCloseOk, None)
            }
            // Both sides have closed the channel at once. The client still owes the answer to the
            // broker's close.
            Method::ChannelClose(_) => (
                engine::Method::ChannelClose,
                Some(RequestKind::ChannelClose),
            ),
            Method::ChannelOpen(_) => (engine::Method::ChannelOpen, Some(RequestKind::ChannelOpen)),
            _ => return,
        };
        if let Some(kind) = request
            && let Some(channel) = self.channels.get_mut(&number)
        {
            let nowait = false;
            channel.requests.push_back(Request { kind, nowait });
        }
        self.actions.push_back(Action::Command(number, command));
    }

    /// Refuses a message whose header announces a larger body than the broker takes. RabbitMQ waits
    /// for the body first, and then says the same.
    fn check_announced_size(&mut self, number: u16) {
        let Some(channel) = self.channels.get_mut(&number) else {
            return;
        };
        let Some(size) = channel.assembler.announced_body_size() else {
            return;
        };
        if size <= self.settings.message_size_limit as u64 {
            return;
        }
        // The broker closes the channel, so the body is ignored.
        channel.closing = true;
        channel.assembler = Assembler::new();
        let command = engine::Method::PublishTooLarge { size };
        self.actions.push_back(Action::Command(number, command));
    }

    /// Takes an effect from the broker.
    pub(crate) fn effect(&mut self, now: Instant, effect: Effect) {
        match effect {
            Effect::Reply { channel, reply, .. } => self.reply(channel, reply),
            Effect::Channel { channel, event, .. } => self.channel_event(channel, event),
            Effect::Connection { event, .. } => self.connection_event(now, event),
        }
    }

    fn reply(&mut self, number: u16, reply: Reply) {
        if number == 0 {
            return match self.requests.pop_front() {
                Some(ConnectionRequest::UpdateSecret) => {
                    self.output.method(0, &ConnectionUpdateSecretOk {}.into());
                }
                Some(ConnectionRequest::Close) => {
                    self.output.method(0, &ConnectionCloseOk {}.into());
                    self.finish();
                }
                None => {}
            };
        }
        let Some(channel) = self.channels.get_mut(&number) else {
            return;
        };
        let Some(Request { kind, nowait }) = channel.requests.pop_front() else {
            return;
        };
        match (&kind, reply) {
            (RequestKind::BasicGet { no_ack }, Reply::Fetched(Some(fetched))) => {
                let message = &fetched.message;
                self.output.content(
                    number,
                    &answer::fetched(&fetched),
                    &message.properties,
                    &message.body,
                    self.frame_max,
                );
                if !no_ack {
                    channel
                        .unsettled
                        .add(fetched.delivery_tag, fetched.in_flight);
                }
            }
            (_, reply) => {
                match (&kind, &reply) {
                    (RequestKind::BasicConsume { no_ack: true }, Reply::Consuming(tag)) => {
                        channel.automatic.insert(tag.clone());
                    }
                    (RequestKind::BasicCancel { tag }, _) => {
                        channel.automatic.remove(tag);
                    }
                    (RequestKind::ChannelClose, _) if !channel.closing => {
                        // The client may have opened the channel again without waiting.
                        let requests = std::mem::take(&mut channel.requests);
                        if requests.is_empty() {
                            self.channels.remove(&number);
                        } else {
                            *channel = Channel {
                                requests,
                                ..Channel::default()
                            };
                        }
                    }
                    _ => {}
                }
                if let Some(method) = answer::answer(kind, reply)
                    && !nowait
                {
                    self.output.method(number, &method);
                }
            }
        }
    }

    fn channel_event(&mut self, number: u16, event: ChannelEvent) {
        let Some(channel) = self.channels.get_mut(&number) else {
            return;
        };
        match event {
            ChannelEvent::Deliver(deliver) => {
                self.output.content(
                    number,
                    &answer::deliver(&deliver),
                    &deliver.message.properties,
                    &deliver.message.body,
                    self.frame_max,
                );
                if !channel.automatic.contains(&deliver.consumer_tag) {
                    channel
                        .unsettled
                        .add(deliver.delivery_tag, deliver.in_flight);
                }
            }
            ChannelEvent::Return(returned) => self.output.content(
                number,
                &answer::returned(&returned),
                &returned.message.properties,
                &returned.message.body,
                self.frame_max,
            ),
            ChannelEvent::Confirm { sequence, multiple } => {
                let ack = BasicAck {
                    delivery_tag: sequence,
                    multiple,
                };
                self.output.method(number, &ack.into());
            }
            ChannelEvent::Nack { sequence, multiple } => {
                let nack = BasicNack {
                    delivery_tag: sequence,
                    multiple,
                    requeue: false,
                };
                self.output.method(number, &nack.into());
            }
            ChannelEvent::ConsumerCancelled(consumer_tag) => {
                channel.automatic.remove(&consumer_tag);
                let nowait = true;
                let cancel = BasicCancel {
                    consumer_tag,
                    nowait,
                };
                self.output.method(number, &cancel.into());
            }
            ChannelEvent::Closed(why) => {
                // The broker drops all other requests that it has not answered.
                let mut requests = std::mem::take(&mut channel.requests);
                requests.retain(|request| request.kind == RequestKind::ChannelClose);
                *channel = Channel {
                    closing: true,
                    requests,
                    ..Channel::default()
                };
                let reason = reason_of(&why);
                let close = ChannelClose {
                    reply_code: reason.code,
                    reply_text: reason.text,
                    class_id: reason.class_id,
                    method_id: reason.method_id,
                };
                self.output.method(number, &close.into());
            }
        }
    }

    fn connection_event(&mut self, now: Instant, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Blocked(reason) => {
                let reason = ShortString::try_from(reason).unwrap_or_default();
                self.output.method(0, &ConnectionBlocked { reason }.into());
            }
            ConnectionEvent::Unblocked => {
                self.output.method(0, &ConnectionUnblocked {}.into());
            }
            // Without a reason the connection is dropped, as by a fault: nothing more is sent.
            ConnectionEvent::Closed(why) => self.close(now, why.reason().cloned()),
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
