//! What the answer to a request is for.

use mooq_core::QueueName;

use crate::asking::Question;
use crate::ids::{CallId, ChannelId, ConsumerId, JobId};
use crate::output::Request;
use crate::shell::Shell;

pub(crate) enum Purpose<S: Shell> {
    /// Nothing: the answer is waited for by nobody.
    Forget(&'static str),
    /// A channel's first wire.
    OpenFirst(ChannelId),
    /// The confirm mode of a channel's first wire.
    SelectFirst(ChannelId, S::Wire),
    /// A user's call.
    Call {
        call: CallId,
        channel: ChannelId,
        wire: S::Wire,
        request: Request,
    },
    /// The prefetch of the consumer that a channel registers.
    Qos(ChannelId, S::Wire),
    /// The registration of the consumer that a channel registers.
    Consume(ChannelId, ConsumerId),
    /// A consumer's cancellation.
    Cancel {
        consumer: ConsumerId,
        then: AfterCancel,
        call: Option<CallId>,
    },
    /// A channel to ask a question on.
    OpenToAsk(Question),
    /// Whether what is asked about exists.
    IsThere(Question, S::Wire),
    /// A channel's close.
    CloseChannel(ChannelId, S::Wire),
    /// The close of a channel that was there for one consumer, of these queues.
    CloseOwned {
        call: Option<CallId>,
        queues: Vec<QueueName>,
    },
    /// A step of a restoration.
    Job(JobId),
    /// An attempt to connect.
    Connect,
    /// The close of a connection of no use.
    Discard(AfterDiscard),
    /// The connection's close by its user.
    CloseLink,
}

/// What becomes of a consumer that was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterCancel {
    /// Its waiting deliveries can still be taken, until the stream is dropped.
    Keep,
    /// Its waiting deliveries are requeued, and it is gone. With automatic acknowledgement its
    /// callback still sees them, since the broker will not send them again.
    End,
    /// As `End`, but a stream still gives the deliveries that it holds.
    Drain,
}

/// What follows when a connection of no use is closed.
pub(crate) enum AfterDiscard {
    /// The next attempt, after a loss.
    Lost,
    /// The next attempt, after one that failed for this reason.
    Failed(mooq_core::Error),
}
