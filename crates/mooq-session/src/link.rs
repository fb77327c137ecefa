//! The loss, the return and the close of the connection.

use std::time::Instant;

use mooq_core::{Error, ErrorKind, Result};

use crate::event::{ConnectionState, Event};
use crate::output::{Answer, Output, Reply};
use crate::phase::{Phase, not_connected};
use crate::purpose::{AfterDiscard, Purpose, Registering};
use crate::reasons::{abandoned, closed_locally, exceeded};
use crate::reconnect::{Action, Input};
use crate::session::{CloseLink, Session};
use crate::shell::{Link, PortCell, Shell};
use crate::timers::{Timer, later};

/// Time that an unusable connection may take to close.
const DISCARDING: std::time::Duration = std::time::Duration::from_secs(1);

impl<S: Shell> Session<S> {
    /// Handles the end of the connection in use, or of the one that is being prepared.
    pub(crate) fn link_ended(&mut self, reason: Error, now: Instant) {
        if let Some(closing) = &mut self.closing {
            closing.ended.get_or_insert(reason);
            return self.check_closed();
        }
        match &self.phase {
            Phase::Open(_) => self.link_lost(&reason, now),
            Phase::Reopening(_) if self.restore.link.is_some() => self.restore_failed(reason, now),
            Phase::Reopening(_) | Phase::Closed(_) => {}
        }
    }

    /// Handles an error that makes the connection in use useless.
    pub(crate) fn link_is_useless(&mut self, err: Error, now: Instant) {
        // If the link is closed, its last event carries the reason.
        if self.usable_link().is_some() && self.closing.is_none() {
            self.link_lost(&abandoned(err), now);
        }
    }

    fn link_lost(&mut self, reason: &Error, now: Instant) {
        let Phase::Open(link) = self.phase.clone() else {
            return;
        };
        self.stop_restoring();
        self.blocked = None;
        self.dead_letters.clear();
        self.lost_at = now;
        self.error = reason.clone();
        if !self.options.recovery.is_enabled() {
            return self.end(reason);
        }
        self.phase = Phase::Reopening(reason.clone());
        self.reconnecting(0);
        self.outbox.tell(Event::Lost(reason.clone()));
        if !self.waits() {
            self.fail_waiting_channels(&not_connected(reason));
        }
        match link.closed() {
            Some(_) => self.act(Input::Lost, now),
            None => self.discard_link(link, AfterDiscard::Lost, now),
        }
    }

    /// Records that an attempt to reopen the connection has begun or failed.
    fn reconnecting(&mut self, attempts: u32) {
        let error = self.error.clone();
        self.show(ConnectionState::Reconnecting { attempts, error });
    }

    fn show(&mut self, state: ConnectionState) {
        self.state = state.clone();
        self.outbox.push(Output::State(state));
    }

    /// Closes an unusable connection, and continues when that is done or takes too long.
    fn discard_link(&mut self, link: S::Link, next: AfterDiscard, now: Instant) {
        let id = self.outbox.next_request();
        self.purposes.insert(id, Purpose::Discard(next));
        self.outbox.push(Output::CloseLink(id, link));
        self.set_timer(later(now, DISCARDING), Timer::Request(id));
    }

    pub(crate) fn discarded(
        &mut self,
        next: AfterDiscard,
        answer: Result<Answer<S>>,
        now: Instant,
    ) {
        if let Err(err) = answer {
            self.outbox.note("closing an unusable connection", err);
        }
        if self.closing.is_some() || self.phase.closed().is_some() {
            return;
        }
        match next {
            AfterDiscard::Lost => self.act(Input::Lost, now),
            AfterDiscard::Failed(err) => self.attempt_failed(err, now),
        }
    }

    fn attempt_failed(&mut self, err: Error, now: Instant) {
        self.outbox.tell(Event::AttemptFailed(err.clone()));
        self.error = err;
        self.act(Input::Failed, now);
    }

    /// Takes the next step on the way back.
    fn act(&mut self, input: Input, now: Instant) {
        match self.reconnect.next(input, now) {
            Action::Watch => {}
            Action::Wait(delay) => {
                self.reconnecting(self.reconnect.attempts());
                self.set_timer(later(now, delay), Timer::Reconnect);
            }
            Action::Open(host) => {
                self.host = host;
                let id = self.outbox.next_request();
                self.purposes.insert(id, Purpose::Connect);
                self.outbox.push(Output::Connect(id, host));
            }
            Action::Restore => self.begin_restore(now),
            Action::GiveUp => {
                let reason = self.gave_up(now);
                self.end(&reason);
            }
        }
    }

