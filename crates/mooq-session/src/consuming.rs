//! Registering consumers, their deliveries, and their end.

use std::collections::VecDeque;

use mooq_core::{
    Consume, ConsumerTag, Deliver, Error, ErrorKind, ErrorScope, IntoChecked, QueueName, Result,
};

use crate::callbacks::callback;
use crate::channel::Registration;
use crate::consumers::{Consumer, Direct, Record, Sink};
use crate::event::Event;
use crate::ids::{CallId, ChannelId, ConsumerId};
use crate::output::{Answer, Dropped, Output, Reply, Request};
use crate::phase::{Phase, not_connected};
use crate::purpose::{AfterCancel, Purpose, Registering};
use crate::reasons::{
    abandoned_call, channel_closed_locally, closed_locally, closed_without_event, is_local_close,
};
use crate::session::Session;
use crate::shell::{PortCell, Shell, Wire};

impl<S: Shell> Session<S> {
    /// Registers a consumer with the broker, after `basic.qos` with `prefetch`. A tag is chosen if
    /// there is none. A consumer that is `recoverable` is registered again when its channel is
    /// reopened.
    pub fn consume(
        &mut self,
        id: ChannelId,
        mut consume: Consume,
        prefetch: u16,
        recoverable: bool,
        sink: Sink<S>,
        caller: S::Caller,
    ) -> CallId {
        let call = self.call(caller);
        if consume.tag.is_empty() {
            consume.tag = self.new_tag(id);
        }
        let Some(channel) = self.channels.get_mut(&id) else {
            self.reply(call, Err(channel_closed_locally()));
            self.drop_sink(Some(sink));
            return call;
        };
        channel.registrations.push_back(Registration {
            call,
            consume,
            prefetch,
            recoverable,
            sink: Some(sink),
        });
        self.register_next(id);
        call
    }

    /// Returns a consumer tag that no other consumer of the channel has.
    fn new_tag(&mut self, id: ChannelId) -> ConsumerTag {
        loop {
            let number = match self.channels.get_mut(&id) {
                Some(channel) => {
                    channel.tags += 1;
                    channel.tags
                }
                None => 1,
            };
            // Always short enough.
            let tag: ConsumerTag = format!("mooq-{number}").into_checked().unwrap_or_default();
            let waiting = self.channels.get(&id).map(|channel| &channel.registrations);
            let mut waiting = waiting.into_iter().flatten();
            let is_taken = waiting.any(|other| other.consume.tag == tag);
            if !is_taken && !self.consumers.has_tag(id, &tag) {
                return tag;
            }
        }
    }

    pub(crate) fn drop_sink(&mut self, sink: Option<Sink<S>>) {
        match sink {
            Some(Sink::Callback(callback)) => {
                let callback = Dropped::Callback(callback.callback);
                self.outbox.push(Output::Drop(callback));
            }
            Some(Sink::Direct(direct)) => self.outbox.push(Output::Drop(Dropped::Direct(direct))),
            Some(Sink::Stream(Some(waker))) => self.outbox.drop_waker(waker),
            Some(Sink::Stream(None)) | None => {}
        }
    }

    /// Begins to register the next consumer of a channel, if the channel is open and registers none.
    pub(crate) fn register_next(&mut self, id: ChannelId) {
        let waits = self.waits();
        loop {
            let Some(channel) = self.channels.get_mut(&id) else {
                return;
            };
            let Some(first) = channel.registrations.front_mut() else {
                return;
            };
            if channel.is_registering {
                return;
            }
            if !self.callers.contains_key(&first.call) {
                let sink = first.sink.take();
                channel.registrations.pop_front();
                self.drop_sink(sink);
                continue;
            }
            match channel.port.with(|port| port.phase().clone()) {
                Phase::Open(wire) if wire.closed().is_none() => {
                    channel.is_registering = true;
                    let prefetch = first.prefetch;
                    return self.ask_prefetch(Registering::First(id), &wire, prefetch);
                }
                Phase::Reopening(reason) if !waits => {
                    return self.fail_waiting_requests(id, &not_connected(&reason));
                }
                Phase::Open(_) | Phase::Reopening(_) => return,
                Phase::Closed(reason) => return self.fail_waiting_requests(id, &reason),
            }
        }
    }

