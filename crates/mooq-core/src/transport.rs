//! The transport traits: AMQP's connections and channels, without conveniences.
//!
//! The runtime above (mooq-client) uses only these traits, so any behaviour that holds on one
//! transport holds on all. A transport must guarantee three things:
//!
//! 1. **Order.** [`TransportChannel::publish`] and [`TransportChannel::settle`] take effect in the
//!    order of their calls, and before any call that is begun after they returned. Events arrive
//!    in the broker's order.
//! 2. **Cancel safety.** Every future here may be dropped at any point: the call that it began
//!    either happens in full or not at all, and the channel stays usable.
//! 3. **Termination.** When a channel or connection is gone, every waiting call fails with the
//!    stored reason, and [`ChannelEvent::Closed`] or [`ConnectionEvent::Closed`] is the mailbox's
//!    last event. A transport does not time out calls by itself once it is connected: deadlines are
//!    the caller's. It may limit the time that a close waits for earlier work, for example late
//!    confirms.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::event::{ChannelEvent, ConnectionEvent};
use crate::in_flight::InFlight;
use crate::mailbox::Receiver;
use crate::message::{Message, Publish};
use crate::name::{ConsumerTag, ExchangeName, QueueName, ShortString};
use crate::topology::{Binding, ExchangeDeclare, QueueDeclare, QueueDeclared};
use crate::value::FieldTable;

/// Opens connections to brokers of one kind.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync {
    /// Connects and logs in, within [`Endpoint::connect_timeout`], which the transport enforces
    /// itself.
    ///
    /// # Errors
    /// `ConnectFailed` if the broker cannot be reached or the time is over
    /// ([`Error::connection_timed_out`]), `TlsFailed`, `AuthenticationFailed`,
    /// `VirtualHostNotFound`, or the kind of the broker's close. All errors name host and port.
    /// `InvalidArgument` for a request that is rejected before any broker is contacted.
    async fn open(&self, endpoint: &Endpoint) -> Result<OpenedConnection>;
}

/// A newly opened connection.
#[derive(Debug)]
pub struct OpenedConnection {
    /// The connection.
    pub connection: Arc<dyn TransportConnection>,
    /// The events of the connection as a whole.
    pub events: Receiver<ConnectionEvent>,
}

/// A newly opened channel.
#[derive(Debug)]
pub struct OpenedChannel {
    /// The channel.
    pub channel: Arc<dyn TransportChannel>,
    /// The events of the channel.
    pub events: Receiver<ChannelEvent>,
}

/// A connection. It closes when the last reference to it and to its channels is dropped.
#[async_trait]
pub trait TransportConnection: fmt::Debug + Send + Sync {
    /// Opens a channel.
    ///
    /// # Errors
    /// The reason of the close, if the connection is gone; an error of kind `NotAllowed` and scope
    /// `Operation` if as many channels are open as the broker allows.
    async fn open_channel(&self) -> Result<OpenedChannel>;

    /// The reason why the connection is gone, as soon as it is known: perhaps before the
    /// connection's last event.
    fn closed(&self) -> Option<Error>;

    /// Maximum size of a frame in bytes, as agreed with the broker (`frame_max` of
    /// `connection.tune`). A method and the properties of a message take one frame each, and cannot
    /// be sent if they are larger; bodies are split to fit.
    fn frame_max(&self) -> u32;

    /// Returns true if the transport learns of the broker's `connection.blocked`. If false, an
    /// alarm shows only as silence.
    fn announces_blocked(&self) -> bool;

    /// `connection.update-secret`, an extension of RabbitMQ's: hands over a password or token in
    /// place of the one that the connection logged in with, which is about to expire. `reason` goes
    /// into the broker's log. Brokers ignore the secret where users' passwords do not expire.
    ///
    /// # Errors
    /// The reason of the close, if the connection is gone, or if the broker refuses the secret and
    /// closes the connection: `NotAllowed` (530).
    async fn update_secret(&self, secret: &str, reason: &ShortString) -> Result<()>;

    /// Closes every channel and the connection. Unacked messages are requeued, exclusive queues are
    /// deleted. Closing a connection that is gone is not an error.
    ///
    /// # Errors
    /// `ConnectionLost` if the connection to the broker was lost before the broker answered.
    async fn close(&self) -> Result<()>;
}

/// A channel. Its methods correspond to the methods of AMQP 0-9-1 that mooq's client calls, and the
/// documentation of each names its counterpart; [`RawMethods`] has the others. Dropping the last
/// reference to the channel closes it, as [`TransportChannel::close`] does.
///
/// # Errors
/// Every method fails with the reason of the close if the channel or the connection is gone, or if
/// the broker closes it in answer to the call.
#[async_trait]
pub trait TransportChannel: fmt::Debug + Send + Sync {
    /// The reason why the channel is gone, as soon as it is known: perhaps before the channel's
    /// last event.
    fn closed(&self) -> Option<Error>;

    /// Sends `channel.close`. Unacked messages are requeued. Closing a channel that is gone is not
    /// an error.
    async fn close(&self) -> Result<()>;

    /// `exchange.declare`.
    async fn declare_exchange(&self, declare: ExchangeDeclare) -> Result<()>;

    /// `exchange.delete`. Not an error if the exchange does not exist.
    async fn delete_exchange(&self, name: ExchangeName, if_unused: bool) -> Result<()>;

    /// `queue.bind` or `exchange.bind`, depending on the destination.
    async fn bind(&self, binding: Binding) -> Result<()>;

    /// `queue.unbind` or `exchange.unbind`. Not an error if the binding does not exist.
    async fn unbind(&self, binding: Binding) -> Result<()>;

    /// `queue.declare`.
    async fn declare_queue(&self, declare: QueueDeclare) -> Result<QueueDeclared>;

