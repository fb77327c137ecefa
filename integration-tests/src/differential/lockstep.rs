//! Performs one sequence on both brokers, operation by operation, and compares the observations.

mod alarms;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use self::alarms::confirms_last;
use super::client::{Client, Seen};
use super::known::{Call, Footprint, Known};
use super::observation::{Answer, Event, Observation, QueueState, Reply, Source};
use super::operation::{ALARMS, Action, Operation};

/// Number of rounds before RabbitMQ counts as different: in each round every process handles the
/// messages of the others. Usually all is done after two or three.
const ROUNDS: u32 = 30;
/// Time to wait for a confirm of a persistent message: it waits for the disk, and may outlast a
/// round.
const PATIENCE: Duration = Duration::from_secs(1);

/// One operation and its effects on RabbitMQ.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// The performed operation.
    pub(super) operation: Operation,
    /// RabbitMQ's observation.
    pub(super) rabbit: Observation,
}

/// Counts of what was compared.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    /// Operations that were performed.
    pub(super) operations: u64,
    /// Operations that failed.
    pub(super) failures: u64,
    /// Messages that were delivered, returned or fetched.
    pub(super) messages: u64,
    /// Confirms and refusals of publishes.
    pub(super) confirms: u64,
    /// Channels and connections that were closed.
    pub(super) closes: u64,
    /// Rounds of observing RabbitMQ.
    pub(super) rounds: u64,
    /// Sequences with an alarm.
    pub(super) alarmed: u64,
    /// Operations that waited for the end of an alarm.
    pub(super) waited: u64,
}

impl Tally {
    fn count(&mut self, observed: &Observation) {
        self.operations += 1;
        self.failures += u64::from(observed.answer.is_err());
        self.messages += u64::from(matches!(observed.answer, Ok(Reply::Fetched { .. })));
        for event in observed.events.values().flatten() {
            *match event {
                Event::Deliver { .. } | Event::Return { .. } => &mut self.messages,
                Event::Confirm(_) | Event::Nack(_) => &mut self.confirms,
                Event::Closed(_) => &mut self.closes,
                Event::Cancelled | Event::Blocked => continue,
            } += 1;
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.operations += other.operations;
        self.failures += other.failures;
        self.messages += other.messages;
        self.confirms += other.confirms;
        self.closes += other.closes;
        self.rounds += other.rounds;
        self.alarmed += other.alarmed;
        self.waited += other.waited;
    }
}

/// A difference between the brokers.
#[derive(Debug, Clone)]
pub(super) struct Divergence {
    /// All operations up to the one on which the brokers differ.
    pub(super) steps: Vec<Step>,
    /// The in-memory broker's observation of the last operation.
    pub(super) memory: Observation,
}

/// Performs `sequence` on both brokers.
///
/// # Errors
/// The first difference between the brokers.
pub(super) async fn run(
    memory: &mut Client,
    rabbit: &mut Client,
    sequence: &[Operation],
) -> Result<Tally, Box<Divergence>> {
    let mut lockstep = Lockstep {
        memory,
        rabbit,
        known: [Known::default(), Known::beyond()],
        states: BTreeMap::new(),
        waiting: [Vec::new(), Vec::new()],
        tally: Tally::default(),
    };
    let mut steps: Vec<Step> = Vec::new();
    let clears = ALARMS.map(|alarm| Operation {
        channel: 0,
        action: Action::ClearAlarm(alarm),
        daring: false,
        defiant: false,
    });
    for operation in sequence.iter().chain(&clears) {
        let Some(call) = lockstep.resolve(operation) else {
            continue;
        };
        let [memory, rabbit] = lockstep.perform(&call).await;
        let differs = memory != rabbit;
        steps.push(Step {
            operation: call.operation,
            rabbit,
        });
        if differs {
            return Err(Box::new(Divergence { steps, memory }));
        }
    }
    let [memory, rabbit] = lockstep.finish().await;
    if memory != rabbit
        && let Some(last) = steps.last_mut()
    {
        last.rabbit = rabbit;
        return Err(Box::new(Divergence { steps, memory }));
    }
    let Lockstep {
        rabbit,
        known,
        mut tally,
        ..
    } = lockstep;
    let [known, _] = known;
    let queues = known.queues().collect();
    tally.alarmed += u64::from(raises_alarm(sequence));
    rabbit
        .clean_up(&queues, known.policies(), known.is_limited())
        .await;
    Ok(tally)
}

/// Returns true if a sequence raises an alarm, and so needs the broker for itself.
pub(super) fn raises_alarm(sequence: &[Operation]) -> bool {
    let mut actions = sequence.iter().map(|operation| &operation.action);
    actions.any(|action| matches!(action, Action::RaiseAlarm(_)))
}

/// Both brokers during a sequence.
struct Lockstep<'a> {
    memory: &'a mut Client,
    rabbit: &'a mut Client,
    /// Knowledge of the first virtual host, and of the second.
    known: [Known; 2],
    /// The states of the queues on both brokers.
    states: BTreeMap<String, QueueState>,
    /// Operations that wait for the end of the alarm, in each virtual host.
    waiting: [Vec<Footprint>; 2],
    tally: Tally,
}