    pub(crate) fn waited(&mut self, now: Instant) {
        self.act(Input::Waited, now);
    }

    pub(crate) fn connect_answered(&mut self, answer: Result<Answer<S>>, now: Instant) {
        match answer {
            Ok(Answer::Link(link)) => {
                self.frame_max = link.frame_max();
                self.blocked = None;
                self.restore.link = Some(link);
                self.act(Input::Opened, now);
            }
            Ok(_) => {}
            Err(err) => self.attempt_failed(err, now),
        }
    }

    /// Handles an error that makes the connection that is being prepared useless.
    pub(crate) fn restore_failed(&mut self, err: Error, now: Instant) {
        let Some(link) = self.restore.link.take() else {
            return;
        };
        self.stop_restoring();
        match link.closed() {
            Some(_) => self.attempt_failed(err, now),
            None => self.discard_link(link, AfterDiscard::Failed(err), now),
        }
    }

    /// Handles that everything of the lost connection has been restored.
    pub(crate) fn restored(&mut self, now: Instant) {
        let Some(link) = self.restore.link.take() else {
            return;
        };
        self.phase = Phase::Open(link);
        self.connected_host = self.host;
        self.act(Input::Restored, now);
        self.show(ConnectionState::Connected);
        self.verify_dead_letters_again();
        let host = self.options.hosts.get(self.host);
        let address = host.map(|host| host.address.clone()).unwrap_or_default();
        let after = now.saturating_duration_since(self.lost_at);
        self.outbox.tell(Event::Reconnected { address, after });
        self.open_waiting_channels();
    }

    fn gave_up(&self, now: Instant) -> Error {
        let message = format!(
            "the connection was lost and not back within {:?}: {}",
            now.saturating_duration_since(self.lost_at),
            self.error
        );
        Error::connection(ErrorKind::ConnectionLost, message).with_source(self.error.clone())
    }

    /// Closes the connection. Closing it twice is no error.
    pub fn close(&mut self, caller: Option<S::Caller>, now: Instant) {
        if let Some(closing) = &mut self.closing {
            match self.phase {
                Phase::Closed(_) => {
                    let result = closing.result.clone().map(|()| Reply::Done);
                    let replies = caller.map(|caller| Output::Reply(caller, result));
                    replies
                        .into_iter()
                        .for_each(|reply| self.outbox.push(reply));
                }
                _ => closing.closers.extend(caller),
            }
            return;
        }
        if self.phase.closed().is_some() {
            if let Some(caller) = caller {
                self.outbox.push(Output::Reply(caller, Ok(Reply::Done)));
            }
            return;
        }
        let opened = self.restore.link.take();
        self.stop_restoring();
        self.closing = Some(CloseLink {
            closers: caller.into_iter().collect(),
            answered: false,
            ended: None,
            result: Ok(()),
        });
        let link = opened.or_else(|| self.phase.open().cloned());
        let Some(link) = link else {
            return self.end(&closed_locally());
        };
        self.abort_abandoned(now);
        let id = self.outbox.next_request();
        self.purposes.insert(id, Purpose::CloseLink);
        self.outbox.push(Output::CloseLink(id, link));
        self.set_timer(later(now, self.options.timeout), Timer::CloseOver);
    }

    pub(crate) fn close_link_answered(&mut self, answer: Result<Answer<S>>) {
        let Some(closing) = &mut self.closing else {
            return;
        };
        match answer {
            Ok(_) => {
                closing.answered = true;
                self.check_closed();
            }
            Err(err) => {
                closing.result = Err(err);
                self.end(&closed_locally());
            }
        }
    }

    pub(crate) fn close_over(&mut self) {
        if let Some(closing) = &mut self.closing {
            let limit = self.options.timeout;
            closing.result = Err(exceeded("closing the connection", limit));
            self.end(&closed_locally());
        }
    }