    /// Adds the consumer that a channel registers. Gives what to ask the broker for, unless the
    /// registration has ended.
    pub(crate) fn add_consumer(
        &mut self,
        id: ChannelId,
        wire: &S::Wire,
    ) -> Option<(ConsumerId, Consume)> {
        let channel = self.channels.get_mut(&id)?;
        let first = channel.registrations.front_mut()?;
        if !self.callers.contains_key(&first.call) {
            self.registered(id, Err(abandoned_call()));
            return None;
        }
        // The channel may have ended, or have another wire, since the prefetch was asked for.
        let ended = match channel.port.with(|port| port.phase().clone()) {
            Phase::Open(current) if current == *wire => None,
            Phase::Open(_) => Some(closed_without_event()),
            Phase::Reopening(reason) | Phase::Closed(reason) => Some(reason),
        };
        if let Some(reason) = ended {
            self.registered(id, Err(reason));
            return None;
        }
        let sink = first.sink.take()?;
        let mut consume = first.consume.clone();
        // Only now: the queue may have got a new name while this waited.
        if consume.queue.is_empty() {
            consume.queue.clone_from(&channel.last_queue);
        }
        if let Some(name) = self.topology.current_name(&consume.queue) {
            consume.queue.clone_from(name);
        }
        first.consume.queue.clone_from(&consume.queue);
        if self.consumers.has_tag(id, &consume.tag) {
            // RabbitMQ would close the connection.
            let tag = &consume.tag;
            let message = format!("a consumer of this channel has the tag '{tag}' already");
            self.drop_sink(Some(sink));
            self.registered(id, Err(Error::new(ErrorKind::NotAllowed, message)));
            return None;
        }
        // Before it is announced to the broker, so that no delivery arrives too early.
        let consumer = self.consumers.add(Consumer {
            channel: id,
            tag: consume.tag.clone(),
            queue: consume.queue.clone(),
            wire: wire.clone(),
            no_ack: consume.no_ack,
            waiting: VecDeque::new(),
            end: None,
            record: None,
            registered: false,
            sink,
        });
        Some((consumer, consume))
    }

    pub(crate) fn first_registration_answered(
        &mut self,
        id: ChannelId,
        consumer: ConsumerId,
        answer: Result<Answer<S>>,
    ) {
        let registration = self
            .channels
            .get(&id)
            .and_then(|channel| channel.registrations.front());
        let Some(registration) = registration else {
            return;
        };
        let (call, consume) = (registration.call, registration.consume.clone());
        let (prefetch, recoverable) = (registration.prefetch, registration.recoverable);
        let tag = consume.tag.clone();
        let is_there = self.consumers.tagged(id, &tag) == Some(consumer);
        let failed = match answer {
            Err(err) => Some(err),
            // Its wire was lost at the last moment, and the consumer with it.
            Ok(_) if !is_there => Some(
                self.consumers
                    .get(consumer)
                    .and_then(|consumer| consumer.end.clone())
                    .unwrap_or_else(|| {
                        let message = format!(
                            "the channel was lost while consuming queue '{}'",
                            consume.queue
                        );
                        Error::channel(ErrorKind::ConnectionLost, message)
                    }),
            ),
            Ok(_) => None,
        };
        if let Some(err) = failed {
            if let Some(gone) = self.consumers.remove(consumer) {
                self.outbox.drop_consumer(gone);
            }
            return self.registered(id, Err(err));
        }
        let is_wanted = self.callers.contains_key(&call);
        let queue = consume.queue.clone();
        if let Some(consumer) = self.consumers.get_mut(consumer) {
            consumer.registered = true;
            consumer.record = recoverable.then_some(Record { consume, prefetch });
        }
        self.verify_dead_letters(&queue);
        self.callbacks.ready(consumer, &mut self.outbox);
        self.registered(id, Ok((consumer, tag)));
        if !is_wanted {
            self.cancel_consumer(consumer, AfterCancel::End, None);
        }
    }