impl Lockstep<'_> {
    /// The operation to perform, or none if it is left out.
    fn resolve(&self, operation: &Operation) -> Option<Call> {
        if let Action::RaiseAlarm(_) | Action::ClearAlarm(_) = operation.action {
            return self.resolve_alarm(operation);
        }
        let [first, beyond] = &self.known;
        let call = if !operation.is_beyond() {
            first.resolve(operation.clone())
        } else if first.has_vhost() {
            beyond.resolve(operation.clone())
        } else {
            None
        };
        call.filter(|call| self.can_be_done_now(call))
    }

    /// Performs an operation on both brokers, and observes them until they agree or clearly differ.
    async fn perform(&mut self, call: &Call) -> [Observation; 2] {
        let operation = &call.operation;
        self.note_waiting(call);
        let performed = [
            self.memory.perform(operation, call.settles[0]).await,
            self.rabbit.perform(operation, call.settles[1]).await,
        ];
        self.known[usize::from(operation.is_beyond())]
            .note_declare(operation, performed.iter().any(|p| p.answer.is_ok()));
        if operation.action == Action::DeleteVhost {
            self.known[1] = Known::beyond();
            self.waiting[1].clear();
        }
        if operation.has_no_answer() {
            if self.rabbit.is_blocked(operation.connection()) {
                self.rabbit.until_blocked().await;
            } else {
                self.rabbit.handled(operation.channel).await;
            }
        }
        let fetched = [performed[0].delivery_tag, performed[1].delivery_tag];
        let answers = performed.map(|performed| performed.answer);
        // Operations that waited may still be in progress in any queue, even if nothing visible
        // changes.
        let ask = if let Action::ClearAlarm(_) = operation.action
            && !self.rabbit.has_alarms()
        {
            self.waiting = [Vec::new(), Vec::new()];
            for channel in self.rabbit.open_channels() {
                self.rabbit.handled(channel).await;
            }
            Ask::EverythingAtOnce
        } else if operation.takes_effect_later() {
            Ask::EveryQueue
        } else {
            Ask::Changed
        };
        let (observed, tags) = self.observe(answers, ask).await;
        if observed[0] == observed[1] {
            for known in &mut self.known {
                known.learn(call, &observed[0], [&tags[0], &tags[1]], fetched);
            }
            let [first, _] = &self.known;
            self.memory.forget_names(|queue| first.has_queue(queue));
            self.rabbit.forget_names(|queue| first.has_queue(queue));
            self.tally.count(&observed[0]);
        }
        observed
    }

    /// Observes everything once more. Unexpected events of RabbitMQ have come by now.
    async fn finish(&mut self) -> [Observation; 2] {
        let answers = [Ok(Reply::Done), Ok(Reply::Done)];
        self.observe(answers, Ask::Everything).await.0
    }

    async fn observe(&mut self, answers: [Answer; 2], ask: Ask) -> ([Observation; 2], [Tags; 2]) {
        let everybody = self.memory.open_channels();
        let mut asked: BTreeMap<_, _> = self.known.iter().flat_map(Known::queues).collect();
        asked.retain(|queue, connection| !self.is_out_of_sight(queue, *connection));
        let mut in_memory = Seen::default();
        let states = self.memory.round(&everybody, &asked, &mut in_memory).await;
        if ask == Ask::Changed {
            asked.retain(|queue, _| states.get(queue) != self.states.get(queue));
        }
        let mut expected = states.clone();
        expected.retain(|queue, _| asked.contains_key(queue));
        self.states = states;

        if ask == Ask::EverythingAtOnce {
            confirms_last(&mut in_memory.events);
        }
        let mut in_rabbit = Seen::default();
        let began = Instant::now();
        let mut rounds = 0;
        let found = loop {
            let listening = match ask {
                Ask::Changed | Ask::EveryQueue | Ask::EverythingAtOnce => {
                    channels_behind(&in_rabbit, &in_memory)
                }
                Ask::Everything => self.rabbit.open_channels(),
            };
            let found = self.rabbit.round(&listening, &asked, &mut in_rabbit).await;
            if ask == Ask::EverythingAtOnce {
                confirms_last(&mut in_rabbit.events);
            }
            rounds += 1;
            self.tally.rounds += 1;
            let agree = found == expected && in_rabbit.events == in_memory.events;
            let hopeless = answers[0] != answers[1] || !is_begun(&in_rabbit, &in_memory);
            if hopeless
                || (agree && rounds >= ask.least_rounds())
                || (rounds >= ROUNDS && began.elapsed() >= PATIENCE)
            {
                break found;
            }
        };
        let [memory, rabbit] = answers;
        let observed = [
            Observation {
                answer: memory,
                events: in_memory.events,
                queues: expected,
            },
            Observation {
                answer: rabbit,
                events: in_rabbit.events,
                queues: found,
            },
        ];
        (observed, [in_memory.tags, in_rabbit.tags])
    }
}

