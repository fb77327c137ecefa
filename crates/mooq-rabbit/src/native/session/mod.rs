//! A client's connection as a state machine, without tokio, sockets or locks.
//!
//! In go bytes from the broker ([`Session::receive`]), calls, and the time; out come bytes for the
//! broker ([`Session::take_output`]) and events for the handles ([`Session::poll_event`]). The
//! caller takes the events after each input, and passes them on in order.

mod channel;
mod channels;
mod confirms;
mod consumers;
mod content;
mod ending;
mod handshake;
mod heartbeat;
mod messages;

mod outbox;
mod requests;
#[cfg(test)]
mod tests;
mod unacked;
mod unreadable;

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use mooq_core::{CloseReason, ConnectionEvent, Error, ErrorKind, Publish, Result, Settle};
use mooq_wire::Output;
use mooq_wire::frame::{Frame, FrameDecoder, Payload};
use mooq_wire::method::{ChannelOpen, ConnectionCloseOk, ConnectionUpdateSecret, Method};

pub(crate) use channel::ChannelId;
pub(crate) use handshake::{Handshake, Refusal, Tuned};
pub(crate) use outbox::Event;
pub(crate) use requests::{Answer, Ticket};

use channel::{Next, Unexpected};
use channels::Channels;
use heartbeat::Heartbeat;
use outbox::Outbox;

/// Maximum number of frames handled by one call of [`Session::receive`].
const FRAMES: usize = 64;

/// Time limit for a connection to close in good order, once it has no handles any more.
const GOOD_ORDER: Duration = Duration::from_secs(10);

/// A connection after its login.
#[derive(Debug)]
pub(crate) struct Session {
    address: String,
    decoder: FrameDecoder,
    out: Outbox,
    heartbeat: Heartbeat,
    phase: Phase,
    channels: Channels,
    /// The secrets that the broker has not answered, in order.
    secrets: VecDeque<Ticket>,
    /// The time at which the connection is given up, although frames are left to be written or the
    /// close is not answered.
    give_up_at: Option<Instant>,
    tickets: Ticket,
}

#[derive(Debug)]
enum Phase {
    Open,
    /// This side closes the connection once its channels are drained.
    Draining,
    /// `connection.close` has been sent.
    Closing,
    /// Nothing more is expected. The last frame may still have to be written.
    Ended,
    /// The socket is of no use any more.
    Lost,
}

impl Session {
    /// A connection to the broker at `address`, with what is left of the handshake's output.
    pub(crate) fn new(address: String, tuned: &Tuned, output: Output, now: Instant) -> Self {
        Self {
            address,
            decoder: FrameDecoder::new(tuned.limits()),
            out: Outbox::new(output, tuned.frame_max),
            heartbeat: Heartbeat::new(tuned.heartbeat, now),
            phase: Phase::Open,
            channels: Channels::new(tuned.channel_max),
            secrets: VecDeque::new(),
            give_up_at: None,
            tickets: 0,
        }
    }

    // Calls.

    /// Begins to open a channel.
    ///
    /// # Errors
    /// `NotAllowed` if all channels are in use; `ConnectionClosed` if the connection is closing.
    pub(crate) fn open_channel(&mut self) -> Result<(ChannelId, Ticket)> {
        match self.phase {
            Phase::Open => {}
            // The handles know the reason of an end.
            _ => return Err(self.closed_here()),
        }
        let channel = self.channels.open().map_err(|limit| {
            Error::new(
                ErrorKind::NotAllowed,
                format!(
                    "all {limit} channels that the broker {} allows on a connection are in use",
                    self.address
                ),
            )
        })?;
        self.tickets += 1;
        let open = Method::ChannelOpen(ChannelOpen {});
        channel.request(&mut self.out, open, self.tickets)?;
        Ok((channel.id, self.tickets))
    }

    /// Hands over a new secret. The answer is an event with the returned ticket.
    ///
    /// # Errors
    /// `ConnectionClosed` if the connection is closing.
    pub(crate) fn update_secret(&mut self, update: ConnectionUpdateSecret) -> Result<Ticket> {
        if !matches!(self.phase, Phase::Open) {
            return Err(self.closed_here());
        }
        self.tickets += 1;
        self.secrets.push_back(self.tickets);
        self.out.send(0, update);
        Ok(self.tickets)
    }

