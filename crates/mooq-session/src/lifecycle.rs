//! The loss, the end and the close of channels.

use std::time::Instant;

use mooq_core::{ChannelEvent, Error, ErrorScope, QueueName, Result};

use crate::channel::Closing;
use crate::consumers::{Direct, Sink};
use crate::ids::{CallId, ChannelId};
use crate::output::{Answer, Output, Reply, Request};
use crate::phase::{Phase, not_connected};
use crate::purpose::Purpose;
use crate::reasons::{channel_closed_locally, is_local_close};
use crate::session::Session;
use crate::shell::{PortCell, Shell, Wire};
use crate::timers::Timer;

impl<S: Shell> Session<S> {
    /// Takes an event of a wire that is about the channel as a whole or one of its consumers.
    /// Deliveries go to [`deliver`](Self::deliver), and answers to publishes to the channel's port.
    pub fn wire_event(&mut self, wire: &S::Wire, event: ChannelEvent, now: Instant) {
        match event {
            ChannelEvent::Deliver(deliver) => {
                let tag = deliver.consumer_tag.clone();
                self.deliver(wire, &tag, std::iter::once(deliver));
            }
            ChannelEvent::ConsumerCancelled(tag) => self.consumer_cancelled(wire, tag),
            ChannelEvent::Closed(reason) => self.wire_ended(wire, &reason, now),
            ChannelEvent::Confirm { .. } | ChannelEvent::Nack { .. } | ChannelEvent::Return(_) => {}
        }
    }

    /// Handles the end of a wire.
    fn wire_ended(&mut self, wire: &S::Wire, reason: &Error, now: Instant) {
        let Some(id) = self.wires.remove(&wire.id()) else {
            return;
        };
        if self.wire_of(id).as_ref() != Some(wire) {
            // The wire is not in use yet. The job that prepares it notices its end, which is not
            // the end of the channel.
            wire.set_lost();
            self.drop_deliveries_of(id, wire);
            return;
        }
        if !self.replaces(reason) {
            self.end_channel(id, reason);
            return;
        }
        let lost = self.phase.reopening().filter(|_| is_local_close(reason));
        let reason = lost.unwrap_or(reason).clone();
        self.lose_channel(id, &reason, now);
    }

    /// Drops the waiting deliveries of a wire, which the broker requeues.
    fn drop_deliveries_of(&mut self, channel: ChannelId, wire: &S::Wire) {
        for id in self.consumers.of(channel) {
            if let Some(consumer) = self.consumers.get_mut(id)
                && consumer.wire == *wire
            {
                consumer.drop_waiting(&mut self.outbox);
            }
        }
    }

    /// Lets go of the wire that a channel was to use next, if it has one.
    pub(crate) fn discard_candidate(&mut self, channel: ChannelId) {
        let state = self.channels.get_mut(&channel);
        if let Some(wire) = state.and_then(|state| state.candidate.take()) {
            self.discard_wire(channel, wire);
        }
    }

    /// Lets go of a wire that is not to be used, with its deliveries, and closes it unless it is
    /// closed already.
    pub(crate) fn discard_wire(&mut self, channel: ChannelId, wire: S::Wire) {
        wire.set_lost();
        self.drop_deliveries_of(channel, &wire);
        if wire.closed().is_none() {
            let purpose = Purpose::Forget("closing a channel that is not to be used");
            self.ask(&wire, Request::Close, purpose);
        }
        self.forget_wire(wire);
    }

