//! A broker, users and a clock for a session, all of them plain data.

mod broker;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use mooq_core::{
    ChannelEvent, ConnectionEvent, Consume, ConsumerTag, Deliver, Error, ErrorKind, Fetched,
    Message, Publish, QueueDeclare, QueueDeclared, QueueName,
};
use mooq_session::{
    AfterCancel, Answer, CallId, ChannelId, ConnectionState, ConsumerId, Direct, Dropped, Finished,
    Host, Options, Output, Permit, Port, PortCell, PublishId, PublishTerms, Recovery, Reply,
    Request, RequestId, Session, Shell, Sink, WhileDisconnected, Wire,
};

use broker::{FakeLink, FakePort, FakeWire};

/// A step of a sequence.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    OpenChannel,
    Publish {
        channel: u8,
        resend: bool,
    },
    Declare {
        channel: u8,
        queue: u8,
    },
    Consume {
        channel: u8,
        kind: Kind,
    },
    Cancel {
        consumer: u8,
    },
    CloseChannel {
        channel: u8,
    },
    DropChannel {
        channel: u8,
    },
    Delete {
        channel: u8,
        queue: u8,
    },
    Get {
        channel: u8,
        queue: u8,
    },
    /// The broker answers a request: `how` says whether it refuses.
    Answer {
        request: u8,
        how: u8,
    },
    Confirm {
        wire: u8,
    },
    Deliver {
        consumer: u8,
    },
    /// The session reads what a wire has sent.
    Read {
        wire: u8,
    },
    /// The broker closes a channel.
    CloseWire {
        wire: u8,
    },
    LoseLink,
    Abandon {
        call: u8,
    },
    Pass {
        tenths: u8,
    },
    Close,
    RunCallbacks {
        fail: bool,
    },
    TakeFromStream {
        consumer: u8,
    },
    DropStream {
        consumer: u8,
    },
}

impl From<[u8; 3]> for Step {
    fn from([kind, a, b]: [u8; 3]) -> Self {
        // What happens most, and what ends things seldom.
        match kind % 40 {
            0 | 20 => Self::OpenChannel,
            1 | 21 | 22 | 23 => Self::Publish {
                channel: a,
                resend: b % 2 == 1,
            },
            2 | 24 => Self::Declare {
                channel: a,
                queue: b,
            },
            3 | 25 => Self::Consume {
                channel: a,
                kind: match b % 4 {
                    1 | 3 => Kind::Callback,
                    2 => Kind::Direct,
                    _ => Kind::Stream,
                },
            },
            4 => Self::Cancel { consumer: a },
            5 if b < 64 => Self::CloseChannel { channel: a },
            6 if b < 64 => Self::DropChannel { channel: a },
            7 => Self::Delete {
                channel: a,
                queue: b,
            },
            8 => Self::Get {
                channel: a,
                queue: b,
            },
            10 | 33 => Self::Confirm { wire: a },
            11 | 34 => Self::Deliver { consumer: a },
            12 | 35 | 36 => Self::Read { wire: a },
            13 if b < 96 => Self::CloseWire { wire: a },
            14 if b < 64 => Self::LoseLink,
            15 => Self::Abandon { call: a },
            16 | 37 => Self::Pass { tenths: a },
            17 if b < 8 => Self::Close,
            18 | 38 => Self::RunCallbacks { fail: b < 64 },
            19 | 39 => Self::TakeFromStream { consumer: a },
            26 if b < 64 => Self::DropStream { consumer: a },
            _ => Self::Answer { request: a, how: b },
        }
    }
}

/// The session's types here.
pub(crate) struct Fake;

impl Shell for Fake {
    type Link = FakeLink;
    type Wire = FakeWire;
    type Port = FakePort;
    type Callback = ();
    type Direct = u64;
    type Caller = u64;
}

/// A request that the broker has not answered.
struct Asked {
    id: RequestId,
    what: What,
}

enum What {
    Connect,
    OpenWire(FakeLink),
    CloseLink(FakeLink),
    Wire(FakeWire, Request),
}