    /// The reason why a channel takes no more calls.
    pub(crate) fn refusal(&mut self, id: ChannelId) -> Option<Error> {
        self.channels.find(id)?.refusal().cloned()
    }

    pub(crate) fn publish(&mut self, id: ChannelId, publish: Publish) -> Result<()> {
        match self.channels.find(id) {
            Some(channel) => channel.publish(&mut self.out, publish),
            None => Err(channel::closed_here()),
        }
    }

    pub(crate) fn settle(&mut self, id: ChannelId, settle: Settle) -> Result<()> {
        match self.channels.find(id) {
            Some(channel) => channel.settle(&mut self.out, settle),
            None => Err(channel::closed_here()),
        }
    }

    /// Makes a request, whose answer is an event with the returned ticket.
    pub(crate) fn request(&mut self, id: ChannelId, method: impl Into<Method>) -> Result<Ticket> {
        let Some(channel) = self.channels.find(id) else {
            return Err(channel::closed_here());
        };
        self.tickets += 1;
        channel.request(&mut self.out, method.into(), self.tickets)?;
        Ok(self.tickets)
    }

    /// Sends a method that has no answer.
    pub(crate) fn send(&mut self, id: ChannelId, method: impl Into<Method>) -> Result<()> {
        match self.channels.find(id) {
            Some(channel) => channel.send(&mut self.out, method.into()),
            None => Err(channel::closed_here()),
        }
    }

    /// Records that no caller waits for the answer to a request.
    pub(crate) fn forsake(&mut self, id: ChannelId, ticket: Ticket, now: Instant) {
        if let Some(channel) = self.channels.find(id) {
            channel.forsake(ticket);
        }
        self.go_on_closing(now);
    }

    /// Begins to close a channel: `ChannelEvent::Closed` follows.
    pub(crate) fn close_channel(&mut self, id: ChannelId, now: Instant) {
        if let Some(channel) = self.channels.find(id) {
            channel.drain(channel::closed_here());
            self.channels.draining.push(id);
        }
        self.go_on_closing(now);
    }

    /// Begins to close the connection: `ConnectionEvent::Closed` follows.
    pub(crate) fn close(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        self.phase = Phase::Draining;
        let reason = self.closed_here();
        for channel in self.channels.iter_mut() {
            channel.drain(reason.clone());
        }
        self.go_on_closing(now);
    }

    /// Closes the connection, which no handle leads to any more.
    pub(crate) fn abandon(&mut self, now: Instant) {
        self.close(now);
        self.give_up_at.get_or_insert(now + GOOD_ORDER);
    }

    // Input.

    /// Takes bytes from the broker. Returns true if there may be more frames in `input`.
    pub(crate) fn receive(&mut self, now: Instant, input: &mut BytesMut) -> bool {
        self.heartbeat.received(now);
        for _ in 0..FRAMES {
            if matches!(self.phase, Phase::Ended | Phase::Lost) {
                input.clear();
                return false;
            }
            match self.decoder.decode(input) {
                Ok(Some(frame)) => self.frame(now, frame),
                Ok(None) => {
                    self.go_on_closing(now);
                    return false;
                }
                Err(error) => self.violated(501, now, error),
            }
        }
        self.go_on_closing(now);
        true
    }

    fn frame(&mut self, now: Instant, Frame { channel, payload }: Frame) {
        match (channel, payload) {
            (_, Payload::Heartbeat) => {}
            (0, Payload::Method(payload)) => match Method::decode(payload, self.decoder.limits()) {
                Ok(method) => self.method(now, method),
                Err(error) => self.violated(501, now, error),
            },
            (number, payload) => self.channel_frame(now, number, payload),
        }
    }

