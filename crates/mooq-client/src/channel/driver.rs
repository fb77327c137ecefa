//! The task that reads a channel's events.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Weak};

use mooq_core::mailbox::Receiver;
use mooq_core::{ChannelEvent, Error, ErrorKind, TransportChannel};
use tokio::time::{Instant, sleep_until};

use super::state::ChannelState;

/// Runs until the channel is closed. Holds nothing that would keep it open.
pub(super) async fn drive(
    state: Arc<ChannelState>,
    channel: Weak<dyn TransportChannel>,
    mut events: Receiver<ChannelEvent>,
) {
    let mut batch = VecDeque::new();
    // Publishes mostly have the same deadline, one after the other, so one timer that is set
    // rarely serves all of them.
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut armed = None;
    loop {
        tokio::select! {
            biased;
            more = poll_fn(|cx| events.poll_batch(cx, &mut batch)) => {
                if !more {
                    break;
                }
                for event in batch.drain(..) {
                    if state.handle(event, &channel) {
                        return;
                    }
                }
            }
            () = timer.as_mut(), if armed.is_some() => {
                let mut ledger = state.ledger();
                ledger.expire(Instant::now());
                armed = ledger.armed();
            }
            () = state.rearm.notified() => armed = state.ledger().armed(),
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
