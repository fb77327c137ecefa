//! Calls of users: opening channels, and requests on them.

use std::time::Instant;

use mooq_core::{BindingDestination, Error, ErrorKind, ErrorScope, QueueName, Result};

use crate::channel::Channel;
use crate::consumers::Handed;
use crate::ids::{CallId, ChannelId};
use crate::output::{Answer, Output, Reply, Request};
use crate::phase::{Phase, not_connected};
use crate::purpose::Purpose;
use crate::reasons::channel_closed_locally;
use crate::session::Session;
use crate::shell::{Link, PortCell, Shell, Wire};

impl<S: Shell> Session<S> {
    /// Opens a channel, whose port is `port`. The channel ends when its handle is dropped
    /// ([`drop_channel`](Self::drop_channel)), whatever the reply.
    pub fn open_channel(&mut self, port: S::Port, caller: S::Caller) -> (ChannelId, CallId) {
        let call = self.call(caller);
        let id = self.last_channel.advance();
        self.channels.insert(id, Channel::new(port, call));
        match &self.phase {
            Phase::Open(link) if link.closed().is_none() => {
                let link = link.clone();
                self.open_wire(link, Purpose::OpenFirst(id));
            }
            Phase::Reopening(reason) if !self.waits() => {
                let err = not_connected(reason);
                self.fail_opening(id, err);
            }
            Phase::Open(_) | Phase::Reopening(_) => {}
            Phase::Closed(reason) => {
                let reason = reason.clone();
                self.fail_opening(id, reason);
            }
        }
        (id, call)
    }

    /// Opens the channels that have waited for the connection.
    pub(crate) fn open_waiting_channels(&mut self) {
        self.abort_first_wires();
        let Some(link) = self.usable_link() else {
            return;
        };
        let waiting = self.channels.iter();
        let waiting = waiting.filter(|(_, channel)| channel.opening.is_some());
        let waiting: Vec<_> = waiting.map(|(id, _)| *id).collect();
        for id in waiting {
            self.open_wire(link.clone(), Purpose::OpenFirst(id));
        }
    }

    /// Gives up the first wires that the lost connection was asked for: their late answers must not
    /// be taken for those of the new connection.
    fn abort_first_wires(&mut self) {
        let asked = self
            .purposes
            .iter()
            .filter_map(|(id, purpose)| match purpose {
                Purpose::OpenFirst(channel) | Purpose::SelectFirst(channel, _) => {
                    Some((*id, *channel))
                }
                _ => None,
            });
        let mut asked: Vec<_> = asked.collect();
        asked.sort_unstable();
        for (id, channel) in asked {
            self.purposes.remove(&id);
            self.outbox.push(Output::Abort(id));
            let candidate = self
                .channels
                .get_mut(&channel)
                .and_then(|one| one.candidate.take());
            if let Some(wire) = candidate {
                self.forget_wire(wire);
            }
        }
    }

    /// Fails the channels that wait for the connection.
    pub(crate) fn fail_waiting_channels(&mut self, err: &Error) {
        let waiting = self.channels.iter();
        let waiting = waiting.filter(|(_, channel)| channel.opening.is_some());
        let waiting: Vec<_> = waiting.map(|(id, _)| *id).collect();
        for id in waiting {
            self.fail_opening(id, err.clone());
        }
    }

