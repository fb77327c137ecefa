//! State and events of a connection, for its users to watch.

use std::time::Duration;

use mooq_core::{Error, QueueName, RoutingKey, ShortString};

/// State of a connection.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ConnectionState {
    /// The connection is open, and everything that was declared over it exists, except for what is
    /// [`Unanswered`](Event::Unanswered).
    Connected,
    /// The connection was lost, and is being reopened.
    Reconnecting {
        /// Number of the current or next attempt; 0 before the first delay begins. It continues
        /// counting if the connection is lost again soon after it was restored
        /// ([`Recovery`](crate::Recovery)).
        attempts: u32,
        /// Reason why the latest attempt failed, or why the connection was lost.
        error: Error,
    },
    /// The connection is closed for good, for this reason: `ConnectionClosed` if it was closed from
    /// this side.
    Closed(Error),
}

impl ConnectionState {
    /// Returns true if the connection is open.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected)
    }

    /// Returns true if the connection is closed for good.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

/// An event of a connection.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The connection was lost. Unconfirmed publishes fail, or wait to be sent again; deliveries
    /// that are not settled yet are stale.
    Lost(Error),
    /// An attempt to reopen the connection failed.
    AttemptFailed(Error),
    /// The connection is open again, and everything that was declared over it exists, except for
    /// what is [`Unanswered`](Self::Unanswered).
    Reconnected {
        /// `host:port` of the broker.
        address: String,
        /// Time for which the connection was lost.
        after: Duration,
    },
    /// The broker closed a channel for this reason, and the channel has been reopened.
    ChannelReopened(Error),
    /// An exchange, queue or binding could not be redeclared and was skipped; or a channel must
    /// wait before it is reopened, because the broker's channel limit is reached.
    NotRestored {
        /// Description of the resource.
        what: String,
        /// Reason.
        error: Error,
    },
    /// The broker has not yet answered the redeclaration of a durable queue, or the registration of
    /// a consumer. Recovery continues without the queue or the consumer. The consumer's channel,
    /// and the bindings of the queue, are restored once the broker answers: RabbitMQ takes a minute
    /// over a queue whose node is down. If the connection is lost before that, all of this starts
    /// over.
    Unanswered {
        /// Description of the resource.
        what: String,
    },
    /// The broker has answered for a resource that was [`Unanswered`](Self::Unanswered). If the
    /// answer is an error, [`NotRestored`](Self::NotRestored) or
    /// [`ConsumerEnded`](Self::ConsumerEnded) follows.
    Answered {
        /// Description of the resource, in the same words.
        what: String,
        /// Time that the answer took.
        after: Duration,
    },
    /// The broker gave a server-named queue a new name.
    QueueRenamed {
        /// The queue's old name.
        from: QueueName,
        /// The queue's new name.
        to: QueueName,
    },
    /// The broker ended a consumer: its queue was deleted, it could not be registered again, or
    /// RabbitMQ 4.3 cancelled it because a delivery from its quorum queue was not acknowledged
    /// within the [consumer
    /// timeout](https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout).
    ConsumerEnded {
        /// The consumer's queue.
        queue: QueueName,
        /// Reason.
        error: Error,
    },
    /// A message has failed at least three times: its callback fails, or its body does not decode.
    /// The message is retried, and the event is sent for the third failure and each one after it.
    /// No message is lost, but if it is retried in place with a concurrency of 1, the messages
    /// behind it wait.
    KeepsFailing {
        /// The message's queue.
        queue: QueueName,
        /// The routing key that the message was published with.
        routing_key: RoutingKey,
        /// The message's id, if it has one.
        message_id: Option<ShortString>,
        /// Number of failures of the message: since it was delivered if it is retried in place, or
        /// in all if it waits in delay queues.
        attempts: u32,
        /// Reason for the latest failure.
        error: String,
        /// Time until the next attempt.
        next_attempt: Duration,
    },
    /// A message has failed for good, by the policy `Retry` of its consumer.
    GaveUp {
        /// The message's queue.
        queue: QueueName,
        /// The routing key that the message was published with.
        routing_key: RoutingKey,
        /// The message's id, if it has one.
        message_id: Option<ShortString>,
        /// Number of attempts.
        attempts: u32,
        /// Reason for the latest failure.
        error: String,
        /// The message's fate.
        fate: Fate,
    },
    /// A message that failed could not be moved to the queue in which it waits or is parked. It is
    /// kept, unacked, and its callback runs again.
    NotMoved {
        /// The message's queue.
        queue: QueueName,
        /// The routing key that the message was published with.
        routing_key: RoutingKey,
        /// The message's id, if it has one.
        message_id: Option<ShortString>,
        /// Reason.
        error: String,
        /// Time until the callback runs again.
        next_attempt: Duration,
    },
    /// A message of the queue has failed, and the destination of the queue's dead letters does not
    /// exist: a reject would lose the message. A policy in place that has neither an end nor a
    /// number of attempts retries it instead, and the event is sent each time.
    DeadLetterTargetMissing {
        /// The message's queue.
        queue: QueueName,
        /// The exchange or queue that does not exist, for example `exchange 'dead'`.
        target: String,
        /// The broker's answer.
        error: Error,
    },
    /// The broker has stopped reading from connections that publish, for the given reason.
    ///
    /// **Not sent on RabbitMQ over amqprs**, which does not ask RabbitMQ to announce its alarms: an
    /// alarm is silent then. Publishes and calls wait up to their timeouts, and the timeout's error
    /// says so. It is sent over `NativeTransport`, and by an in-memory broker that is asked to
    /// (`InMemoryBroker::announce_blocked`).
    Blocked(String),
    /// The broker reads from such connections again.
    Unblocked,
    /// The broker has taken new credentials from their provider, in place of those that are about to
    /// expire.
    CredentialsRenewed,
    /// The provider has failed to return new credentials, or the broker has not taken them. The
    /// connection goes on with the old ones, and the next attempt is made before they expire, or
    /// every 30 s after that. A broker that minds closes the connection; it is reopened with the
    /// credentials that the provider returns then.
    CredentialsNotRenewed {
        /// The reason.
        error: Error,
        /// Time until the next attempt.
        next_attempt: Duration,
    },
    /// The connection is closed for good, for this reason. Always the last event.
    Closed(Error),
    /// This many events were dropped, because they were not read in time.
    Missed(u64),
}

