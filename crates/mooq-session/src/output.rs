//! Outputs of the session: requests to the broker, replies to callers, events.

use std::collections::VecDeque;
use std::fmt;
use std::task::Waker;

use mooq_core::{
    Binding, Consume, ConsumerTag, Deliver, Error, ExchangeDeclare, ExchangeName, Fetched,
    QueueDeclare, QueueDeclared, QueueName, Result,
};

use crate::consumers::{Consumer, Direct, Handed, Sink};
use crate::event::{ConnectionState, Event};
use crate::ids::{ConsumerId, RequestId};
use crate::shell::Shell;

/// An effect for the shell to carry out, in this order.
pub enum Output<S: Shell> {
    /// Opens a connection to the host of this number. The answer is an [`Answer::Link`].
    Connect(RequestId, usize),
    /// Opens a channel of the transport. The answer is an [`Answer::Wire`].
    OpenWire(RequestId, S::Link),
    /// Closes a connection.
    CloseLink(RequestId, S::Link),
    /// Sends a request on a channel of the transport. Events that were received before its answer
    /// must be passed to the session first.
    Ask(RequestId, S::Wire, Request),
    /// Drops a request whose answer is no longer waited for.
    Abort(RequestId),
    /// Replies to a caller.
    Reply(S::Caller, Result<Reply<S::Wire>>),
    /// Tells the connection's listeners.
    Tell(Event),
    /// Notes in the log that something has failed, which changes nothing.
    Note(&'static str, Error),
    /// Shows the connection's new state.
    State(ConnectionState),
    /// Requeues a delivery: by `basic.nack` one that was not tried, and by `basic.reject` one whose
    /// processing has failed, which counts towards a delivery limit on every version of RabbitMQ.
    GiveBack {
        /// The wire to settle it on.
        wire: S::Wire,
        /// The delivery's number.
        delivery_tag: u64,
        /// Its processing has failed.
        failed: bool,
    },
    /// Passes news to the receiver of a [`Sink::Direct`].
    Direct(S::Direct, Direct),
    /// Wakes a task.
    Wake(Waker),
    /// Drops a value that may run foreign code when it is dropped: drop it after releasing the
    /// lock.
    Drop(Dropped<S>),
}

impl<S: Shell> fmt::Debug for Output<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Output")
    }
}

/// A value to drop after the lock is released: it may be the user's, or cause calls into the
/// session.
pub enum Dropped<S: Shell> {
    /// Deliveries that are not to be settled.
    Delivers(VecDeque<Deliver>),
    /// The callback of a consumer that is gone.
    Callback(S::Callback),
    /// The receiver of a consumer that is gone.
    Direct(S::Direct),
    /// A waker that is not to be woken.
    Waker(Waker),
    /// A channel of the transport, which closes with its last clone.
    Wire(S::Wire),
}

impl<S: Shell> fmt::Debug for Dropped<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dropped")
    }
}

/// A request on a channel of the transport.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// `channel.close`.
    Close,
    /// `confirm.select`.
    ConfirmSelect,
    /// `basic.qos` for later consumers.
    Qos(u16),
    /// `basic.consume`.
    Consume(Consume),
    /// `basic.cancel`.
    Cancel(ConsumerTag),
    /// `basic.get`, and whether the broker settles the message.
    Get(QueueName, bool),
    /// `exchange.declare`.
    DeclareExchange(ExchangeDeclare),
    /// `exchange.delete`.
    DeleteExchange {
        /// The exchange.
        name: ExchangeName,
        /// Only if it has no bindings.
        if_unused: bool,
    },
    /// `queue.declare`.
    DeclareQueue(QueueDeclare),
    /// `queue.delete`.
    DeleteQueue {
        /// The queue.
        name: QueueName,
        /// Only if it has no consumers.
        if_unused: bool,
        /// Only if it has no ready messages.
        if_empty: bool,
    },
    /// `queue.purge`.
    PurgeQueue(QueueName),
    /// `queue.bind` or `exchange.bind`.
    Bind(Binding),
    /// `queue.unbind` or `exchange.unbind`.
    Unbind(Binding),
}