    fn fail_opening(&mut self, id: ChannelId, err: Error) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let Some(call) = channel.opening.take() else {
            return;
        };
        let wire = channel.candidate.take();
        let mut woken = Vec::new();
        channel.port.with(|port| port.close(&err, &mut woken));
        self.outbox.wake_all(woken);
        if let Some(wire) = wire {
            self.forget_wire(wire);
        }
        self.fail_waiting_requests(id, &err);
        self.reply(call, Err(err));
    }

    /// Takes the wire of a channel that is opened for the first time.
    pub(crate) fn first_wire(&mut self, id: ChannelId, answer: Result<Answer<S>>) {
        let wire = match answer {
            Ok(Answer::Wire(wire)) => wire,
            Ok(_) => return,
            Err(err) => return self.fail_opening(id, err),
        };
        match self.channels.get_mut(&id) {
            Some(channel) if channel.opening.is_some() => {
                channel.candidate = Some(wire.clone());
                self.wires.insert(wire.id(), id);
                let purpose = Purpose::SelectFirst(id, wire.clone());
                self.ask(&wire, Request::ConfirmSelect, purpose);
            }
            _ => self.outbox.drop_wire(wire),
        }
    }

    pub(crate) fn first_open(
        &mut self,
        id: ChannelId,
        wire: &S::Wire,
        answer: Result<Answer<S>>,
        now: Instant,
    ) {
        if let Err(err) = answer {
            return self.fail_opening(id, err);
        }
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let Some(call) = channel.opening else {
            return;
        };
        let mut woken = Vec::new();
        let opened = channel.port.with(|port| port.open(wire, now, &mut woken));
        if let Err(err) = opened {
            return self.fail_opening(id, err);
        }
        channel.opening = None;
        channel.candidate = None;
        channel.is_known = true;
        self.outbox.wake_all(woken);
        self.reply(call, Ok(Reply::Done));
        self.make_waiting_requests(id);
    }

    /// Makes a request on a channel, once the channel is open.
    pub fn request(&mut self, channel: ChannelId, request: Request, caller: S::Caller) -> CallId {
        let call = self.call(caller);
        self.try_request(channel, call, request);
        call
    }

    fn try_request(&mut self, id: ChannelId, call: CallId, request: Request) {
        let waits = self.waits();
        let Some(channel) = self.channels.get_mut(&id) else {
            self.reply(call, Err(channel_closed_locally()));
            return;
        };
        match channel.port.with(|port| port.phase().clone()) {
            Phase::Open(wire) if wire.closed().is_none() => {
                self.send_request(id, call, &wire, request);
            }
            Phase::Reopening(reason) if !waits => {
                self.reply(call, Err(not_connected(&reason)));
            }
            // The wire is about to report its end.
            Phase::Open(_) | Phase::Reopening(_) => channel.waiting.push_back((call, request)),
            Phase::Closed(reason) => {
                self.reply(call, Err(reason));
            }
        }
    }

    fn send_request(&mut self, id: ChannelId, call: CallId, wire: &S::Wire, mut request: Request) {
        // Only now: a queue may have got a new name while the call waited.
        match self.channels.get_mut(&id) {
            Some(channel) if matches!(request, Request::DeclareQueue(_)) => {
                channel.last_queue_wire = Some(wire.id());
            }
            Some(channel) if channel.last_queue_wire != Some(wire.id()) => {
                name_queue(&mut request, &channel.last_queue);
            }
            _ => {}
        }
        self.use_current_names(&mut request);
        let purpose = Purpose::Call {
            call,
            channel: id,
            wire: wire.clone(),
            request: request.clone(),
        };
        self.ask(wire, request, purpose);
    }

    /// Makes the requests that have waited for a channel, which is open now.
    pub(crate) fn make_waiting_requests(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        for (call, request) in std::mem::take(&mut channel.waiting) {
            // An abandoned call is not made.
            if self.callers.contains_key(&call) {
                self.try_request(id, call, request);
            }
        }
        self.register_next(id);
    }

    /// Fails the requests and registrations that wait for a channel.
    pub(crate) fn fail_waiting_requests(&mut self, id: ChannelId, err: &Error) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let waiting = std::mem::take(&mut channel.waiting);
        let mut registrations = std::mem::take(&mut channel.registrations);
        if channel.is_registering {
            // The answer to what it has asked decides.
            let first = registrations.pop_front();
            channel.registrations.extend(first);
        }
        for (call, _) in waiting {
            self.reply(call, Err(err.clone()));
        }
        for registration in registrations {
            self.reply(registration.call, Err(err.clone()));
            self.drop_sink(registration.sink);
        }
    }

    pub(crate) fn call_answered(
        &mut self,
        (channel, call): (ChannelId, CallId),
        wire: &S::Wire,
        mut request: Request,
        answer: Result<Answer<S>>,
    ) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(err) => {
                self.reply(call, Err(err));
                return;
            }
        };
        if let Some(channel) = self.channels.get_mut(&channel) {
            if let Answer::Queue(declared) = &answer {
                channel.last_queue.clone_from(&declared.name);
            }
            name_queue(&mut request, &channel.last_queue);
        }
        self.record(&request, &answer);
        // Recovery may have begun before the record was made.
        if let Some(reason) = wire.closed()
            && reason.scope() == ErrorScope::Connection
            && self.replaces(&reason)
            && !matches!(request, Request::Get(..))
        {
            self.reply(call, Err(lost_just_then(&request, reason)));
            return;
        }
        let reply = match answer {
            Answer::Queue(declared) => Reply::Queue(declared),
            Answer::Count(count) => Reply::Count(count),
            Answer::Fetched(fetched) => return self.fetched(call, wire, request, fetched),
            _ => Reply::Done,
        };
        self.reply(call, Ok(reply));
    }

    /// Hands over a fetched message, or requeues it if its caller no longer waits.
    fn fetched(
        &mut self,
        call: CallId,
        wire: &S::Wire,
        request: Request,
        fetched: Option<mooq_core::Fetched>,
    ) {
        let Request::Get(queue, no_ack) = request else {
            return;
        };
        let handed = fetched.map(|fetched| Handed {
            deliver: mooq_core::Deliver {
                consumer_tag: mooq_core::ConsumerTag::default(),
                delivery_tag: fetched.delivery_tag,
                redelivered: fetched.redelivered,
                message: fetched.message,
                in_flight: fetched.in_flight,
            },
            queue,
            wire: (!no_ack).then(|| wire.clone()),
            failures: 0,
            error: None,
            kept: None,
        });
        if self.callers.contains_key(&call) {
            if let Some(Handed {
                wire: Some(wire), ..
            }) = &handed
            {
                wire.hand_out();
            }
            self.reply(call, Ok(Reply::Fetched(handed)));
        } else if let Some(handed) = handed {
            self.outbox.give_back(handed);
        }
    }

    /// Records what a request has changed, to be declared again after a loss.
    fn record(&mut self, request: &Request, answer: &Answer<S>) {
        let topology = &mut self.topology;
        match (request, answer) {
            (Request::DeclareExchange(declare), _) => topology.exchange_declared(declare),
            (Request::DeleteExchange { name, .. }, _) => topology.exchange_deleted(name),
            (Request::DeclareQueue(declare), Answer::Queue(declared)) => {
                topology.queue_declared(declare, &declared.name);
            }
            (Request::DeleteQueue { name, .. }, _) => topology.queue_deleted(name),
            (Request::Bind(binding), _) => topology.bound(binding),
            (Request::Unbind(binding), _) => topology.unbound(binding),
            _ => {}
        }
    }

    /// Replaces names of queues from before a loss by the current ones.
    fn use_current_names(&self, request: &mut Request) {
        match request {
            Request::DeclareQueue(declare) => self.use_current_name(&mut declare.name),
            Request::DeleteQueue { name, .. }
            | Request::PurgeQueue(name)
            | Request::Get(name, _) => self.use_current_name(name),
            Request::Bind(binding) | Request::Unbind(binding) => {
                if let BindingDestination::Queue(queue) = &mut binding.destination {
                    self.use_current_name(queue);
                }
            }
            _ => {}
        }
    }

    /// Replaces a queue's name, which may be from before a loss, by the current one.
    pub(crate) fn use_current_name(&self, name: &mut QueueName) {
        if let Some(now) = self.topology.current_name(name) {
            name.clone_from(now);
        }
    }
}

