//! A channel of the session: its port, the calls that wait for it, and its consumers' registration.

use std::collections::VecDeque;

use mooq_core::{Consume, QueueName};

use crate::consumers::Sink;
use crate::ids::{CallId, ChannelId};
use crate::output::Request;
use crate::shell::Shell;

pub(crate) struct Channel<S: Shell> {
    pub(crate) port: S::Port,
    /// The call that opens the channel, until it is open for the first time.
    pub(crate) opening: Option<CallId>,
    /// The channel has been open: it is reopened with its connection.
    pub(crate) is_known: bool,
    /// The user holds a handle of it.
    pub(crate) has_handle: bool,
    /// Calls that wait for the channel, in order.
    pub(crate) waiting: VecDeque<(CallId, Request)>,
    /// Consumers to register, one after the other: `basic.qos` applies to the consumers after it.
    /// The first is being registered if `is_registering`.
    pub(crate) registrations: VecDeque<Registration<S>>,
    pub(crate) is_registering: bool,
    /// A wire that is being prepared and not in use yet.
    pub(crate) candidate: Option<S::Wire>,
    /// The queue that was declared last on the channel, for which an empty name stands
    /// (AMQP 0-9-1, 1.7.2.1.3). Empty if there is none.
    pub(crate) last_queue: QueueName,
    /// The wire on which a queue was declared last: the broker resolves an empty name there by
    /// itself, and on no other.
    pub(crate) last_queue_wire: Option<u64>,
    /// Number of tags that were chosen.
    pub(crate) tags: u64,
    /// The channel's failure has been reported: it is the failure of all its consumers.
    pub(crate) has_failed: bool,
    /// The owner: the channel whose consumer this channel is dedicated to.
    pub(crate) owner: Option<ChannelId>,
    /// Dedicated channels of single consumers of this channel.
    pub(crate) owned: Vec<ChannelId>,
    /// The close that the user asked for.
    pub(crate) closing: Option<Closing>,
}

/// A consumer to register.
pub(crate) struct Registration<S: Shell> {
    pub(crate) call: CallId,
    pub(crate) consume: Consume,
    pub(crate) prefetch: u16,
    /// Register it again when the channel is reopened.
    pub(crate) recoverable: bool,
    /// Taken when the consumer is added.
    pub(crate) sink: Option<Sink<S>>,
}

/// A channel's close.
pub(crate) struct Closing {
    pub(crate) calls: Vec<CallId>,
    /// Owned channels that are still being closed.
    pub(crate) owned: Vec<ChannelId>,
    /// The queues of its consumers.
    pub(crate) queues: Vec<QueueName>,
    /// The broker has answered so.
    pub(crate) result: Option<mooq_core::Result<()>>,
}

impl<S: Shell> Channel<S> {
    pub(crate) fn new(port: S::Port, opening: CallId) -> Self {
        Self {
            port,
            opening: Some(opening),
            is_known: false,
            has_handle: true,
            waiting: VecDeque::new(),
            registrations: VecDeque::new(),
            is_registering: false,
            candidate: None,
            last_queue: QueueName::default(),
            last_queue_wire: None,
            tags: 0,
            has_failed: false,
            owner: None,
            owned: Vec::new(),
            closing: None,
        }
    }
}
