//! What the broker takes its time over, and what waits for that.

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

/// How long nothing else waits for what the broker does not answer to.
pub(super) const UNANSWERED: Duration = Duration::from_secs(1);

/// What is on its way to a link that is in use already. Each gives in the end why the link is of
/// no use, if it is not.
pub(super) type Underway = FuturesUnordered<BoxFuture<'static, Result<()>>>;

/// The queues of a link of which the broker has not said yet that they are there. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Unanswered(watch::Sender<HashSet<QueueName>>);

impl Unanswered {
    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// False if it is one of them already.
    pub(super) fn add(&self, queue: QueueName) -> bool {
        self.0.send_if_modified(|queues| queues.insert(queue))
    }

    /// The broker has answered, in whatever way.
    pub(super) fn answered(&self, queue: &QueueName) {
        self.0.send_modify(|queues| {
            queues.remove(queue);
        });
    }

    /// Waits until `queue` is not among them.
    pub(super) async fn wait_for(&self, queue: &QueueName) {
        let mut changes = self.0.subscribe();
        // The sender lives as long as this does.
        let _ = changes.wait_for(|queues| !queues.contains(queue)).await;
    }
}

/// Waits for an answer of the broker, and tells if that takes long.
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
