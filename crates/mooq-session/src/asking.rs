//! Questions to the broker about what exists, each on a channel of its own: the broker closes the
//! channel if the answer is no.

use mooq_core::{
    ErrorKind, ErrorScope, ExchangeDeclare, ExchangeKind, ExchangeName, QueueDeclare, QueueName,
    Result,
};

use crate::event::Event;
use crate::output::{Answer, Request};
use crate::purpose::Purpose;
use crate::session::Session;
use crate::shell::Shell;
use crate::topology::{DeadLetterInfo, DeadLetterTarget};

/// What the broker is asked about.
#[derive(Debug, Clone)]
pub(crate) enum Question {
    /// A queue whose last consumer the broker has cancelled.
    CancelledQueue(QueueName),
    /// Where a queue's dead letters go, and whether a message of the queue has failed.
    DeadLetters {
        queue: QueueName,
        target: DeadLetterTarget,
        has_failed: bool,
    },
}

impl Question {
    fn request(&self) -> Request {
        match self {
            Self::CancelledQueue(name)
            | Self::DeadLetters {
                target: DeadLetterTarget::Queue(name),
                ..
            } => {
                let mut declare = QueueDeclare::new(name.clone());
                declare.passive = true;
                Request::DeclareQueue(declare)
            }
            Self::DeadLetters {
                target: DeadLetterTarget::Exchange(name),
                ..
            } => {
                let mut declare = ExchangeDeclare::new(name.clone(), ExchangeKind::Direct);
                declare.passive = true;
                Request::DeclareExchange(declare)
            }
        }
    }
}

impl<S: Shell> Session<S> {
    /// Asks the broker, if there is a connection.
    fn put_question(&mut self, question: Question) -> bool {
        let Some(link) = self.usable_link() else {
            return false;
        };
        self.open_wire(link, Purpose::OpenToAsk(question));
        true
    }

    pub(crate) fn opened_to_ask(&mut self, question: Question, answer: Result<Answer<S>>) {
        match answer {
            Ok(Answer::Wire(wire)) => {
                let request = question.request();
                let purpose = Purpose::IsThere(question, wire.clone());
                self.ask(&wire, request, purpose);
            }
            Ok(_) => {}
            Err(err) => self.question_answered(question, Err(err)),
        }
    }

    pub(crate) fn asked_if_there(
        &mut self,
        question: Question,
        wire: S::Wire,
        answer: Result<Answer<S>>,
    ) {
        self.outbox.drop_wire(wire);
        self.question_answered(question, answer.map(|_| ()));
    }

    fn question_answered(&mut self, question: Question, answer: Result<()>) {
        match question {
            Question::CancelledQueue(queue) => {
                if answer.is_err() {
                    self.queue_may_be_deleted(&queue);
                }
            }
            Question::DeadLetters {
                queue,
                target,
                has_failed,
            } => {
                self.dead_letters.remove(&target);
                match answer {
                    Ok(()) => {
                        self.dead_letters.insert(target, true);
                    }
                    // It exists, and may not be asked about.
                    Err(err) if err.kind() == ErrorKind::AccessRefused => {
                        self.dead_letters.insert(target, true);
                    }
                    // Nothing is known. The next failure asks again.
                    Err(err) if err.scope() != ErrorScope::Channel => {}
                    Err(error) if has_failed => {
                        let target = target.to_string();
                        let missing = Event::DeadLetterTargetMissing {
                            queue,
                            target,
                            error,
                        };
                        self.outbox.tell(missing);
                    }
                    Err(_) => {}
                }
            }
        }
    }

    /// Finds out if a queue is still there whose last consumer the broker has cancelled. Most likely
    /// another client has deleted the queue: if it were redeclared at the next loss, it would fill
    /// without a consumer. But a broker also cancels the consumers of a queue whose node fails, and
    /// those of a quorum queue that take too long.
    pub(crate) fn find_out_if_deleted(&mut self, queue: &QueueName) {
        if !self.put_question(Question::CancelledQueue(queue.clone())) {
            self.queue_may_be_deleted(queue);
        }
    }

    /// Forgets a queue, unless it is consumed again by now.
    fn queue_may_be_deleted(&mut self, queue: &QueueName) {
        if !self.consumers.consume_from(queue) {
            self.topology.queue_deleted(queue);
        }
    }

    /// Returns the destination of a queue's rejected messages, as far as it is known to exist. If it
    /// is not known yet, the broker is asked: the next failure will know.
    pub fn dead_letter_info(&mut self, queue: &QueueName) -> DeadLetterInfo {
        let info = self.topology.dead_letter_info(queue);
        DeadLetterInfo {
            dead_letter_exchange: info.dead_letter_exchange && self.takes_dead_letters(queue, true),
            ..info
        }
    }

    /// Returns true if this connection has declared the exchange, and not deleted it.
    #[must_use]
    pub fn has_declared(&self, exchange: &ExchangeName) -> bool {
        self.topology.has_exchange(exchange)
    }

    /// Asks about the destination of a queue's rejected messages before a message fails.
    pub(crate) fn verify_dead_letters(&mut self, queue: &QueueName) {
        self.takes_dead_letters(queue, false);
    }

    /// Asks again for every queue that is consumed from: on another connection, what the lost one
    /// has answered may no longer be so.
    pub(crate) fn verify_dead_letters_again(&mut self) {
        for queue in self.consumers.queues() {
            self.verify_dead_letters(&queue);
        }
    }

    fn takes_dead_letters(&mut self, queue: &QueueName, has_failed: bool) -> bool {
        let Some(target) = self.topology.dead_letter_target(queue) else {
            // Each message goes by its own routing key.
            return true;
        };
        let is_declared = match &target {
            DeadLetterTarget::Queue(name) => self.topology.has_queue(name),
            DeadLetterTarget::Exchange(name) => {
                is_predeclared(name) || self.topology.has_exchange(name)
            }
        };
        if is_declared {
            return true;
        }
        if let Some(is_there) = self.dead_letters.get(&target) {
            return *is_there;
        }
        let question = Question::DeadLetters {
            queue: queue.clone(),
            target: target.clone(),
            has_failed,
        };
        if self.put_question(question) {
            // Not as far as is known, until the answer.
            self.dead_letters.insert(target, false);
        }
        false
    }
}

/// Returns true for the exchanges that every virtual host has.
fn is_predeclared(name: &ExchangeName) -> bool {
    matches!(
        name.as_str(),
        "amq.direct" | "amq.fanout" | "amq.topic" | "amq.headers" | "amq.match"
    )
}
