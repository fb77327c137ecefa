//! The client's bytes: frames, the methods of the connection, and what arrives on channels.

use std::time::Instant;

use bytes::BytesMut;
use mooq_engine::{self as engine, Login};
use mooq_memory::LoginRefused;
use mooq_wire::Limits;
use mooq_wire::content::{Assembled, AssemblyError};
use mooq_wire::frame::{Frame, PROTOCOL_HEADER, Payload};
use mooq_wire::method::{ConnectionCloseOk, ConnectionOpenOk, Method};

use super::command::{self, Request, RequestKind};
use super::{
    Action, Connection, ConnectionRequest, HANDSHAKE_TIMEOUT, Heartbeat, Phase, Settings,
    connection_close, handshake, refusal,
};

impl Connection {
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
        let start = handshake::start(self.settings.profile, &self.external);
        self.output.method(0, &start.into());
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
                let client = handshake::client(&start_ok, self.settings, &self.external);
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
        let limit = self.settings.message_size_limit as u64;
        let too_large = channel.assembler.announced_body_size();
        let too_large = too_large.filter(|size| *size > limit);
        let assembled = match channel.assembler.push(payload, &limits) {
            Ok(Some(assembled)) => assembled,
            Ok(None) => {
                let Some(announced) = channel.assembler.announced_body_size() else {
                    return;
                };
                let max = self.settings.profile.max_announced_body();
                if let (Some(max), Some(method)) = (max, expected)
                    && announced > max
                {
                    let reason = refusal::announced_too_much(announced, max, method);
                    return self.refuse(now, Some(reason));
                }
                if announced > limit {
                    channel.assembler.drop_body();
                }
                return;
            }
            Err(error) => {
                let tells_excess = self.settings.profile.tells_excess_of_body();
                let reason = refusal::of_assembly(&error, expected, &bytes, tells_excess);
                return self.refuse(now, reason);
            }
        };
        match &assembled.method {
            // RabbitMQ refuses a large message once it is complete.
            Method::BasicPublish(publish) if !publish.immediate => {
                if let Some(size) = too_large {
                    let refuse = engine::Method::PublishTooLarge { size };
                    self.actions.push_back(Action::Command(number, refuse));
                    return;
                }
            }
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
}