type Tags = BTreeMap<Source, Vec<u64>>;

/// The parts of RabbitMQ to observe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// Changed queues, and channels that still expect an event. A later observation of the sequence
    /// notices other changes.
    Changed,
    /// The same channels, and every queue.
    EveryQueue,
    /// The same as `EveryQueue`, after several concurrent operations.
    EverythingAtOnce,
    /// Every queue and every channel.
    Everything,
}

impl Ask {
    /// Minimum number of rounds.
    fn least_rounds(self) -> u32 {
        match self {
            Self::Changed | Self::EveryQueue | Self::EverythingAtOnce => 1,
            // The first round completes everything that the others observe.
            Self::Everything => 3,
        }
    }
}

/// The channels with expected events that have not come.
fn channels_behind(seen: &Seen, expected: &Seen) -> Vec<usize> {
    let behind = |source: &Source| seen.events.get(source) != expected.events.get(source);
    let sources = expected.events.keys().filter(|source| behind(source));
    let channels = sources.filter_map(|source| match source {
        Source::Connection(_) => None,
        Source::Channel(channel) | Source::Consumer(channel, _) => Some(*channel),
    });
    let channels: BTreeSet<_> = channels.collect();
    channels.into_iter().collect()
}

/// Returns true if the events so far can still become the expected ones.
fn is_begun(seen: &Seen, expected: &Seen) -> bool {
    seen.events.iter().all(|(source, events)| {
        let all = expected.events.get(source);
        all.is_some_and(|all| alarms::is_begun(events, all))
    })
}