    /// Ends a first registration, and begins the next.
    pub(crate) fn registered(&mut self, id: ChannelId, result: Result<(ConsumerId, ConsumerTag)>) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        channel.is_registering = false;
        if let Some(registration) = channel.registrations.pop_front() {
            let result = result.map(|(consumer, tag)| Reply::Consumer(consumer, tag));
            self.reply(registration.call, result);
            self.drop_sink(registration.sink);
        }
        self.register_next(id);
        self.drop_unused(id);
    }

    /// Takes deliveries of a wire, all for the consumer of one tag.
    pub fn deliver(
        &mut self,
        wire: &S::Wire,
        tag: &ConsumerTag,
        delivers: impl Iterator<Item = Deliver>,
    ) {
        let Some(channel) = self.wires.get(&wire.id()) else {
            // The wire is about to close, and its deliveries are requeued then.
            return self.outbox.drop_delivers(delivers.collect());
        };
        let Some(id) = self.consumers.tagged(*channel, tag) else {
            // It was never registered: its caller no longer waited for the broker's answer.
            for deliver in delivers {
                self.outbox.push(Output::GiveBack {
                    wire: wire.clone(),
                    delivery_tag: deliver.delivery_tag,
                    failed: false,
                });
                self.outbox.drop_delivers([deliver].into());
            }
            return;
        };
        let Some(consumer) = self.consumers.get_mut(id) else {
            return;
        };
        // The broker has requeued those of earlier wires.
        if !consumer.no_ack && consumer.wire != *wire {
            return self.outbox.drop_delivers(delivers.collect());
        }
        if let Sink::Direct(direct) = &consumer.sink {
            for deliver in delivers {
                let news = Direct::Deliver(deliver);
                self.outbox.push(Output::Direct(direct.clone(), news));
            }
            return;
        }
        let was_empty = consumer.waiting.is_empty();
        consumer.waiting.extend(delivers);
        if was_empty {
            self.tell_consumer(id);
        }
    }

    /// Notifies the receiver of a consumer's deliveries.
    fn tell_consumer(&mut self, id: ConsumerId) {
        match self
            .consumers
            .get_mut(id)
            .map(|consumer| &mut consumer.sink)
        {
            Some(Sink::Stream(waker)) => {
                let waker = waker.take();
                self.outbox.wake_all(waker.into_iter().collect());
            }
            Some(Sink::Callback(_)) => self.callbacks.ready(id, &mut self.outbox),
            Some(Sink::Direct(_)) | None => {}
        }
    }

    /// Takes the broker's cancellation of a consumer.
    pub fn consumer_cancelled(&mut self, wire: &S::Wire, tag: ConsumerTag) {
        let channel = self.wires.get(&wire.id()).copied();
        let consumer = channel.and_then(|channel| self.consumers.tagged(channel, &tag));
        let current =
            consumer.filter(|id| self.consumers.get(*id).is_some_and(|c| c.wire == *wire));
        if let Some(id) = current {
            let queue = self.queue_of(id).cloned().unwrap_or_default();
            self.consumers.untag(id);
            if self.topology.has_queue(&queue) && !self.consumers.consume_from(&queue) {
                self.find_out_if_deleted(&queue);
            }
            let error = Error::new(
                ErrorKind::ConsumerCancelled,
                format!(
                    "the broker cancelled the consumer '{tag}' of queue '{queue}', as it does when \
                     the queue is deleted, or on RabbitMQ 4.3 when a delivery from a quorum queue \
                     is not acknowledged within the queue's consumer timeout"
                ),
            );
            self.consumer_failed(id, queue, error);
        }
        // RabbitMQ 4.3 keeps a consumer whose delivery was overdue, and delivers to it again once
        // the delivery is settled.
        let purpose = Purpose::Forget("cancelling a consumer that the broker has cancelled");
        self.ask(wire, Request::Cancel(tag), purpose);
    }

    /// Ends a consumer that the broker ended and that is no longer registered.
    fn consumer_failed(&mut self, id: ConsumerId, queue: QueueName, error: Error) {
        self.end_consumer(id, &error);
        self.outbox.tell(Event::ConsumerEnded { queue, error });
    }

    /// Ends a consumer that could not be registered again.
    pub(crate) fn not_registered_again(&mut self, id: ConsumerId, error: Error) {
        let Some(consumer) = self.consumers.get(id) else {
            return;
        };
        // The channel was closed because of the consumer, but only the consumer ends.
        let (tag, queue) = (&consumer.tag, consumer.queue.clone());
        let message = format!(
            "the consumer '{tag}' of queue '{queue}' could not be registered again: {error}"
        );
        let error = Error::new(error.kind(), message).with_source(error);
        self.consumer_failed(id, queue, error);
    }

    /// Ends a consumer: no more deliveries arrive. Waiting deliveries can still be taken.
    pub(crate) fn end_consumer(&mut self, id: ConsumerId, err: &Error) {
        self.consumers.untag(id);
        let Some(consumer) = self.consumers.get_mut(id) else {
            return;
        };
        consumer.record = None;
        consumer.end.get_or_insert_with(|| err.clone());
        let channel = consumer.channel;
        if !consumer.registered {
            // The answer to its registration decides.
            return;
        }
        if let Sink::Direct(direct) = &consumer.sink {
            let ended = Output::Direct(direct.clone(), Direct::Ended(err.clone()));
            self.outbox.push(ended);
            return self.remove_consumer(id);
        }
        let Some(own) = callback(Some(consumer)) else {
            return self.tell_consumer(id);
        };
        if own.ending {
            return;
        }
        // A close from this side is an end, not an error.
        let mut failed = !is_local_close(err);
        if err.scope() == ErrorScope::Operation {
            // Its queue is deleted, and the waiting deliveries may be the last copies.
            own.ending = true;
            self.callbacks.ready(id, &mut self.outbox);
        } else {
            // One close ends all consumers of the channel, and is reported once.
            if let Some(channel) = self.channels.get_mut(&channel) {
                failed = failed && !std::mem::replace(&mut channel.has_failed, true);
            }
            self.remove_consumer(id);
            self.callbacks.wake(&mut self.outbox);
        }
        if failed {
            self.callbacks.failed(err.clone());
            self.callbacks.wake(&mut self.outbox);
        }
    }

    /// Removes a consumer, and its channel if that was there only for the consumer.
    fn remove_consumer(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.consumers.remove(id) {
            let channel = consumer.channel;
            self.outbox.drop_consumer(consumer);
            self.callbacks
                .reply_if_idle(&self.consumers, &mut self.outbox);
            self.drop_unused(channel);
        }
    }

    /// Cancels a consumer.
    pub fn cancel(&mut self, consumer: ConsumerId, then: AfterCancel, caller: S::Caller) -> CallId {
        let call = self.call(caller);
        self.cancel_consumer(consumer, then, Some(call));
        call
    }

    /// Records that the handle of a stream was dropped: its consumer is cancelled, and the
    /// deliveries that it has not given are requeued.
    pub fn drop_stream(&mut self, id: ConsumerId) {
        let Some(consumer) = self.consumers.get(id) else {
            return;
        };
        let channel = consumer.channel;
        if self.consumers.tagged(channel, &consumer.tag) != Some(id) {
            self.give_back_and_remove(id);
        } else if self.is_owned(channel) {
            self.close_owned(channel, None);
            self.remove_consumer(id);
        } else {
            self.cancel_consumer(id, AfterCancel::End, None);
        }
    }

    fn give_back_and_remove(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.consumers.get_mut(id)
            && !consumer.wire.is_lost()
        {
            consumer.give_back(&mut self.outbox);
        }
        self.remove_consumer(id);
    }

    pub(crate) fn cancel_consumer(
        &mut self,
        id: ConsumerId,
        then: AfterCancel,
        call: Option<CallId>,
    ) {
        let Some(consumer) = self.consumers.get(id) else {
            if let Some(call) = call {
                self.reply(call, Ok(Reply::Done));
            }
            return;
        };
        let (channel, tag) = (consumer.channel, consumer.tag.clone());
        let is_stream = matches!(consumer.sink, Sink::Stream(_));
        let is_owned = self
            .channels
            .get(&channel)
            .is_some_and(|c| c.owner.is_some());
        if is_owned {
            if then == AfterCancel::Drain && is_stream {
                // The stream gives the waiting deliveries, which are settled while the wire is open.
                self.end_channel(channel, &channel_closed_locally());
                if let Some(call) = call {
                    self.reply(call, Ok(Reply::Done));
                }
                return;
            }
            return self.close_owned(channel, call);
        }
        if let Some(consumer) = self.consumers.get_mut(id) {
            consumer.record = None;
        }
        self.consumer_forgotten(channel);
        let phase = self
            .channels
            .get(&channel)
            .map(|channel| channel.port.with(|port| port.phase().clone()));
        match phase {
            Some(Phase::Open(wire)) => {
                let purpose = Purpose::Cancel {
                    consumer: id,
                    then,
                    call,
                };
                self.ask(&wire, Request::Cancel(tag), purpose);
            }
            Some(Phase::Closed(reason)) => self.finish_cancel(id, then, call, Err(reason)),
            Some(Phase::Reopening(_)) | None => self.finish_cancel(id, then, call, Ok(())),
        }
    }

    pub(crate) fn cancel_answered(
        &mut self,
        id: ConsumerId,
        then: AfterCancel,
        call: Option<CallId>,
        answer: Result<Answer<S>>,
    ) {
        let closed = self.consumers.get(id).and_then(|consumer| {
            let channel = self.channels.get(&consumer.channel)?;
            channel.port.with(|port| port.phase().closed().cloned())
        });
        let result = match answer {
            // The consumer went with its wire.
            Err(err) if err.scope() != ErrorScope::Operation && closed.is_none() => Ok(()),
            Err(err) => Err(err),
            Ok(_) => Ok(()),
        };
        self.finish_cancel(id, then, call, result);
    }

    fn finish_cancel(
        &mut self,
        id: ConsumerId,
        then: AfterCancel,
        call: Option<CallId>,
        result: Result<()>,
    ) {
        if let Some(consumer) = self.consumers.get_mut(id) {
            let (queue, no_ack) = (consumer.queue.clone(), consumer.no_ack);
            self.consumers.untag(id);
            self.consumer_gone(&queue);
            self.after_cancel(id, then, no_ack);
        }
        if let Some(call) = call {
            self.reply(call, result.map(|()| Reply::Done));
        }
    }

    fn after_cancel(&mut self, id: ConsumerId, then: AfterCancel, no_ack: bool) {
        let Some(consumer) = self.consumers.get_mut(id) else {
            return;
        };
        match &mut consumer.sink {
            Sink::Callback(own) if no_ack => {
                own.ending = true;
                self.callbacks.ready(id, &mut self.outbox);
            }
            Sink::Stream(_) if then == AfterCancel::Keep => {}
            Sink::Stream(_) if then == AfterCancel::Drain => {
                consumer.end.get_or_insert_with(closed_locally);
                self.tell_consumer(id);
            }
            Sink::Callback(_) | Sink::Stream(_) | Sink::Direct(_) => self.give_back_and_remove(id),
        }
    }

    /// Handles the end of a consumer of `queue`: an auto-delete queue is deleted with its last
    /// consumer, and must not be redeclared after that.
    pub(crate) fn consumer_gone(&mut self, queue: &QueueName) {
        if self.topology.is_auto_delete(queue) && !self.consumers.consume_from(queue) {
            self.topology.queue_deleted(queue);
        }
    }

    /// The consumers that are still registered, to be cancelled one by one. Those without a runner
    /// are not among them: what runs may still need their deliveries.
    #[must_use]
    pub fn registered_consumers(&self) -> Vec<ConsumerId> {
        let channels = self.channels.keys();
        let consumers = channels.flat_map(|channel| self.consumers.of(*channel));
        let is_direct = |id: &ConsumerId| {
            let consumer = self.consumers.get(*id);
            consumer.is_some_and(|consumer| matches!(consumer.sink, Sink::Direct(_)))
        };
        consumers.filter(|id| !is_direct(id)).collect()
    }
}