/// The broker's answer to a request.
#[derive(Debug)]
pub enum Answer<S: Shell> {
    /// A connection.
    Link(S::Link),
    /// A channel of the transport.
    Wire(S::Wire),
    /// It is done.
    Done,
    /// A consumer is registered.
    Consuming,
    /// A queue that was declared.
    Queue(QueueDeclared),
    /// A number of messages.
    Count(u32),
    /// A message, if there was one.
    Fetched(Option<Fetched>),
}

/// The session's reply to a caller.
#[derive(Debug)]
pub enum Reply<W> {
    /// It is done.
    Done,
    /// A queue that was declared.
    Queue(QueueDeclared),
    /// A number of messages.
    Count(u32),
    /// A message, if there was one.
    Fetched(Option<Handed<W>>),
    /// A consumer that was registered, and its tag.
    Consumer(ConsumerId, ConsumerTag),
}

/// Effects that wait for the shell, in order.
pub(crate) struct Outbox<S: Shell> {
    outputs: VecDeque<Output<S>>,
    last: RequestId,
}

impl<S: Shell> Default for Outbox<S> {
    fn default() -> Self {
        Self {
            outputs: VecDeque::new(),
            last: RequestId::default(),
        }
    }
}

impl<S: Shell> Outbox<S> {
    pub(crate) fn push(&mut self, output: Output<S>) {
        self.outputs.push_back(output);
    }

    pub(crate) fn pop(&mut self) -> Option<Output<S>> {
        self.outputs.pop_front()
    }

    /// An id for a request.
    pub(crate) fn next_request(&mut self) -> RequestId {
        self.last.advance()
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.push(Output::Tell(event));
    }

    pub(crate) fn note(&mut self, what: &'static str, error: Error) {
        self.push(Output::Note(what, error));
    }

    pub(crate) fn not_restored(&mut self, what: String, error: Error) {
        self.tell(Event::NotRestored { what, error });
    }

    pub(crate) fn wake_all(&mut self, woken: Vec<Waker>) {
        self.outputs.extend(woken.into_iter().map(Output::Wake));
    }

    /// Requeues a delivery that was taken, unless the broker has settled it.
    pub(crate) fn give_back(&mut self, handed: Handed<S::Wire>) {
        if let Some(wire) = handed.wire {
            self.push(Output::GiveBack {
                wire,
                delivery_tag: handed.deliver.delivery_tag,
                failed: handed.failures > 0,
            });
        }
        self.drop_delivers([handed.deliver].into());
    }

    pub(crate) fn drop_delivers(&mut self, delivers: VecDeque<Deliver>) {
        if !delivers.is_empty() {
            self.push(Output::Drop(Dropped::Delivers(delivers)));
        }
    }

    pub(crate) fn drop_waker(&mut self, waker: Waker) {
        self.push(Output::Drop(Dropped::Waker(waker)));
    }

    pub(crate) fn drop_wire(&mut self, wire: S::Wire) {
        self.push(Output::Drop(Dropped::Wire(wire)));
    }

    /// Drops a consumer that has ended and whose deliveries are taken care of.
    pub(crate) fn drop_consumer(&mut self, consumer: Consumer<S>) {
        self.drop_delivers(consumer.waiting);
        self.drop_wire(consumer.wire);
        match consumer.sink {
            Sink::Callback(callback) => {
                self.push(Output::Drop(Dropped::Callback(callback.callback)));
            }
            Sink::Direct(direct) => self.push(Output::Drop(Dropped::Direct(direct))),
            // Wakes the reader of the stream, which has ended.
            Sink::Stream(waker) => self.outputs.extend(waker.map(Output::Wake)),
        }
    }
}