    /// Ends the connection, once the broker has answered the close and the last events of the
    /// connection and of its channels have been read, confirms among them.
    pub(crate) fn check_closed(&mut self) {
        let Some(closing) = &self.closing else {
            return;
        };
        if !closing.answered || self.phase.closed().is_some() {
            return;
        }
        let Some(ended) = closing.ended.clone() else {
            return;
        };
        let mut channels = self.channels.values();
        if channels.any(|channel| channel.port.with(|port| port.phase().open().is_some())) {
            return;
        }
        let reason = match ended.kind() {
            ErrorKind::ConnectionClosed => ended,
            _ => closed_locally(),
        };
        self.end(&reason);
    }

    /// Fails all pending calls with the close reason. Call it when the driver stops.
    pub fn abandon_all(&mut self) {
        let reason = self.phase.closed().cloned().unwrap_or_else(closed_locally);
        let mut callers: Vec<_> = std::mem::take(&mut self.callers).into_iter().collect();
        callers.sort_by_key(|(call, _)| *call);
        for (_, caller) in callers {
            self.outbox.push(Output::Reply(caller, Err(reason.clone())));
        }
        for (_, purpose) in std::mem::take(&mut self.purposes) {
            if let Purpose::Call { wire, .. }
            | Purpose::Prefetch(Registering::First(_), wire)
            | Purpose::SelectFirst(_, wire)
            | Purpose::IsThere(_, wire)
            | Purpose::CloseChannel(_, wire) = purpose
            {
                self.outbox.drop_wire(wire);
            }
        }
        self.drop_callbacks();
    }

    /// Gives up the requests whose callers have given up: the broker may take a minute over one, and
    /// the close of the connection would wait for it.
    fn abort_abandoned(&mut self, now: Instant) {
        let is_abandoned = |purpose: &Purpose<S>| {
            let call = match purpose {
                Purpose::Call { call, .. } => Some(*call),
                Purpose::Prefetch(Registering::First(id), _)
                | Purpose::Consume(Registering::First(id), _) => {
                    let channel = self.channels.get(id);
                    let first = channel.and_then(|channel| channel.registrations.front());
                    first.map(|first| first.call)
                }
                _ => None,
            };
            call.is_some_and(|call| !self.callers.contains_key(&call))
        };
        let abandoned = self.purposes.iter();
        let abandoned = abandoned.filter(|(_, purpose)| is_abandoned(purpose));
        let mut abandoned: Vec<_> = abandoned.map(|(id, _)| *id).collect();
        abandoned.sort_unstable();
        for id in abandoned {
            self.outbox.push(Output::Abort(id));
            match self.purposes.remove(&id) {
                Some(Purpose::Prefetch(which, wire)) => {
                    self.prefetch_answered(which, &wire, Err(closed_locally()), now);
                }
                Some(Purpose::Consume(which, consumer)) => {
                    self.consume_answered(which, consumer, Err(closed_locally()), now);
                }
                _ => {}
            }
        }
    }

    /// Closes the connection for good. Only the first reason counts.
    pub fn end(&mut self, reason: &Error) {
        if self.phase.closed().is_some() {
            return;
        }
        self.stop_restoring();
        self.phase = Phase::Closed(reason.clone());
        // First the processing, which reports the reason once for all consumers that end with it.
        let end = match reason.kind() {
            ErrorKind::ConnectionClosed => Ok(()),
            _ => Err(reason.clone()),
        };
        self.callbacks.close(end, &self.consumers, &mut self.outbox);
        self.fail_waiting_channels(reason);
        let channels: Vec<_> = self.channels.keys().copied().collect();
        for channel in channels {
            self.end_channel(channel, reason);
        }
        let unwanted = self.purposes.iter();
        let unwanted =
            unwanted.filter(|(_, of)| matches!(of, Purpose::CloseLink | Purpose::Forget(_)));
        for id in unwanted.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.purposes.remove(&id);
            self.outbox.push(Output::Abort(id));
        }
        // An unusable connection still has its second to close.
        self.cancel_timers(|timer| !matches!(timer, Timer::Request(_)));
        self.timers.touch();
        self.show(ConnectionState::Closed(reason.clone()));
        self.outbox.tell(Event::Closed(reason.clone()));
        if let Some(closing) = &mut self.closing {
            for closer in std::mem::take(&mut closing.closers) {
                let result = closing.result.clone().map(|()| Reply::Done);
                self.outbox.push(Output::Reply(closer, result));
            }
        }
    }
}
