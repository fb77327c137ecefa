//! Dead-lettering: messages that leave a queue unconsumed, because they are too many, too old or
//! rejected, are dropped or go to the queue's dead-letter exchange.
//!
//! `dead_letter` holds the message that is published again, and `x_death` the header that tells its
//! deaths. `at_most_once` and `at_least_once` publish it, as the queue's dead-letter strategy says.

mod at_least_once;
mod at_most_once;
pub(crate) mod dead_letter;
mod dropped;
mod x_death;

use at_most_once::SentDeadLetter;
use dead_letter::Reason;

use super::Engine;
use super::ids::QueueId;
use super::message::QueuedMessage;
use super::queue::Queue;

/// Number of dead letters that may follow from one step, beyond those that it caused itself.
///
/// RabbitMQ lets messages circle without end between queues that dead-letter to each other once
/// one of them has been rejected. Its queues are processes, and others go on meanwhile.
const DEAD_LETTERS_AT_ONCE: usize = 1_000;

/// A dead letter on its way to its exchange.
#[derive(Debug)]
pub(crate) enum PendingDeadLetter {
    /// A dead letter that has left its queue.
    Sent(SentDeadLetter),
    /// A dead letter that its queue keeps until it has arrived elsewhere.
    Kept(QueueId),
}

impl Engine {
    /// Dead-letters a message that was in a queue.
    pub(super) fn dead_letter_queued(
        &mut self,
        queue: QueueId,
        queued: &QueuedMessage,
        reason: Reason,
    ) {
        let keeps = |queue: &Queue| queue.options.keeps_dead_letters();
        if self.queues.get(queue).is_some_and(keeps) {
            self.keep_dead_letter(queue, queued, reason);
            return;
        }
        let annotations = queued.annotations_at_death();
        self.dead_letter(queue, &queued.message, annotations.as_deref(), reason);
    }

    /// Carries out what follows from the last step, and what follows from that: publishes the
    /// pending dead letters, and has quorum queues take the acknowledgements of their channels.
    ///
    /// Dead letters that circle stay pending in the end, and [`Self::carry_on`] publishes more of
    /// them.
    pub(super) fn finish(&mut self) {
        let mut left = self.dead_letters.len() + DEAD_LETTERS_AT_ONCE;
        loop {
            if left > 0
                && let Some(pending) = self.dead_letters.pop_front()
            {
                left -= 1;
                match pending {
                    PendingDeadLetter::Sent(sent) => self.publish_dead_letter(sent),
                    PendingDeadLetter::Kept(queue) => self.publish_kept_dead_letters(queue),
                }
            } else if !self.automatic_acks.is_empty() {
                self.take_automatic_acks();
            } else {
                return;
            }
        }
    }
}