/// What became of a message that has failed for good.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// The broker has confirmed a copy of it in this queue.
    Parked(QueueName),
    /// It was rejected: its queue dead-letters it, or drops it if it has no dead-letter exchange.
    Rejected,
    /// It was acked, and is lost.
    Dropped,
}

impl Event {
    /// Logs the event, for services that do not listen.
    pub fn log(&self, address: &str) {
        match self {
            Self::Lost(err) => tracing::warn!(address, %err, "the connection is lost"),
            Self::AttemptFailed(err) => {
                tracing::debug!(address, %err, "the connection could not be opened again");
            }
            Self::Reconnected { address, after } => {
                tracing::info!(address, ?after, "the connection is open again");
            }
            Self::ChannelReopened(err) => {
                tracing::warn!(address, %err, "the broker closed a channel, which is open again");
            }
            Self::NotRestored { what, error } => {
                tracing::error!(address, what, err = %error, "could not be restored");
            }
            Self::Unanswered { what } => {
                tracing::warn!(
                    address,
                    what,
                    "not restored yet: the broker has not answered"
                );
            }
            Self::Answered { what, after } => {
                tracing::info!(address, what, ?after, "the broker has answered");
            }
            Self::QueueRenamed { from, to } => {
                tracing::info!(address, %from, %to, "the broker has given a queue a new name");
            }
            Self::ConsumerEnded { queue, error } => {
                tracing::warn!(address, %queue, err = %error, "a consumer has ended");
            }
            Self::DeadLetterTargetMissing {
                queue,
                target,
                error,
            } => {
                tracing::warn!(address, %queue, target, err = %error, "rejected messages would be lost: the destination of dead letters is missing");
            }
            // Logged with each failure.
            Self::KeepsFailing { .. } | Self::GaveUp { .. } | Self::NotMoved { .. } => {}
            Self::Blocked(reason) => {
                tracing::warn!(address, reason, "the broker has blocked the connection");
            }
            Self::Unblocked => tracing::info!(address, "the broker has unblocked the connection"),
            Self::CredentialsRenewed => tracing::debug!(address, "the credentials are renewed"),
            Self::CredentialsNotRenewed {
                error,
                next_attempt,
            } => {
                tracing::warn!(address, err = %error, ?next_attempt, "the credentials could not be renewed");
            }
            Self::Closed(err) => tracing::debug!(address, %err, "the connection is closed"),
            // Concerns one stream only.
            Self::Missed(_) => {}
        }
    }
}