    /// Handles a method of the connection itself.
    fn method(&mut self, now: Instant, method: Method) {
        match method {
            Method::ConnectionClose(close) => {
                self.out.send(0, ConnectionCloseOk {});
                let reason = match self.phase {
                    // Both sides close the connection.
                    Phase::Closing => self.closed_here(),
                    _ => Error::connection_closed(CloseReason {
                        code: close.reply_code,
                        text: close.reply_text,
                        class_id: close.class_id,
                        method_id: close.method_id,
                    }),
                };
                self.end(now, Phase::Ended, &reason);
            }
            Method::ConnectionCloseOk(_) if matches!(self.phase, Phase::Closing) => {
                let reason = self.closed_here();
                self.end(now, Phase::Ended, &reason);
            }
            Method::ConnectionBlocked(blocked) => {
                self.tell(ConnectionEvent::Blocked(blocked.reason.to_string()));
            }
            Method::ConnectionUnblocked(_) => self.tell(ConnectionEvent::Unblocked),
            Method::ConnectionUpdateSecretOk(_) if !self.secrets.is_empty() => {
                if let Some(ticket) = self.secrets.pop_front() {
                    self.out.answer(ticket, Ok(Answer::Done));
                }
            }
            method => self.violated(503, now, Unexpected(method.name())),
        }
    }

    fn channel_frame(&mut self, now: Instant, number: u16, payload: Payload) {
        let limits = *self.decoder.limits();
        let Some(channel) = self.channels.at(number) else {
            // RabbitMQ may close a channel twice. While the connection closes, all is ignored.
            if !self.channels.is_known(number) && !matches!(self.phase, Phase::Closing) {
                self.violated(
                    504,
                    now,
                    Unexpected("frame on a channel that was never open"),
                );
            }
            return;
        };
        let received = match channel.content.push(payload, &limits) {
            Ok(Some(received)) => received,
            Ok(None) => return,
            Err(error) => return self.violated(505, now, error),
        };
        match channel.received(&mut self.out, received) {
            Ok(Next::GoOn) => {}
            Ok(Next::Free) => self.channels.free(number),
            Err(unexpected) => self.violated(503, now, unexpected),
        }
    }

    /// The time has come to `now`.
    pub(crate) fn advance(&mut self, now: Instant) {
        if self.give_up_at.is_some_and(|at| now >= at) {
            self.lost("the broker did not answer its close in time", None);
        }
        match self.phase {
            Phase::Ended | Phase::Lost => return,
            _ => {}
        }
        if let Some(silence) = self.heartbeat.too_long_a_silence(now) {
            let what = format!("nothing came from the broker for {silence:?}, two heartbeats");
            self.lost(&what, None);
            return;
        }
        if self.heartbeat.is_due(now) {
            self.heartbeat.sent(now);
            if self.out.output.is_empty() {
                self.out.output.heartbeat();
            }
        }
        self.go_on_closing(now);
    }

    /// The time at which [`advance`](Self::advance) has to be called.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let mut next = self.give_up_at;
        let mut at = |other: Option<Instant>| {
            next = match (next, other) {
                (Some(next), Some(other)) => Some(next.min(other)),
                (next, other) => next.or(other),
            };
        };
        match self.phase {
            Phase::Ended | Phase::Lost => return next,
            Phase::Draining => {
                for channel in self.channels.iter() {
                    at(channel.deadline());
                }
            }
            Phase::Open | Phase::Closing => {}
        }
        at(self.heartbeat.deadline());
        for id in &self.channels.draining {
            at(self.channels.get(*id).and_then(channel::Channel::deadline));
        }
        next
    }

    /// The broker hung up, or the socket failed.
    pub(crate) fn hung_up(&mut self, error: Option<io::Error>) {
        let what = match &error {
            Some(error) => format!("{error}"),
            None => "the broker hung up".to_owned(),
        };
        self.lost(&what, error);
    }

    // Output.

    /// Moves everything that has to be written into `output`, which is empty.
    pub(crate) fn take_output(&mut self, now: Instant, output: &mut Output) {
        for number in std::mem::take(&mut self.out.with_acks) {
            if let Some(channel) = self.channels.at(number) {
                channel.release_acks(&mut self.out);
            }
        }
        if !self.out.output.is_empty() {
            self.heartbeat.sent(now);
            std::mem::swap(&mut self.out.output, output);
        }
    }

    /// Number of bytes that wait to be taken, or wait in a channel for an answer.
    pub(crate) fn unwritten(&self) -> usize {
        self.out.output.remaining() + self.out.deferred
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.out.events.pop_front()
    }

    /// Returns true if the connection has ended: once its output is written, the socket can go.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended | Phase::Lost)
    }

    /// Returns true if nothing more can be written.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.phase, Phase::Lost)
    }
}
