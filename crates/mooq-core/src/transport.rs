//! What a transport provides: AMQP's connections and channels, without conveniences.
//!
//! The runtime above (mooq-client) is written against these traits alone, so whatever holds over
//! one transport holds over all. A transport owes it three things:
//!
//! 1. **Order.** [`TransportChannel::publish`] and [`TransportChannel::settle`] take effect in the
//!    order of their calls, and before any call that is begun after they returned. Events arrive
//!    in the broker's order.
//! 2. **No loss at a drop.** Every future here may be dropped at any point: the call it began
//!    either happens in full or not at all, and the channel stays usable.
//! 3. **An end.** When a channel or connection is gone, every waiting call fails with the stored
//!    reason, and [`ChannelEvent::Closed`] or [`ConnectionEvent::Closed`] is the mailbox's last
//!    event. A transport does not time calls out by itself once it is connected: deadlines are the
//!    caller's. It may limit how long a close waits for what came before it, as for late confirms.

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
use crate::name::{ConsumerTag, ExchangeName, QueueName};
use crate::topology::{Binding, ExchangeDeclare, QueueDeclare, QueueDeclared};
use crate::value::FieldTable;

/// Opens connections to brokers of one sort.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync {
    /// Connects and logs in, within [`Endpoint::connect_timeout`].
    ///
    /// # Errors
    /// `BrokerConnectionError` if the broker cannot be reached, `TlsFailed`,
    /// `AuthenticationFailed`, `VirtualHostNotFound`, or the kind of the broker's close. All name
    /// host and port. `InvalidArgument` for what no broker is asked about.
    async fn open(&self, endpoint: &Endpoint) -> Result<OpenedConnection>;
}

/// A connection that has just been opened.
#[derive(Debug)]
pub struct OpenedConnection {
    /// The connection.
    pub connection: Arc<dyn TransportConnection>,
    /// What happens on it as a whole.
    pub events: Receiver<ConnectionEvent>,
}

/// A channel that has just been opened.
#[derive(Debug)]
pub struct OpenedChannel {
    /// The channel.
    pub channel: Arc<dyn TransportChannel>,
    /// What happens on it.
    pub events: Receiver<ChannelEvent>,
}

/// A connection. Dropping the last reference to it and to its channels closes it.
#[async_trait]
pub trait TransportConnection: fmt::Debug + Send + Sync {
    /// Opens a channel.
    ///
    /// # Errors
    /// The reason, if the connection is gone; `NotAllowed` if there are too many channels.
    async fn open_channel(&self) -> Result<OpenedChannel>;

    /// Why the connection is gone, as soon as that is known: perhaps before its last event.
    fn closed(&self) -> Option<Error>;

    /// How many bytes a frame may have at most, as agreed with the broker (`frame_max` of
    /// `connection.tune`). A method and the properties of a message are in one frame each, and cannot
    /// be sent if they are larger; bodies are cut to it.
    fn frame_max(&self) -> u32;

    /// Whether the broker's `connection.blocked` comes to be known. If not, an alarm is silence.
    fn announces_blocked(&self) -> bool;

    /// Closes every channel and the connection. Messages without acknowledgement go back to
    /// their queues, exclusive queues go. Closing a connection that is gone is no error.
    ///
    /// # Errors
    /// `ConnectionLost` if the broker went away before it answered.
    async fn close(&self) -> Result<()>;
}

/// A channel. Its methods are AMQP's, named and ordered as in the specification. Dropping the last
/// reference to it closes it, as [`TransportChannel::close`] does.
///
/// # Errors
/// Every method fails with the reason of the close if the channel or the connection is gone, or
/// if the broker closes it in answer to the call.
#[async_trait]
pub trait TransportChannel: fmt::Debug + Send + Sync {
    /// Why the channel is gone, as soon as that is known: perhaps before its last event.
    fn closed(&self) -> Option<Error>;

    /// `channel.close`. Messages without acknowledgement go back to their queues. Closing a
    /// channel that is gone is no error.
    async fn close(&self) -> Result<()>;

    /// `exchange.declare`.
    async fn declare_exchange(&self, declare: ExchangeDeclare) -> Result<()>;

    /// `exchange.declare` with `nowait`: done when the broker has been told. A success is silent,
    /// a failure the channel's close.
    async fn declare_exchange_nowait(&self, declare: ExchangeDeclare) -> Result<()>;

    /// `exchange.delete`. No error if there is no such exchange.
    async fn delete_exchange(&self, name: ExchangeName, if_unused: bool) -> Result<()>;

    /// `queue.bind` or `exchange.bind`, as the destination says.
    async fn bind(&self, binding: Binding) -> Result<()>;

