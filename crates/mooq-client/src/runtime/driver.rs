//! The task of a connection: it makes the session's requests, reads the broker's events, and keeps
//! the session's time.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::iter;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use foldhash::fast::RandomState;
use futures_util::StreamExt;
use futures_util::future::{AbortHandle, Abortable, Aborted, BoxFuture};
use futures_util::stream::FuturesUnordered;
use mooq_core::mailbox::{Receiver, Sender, mailbox};
use mooq_core::{
    ChannelEvent, ConnectionEvent, Deliver, OpenedChannel, OpenedConnection, Result,
    TransportChannel,
};
use mooq_session::reasons::without_reason;
use mooq_session::{Answer, Port, PortCell, Request, RequestId, Session, Wire};
use tokio::time::{Instant, sleep_until};

use super::inner::{ConnectionInner, DriverStatus, PortRef, Tokio, no_runtime};
use super::wire::{LinkRef, WireInner, WireRef, Work};

/// Number of batches of one wire that are read in a row.
const IN_A_ROW: usize = 32;

/// A request under way, with the wire that its answer comes from.
type Asking = FuturesUnordered<Abortable<BoxFuture<'static, Answered>>>;

/// An answer.
struct Answered {
    id: RequestId,
    wire: Option<u64>,
    answer: Result<Outcome>,
}

/// Result of a request.
enum Outcome {
    Plain(Answer<Tokio>),
    Link(OpenedConnection),
    Wire(OpenedChannel),
}

/// A wire's events.
struct Reader {
    wire: Weak<WireInner>,
    events: Receiver<ChannelEvent>,
    waker: Waker,
    /// The port of the wire's channel, once it has one.
    port: Option<PortRef>,
}

/// Tells the driver that a wire has events.
struct ReaderWaker {
    wire: u64,
    ready: Sender<u64>,
}

impl Wake for ReaderWaker {
    fn wake(self: Arc<Self>) {
        self.ready.send(self.wire);
    }
}

/// Starts the driver of `inner`.
pub(super) fn start(
    inner: &Arc<ConnectionInner>,
    work: Receiver<Work>,
    sender: Sender<Work>,
    events: Receiver<ConnectionEvent>,
) {
    let (ready, reads) = mailbox();
    // Made here, since a runtime that ends may never poll the task.
    let driver = Driver {
        inner: EndOnDrop(Arc::clone(inner)),
        work,
        sender,
        link_events: Some(events),
        readers: HashMap::default(),
        ended_link: None,
        ended: Vec::new(),
        ready,
        reads,
        asking: Asking::new(),
        aborts: HashMap::default(),
        batch: VecDeque::new(),
        woken: Vec::new(),
    };
    inner.runtime().spawn(driver.run());
}

struct Driver {
    inner: EndOnDrop,
    work: Receiver<Work>,
    sender: Sender<Work>,
    /// The events of the connection that was opened last.
    link_events: Option<Receiver<ConnectionEvent>>,
    readers: HashMap<u64, Reader, RandomState>,
    /// Mailboxes of a connection and of wires that have ended, kept until others have taken their
    /// places: an in-memory broker takes their last events for handled only then.
    ended_link: Option<Receiver<ConnectionEvent>>,
    ended: Vec<Receiver<ChannelEvent>>,
    /// The wires that may have events.
    ready: Sender<u64>,
    reads: Receiver<u64>,
    asking: Asking,
    aborts: HashMap<RequestId, AbortHandle, RandomState>,
    /// Kept for their buffers.
    batch: VecDeque<ChannelEvent>,
    woken: Vec<Waker>,
}

