//! Driver: the task that reads a channel's events, over all its generations.

use std::collections::VecDeque;
use std::future::{Future, poll_fn, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Poll, Waker};

use futures_util::FutureExt;
use mooq_core::mailbox::Receiver;
use mooq_core::{ChannelEvent, Error, ErrorKind};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use super::generation::Generation;
use super::shared::ChannelShared;
use crate::lock::lock;
use crate::reasons::without_reason;

/// Number of batches of events that are taken in a row before deadlines and nudges get their turn,
/// for a broker that sends without a pause.
const IN_A_ROW: u32 = 32;

/// Handle through which others reach the driver.
#[derive(Debug, Default)]
pub(super) struct Inlet {
    /// The generation to read from next.
    next: Mutex<Option<Incoming>>,
    /// Dropped once the driver has handled everything that was in the mailbox before.
    catching_up: Mutex<Vec<oneshot::Sender<()>>>,
    /// The driver is no longer needed.
    over: AtomicBool,
    /// Signals the driver that there is something besides events.
    nudge: Notify,
    /// Signals that the driver has handled something.
    handled: Notify,
}

/// A generation and its events. It holds no reference that would keep the generation open.
#[derive(Debug)]
struct Incoming {
    generation: Weak<Generation>,
    events: Receiver<ChannelEvent>,
}

impl Inlet {
    /// Makes the driver check the ledger's deadlines.
    pub(super) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Makes the driver read from `generation`, instead of any generation before.
    pub(super) fn attach(&self, generation: Weak<Generation>, events: Receiver<ChannelEvent>) {
        let old = lock(&self.next).replace(Incoming { generation, events });
        drop(old);
        self.nudge();
    }

    /// Ends the driver.
    pub(super) fn let_go(&self) {
        self.over.store(true, Ordering::Release);
        drop(self.take_catching_up());
        self.handled.notify_waiters();
        self.nudge();
    }

    /// Waits until the driver has handled everything that is in the mailbox now.
    pub(super) async fn catch_up(&self) {
        let (caught_up, when) = oneshot::channel();
        {
            let mut waiting = lock(&self.catching_up);
            if self.is_over() {
                return;
            }
            waiting.push(caught_up);
        }
        self.nudge();
        // The error is the answer: the sender was dropped.
        let _ = when.await;
    }

    /// Waits until `done` returns true. `done` is called each time the driver has handled
    /// something.
    pub(super) async fn until(&self, done: impl Fn() -> bool) {
        loop {
            // Before the check, so that no later change is missed.
            let handled = self.handled.notified();
            if done() || self.is_over() {
                return;
            }
            handled.await;
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn take_catching_up(&self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut *lock(&self.catching_up))
    }
}

/// Runs until the channel is closed for good. It holds no reference that would keep the channel
/// open.
pub(super) fn drive(
    channel: Weak<ChannelShared>,
    inlet: Arc<Inlet>,
) -> impl Future<Output = ()> + Send {
    // Made here, since a runtime that ends may never have polled the future.
    let driver = EndOnDrop { channel, inlet };
    async move { run(&driver.channel, &driver.inlet).await }
}

async fn run(channel: &Weak<ChannelShared>, inlet: &Inlet) {
    let mut incoming: Option<Incoming> = None;
    let mut batch = VecDeque::new();
    let mut woken = Vec::new();
    // Most publishes have the same timeout, so their deadlines follow one another, and one timer
    // that is rarely reset serves all of them.
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut armed: Option<Instant> = None;
    let mut in_a_row = 0;
    loop {
        let mut caught_up = Vec::new();
        let mut open = true;
        tokio::select! {
            biased;
            more = next_batch(&mut incoming, &mut batch), if in_a_row < IN_A_ROW => {
                in_a_row += 1;
                open = more;
            }
            () = timer.as_mut(), if armed.is_some() => in_a_row = 0,
            () = inlet.nudge.notified() => in_a_row = 0,
            () = ready(()), if in_a_row == IN_A_ROW => in_a_row = 0,
        }
        // Held for this turn only, so that the channel can be dropped meanwhile.
        let Some(channel) = channel.upgrade() else {
            return;
        };
        if in_a_row == 0 {
            if inlet.is_over() {
                return;
            }
            if armed.is_some_and(|deadline| deadline <= Instant::now()) {
                let note = channel.silence();
                channel.ledger(|ledger| ledger.expire(Instant::now(), &note, &mut woken));
            }
            let next = lock(&inlet.next).take();
            if next.is_some() {
                incoming = next;
            }
            caught_up = inlet.take_catching_up();
            // Their events may have arrived after the mailbox was read.
            next_batch(&mut incoming, &mut batch).now_or_never();
        }
        let ended = match &incoming {
            Some(Incoming { generation, .. }) => {
                let ended = take(&channel, generation, &mut batch, &mut woken);
                let ended = ended.or_else(|| (!open).then(without_reason));
                ended.map(|reason| (generation.clone(), reason))
            }
            None => None,
        };
        woken.drain(..).for_each(Waker::wake);
        if let Some((generation, reason)) = ended {
            incoming = None;
            if channel.generation_ended(&generation, &reason) {
                return;
            }
        }
        drop(caught_up);
        inlet.handled.notify_waiters();
        armed = channel.ledger(|ledger| ledger.armed());
        drop(channel);
        if let Some(deadline) = armed
            && timer.deadline() != deadline
        {
            timer.as_mut().reset(deadline);
        }
        // A channel with many events leaves room for the tasks that it wakes.
        tokio::task::consume_budget().await;
    }
}

/// Waits for events. False if no more will arrive.
async fn next_batch(incoming: &mut Option<Incoming>, batch: &mut VecDeque<ChannelEvent>) -> bool {
    match incoming {
        Some(Incoming { events, .. }) => poll_fn(|cx| events.poll_batch(cx, batch)).await,
        None => poll_fn(|_| Poll::Pending).await,
    }
}

/// Handles the events of `batch`. Returns the reason for the generation's end, if it is among them.
fn take(
    channel: &ChannelShared,
    generation: &Weak<Generation>,
    batch: &mut VecDeque<ChannelEvent>,
    woken: &mut Vec<Waker>,
) -> Option<Error> {
    channel.settle_publishes(generation, batch, woken);
    while let Some(event) = batch.pop_front() {
        match event {
            ChannelEvent::Deliver(deliver) => channel.deliver(deliver, batch, generation),
            ChannelEvent::ConsumerCancelled(tag) => channel.consumer_cancelled(tag, generation),
            ChannelEvent::Closed(reason) => {
                batch.clear();
                return Some(reason);
            }
            // Settled already.
            ChannelEvent::Confirm { .. } | ChannelEvent::Nack { .. } | ChannelEvent::Return(_) => {}
        }
    }
    None
}

/// Ends everything that waits on a channel whose driver is dropped, as it is when its runtime ends.
/// If the channel is gone already, this changes nothing.
struct EndOnDrop {
    channel: Weak<ChannelShared>,
    inlet: Arc<Inlet>,
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.inlet.let_go();
        if let Some(channel) = self.channel.upgrade() {
            channel.end(&Error::connection(
                ErrorKind::ConnectionLost,
                "the runtime that the channel was opened on has ended",
            ));
        }
    }
}

#[cfg(test)]
mod tests;