    /// [`Self::bind`] with `nowait`: a success is silent, a failure the channel's close.
    async fn bind_nowait(&self, binding: Binding) -> Result<()>;

    /// `queue.unbind` or `exchange.unbind`. No error if there is no such binding.
    async fn unbind(&self, binding: Binding) -> Result<()>;

    /// `queue.declare`.
    async fn declare_queue(&self, declare: QueueDeclare) -> Result<QueueDeclared>;

    /// `queue.declare` with `nowait`: a success is silent, a failure the channel's close. The name
    /// of a queue that the broker names stays unknown, but counts as the channel's last one.
    async fn declare_queue_nowait(&self, declare: QueueDeclare) -> Result<()>;

    /// `queue.purge`: drops what is ready, and says how many that were.
    async fn purge_queue(&self, name: QueueName) -> Result<u32>;

    /// `queue.delete`: says how many messages were ready. No error if there is no such queue.
    async fn delete_queue(&self, name: QueueName, if_unused: bool, if_empty: bool) -> Result<u32>;

    /// `basic.qos`: how many deliveries may be unacknowledged, 0 for no limit. Per consumer for
    /// those that come later on this channel; with `global`, for the channel as a whole.
    async fn qos(&self, prefetch_count: u16, global: bool) -> Result<()>;

    /// `basic.consume`: gives the consumer's tag. Deliveries may be in the mailbox before this
    /// returns.
    async fn consume(&self, consume: Consume) -> Result<ConsumerTag>;

    /// `basic.cancel`. What was delivered stays to be settled, and is in the mailbox when this
    /// returns: nothing more comes. No error if there is no such consumer.
    async fn cancel(&self, tag: ConsumerTag) -> Result<()>;

    /// `basic.get`: the first message that is ready, or none.
    async fn get(&self, queue: QueueName, no_ack: bool) -> Result<Option<Fetched>>;

    /// `basic.recover`: every delivery without acknowledgement goes back to its queue.
    async fn recover(&self, requeue: bool) -> Result<()>;

    /// `confirm.select`: from here on publishes are numbered from 1 and confirmed.
    async fn confirm_select(&self) -> Result<()>;

    /// `tx.select`.
    async fn tx_select(&self) -> Result<()>;

    /// `tx.commit`.
    async fn tx_commit(&self) -> Result<()>;

    /// `tx.rollback`.
    async fn tx_rollback(&self) -> Result<()>;

    /// `basic.publish`. The message is taken when this returns: dropping what it returns loses
    /// nothing.
    fn publish(&self, publish: Publish) -> Result<Handoff>;

    /// `basic.ack`, `basic.nack` or `basic.reject`. An unknown tag closes the channel, which is
    /// known later: these methods have no answer (AMQP 0-9-1, 1.8.3.13).
    fn settle(&self, settle: Settle) -> Result<()>;
}

/// What came of handing over a publish.
#[must_use = "a full transport grows without bounds unless its callers wait"]
pub enum Handoff {
    /// The transport takes more.
    Done,
    /// The message is taken, and the transport is full: wait before the next one.
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
    /// The queue. Empty: the queue that the channel declared last.
    pub queue: QueueName,
    /// The consumer's tag. Empty: the broker chooses one.
    pub tag: ConsumerTag,
    /// RabbitMQ ignores it.
    pub no_local: bool,
    /// Deliveries are settled as they are sent.
    pub no_ack: bool,
    /// No other consumer may be on the queue.
    pub exclusive: bool,
    /// Extensions, for example `x-priority`.
    pub arguments: FieldTable,
}

impl Consume {
    /// A consumer of `queue` that acknowledges, with a tag that the broker chooses.
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
    /// The number to settle it by.
    pub delivery_tag: u64,
    /// It was delivered before and came back.
    pub redelivered: bool,
    /// How many more are ready in the queue.
    pub message_count: u32,
    /// What was published.
    pub message: Arc<Message>,
    /// Kept until all that the message gives rise to is done.
    pub in_flight: InFlight,
}

/// How to settle one delivery or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Settle {
    /// Which delivery.
    pub delivery_tag: u64,
    /// All unsettled deliveries up to this one as well; with tag 0, all of them.
    pub multiple: bool,
    /// How.
    pub settlement: Settlement,
}

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settlement {
    /// `basic.ack`: it is done.
    Ack,
    /// `basic.nack`: it goes back to its queue, or else to the dead-letter exchange or nowhere.
    Nack {
        /// Back to its queue.
        requeue: bool,
    },
    /// `basic.reject`: the same for one delivery; `multiple` is ignored.
    Reject {
        /// Back to its queue.
        requeue: bool,
    },
}