/// Names the queue of a request that leaves its name empty, for the queue that the channel declared
/// last. A binding without a routing key then has the queue's name as its key (AMQP 0-9-1, 1.7.2.3.3).
fn name_queue(request: &mut Request, last: &QueueName) {
    let name = match request {
        Request::DeleteQueue { name, .. } | Request::PurgeQueue(name) | Request::Get(name, _) => {
            name
        }
        Request::Bind(binding) | Request::Unbind(binding) => match &mut binding.destination {
            BindingDestination::Queue(name) => {
                if name.is_empty() && binding.routing_key.is_empty() {
                    binding.routing_key = last.clone().into();
                }
                name
            }
            BindingDestination::Exchange(_) => return,
        },
        _ => return,
    };
    if name.is_empty() {
        name.clone_from(last);
    }
}

/// Returns the description of a request for errors.
pub fn described(request: &Request) -> String {
    match request {
        Request::DeclareExchange(declare) => format!("declaring exchange '{}'", declare.name),
        Request::DeleteExchange { name, .. } => format!("deleting exchange '{name}'"),
        Request::DeclareQueue(declare) => format!("declaring queue '{}'", declare.name),
        Request::DeleteQueue { name, .. } => format!("deleting queue '{name}'"),
        Request::PurgeQueue(name) => format!("purging queue '{name}'"),
        Request::Bind(binding) => format!("binding to exchange '{}'", binding.source),
        Request::Unbind(binding) => format!("unbinding from exchange '{}'", binding.source),
        Request::Get(..) => "basic.get".into(),
        Request::Consume(consume) => format!("consuming queue '{}'", consume.queue),
        Request::Qos(_) => "basic.qos".into(),
        Request::Cancel(_) => "basic.cancel".into(),
        Request::ConfirmSelect => "confirm.select".into(),
        Request::Close => "closing the channel".into(),
    }
}

fn lost_just_then(request: &Request, reason: Error) -> Error {
    let what = described(request);
    let message = format!(
        "the connection was lost with the broker's answer to {what}, which may not last: {reason}"
    );
    Error::connection(ErrorKind::ConnectionLost, message).with_source(reason)
}