    /// Handles the loss of a channel's wire, which another one is to follow.
    pub(crate) fn lose_channel(&mut self, id: ChannelId, reason: &Error, now: Instant) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let mut woken = Vec::new();
        let wire = channel.port.with(|port| port.lose(reason, now, &mut woken));
        let Some(wire) = wire else {
            return;
        };
        self.outbox.wake_all(woken);
        self.arm_publishes(id);
        wire.set_lost();
        let wire_id = wire.id();
        self.forget_wire(wire);
        for consumer in self.consumers.of(id) {
            let Some(own) = self.consumers.get_mut(consumer) else {
                continue;
            };
            own.drop_waiting(&mut self.outbox);
            if own.record.is_none() {
                self.end_consumer(consumer, reason);
            } else if let Sink::Direct(direct) = &own.sink {
                let lost = Direct::Lost {
                    wire: wire_id,
                    reason: reason.clone(),
                };
                self.outbox.push(Output::Direct(direct.clone(), lost));
            }
        }
        if !self.waits() {
            self.fail_waiting_requests(id, &not_connected(reason));
        }
        self.channel_lost(id, reason, now);
        let is_answered = self
            .channels
            .get(&id)
            .and_then(|channel| channel.closing.as_ref())
            .is_some_and(|closing| closing.result.is_some());
        if is_answered {
            self.end_channel(id, &channel_closed_locally());
        }
        self.check_closed();
    }

    /// Closes a channel for good. Only the first reason counts. Returns the wire that was in use.
    pub(crate) fn end_channel(&mut self, id: ChannelId, reason: &Error) -> Option<S::Wire> {
        let channel = self.channels.get_mut(&id)?;
        let mut woken = Vec::new();
        let (wire, first) = channel.port.with(|port| {
            let wire = port.close(reason, &mut woken);
            (wire, port.phase().closed().cloned())
        });
        let reason = first.unwrap_or_else(|| reason.clone());
        let owned = std::mem::take(&mut channel.owned);
        let opening = channel.opening.take();
        self.outbox.wake_all(woken);
        self.stop_reopening(id);
        self.discard_candidate(id);
        if let Some(call) = opening {
            self.reply(call, Err(reason.clone()));
        }
        self.fail_waiting_requests(id, &reason);
        for consumer in self.consumers.of(id) {
            self.end_consumer(consumer, &reason);
        }
        for own in owned {
            self.end_channel(own, &reason);
        }
        if let Some(wire) = &wire {
            self.wires.remove(&wire.id());
            self.outbox.drop_wire(wire.clone());
        }
        self.finish_closing(id);
        self.check_closed();
        wire
    }

    /// Makes `own` the dedicated channel of one consumer of `owner`; it closes with `owner`.
    pub fn adopt(&mut self, owner: ChannelId, own: ChannelId) {
        let reason = self.channels.get_mut(&owner).and_then(|owner| {
            owner.owned.push(own);
            owner.port.with(|port| port.phase().closed().cloned())
        });
        if let Some(channel) = self.channels.get_mut(&own) {
            channel.owner = Some(owner);
        }
        if let Some(reason) = reason {
            self.end_channel(own, &reason);
        }
    }

    /// Returns true if a channel is dedicated to one consumer.
    #[must_use]
    pub fn is_owned(&self, id: ChannelId) -> bool {
        self.channels
            .get(&id)
            .is_some_and(|channel| channel.owner.is_some())
    }

    /// Closes a channel. Closing it twice is no error.
    pub fn close_channel(&mut self, id: ChannelId, caller: S::Caller) -> CallId {
        let call = self.call(caller);
        let is_open = self.channels.get(&id).is_some_and(|channel| {
            channel.closing.is_some() || channel.port.with(|port| port.phase().closed().is_none())
        });
        if !is_open {
            self.reply(call, Ok(Reply::Done));
            return call;
        }
        self.begin_closing(id, Some(call));
        call
    }

    fn begin_closing(&mut self, id: ChannelId, call: Option<CallId>) {
        let queues = self.queues_of(id);
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        if let Some(closing) = &mut channel.closing {
            closing.calls.extend(call);
            return;
        }
        let owned = channel.owned.clone();
        channel.closing = Some(Closing {
            calls: call.into_iter().collect(),
            owned: owned.clone(),
            queues,
            result: None,
        });
        for own in owned {
            self.begin_closing(own, None);
        }
        self.go_on_closing(id);
    }

    /// The queues of a channel's consumers.
    fn queues_of(&self, id: ChannelId) -> Vec<QueueName> {
        let consumers = self.consumers.of(id).into_iter();
        consumers
            .filter_map(|id| self.queue_of(id).cloned())
            .collect()
    }

    /// Closes a channel's wire, once the channels that it owns are closed.
    fn go_on_closing(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let Some(closing) = &channel.closing else {
            return;
        };
        if !closing.owned.is_empty() {
            return;
        }
        match channel.port.with(|port| port.phase().clone()) {
            Phase::Open(wire) => {
                self.ask(
                    &wire.clone(),
                    Request::Close,
                    Purpose::CloseChannel(id, wire),
                );
            }
            Phase::Reopening(_) => {
                self.end_channel(id, &channel_closed_locally());
            }
            Phase::Closed(_) => self.finish_closing(id),
        }
    }

    pub(crate) fn close_channel_answered(
        &mut self,
        id: ChannelId,
        wire: &S::Wire,
        answer: Result<Answer<S>>,
    ) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        if let Some(closing) = &mut channel.closing {
            closing.result = Some(answer.map(drop));
        }
        match channel.port.with(|port| port.phase().clone()) {
            // Confirms may still be on their way: the wire's end is its last event.
            Phase::Open(open) if open == *wire => {}
            // The broker closed that wire by itself, and this one has taken its place.
            Phase::Open(_) => self.go_on_closing(id),
            Phase::Reopening(_) => {
                self.end_channel(id, &channel_closed_locally());
            }
            Phase::Closed(_) => self.finish_closing(id),
        }
    }

    /// Replies to those who close a channel, once it is closed and the broker has answered.
    fn finish_closing(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let Some(closing) = channel.closing.take() else {
            return;
        };
        let owner = channel.owner;
        let reason = channel.port.with(|port| port.phase().closed().cloned());
        for queue in &closing.queues {
            self.consumer_gone(queue);
        }
        let lost = reason
            .filter(|reason| reason.scope() == ErrorScope::Connection && !is_local_close(reason));
        let result = closing.result.unwrap_or_else(|| lost.map_or(Ok(()), Err));
        for call in closing.calls {
            self.reply(call, result.clone().map(|()| Reply::Done));
        }
        if let Some(owner) = owner.and_then(|owner| self.channels.get_mut(&owner))
            && let Some(closing) = &mut owner.closing
        {
            closing.owned.retain(|own| *own != id);
        }
        if let Some(owner) = owner {
            self.go_on_closing(owner);
        }
        self.drop_unused(id);
    }

    /// Ends a channel that is dedicated to one consumer, and so the consumer. When the wire closes,
    /// the broker requeues its unsettled deliveries before another consumer becomes active.
    /// Deliveries that were handed out can still be settled: the wire closes with the last of them.
    pub(crate) fn close_owned(&mut self, id: ChannelId, call: Option<CallId>) {
        let queues = self.queues_of(id);
        let consumers = self.consumers.of(id);
        for consumer in &consumers {
            if let Some(consumer) = self.consumers.get_mut(*consumer) {
                consumer.drop_waiting(&mut self.outbox);
            }
        }
        let wire = self.end_channel(id, &channel_closed_locally());
        match wire {
            Some(wire) if !wire.has_unsettled() => {
                self.ask(&wire, Request::Close, Purpose::CloseOwned { call, queues });
            }
            _ => self.close_owned_answered(call, &queues, Ok(Answer::Done)),
        }
    }

    pub(crate) fn close_owned_answered(
        &mut self,
        call: Option<CallId>,
        queues: &[QueueName],
        answer: Result<Answer<S>>,
    ) {
        for queue in queues {
            self.consumer_gone(queue);
        }
        if let Some(call) = call {
            self.reply(call, answer.map(|_| Reply::Done));
        }
    }

    /// Records that the last handle of a channel was dropped. The channel ends, unless it has
    /// callbacks, which keep it.
    pub fn drop_channel(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.has_handle = false;
        }
        self.drop_unused(id);
    }

    /// Removes a channel that is no longer needed.
    pub(crate) fn drop_unused(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        // Publishes that wait for the channel are still sent.
        let waits = channel
            .port
            .with(|port| port.phase().reopening().is_some() && port.in_flight() > 0);
        let is_needed = channel.has_handle
            || channel.closing.is_some()
            || channel.is_registering
            || (waits && channel.is_known);
        if is_needed || self.has_callbacks(id) {
            return;
        }
        if let Some(channel) = self.channels.get_mut(&id) {
            // The channels of single consumers stay: their consumers' handles keep them.
            channel.owned.clear();
        }
        self.end_channel(id, &channel_closed_locally());
        if let Some(channel) = self.channels.remove(&id)
            && let Some(owner) = channel.owner.and_then(|id| self.channels.get_mut(&id))
        {
            owner.owned.retain(|own| *own != id);
        }
        self.cancel_timers(|timer| *timer == Timer::Publishes(id));
    }

    fn has_callbacks(&self, channel: ChannelId) -> bool {
        let mut ids = self.consumers.with_callback().into_iter();
        ids.any(|id| {
            self.consumers
                .get(id)
                .is_some_and(|one| one.channel == channel)
        })
    }

    /// Ends the connection's callbacks, since no handle is left that could run them. What they own
    /// is dropped with them.
    pub fn drop_callbacks(&mut self) {
        for id in self.consumers.with_callback() {
            let Some(consumer) = self.consumers.remove(id) else {
                continue;
            };
            let channel = consumer.channel;
            debug_assert!(
                matches!(consumer.sink, Sink::Callback(_)),
                "it has a callback"
            );
            self.outbox.drop_consumer(consumer);
            self.drop_unused(channel);
        }
    }
}