    /// `queue.purge`: drops the ready messages and returns their number.
    async fn purge_queue(&self, name: QueueName) -> Result<u32>;

    /// `queue.delete`: returns the number of ready messages. Not an error if the queue does not
    /// exist.
    async fn delete_queue(&self, name: QueueName, if_unused: bool, if_empty: bool) -> Result<u32>;

    /// `basic.qos`: the number of deliveries that may be unacked, 0 for no limit. The limit holds
    /// for each consumer that is registered later on this channel; with `global`, for the channel
    /// as a whole.
    async fn qos(&self, prefetch_count: u16, global: bool) -> Result<()>;

    /// `basic.consume`: returns the consumer's tag. Deliveries may be in the mailbox before this
    /// returns.
    async fn consume(&self, consume: Consume) -> Result<ConsumerTag>;

    /// `basic.cancel`. Messages already delivered still have to be settled, and are in the mailbox
    /// when this returns: no more deliveries follow. Not an error if the consumer does not exist.
    async fn cancel(&self, tag: ConsumerTag) -> Result<()>;

    /// `basic.get`: the first ready message, or none.
    async fn get(&self, queue: QueueName, no_ack: bool) -> Result<Option<Fetched>>;

    /// `confirm.select`: from here on publishes are numbered from 1 and confirmed.
    async fn confirm_select(&self) -> Result<()>;

    /// `basic.publish`. The message is taken when this returns: dropping the returned [`Handoff`]
    /// loses nothing.
    fn publish(&self, publish: Publish) -> Result<Handoff>;

    /// `basic.ack`, `basic.nack` or `basic.reject`. An unknown tag closes the channel, which
    /// becomes known later: these methods have no answer (AMQP 0-9-1, 1.8.3.13).
    fn settle(&self, settle: Settle) -> Result<()>;

    /// The methods of AMQP that mooq's client never calls, if this transport has them.
    fn raw_methods(&self) -> Option<&dyn RawMethods> {
        None
    }
}

/// Methods of AMQP 0-9-1 that mooq's client never calls. Services do not need them; the tests of a
/// broker do.
#[async_trait]
pub trait RawMethods: fmt::Debug + Send + Sync {
    /// `exchange.declare` with `nowait`: done once the request is sent to the broker. A success has
    /// no answer, a failure closes the channel.
    async fn declare_exchange_nowait(&self, declare: ExchangeDeclare) -> Result<()>;

    /// `queue.declare` with `nowait`: a success has no answer, a failure closes the channel. The
    /// name of a queue that the broker names stays unknown, but counts as the channel's last one.
    async fn declare_queue_nowait(&self, declare: QueueDeclare) -> Result<()>;

    /// `queue.bind` or `exchange.bind` with `nowait`: a success has no answer, a failure closes the
    /// channel.
    async fn bind_nowait(&self, binding: Binding) -> Result<()>;

    /// `basic.recover`: requeues every unacked delivery.
    async fn recover(&self, requeue: bool) -> Result<()>;

    /// `tx.select`.
    async fn tx_select(&self) -> Result<()>;

    /// `tx.commit`.
    async fn tx_commit(&self) -> Result<()>;

    /// `tx.rollback`.
    async fn tx_rollback(&self) -> Result<()>;
}

/// Result of handing a publish to the transport.
#[must_use = "a full transport grows without bounds unless its callers wait"]
pub enum Handoff {
    /// The transport takes more messages.
    Done,
    /// The message is taken, and the transport is full: wait before the next publish.
    Full(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl fmt::Debug for Handoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "Done",
            Self::Full(_) => "Full",
        })
    }
}

/// `basic.consume`.
#[derive(Debug, Clone, PartialEq)]
pub struct Consume {
    /// The queue. An empty name stands for the queue that the channel declared last.
    pub queue: QueueName,
    /// The consumer's tag. If it is empty, the broker chooses one.
    pub tag: ConsumerTag,
    /// The flag `no-local`, which RabbitMQ ignores.
    pub no_local: bool,
    /// True if deliveries are settled as they are sent.
    pub no_ack: bool,
    /// True if the queue may have no other consumer.
    pub exclusive: bool,
    /// Extensions, for example `x-priority`.
    pub arguments: FieldTable,
}

impl Consume {
    /// A consumer of `queue` that acknowledges its deliveries, with a tag that the broker chooses.
    #[must_use]
    pub fn new(queue: QueueName) -> Self {
        Self {
            queue,
            tag: ConsumerTag::default(),
            no_local: false,
            no_ack: false,
            exclusive: false,
            arguments: FieldTable::new(),
        }
    }
}

/// `basic.get-ok`.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// The number to settle the message by.
    pub delivery_tag: u64,
    /// True if the message was delivered before and requeued.
    pub redelivered: bool,
    /// Number of messages that are still ready in the queue.
    pub message_count: u32,
    /// The published message.
    pub message: Arc<Message>,
    /// Kept until all work that the message causes is done.
    pub in_flight: InFlight,
}

/// Request to settle one delivery or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Settle {
    /// Tag of the delivery.
    pub delivery_tag: u64,
    /// True to settle all unsettled deliveries up to this one as well; with tag 0, all of them.
    pub multiple: bool,
    /// The outcome.
    pub settlement: Settlement,
}

/// Outcome of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settlement {
    /// `basic.ack`: the message is done.
    Ack,
    /// `basic.nack`: the message is requeued; otherwise it is dead-lettered or dropped.
    Nack {
        /// True to requeue the message.
        requeue: bool,
    },
    /// `basic.reject`: like `basic.nack`, for one delivery; `multiple` is ignored.
    Reject {
        /// True to requeue the message.
        requeue: bool,
    },
}
