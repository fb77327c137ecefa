//! The end of a connection.

use std::error::Error as StdError;
use std::io;
use std::time::{Duration, Instant};

use mooq_core::{ConnectionEvent, Error, ErrorKind};
use mooq_wire::method::ConnectionClose;

use super::{Event, Phase, Session};

/// Time for the last frame to be written, once the connection has ended.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(5);

impl Session {
    /// Closes the channels that are drained, and then the connection.
    pub(super) fn go_on_closing(&mut self, now: Instant) {
        let mut draining = std::mem::take(&mut self.channels.draining);
        draining.retain(|id| {
            let Some(channel) = self.channels.find(*id) else {
                return false;
            };
            if channel.is_drained(now) && !channel.is_closing() {
                channel.close(&mut self.out);
            }
            !channel.is_closing()
        });
        self.channels.draining = draining;
        if matches!(self.phase, Phase::Draining) {
            // Not `all`: each has to note the time.
            let open = self.channels.iter_mut().filter_map(|channel| {
                let is_drained = channel.is_drained(now);
                (!is_drained).then_some(())
            });
            if open.count() == 0 {
                self.send_close(200, "closed by the client".into());
                self.phase = Phase::Closing;
            }
        }
    }

    fn send_close(&mut self, reply_code: u16, reply_text: String) {
        for channel in self.channels.iter_mut() {
            channel.stop(&mut self.out);
        }
        self.out.send(
            0,
            ConnectionClose {
                reply_code,
                reply_text,
                class_id: 0,
                method_id: 0,
            },
        );
    }

    /// Ends the connection because the broker violated the protocol.
    pub(super) fn violated(
        &mut self,
        code: u16,
        now: Instant,
        error: impl StdError + Send + Sync + 'static,
    ) {
        let text = error.to_string();
        let what = format!(
            "the connection to {} is lost: the broker violated AMQP 0-9-1: {text}",
            self.address
        );
        let reason = Error::connection(ErrorKind::ConnectionLost, what).with_source(error);
        if !matches!(self.phase, Phase::Closing) {
            self.send_close(code, text);
        }
        self.end(now, Phase::Ended, &reason);
    }

    /// Ends the connection because nothing more can be read or written.
    pub(crate) fn lost(&mut self, what: &str, source: Option<io::Error>) {
        if matches!(self.phase, Phase::Ended | Phase::Lost) {
            self.phase = Phase::Lost;
            return;
        }
        let what = format!("the connection to {} is lost: {what}", self.address);
        let mut reason = Error::connection(ErrorKind::ConnectionLost, what);
        if let Some(source) = source {
            reason = reason.with_source(source);
        }
        self.finish(Phase::Lost, &reason);
    }

    pub(super) fn end(&mut self, now: Instant, phase: Phase, reason: &Error) {
        self.give_up_at = Some(now + LAST_WORDS);
        self.finish(phase, reason);
    }

    fn finish(&mut self, phase: Phase, reason: &Error) {
        if matches!(self.phase, Phase::Ended | Phase::Lost) {
            return;
        }
        self.phase = phase;
        tracing::debug!(broker = self.address, %reason, "connection ended");
        for mut channel in self.channels.take() {
            channel.end(&mut self.out, reason);
        }
        for ticket in std::mem::take(&mut self.secrets) {
            self.out.answer(ticket, Err(reason.clone()));
        }
        self.tell(ConnectionEvent::Closed(reason.clone()));
    }

    pub(super) fn tell(&mut self, event: ConnectionEvent) {
        self.out.events.push_back(Event::Connection(event));
    }

    /// The reason for failed calls once this side closes the connection.
    pub(crate) fn closed_here(&self) -> Error {
        Error::connection(
            ErrorKind::ConnectionClosed,
            format!(
                "the connection to {} was closed from this side",
                self.address
            ),
        )
    }
}
