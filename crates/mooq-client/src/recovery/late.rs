//! Requests that the broker is slow to answer, and work that waits for them.

use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use mooq_core::{QueueName, Result};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::connection::{Core, Event};

/// Time for which other work waits for a request that the broker does not answer.
pub(super) const UNANSWERED: Duration = Duration::from_secs(1);

/// Restorations under way on a link that is in use already. Each ends with the reason why the link
/// is useless, if it is.
pub(super) type Underway = FuturesUnordered<BoxFuture<'static, Result<()>>>;

/// Queues of a link that the broker has not confirmed yet. Clones share the set.
#[derive(Debug, Clone, Default)]
pub(super) struct Unanswered(watch::Sender<HashSet<QueueName>>);

impl Unanswered {
    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Adds a queue. False if the queue is in the set already.
    pub(super) fn add(&self, queue: QueueName) -> bool {
        self.0.send_if_modified(|queues| queues.insert(queue))
    }

    /// Removes a queue that the broker has answered for, with any answer.
    pub(super) fn answered(&self, queue: &QueueName) {
        self.0.send_modify(|queues| {
            queues.remove(queue);
        });
    }

    /// Waits until `queue` is not in the set.
    pub(super) async fn wait_for(&self, queue: &QueueName) {
        let mut changes = self.0.subscribe();
        // The sender lives as long as `self`.
        let _ = changes.wait_for(|queues| !queues.contains(queue)).await;
    }
}

/// Waits for an answer of the broker, and sends events if that takes long.
pub(super) async fn told_if_late<T>(core: &Core, what: &str, answer: impl Future<Output = T>) -> T {
    let (mut answer, began) = (pin!(answer), Instant::now());
    if let Ok(answer) = timeout(UNANSWERED, &mut answer).await {
        return answer;
    }
    core.tell(Event::Unanswered { what: what.into() });
    let answer = answer.await;
    core.tell(Event::Answered {
        what: what.into(),
        after: began.elapsed(),
    });
    answer
}
