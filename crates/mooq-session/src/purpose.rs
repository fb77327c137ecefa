//! Purposes of requests: how the session uses each answer.

use mooq_core::QueueName;

use crate::asking::Question;
use crate::ids::{CallId, ChannelId, ConsumerId, JobId};
use crate::output::Request;
use crate::shell::Shell;

pub(crate) enum Purpose<S: Shell> {
    /// None: the answer is ignored.
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
    /// The prefetch of a consumer that is being registered.
    Prefetch(Registering, S::Wire),
    /// The registration of a consumer.
    Consume(Registering, ConsumerId),
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
    /// The close of a channel that was dedicated to one consumer, of these queues.
    CloseOwned {
        call: Option<CallId>,
        queues: Vec<QueueName>,
    },
    /// Another step of a restoration.
    Job(JobId),
    /// An attempt to connect.
    Connect,
    /// The close of a connection that cannot be used.
    Discard(AfterDiscard),
    /// The connection's close by its user.
    CloseLink,
}

/// A registration of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registering {
    /// The first one, of the consumer that is the first in its channel's queue.
    First(ChannelId),
    /// Another one, of the consumer that a job is at.
    Again(JobId),
}

impl<S: Shell> Purpose<S> {
    /// The task of a restoration that the request is part of.
    pub(crate) fn job(&self) -> Option<JobId> {
        match self {
            Self::Job(job)
            | Self::Prefetch(Registering::Again(job), _)
            | Self::Consume(Registering::Again(job), _) => Some(*job),
            _ => None,
        }
    }
}

/// Treatment of a cancelled consumer's buffered deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterCancel {
    /// They can still be taken, until the stream is dropped.
    Keep,
    /// They are requeued, and the consumer is removed. With automatic acknowledgement its callback
    /// still receives them, since the broker will not send them again.
    End,
    /// As `End`, but a stream still yields the deliveries that it holds.
    Drain,
}

/// The next step once an unusable connection is closed.
pub(crate) enum AfterDiscard {
    /// The next attempt, after a loss.
    Lost,
    /// The next attempt, after one that failed for this reason.
    Failed(mooq_core::Error),
}