impl Driver {
    async fn run(mut self) {
        let mut work = VecDeque::new();
        let mut reads = VecDeque::new();
        let mut timer = pin!(sleep_until(Instant::now()));
        loop {
            let DriverStatus {
                next,
                is_closed,
                is_returning,
            } = self.inner.0.driver_status();
            if is_closed && self.asking.is_empty() {
                return;
            }
            if !is_returning {
                self.ended.clear();
                self.ended_link = None;
            }
            if let Some(next) = next.map(Instant::from_std)
                && timer.deadline() != next
            {
                timer.as_mut().reset(next);
            }
            let mut turn = Turn::default();
            poll_fn(|cx| {
                turn.event = poll_event(&mut self.link_events, cx);
                turn.is_due = next.is_some() && timer.as_mut().poll(cx).is_ready();
                turn.answered = self.asking.poll_next_unpin(cx);
                let is_work = self.work.poll_batch(cx, &mut work).is_ready();
                let is_read = self.reads.poll_batch(cx, &mut reads).is_ready();
                match turn.is_ready() || is_work || is_read {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
            .await;
            // Each gets its turn, however busy the others are.
            if let Poll::Ready(event) = turn.event {
                self.link_event(event);
            }
            if turn.is_due {
                let now = Instant::now().into_std();
                self.inner.0.with(|session| session.timeout(now));
            }
            for work in work.drain(..) {
                self.carry_out(work);
            }
            if let Poll::Ready(Some(Ok(answered))) = turn.answered {
                self.answered(answered);
            }
            for wire in reads.drain(..) {
                self.read(wire);
            }
            // A connection with many events leaves room for the tasks that it wakes.
            tokio::task::consume_budget().await;
        }
    }

    fn link_event(&mut self, event: Option<ConnectionEvent>) {
        let event = event.unwrap_or_else(|| ConnectionEvent::Closed(without_reason()));
        if let ConnectionEvent::Closed(_) = event {
            self.ended_link = self.link_events.take();
        }
        let now = Instant::now().into_std();
        self.inner
            .0
            .with(|session| session.connection_event(event, now));
    }

    fn carry_out(&mut self, work: Work) {
        match work {
            Work::Connect(id, host) => {
                let inner = Arc::clone(&self.inner.0);
                self.ask(id, None, async move {
                    inner.connect(host).await.map(Outcome::Link)
                });
            }
            Work::OpenWire(id, LinkRef(link)) => {
                self.ask(id, None, async move {
                    link.open_channel().await.map(Outcome::Wire)
                });
            }
            Work::CloseLink(id, LinkRef(link)) => {
                self.ask(id, None, async move {
                    link.close().await.map(|()| Outcome::Plain(Answer::Done))
                });
            }
            Work::Ask(id, wire, request) => {
                let transport = Arc::clone(wire.transport());
                self.ask(id, Some(wire.id()), async move {
                    made(&*transport, request).await.map(Outcome::Plain)
                });
            }
            Work::Abort(id) => {
                if let Some(abort) = self.aborts.remove(&id) {
                    abort.abort();
                }
            }
            Work::Forget(wire) => drop(self.readers.remove(&wire)),
            Work::Timer => {}
        }
    }

    fn ask(
        &mut self,
        id: RequestId,
        wire: Option<u64>,
        request: impl Future<Output = Result<Outcome>> + Send + 'static,
    ) {
        let request: BoxFuture<'static, Answered> = Box::pin(async move {
            let answer = request.await;
            Answered { id, wire, answer }
        });
        let (abort, registration) = AbortHandle::new_pair();
        self.aborts.insert(id, abort);
        self.asking.push(Abortable::new(request, registration));
    }

    fn answered(&mut self, answered: Answered) {
        let Answered { id, wire, answer } = answered;
        self.aborts.remove(&id);
        // Events that arrived before the answer come first.
        if let Some(wire) = wire {
            self.read(wire);
        }
        let mut opened = None;
        let answer = answer.map(|outcome| match outcome {
            Outcome::Plain(answer) => answer,
            Outcome::Link(OpenedConnection { connection, events }) => {
                self.link_events = Some(events);
                Answer::Link(LinkRef(connection))
            }
            Outcome::Wire(OpenedChannel { channel, events }) => {
                let recovers = self.inner.0.recovers();
                let wire = WireRef::new(channel, recovers, self.sender.clone());
                opened = Some((Arc::downgrade(wire.inner()), wire.id(), events));
                Answer::Wire(wire)
            }
        });
        let now = Instant::now().into_std();
        self.inner
            .0
            .with(|session| session.answered(id, answer, now));
        if let Some((wire, id, events)) = opened {
            let waker = Arc::new(ReaderWaker {
                wire: id,
                ready: self.ready.clone(),
            });
            let reader = Reader {
                wire,
                events,
                waker: Waker::from(waker),
                port: None,
            };
            self.readers.insert(id, reader);
            self.read(id);
        }
    }

    /// Reads the pending events of a wire.
    fn read(&mut self, id: u64) {
        let Self {
            inner,
            readers,
            ended,
            batch,
            woken,
            ready,
            ..
        } = self;
        let inner = &inner.0;
        for _ in 0..IN_A_ROW {
            let Some(reader) = readers.get_mut(&id) else {
                return;
            };
            let mut cx = Context::from_waker(&reader.waker);
            let Poll::Ready(is_open) = reader.events.poll_batch(&mut cx, batch) else {
                return;
            };
            let Some(wire) = reader.wire.upgrade().map(WireRef::from_inner) else {
                // Not left for the next wire.
                batch.clear();
                readers.remove(&id);
                return;
            };
            if reader.port.is_none() {
                reader.port = inner.with(|session| session.port_of(&wire));
            }
            if !is_open {
                batch.push_back(ChannelEvent::Closed(without_reason()));
            }
            let is_last = take(inner, &wire, reader.port.as_ref(), batch, woken);
            woken.drain(..).for_each(Waker::wake);
            if is_last || !is_open {
                ended.extend(readers.remove(&id).map(|reader| reader.events));
                return;
            }
        }
        // The others get their turn.
        ready.send(id);
    }
}

/// Takes a batch of events. Returns true if the wire's last event is among them.
fn take(
    inner: &ConnectionInner,
    wire: &WireRef,
    port: Option<&PortRef>,
    batch: &mut VecDeque<ChannelEvent>,
    woken: &mut Vec<Waker>,
) -> bool {
    let is_answer = |event: &ChannelEvent| {
        matches!(
            event,
            ChannelEvent::Confirm { .. } | ChannelEvent::Nack { .. } | ChannelEvent::Return(_)
        )
    };
    let mut strays = Vec::new();
    if batch.iter().any(is_answer) {
        let mut answer = |mut port: Option<&mut Port<WireRef>>| {
            // The others go round, and keep their order.
            for _ in 0..batch.len() {
                match (batch.pop_front(), &mut port) {
                    (Some(event), Some(port)) if is_answer(&event) => {
                        strays.extend(port.answer(wire, event, woken));
                    }
                    (Some(event), _) if !is_answer(&event) => batch.push_back(event),
                    _ => {}
                }
            }
        };
        match port {
            Some(port) => port.with(|port| answer(Some(port))),
            None => answer(None),
        }
    }
    for stray in strays {
        let (exchange, key) = (&stray.message.exchange, &stray.message.routing_key);
        tracing::warn!(%exchange, routing_key = %key, "basic.return for an unknown publish");
    }
    if batch.is_empty() {
        return false;
    }
    inner.with(|session| hand_on(session, wire, batch))
}

fn hand_on(
    session: &mut Session<Tokio>,
    wire: &WireRef,
    batch: &mut VecDeque<ChannelEvent>,
) -> bool {
    let now = || Instant::now().into_std();
    while let Some(event) = batch.pop_front() {
        match event {
            ChannelEvent::Deliver(deliver) => {
                let tag = deliver.consumer_tag.clone();
                let more = iter::from_fn(|| next_for(&tag, batch));
                session.deliver(wire, &tag, iter::once(deliver).chain(more));
            }
            ChannelEvent::Closed(_) => {
                batch.clear();
                session.wire_event(wire, event, now());
                return true;
            }
            other => session.wire_event(wire, other, now()),
        }
    }
    false
}

/// Takes the first event of `batch` if it is a delivery for the consumer `tag`.
fn next_for(tag: &mooq_core::ConsumerTag, batch: &mut VecDeque<ChannelEvent>) -> Option<Deliver> {
    match batch.front()? {
        ChannelEvent::Deliver(deliver) if deliver.consumer_tag == *tag => {}
        _ => return None,
    }
    match batch.pop_front() {
        Some(ChannelEvent::Deliver(deliver)) => Some(deliver),
        _ => None,
    }
}

/// Events of one poll, besides work and events of wires.
struct Turn {
    event: Poll<Option<ConnectionEvent>>,
    is_due: bool,
    answered: Poll<Option<std::result::Result<Answered, Aborted>>>,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            event: Poll::Pending,
            is_due: false,
            answered: Poll::Pending,
        }
    }
}

