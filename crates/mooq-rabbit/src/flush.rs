//! Flushes data that TLS holds back.
//!
//! amqprs never flushes. If the socket does not take all of amqprs' last write at once, the rest
//! stays in the TLS session until amqprs writes again, which may be the next heartbeat. So after a
//! while without anything to send, this task sends something small on a channel of its own, again
//! and again until the broker has answered: by then everything sent before has arrived.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use amqprs::channel::{BasicQosArguments, Channel, ConfirmSelectArguments};
use amqprs::connection::Connection;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::connection_state::ConnectionState;

/// Time that the last data sent may be held back, and time that a first answer may take.
const SOON: Duration = Duration::from_millis(50);

/// Longest interval between attempts, while the broker does not read.
const SELDOM: Duration = Duration::from_secs(1);

/// Tracks data that was sent and may be held back.
#[derive(Debug, Default)]
pub(crate) struct Unflushed {
    sent: AtomicBool,
    wake: Notify,
}

impl Unflushed {
    /// Records that data is being sent.
    pub(crate) fn sent(&self) {
        if !self.sent.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// Waits until data is sent, and a little longer for more of it.
    async fn wait(&self) {
        self.wake.notified().await;
        tokio::time::sleep(SOON).await;
        self.sent.store(false, Ordering::Release);
    }
}

/// Flushes the data sent on `connection`, until the connection is dead.
pub(crate) async fn flush(connection: Connection, state: Arc<ConnectionState>) {
    let Some(unflushed) = &state.unflushed else {
        return;
    };
    let flushing = async {
        // Before any other data is sent, so that the opening of this channel is not held back.
        if state.take_channel_id().is_err() {
            return;
        }
        let opened = connection.open_channel(None).await;
        // The connection closes when its last handle is dropped. The channel holds no handle, nor
        // must this task.
        drop(connection);
        // Opening fails only with the connection, like the calls that follow.
        let Ok(channel) = opened else {
            return;
        };
        loop {
            unflushed.wait().await;
            if push(&channel).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = flushing => {}
        _ = state.dead() => {}
    }
}

/// Ends when all data sent before has arrived.
async fn push(channel: &Channel) -> Result<(), amqprs::error::Error> {
    // The channel has no consumers: this changes nothing.
    let mut answer = pin!(channel.basic_qos(BasicQosArguments::new(0, 0, false)));
    let mut pause = SOON;
    loop {
        if let Ok(answer) = timeout(pause, &mut answer).await {
            return answer;
        }
        // This changes nothing either, and it has no answer.
        let again = ConfirmSelectArguments::new(true);
        channel.confirm_select(again).await?;
        pause = (pause * 2).min(SELDOM);
    }
}