/// A publish, as its publisher sees it.
struct Published {
    channel: ChannelId,
    port: FakePort,
    id: PublishId,
    number: u64,
    outcome: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Stream,
    Callback,
    Direct,
}

/// What the receiver of a direct consumer has been told.
#[derive(Default)]
struct Told {
    channel: Option<ChannelId>,
    /// The wire that was lost last.
    lost: Option<u64>,
    /// It has ended, or was dropped.
    is_over: bool,
}

/// A session, and all that is around it.
pub(crate) struct World {
    session: Session<Fake>,
    now: Instant,
    began: Instant,
    link: FakeLink,
    wires: Vec<FakeWire>,
    asked: Vec<Asked>,
    channels: Vec<(ChannelId, FakePort)>,
    dropped: HashSet<ChannelId>,
    published: Vec<Published>,
    confirmed: HashSet<u64>,
    calls: BTreeMap<u64, CallId>,
    replies: BTreeMap<u64, Result<(), ErrorKind>>,
    callers: u64,
    /// What each caller asked to register, and what was registered.
    registering: HashMap<u64, (ChannelId, Kind)>,
    consumers: Vec<(ConsumerId, ChannelId, ConsumerTag, Kind)>,
    /// The receivers of direct consumers, by the callers that registered them.
    direct: BTreeMap<u64, Told>,
    /// Consumers that their users have cancelled, by channel and tag.
    cancelled: HashSet<(ChannelId, ConsumerTag)>,
    /// Queues that were deleted and not declared again since.
    deleted: BTreeSet<QueueName>,
    /// Requests of users for a queue's declaration that are under way.
    declaring: HashMap<u64, QueueName>,
    deleting: HashMap<u64, QueueName>,
    handed: Vec<mooq_session::Handed<FakeWire>>,
    finished: Vec<Finished<FakeWire>>,
    deliveries: u64,
    is_over: bool,
}

fn lost() -> Error {
    Error::connection(ErrorKind::ConnectionLost, "lost")
}

fn refused() -> Error {
    Error::channel(ErrorKind::PreconditionFailed, "refused")
}