impl Turn {
    fn is_ready(&self) -> bool {
        self.event.is_ready() || self.is_due || matches!(self.answered, Poll::Ready(Some(_)))
    }
}

fn poll_event(
    events: &mut Option<Receiver<ConnectionEvent>>,
    cx: &mut Context<'_>,
) -> Poll<Option<ConnectionEvent>> {
    match events {
        Some(events) => events.poll_next_unpin(cx),
        None => Poll::Pending,
    }
}

/// Makes a request.
async fn made(channel: &dyn TransportChannel, request: Request) -> Result<Answer<Tokio>> {
    match request {
        Request::Close => channel.close().await,
        Request::ConfirmSelect => channel.confirm_select().await,
        Request::Qos(prefetch) => channel.qos(prefetch, false).await,
        Request::Cancel(tag) => channel.cancel(tag).await,
        Request::DeclareExchange(declare) => channel.declare_exchange(declare).await,
        Request::DeleteExchange { name, if_unused } => {
            channel.delete_exchange(name, if_unused).await
        }
        Request::Bind(binding) => channel.bind(binding).await,
        Request::Unbind(binding) => channel.unbind(binding).await,
        Request::Consume(consume) => {
            return channel.consume(consume).await.map(|_| Answer::Consuming);
        }
        Request::Get(queue, no_ack) => {
            return channel.get(queue, no_ack).await.map(Answer::Fetched);
        }
        Request::DeclareQueue(declare) => {
            return channel.declare_queue(declare).await.map(Answer::Queue);
        }
        Request::DeleteQueue {
            name,
            if_unused,
            if_empty,
        } => {
            let deleted = channel.delete_queue(name, if_unused, if_empty).await;
            return deleted.map(Answer::Count);
        }
        Request::PurgeQueue(name) => {
            return channel.purge_queue(name).await.map(Answer::Count);
        }
    }
    .map(|()| Answer::Done)
}

/// Ends a connection whose driver is dropped, as it is when its runtime ends, and the calls that
/// still wait for it.
struct EndOnDrop(Arc<ConnectionInner>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.with(|session| {
            session.end(&no_runtime());
            session.abandon_all();
        });
    }
}
