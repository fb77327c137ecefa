//! The task that reads a channel's events.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Waker;

use futures_util::FutureExt;
use mooq_core::mailbox::Receiver;
use mooq_core::{ChannelEvent, Error, ErrorKind, TransportChannel};
use tokio::time::{Instant, sleep_until};

use super::state::ChannelState;

/// Runs until the channel is closed. Holds nothing that would keep it open.
pub(super) fn drive(
    state: Arc<ChannelState>,
    channel: Weak<dyn TransportChannel>,
    events: Receiver<ChannelEvent>,
) -> impl Future<Output = ()> + Send {
    // From here on, for a runtime that ends may never have polled this.
    let state = CloseOnDrop(state);
    async move { run(&state.0, &channel, events).await }
}

async fn run(
    state: &ChannelState,
    channel: &Weak<dyn TransportChannel>,
    mut events: Receiver<ChannelEvent>,
) {
    let mut batch = VecDeque::new();
    let mut woken = Vec::new();
    // Publishes mostly have the same deadline, one after the other, so one timer that is set
    // rarely serves all of them.
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut armed = None;
    loop {
        let mut caught_up = Vec::new();
        tokio::select! {
            biased;
            more = poll_fn(|cx| events.poll_batch(cx, &mut batch)) => {
                if !more {
                    break;
                }
            }
            () = timer.as_mut(), if armed.is_some() => {
                let mut ledger = state.ledger();
                ledger.expire(Instant::now(), &mut woken);
                armed = ledger.armed();
            }
            () = state.nudge.notified() => {
                armed = state.ledger().armed();
                caught_up = state.take_catching_up();
                // What they wait for may have come after the mailbox was looked at.
                poll_fn(|cx| events.poll_batch(cx, &mut batch)).now_or_never();
            }
        }
        let mut events = batch.drain(..);
        let last = events.any(|event| state.handle(event, channel, &mut woken));
        drop(events);
        woken.drain(..).for_each(Waker::wake);
        drop(caught_up);
        if last {
            return;
        }
        if let Some(deadline) = armed
            && timer.deadline() != deadline
        {
            timer.as_mut().reset(deadline);
        }
        // A channel with much to say leaves room for the tasks that it wakes.
        tokio::task::consume_budget().await;
    }
    state.close(Error::connection(
        ErrorKind::ConnectionLost,
        "the connection ended without a reason",
    ));
}

/// Ends what waits on a channel whose driver is dropped, as it is when its runtime ends. If the
/// channel is closed already this changes nothing.
struct CloseOnDrop(Arc<ChannelState>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close(Error::connection(
            ErrorKind::ConnectionLost,
            "the runtime that the channel was opened on has ended",
        ));
    }
}

#[cfg(test)]
mod tests;
