//! Pushes out what TLS holds back.
//!
//! amqprs never flushes. What the socket does not take at once of the last thing that it writes
//! stays in the TLS session until it writes again, which may be the next heartbeat. So after a
//! while without anything to send, this sends something small on a channel of its own, again and
//! again until the broker has answered: by then all that was sent before has arrived.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use amqprs::channel::{BasicQosArguments, Channel, ConfirmSelectArguments};
use amqprs::connection::Connection;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::session::Session;

/// How long what was sent last may be held back, and how long a first answer may take.
const SOON: Duration = Duration::from_millis(50);

/// How far apart the attempts are in the end, while the broker does not read.
const SELDOM: Duration = Duration::from_secs(1);

/// Whether something was sent that may be held back.
#[derive(Debug, Default)]
pub(crate) struct Unflushed {
    sent: AtomicBool,
    wake: Notify,
}

impl Unflushed {
    /// Something is being sent.
    pub(crate) fn sent(&self) {
        if !self.sent.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// Waits until something is sent, and a little longer for more of it.
    async fn wait(&self) {
        self.wake.notified().await;
        tokio::time::sleep(SOON).await;
        self.sent.store(false, Ordering::Release);
    }
}

/// Pushes out what is sent on `connection`, until it is dead.
pub(crate) async fn flush(connection: Connection, session: Arc<Session>) {
    let Some(unflushed) = &session.unflushed else {
        return;
    };
    let flushing = async {
        // Before anything else is sent, so that its own opening is not held back.
        if session.take_number().is_err() {
            return;
        }
        let opened = connection.open_channel(None).await;
        // It closes when nobody holds it any more, which the channel does not, nor must this.
        drop(connection);
        // It fails only with the connection, as what follows.
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
        _ = session.dead() => {}
    }
}

/// Ends when all that was sent before has arrived.
async fn push(channel: &Channel) -> Result<(), amqprs::error::Error> {
    // A channel without consumers: this changes nothing.
    let mut answer = pin!(channel.basic_qos(BasicQosArguments::new(0, 0, false)));
    let mut pause = SOON;
    loop {
        if let Ok(answer) = timeout(pause, &mut answer).await {
            return answer;
        }
        // Nor does this, and it has no answer.
        let again = ConfirmSelectArguments::new(true);
        channel.confirm_select(again).await?;
        pause = (pause * 2).min(SELDOM);
    }
}
