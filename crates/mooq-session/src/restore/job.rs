//! The tasks of a restoration.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use mooq_core::{Binding, Error, ExchangeDeclare, QueueDeclare, QueueName};

use crate::ids::{ChannelId, ConsumerId, JobId, RequestId};
use crate::shell::Shell;

/// Time for which other work waits for a request that the broker does not answer.
pub(super) const UNANSWERED: Duration = Duration::from_secs(1);

/// Restorations under way.
pub(crate) struct Restore<S: Shell> {
    /// A connection that is open and not in use yet.
    pub(crate) link: Option<S::Link>,
    pub(super) jobs: BTreeMap<JobId, Job<S>>,
    pub(super) last: JobId,
    /// The topology has been redeclared, except for queues that the broker is slow to declare.
    pub(super) declared: bool,
    /// The rest of the topology waits for the queues that are declared side by side.
    pub(super) waits_for_parallel: bool,
    /// The lost channels have had time to tell of their end.
    pub(super) drained: bool,
    /// Queues that the broker has not confirmed yet.
    pub(super) unanswered: HashSet<QueueName>,
    /// Queues that are declared side by side, and have not been asked for yet.
    pub(super) left: VecDeque<QueueDeclare>,
    /// When the broker last answered for such a queue.
    pub(super) answered_at: Option<Instant>,
    /// Broken channels that wait for their turn to declare what was deleted with them.
    pub(super) turn: VecDeque<JobId>,
    /// Time until which the broker may count the lost connection as alive, and its resources as
    /// taken.
    pub(super) locked_until: Option<Instant>,
}

impl<S: Shell> Default for Restore<S> {
    fn default() -> Self {
        Self {
            link: None,
            jobs: BTreeMap::new(),
            last: JobId::default(),
            declared: false,
            waits_for_parallel: false,
            drained: false,
            unanswered: HashSet::new(),
            left: VecDeque::new(),
            answered_at: None,
            turn: VecDeque::new(),
            locked_until: None,
        }
    }
}

pub(super) enum Job<S: Shell> {
    Declare(Declare<S>),
    Reopen(Reopen<S>),
}

/// Declares resources, one after the other, on a channel of its own: the broker closes it with each
/// request that it refuses.
pub(super) struct Declare<S: Shell> {
    pub(super) role: Role,
    pub(super) steps: VecDeque<Step>,
    pub(super) wire: Option<S::Wire>,
    /// The step that the broker has been asked for, and since when.
    pub(super) asked: Option<(Step, RequestId, Instant)>,
    /// The broker has been slow over it.
    pub(super) is_late: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Everything that was declared over the connection.
    Everything,
    /// One of those that declare queues side by side.
    Queues,
    /// Redeclares the resources that were deleted with the consumers of a broken channel, for the
    /// job that reopens the channel.
    WithChannel(JobId),
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Exchange(ExchangeDeclare),
    /// A queue. One that the broker named may still be there if it is asked for first.
    Queue {
        name: QueueName,
        declare: QueueDeclare,
        asks: bool,
    },
    /// A queue that survives a restart of the broker, with its bindings.
    DurableQueue(QueueDeclare),
    /// Begins to declare the queues side by side.
    Parallel,
    /// A binding, and whether the broker has it by now.
    Bind(Binding, bool),
    /// Closes the channel.
    Close,
}

/// Opens a channel again, with its consumers.
pub(super) struct Reopen<S: Shell> {
    pub(super) channel: ChannelId,
    /// The channel was lost alone, for this reason.
    pub(super) alone: Option<Error>,
    pub(super) stage: Stage<S>,
    /// Number of further wires that are tried if the broker closes them.
    pub(super) tries: usize,
    /// Time to wait until a taken resource is tried again.
    pub(super) pause: Duration,
    /// It has been reported that the broker allows no more channels.
    pub(super) reported: bool,
    /// It has got as far as to register consumers, or to wait.
    pub(super) has_begun: bool,
}

pub(super) enum Stage<S: Shell> {
    /// The old wire has not told of its end.
    AwaitingClose,
    /// Others declare what was deleted with the channel.
    Declaring,
    Opening,
    Selecting(S::Wire),
    /// Registers the consumers, one after the other.
    Registering {
        wire: S::Wire,
        left: VecDeque<ConsumerId>,
        /// The consumer that is being registered, since when, and whether that is late.
        current: Option<(ConsumerId, Instant, bool)>,
    },
    Pausing,
}