impl World {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let options = Options {
            recovery: Recovery::new(),
            while_disconnected: WhileDisconnected::Wait,
            timeout: Duration::from_secs(5),
            hosts: vec![Host {
                address: "host:1".into(),
                heartbeat: Duration::from_secs(1),
            }],
            seed: 0,
        };
        let link = FakeLink::default();
        Self {
            session: Session::new(options, 0, link.clone(), now),
            now,
            began: now,
            link,
            wires: Vec::new(),
            asked: Vec::new(),
            channels: Vec::new(),
            dropped: HashSet::new(),
            published: Vec::new(),
            confirmed: HashSet::new(),
            calls: BTreeMap::new(),
            replies: BTreeMap::new(),
            callers: 0,
            registering: HashMap::new(),
            consumers: Vec::new(),
            direct: BTreeMap::new(),
            cancelled: HashSet::new(),
            deleted: BTreeSet::new(),
            declaring: HashMap::new(),
            deleting: HashMap::new(),
            handed: Vec::new(),
            finished: Vec::new(),
            deliveries: 0,
            is_over: false,
        }
    }

    fn caller(&mut self) -> u64 {
        self.callers += 1;
        self.callers
    }

    fn channel(&self, number: u8) -> Option<(ChannelId, FakePort)> {
        let known: Vec<_> = self
            .channels
            .iter()
            .filter(|(id, _)| !self.dropped.contains(id))
            .collect();
        let count = known.len();
        (count > 0).then(|| known[usize::from(number) % count].clone())
    }

    fn queue(number: u8) -> QueueName {
        format!("queue-{}", number % 4).as_str().try_into().unwrap()
    }

    /// Takes a step.
    pub(crate) fn take(&mut self, step: Step) {
        match step {
            Step::OpenChannel => {
                if self.channels.len() < 6 {
                    let port = FakePort(Rc::new(RefCell::new(Port::new(true))));
                    let caller = self.caller();
                    let (id, call) = self.session.open_channel(port.clone(), caller);
                    self.channels.push((id, port));
                    self.calls.insert(caller, call);
                }
            }
            Step::Publish { channel, resend } => self.publish(channel, resend),
            Step::Declare { channel, queue } => {
                let name = Self::queue(queue);
                let request = Request::DeclareQueue(QueueDeclare::new(name.clone()));
                if let Some(caller) = self.request(channel, request) {
                    // From now on it may be declared.
                    self.deleted.remove(&name);
                    self.declaring.insert(caller, name);
                }
            }
            Step::Delete { channel, queue } => {
                let name = Self::queue(queue);
                let request = Request::DeleteQueue {
                    name: name.clone(),
                    if_unused: false,
                    if_empty: false,
                };
                if let Some(caller) = self.request(channel, request) {
                    self.deleting.insert(caller, name);
                }
            }
            Step::Get { channel, queue } => {
                self.request(channel, Request::Get(Self::queue(queue), false));
            }
            Step::Consume { channel, kind } => self.consume(channel, kind),
            Step::Cancel { consumer } => self.cancel(consumer),
            Step::CloseChannel { channel } => {
                if let Some((id, _)) = self.channel(channel) {
                    let caller = self.caller();
                    let call = self.session.close_channel(id, caller);
                    self.calls.insert(caller, call);
                }
            }
            Step::DropChannel { channel } => self.drop_channel(channel),
            Step::Answer { request, how } => self.answer(request, how),
            Step::Confirm { wire } => self.confirm(wire),
            Step::Deliver { consumer } => self.deliver(consumer),
            Step::Read { wire } => {
                if !self.wires.is_empty() {
                    let wire = self.wires[usize::from(wire) % self.wires.len()].clone();
                    self.read(&wire);
                }
            }
            Step::CloseWire { wire } => {
                let open: Vec<_> = self.wires.iter().filter(|w| w.closed().is_none()).collect();
                if !open.is_empty() {
                    open[usize::from(wire) % open.len()].close(&refused());
                }
            }
            Step::LoseLink => self.lose_link(),
            Step::Abandon { call } => {
                let open: Vec<_> = self.calls.iter().map(|(k, v)| (*k, *v)).collect();
                if !open.is_empty() {
                    let (caller, call) = open[usize::from(call) % open.len()];
                    if self.session.abandon(call).is_some() {
                        self.calls.remove(&caller);
                    }
                }
            }
            Step::Pass { tenths } => self.pass(Duration::from_millis(100 * u64::from(tenths % 30))),
            Step::Close => {
                let caller = self.caller();
                self.session.close(Some(caller), self.now);
                self.calls.insert(caller, CallId::default());
            }
            Step::RunCallbacks { fail } => self.run_callbacks(fail),
            Step::TakeFromStream { consumer } => self.take_from_stream(consumer),
            Step::DropStream { consumer } => {
                if let Some((id, channel, tag, Kind::Stream)) = self.consumer(consumer) {
                    self.cancelled.insert((channel, tag));
                    self.consumers.retain(|(other, ..)| *other != id);
                    self.session.drop_stream(id);
                }
            }
        }
        self.carry_out();
        self.check();
    }

    fn publish(&mut self, channel: u8, resend: bool) {
        let Some((id, port)) = self.channel(channel) else {
            return;
        };
        let number = self.published.len() as u64;
        let message = Message {
            exchange: "".try_into().unwrap(),
            routing_key: "queue-0".try_into().unwrap(),
            properties: Arc::default(),
            body: number.to_be_bytes().to_vec().into(),
        };
        let terms = PublishTerms {
            limit: Duration::from_secs(60),
            resend,
            expires: resend,
        };
        let now = self.now;
        let taken = port
            .with(|port| port.publish(Publish::new(message), terms, now, |_| Ok(Permit::new(()))));
        if let Ok(taken) = taken {
            if taken.earliest.is_some() {
                self.session.arm_publishes(id);
            }
            self.published.push(Published {
                channel: id,
                port,
                id: taken.id,
                number,
                outcome: None,
            });
        }
    }

    fn request(&mut self, channel: u8, request: Request) -> Option<u64> {
        let (id, _) = self.channel(channel)?;
        let caller = self.caller();
        let call = self.session.request(id, request, caller);
        self.calls.insert(caller, call);
        Some(caller)
    }

    fn consume(&mut self, channel: u8, kind: Kind) {
        let Some((id, _)) = self.channel(channel) else {
            return;
        };
        let caller = self.caller();
        let mut consume = Consume::new(Self::queue(0));
        let sink = match kind {
            Kind::Callback => Sink::callback((), 2),
            Kind::Stream => Sink::Stream(None),
            Kind::Direct => {
                consume.no_ack = true;
                self.direct.insert(caller, Told::default());
                Sink::Direct(caller)
            }
        };
        let call = self.session.consume(id, consume, 10, true, sink, caller);
        self.calls.insert(caller, call);
        self.registering.insert(caller, (id, kind));
    }

    fn consumer(&self, number: u8) -> Option<(ConsumerId, ChannelId, ConsumerTag, Kind)> {
        let count = self.consumers.len();
        (count > 0).then(|| self.consumers[usize::from(number) % count].clone())
    }

    fn cancel(&mut self, number: u8) {
        let Some((id, channel, tag, _)) = self.consumer(number) else {
            return;
        };
        self.cancelled.insert((channel, tag));
        let caller = self.caller();
        let call = self.session.cancel(id, AfterCancel::End, caller);
        self.calls.insert(caller, call);
    }

    fn drop_channel(&mut self, number: u8) {
        let Some((id, _)) = self.channel(number) else {
            return;
        };
        // Whoever waits for a publish or a stream holds a handle.
        let is_held = self
            .published
            .iter()
            .any(|publish| publish.channel == id && publish.outcome.is_none())
            || self
                .consumers
                .iter()
                .any(|(_, channel, _, kind)| *channel == id && *kind != Kind::Direct)
            || self.registering.values().any(|(channel, _)| *channel == id);
        if !is_held {
            self.dropped.insert(id);
            self.session.drop_channel(id);
        }
    }

    fn lose_link(&mut self) {
        if self.link.is_open() {
            self.link.close(&lost());
            for wire in &self.wires {
                wire.close(&lost());
            }
            let closed = ConnectionEvent::Closed(lost());
            self.session.connection_event(closed, self.now);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        while let Some(next) = self.session.next_timeout() {
            if next > self.now {
                break;
            }
            self.session.timeout(self.now);
            self.carry_out();
        }
    }

    fn run_callbacks(&mut self, fail: bool) {
        if self.session.begin_processing().is_err() {
            return;
        }
        let mut starts = Vec::new();
        let mut finished = std::mem::take(&mut self.finished);
        let now = self.now;
        self.session.sweep(&mut finished, true, &mut starts, || now);
        let mut finished = Vec::new();
        for start in starts {
            self.check_handed(&start.handed);
            let handed = start.handed;
            let is_lost = handed.wire.as_ref().is_some_and(Wire::is_lost);
            let retry = (fail && !is_lost).then(|| mooq_session::Retry {
                handed,
                due: self.now + Duration::from_secs(1),
            });
            finished.push(Finished {
                consumer: start.consumer,
                retry,
            });
        }
        self.session
            .sweep(&mut finished, false, &mut Vec::new(), || now);
        while self.session.take_failure().is_some() {}
        self.session.stop_processing();
    }

    fn take_from_stream(&mut self, number: u8) {
        let Some((id, .., Kind::Stream)) = self.consumer(number) else {
            return;
        };
        if let Poll::Ready(Ok(handed)) = self.session.poll_stream(id, Waker::noop()) {
            self.check_handed(&handed);
            self.handed.push(handed);
        }
    }

    /// No delivery of an earlier wire is handed out.
    fn check_handed(&self, handed: &mooq_session::Handed<FakeWire>) {
        if let Some(wire) = &handed.wire {
            assert!(!wire.is_lost(), "a delivery of a lost wire was handed out");
        }
    }

    fn confirm(&mut self, number: u8) {
        if self.wires.is_empty() {
            return;
        }
        let wire = self.wires[usize::from(number) % self.wires.len()].clone();
        if let Some((sequence, number)) = wire.confirm_next() {
            self.confirmed.insert(number);
            wire.send(ChannelEvent::Confirm {
                sequence,
                multiple: false,
            });
        }
    }

    fn deliver(&mut self, number: u8) {
        let Some((_, _, tag, _)) = self.consumer(number) else {
            return;
        };
        let consuming: Vec<_> = self.wires.iter().filter(|w| w.consumes(&tag)).collect();
        let Some(wire) = consuming.last() else {
            return;
        };
        self.deliveries += 1;
        wire.send(ChannelEvent::Deliver(Deliver {
            consumer_tag: tag,
            delivery_tag: self.deliveries,
            redelivered: false,
            message: Arc::new(Message {
                exchange: "".try_into().unwrap(),
                routing_key: "queue-0".try_into().unwrap(),
                properties: Arc::default(),
                body: "body".into(),
            }),
            in_flight: mooq_core::in_flight::InFlight::default(),
        }));
    }

    /// Has the session read all that a wire has sent.
    fn read(&mut self, wire: &FakeWire) {
        while let Some(event) = wire.receive() {
            if let ChannelEvent::Confirm { .. } = event {
                if let Some(port) = self.session.port_of(wire) {
                    let mut woken = Vec::new();
                    port.with(|port| port.answer(wire, event, &mut woken));
                }
            } else {
                self.session.wire_event(wire, event, self.now);
            }
            self.carry_out();
        }
    }

    fn answer(&mut self, number: u8, how: u8) {
        if self.asked.is_empty() {
            return;
        }
        // Requests of one wire are answered in order.
        let chosen = usize::from(number) % self.asked.len();
        let index = match &self.asked[chosen].what {
            What::Wire(wire, _) => {
                let is_its = |asked: &Asked| matches!(&asked.what, What::Wire(w, _) if w == wire);
                self.asked.iter().position(is_its).unwrap_or(chosen)
            }
            _ => chosen,
        };
        let Asked { id, what } = self.asked.remove(index);
        let answer = match what {
            What::Connect if how < 32 => {
                Err(Error::connection(ErrorKind::ConnectFailed, "not there"))
            }
            What::Connect => {
                self.link = FakeLink::default();
                Ok(Answer::Link(self.link.clone()))
            }
            What::OpenWire(link) => match link.reason() {
                Some(reason) => Err(reason),
                None => {
                    let wire = FakeWire::new();
                    self.wires.push(wire.clone());
                    Ok(Answer::Wire(wire))
                }
            },
            What::CloseLink(link) => {
                link.close(&mooq_session::reasons::closed_locally());
                for wire in &self.wires {
                    wire.close(&mooq_session::reasons::closed_locally());
                }
                self.session.answered(id, Ok(Answer::Done), self.now);
                if link.same(&self.link) {
                    let reason = mooq_session::reasons::closed_locally();
                    self.session
                        .connection_event(ConnectionEvent::Closed(reason), self.now);
                }
                return self.carry_out();
            }
            What::Wire(wire, request) => {
                let answer = self.answer_on(&wire, &request, how);
                // The driver reads what came before the answer.
                self.read(&wire);
                answer
            }
        };
        self.session.answered(id, answer, self.now);
    }

    fn answer_on(
        &mut self,
        wire: &FakeWire,
        request: &Request,
        how: u8,
    ) -> mooq_core::Result<Answer<Fake>> {
        if let Request::Close = request {
            let reason = Error::channel(ErrorKind::ChannelClosed, "closed");
            wire.close(&reason);
            return Ok(Answer::Done);
        }
        if let Some(reason) = wire.closed() {
            return Err(reason);
        }
        if how < 8 {
            wire.close(&refused());
            return Err(refused());
        }
        Ok(match request {
            Request::DeclareQueue(declare) => Answer::Queue(QueueDeclared {
                name: declare.name.clone(),
                message_count: 0,
                consumer_count: 0,
            }),
            Request::DeleteQueue { .. } | Request::PurgeQueue(_) => Answer::Count(0),
            Request::Consume(consume) => {
                wire.consume(consume.tag.clone());
                Answer::Consuming
            }
            Request::Cancel(tag) => {
                wire.cancel(tag);
                Answer::Done
            }
            Request::Get(..) if how < 128 => Answer::Fetched(None),
            Request::Get(..) => {
                self.deliveries += 1;
                Answer::Fetched(Some(Fetched {
                    delivery_tag: self.deliveries,
                    redelivered: false,
                    message_count: 0,
                    message: Arc::new(Message {
                        exchange: "".try_into().unwrap(),
                        routing_key: "queue-0".try_into().unwrap(),
                        properties: Arc::default(),
                        body: "body".into(),
                    }),
                    in_flight: mooq_core::in_flight::InFlight::default(),
                }))
            }
            _ => Answer::Done,
        })
    }

    /// Carries out what the session wants.
    fn carry_out(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect(id, _) => self.asked.push(Asked {
                    id,
                    what: What::Connect,
                }),
                Output::OpenWire(id, link) => self.asked.push(Asked {
                    id,
                    what: What::OpenWire(link),
                }),
                Output::CloseLink(id, link) => self.asked.push(Asked {
                    id,
                    what: What::CloseLink(link),
                }),
                Output::Ask(id, wire, request) => {
                    self.check_asked(&wire, &request);
                    self.asked.push(Asked {
                        id,
                        what: What::Wire(wire, request),
                    });
                }
                Output::Abort(id) => self.asked.retain(|asked| asked.id != id),
                Output::Reply(caller, reply) => self.replied(caller, reply),
                Output::State(ConnectionState::Closed(_)) => self.is_over = true,
                Output::Direct(caller, news) => self.tell(caller, &news),
                Output::Drop(Dropped::Direct(caller)) => {
                    self.direct.entry(caller).or_default().is_over = true;
                }
                Output::GiveBack { .. }
                | Output::Tell(_)
                | Output::Note(..)
                | Output::State(_)
                | Output::Wake(_)
                | Output::Drop(_) => {}
            }
        }
    }

    /// Nothing follows the end of a direct consumer, and no wire is lost twice or after a later one.
    fn tell(&mut self, caller: u64, news: &Direct) {
        let told = self.direct.entry(caller).or_default();
        assert!(!told.is_over, "{news:?} after the end");
        match news {
            Direct::Deliver(_) => {}
            Direct::Lost { wire, .. } => {
                assert!(
                    told.lost < Some(*wire),
                    "{wire} is lost after {:?}",
                    told.lost
                );
                told.lost = Some(*wire);
            }
            Direct::Ended(_) => told.is_over = true,
        }
    }

    /// A cancelled consumer is not registered again, and what was deleted is not declared again.
    fn check_asked(&self, wire: &FakeWire, request: &Request) {
        match request {
            Request::Consume(consume) => {
                let channel = self.channels.iter().find(|(_, port)| {
                    self.session
                        .port_of(wire)
                        .is_some_and(|own| Rc::ptr_eq(&own.0, &port.0))
                });
                if let Some((channel, _)) = channel {
                    let cancelled = (*channel, consume.tag.clone());
                    assert!(
                        !self.cancelled.contains(&cancelled),
                        "a cancelled consumer is registered again: {cancelled:?}"
                    );
                }
            }
            Request::DeclareQueue(declare) if !declare.passive => {
                assert!(
                    !self.deleted.contains(&declare.name),
                    "a deleted queue is declared again: {}",
                    declare.name
                );
            }
            _ => {}
        }
    }

    fn replied(&mut self, caller: u64, reply: mooq_core::Result<Reply<FakeWire>>) {
        self.calls.remove(&caller);
        let kind = reply.as_ref().map(|_| ()).map_err(Error::kind);
        let again = self.replies.insert(caller, kind);
        assert!(again.is_none(), "caller {caller} was replied to twice");
        let registering = self.registering.remove(&caller);
        match reply {
            Ok(Reply::Consumer(id, tag)) => {
                let (channel, kind) = registering.unwrap();
                self.cancelled.remove(&(channel, tag.clone()));
                self.consumers.push((id, channel, tag, kind));
                if let Some(told) = self.direct.get_mut(&caller) {
                    told.channel = Some(channel);
                }
            }
            Ok(Reply::Fetched(Some(handed))) => self.handed.push(handed),
            _ => {}
        }
        let declared = self.declaring.remove(&caller);
        if let (Some(name), true) = (self.deleting.remove(&caller), kind.is_ok()) {
            // Unless somebody has asked for it meanwhile.
            if !self.declaring.values().any(|other| *other == name) {
                self.deleted.insert(name);
            }
        }
        if let (Some(name), true) = (declared, kind.is_ok()) {
            self.deleted.remove(&name);
        }
    }

    /// What holds after each step.
    fn check(&mut self) {
        for wire in &self.wires {
            let sent = wire.sent();
            let is_in_order = sent.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(is_in_order, "out of order on one wire: {sent:?}");
        }
        for publish in &mut self.published {
            if publish.outcome.is_some() {
                continue;
            }
            let cx = Context::from_waker(Waker::noop());
            let polled = publish.port.with(|port| port.poll(publish.id, &cx));
            if let Poll::Ready(outcome) = polled {
                if outcome.is_ok() {
                    let number = publish.number;
                    assert!(
                        self.confirmed.contains(&number),
                        "{number} was not confirmed"
                    );
                }
                publish.outcome = Some(outcome.is_ok());
            }
        }
        assert!(
            self.now - self.began < Duration::from_secs(1_000_000),
            "the clock runs"
        );
    }

    /// Answers everything and lets time pass: nothing may wait for ever.
    pub(crate) fn come_to_an_end(&mut self) {
        for _ in 0..400 {
            for wire in self.wires.clone() {
                while let Some((sequence, number)) = wire.confirm_next() {
                    self.confirmed.insert(number);
                    wire.send(ChannelEvent::Confirm {
                        sequence,
                        multiple: false,
                    });
                }
                self.read(&wire);
            }
            while !self.asked.is_empty() {
                self.answer(0, 200);
                self.carry_out();
            }
            self.pass(Duration::from_millis(700));
            self.check();
        }
        let waiting: Vec<_> = self.calls.keys().collect();
        let phases = self
            .channels
            .iter()
            .map(|(id, port)| (*id, port.with(|port| port.phase().clone())));
        let phases: Vec<_> = phases.collect();
        assert!(
            waiting.is_empty(),
            "these callers wait for ever: {waiting:?}; {phases:?}; {:?}",
            self.session.state()
        );
        let is_closed = |channel: ChannelId| {
            let mut ports = self.channels.iter().filter(|(id, _)| *id == channel);
            ports.any(|(_, port)| port.with(|port| port.phase().closed().is_some()))
        };
        let untold = self
            .direct
            .iter()
            .filter(|(_, told)| !told.is_over && told.channel.is_some_and(is_closed));
        let untold: Vec<_> = untold.map(|(caller, _)| caller).collect();
        assert!(
            untold.is_empty(),
            "these direct consumers were not told of their channel's end: {untold:?}"
        );
        let unknown = self
            .published
            .iter()
            .filter(|publish| publish.outcome.is_none());
        let unknown: Vec<_> = unknown.map(|publish| publish.number).collect();
        assert!(
            unknown.is_empty(),
            "these publishes have no outcome: {unknown:?}"
        );
        assert!(
            self.is_over || self.session.state().is_connected(),
            "the connection does not come back: {:?}",
            self.session.state()
        );
    }
}
