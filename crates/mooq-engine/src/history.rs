//! The recent history exchange, which keeps its latest messages for later bindings
//! ([the plugin](https://github.com/rabbitmq/rabbitmq-server/tree/main/deps/rabbitmq_recent_history_exchange)).

use std::collections::VecDeque;

use mooq_core::{FieldTable, FieldValue};

use super::bindings::Destination;
use super::erlang::term::value_after;
use super::ids::ExchangeId;
use super::message::Accepted;
use super::profile::Profile;
use super::reply_code::ReplyCode;
use super::reply_error::ReplyError;
use super::{Caller, Engine};

const LENGTH: &str = "x-recent-history-length";
const NO_STORE: &str = "x-recent-history-no-store";

/// Number of messages that an exchange keeps if its arguments do not set one.
const DEFAULT_LENGTH: usize = 20;

/// The latest messages, the oldest first.
#[derive(Debug)]
pub(crate) struct History {
    length: usize,
    messages: VecDeque<Accepted>,
}

impl History {
    /// Creates the history of an exchange whose arguments were validated.
    pub(crate) fn new(arguments: &FieldTable) -> Self {
        let length = arguments.get(LENGTH).and_then(FieldValue::as_i64);
        let length = length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        Self {
            length: length.unwrap_or(DEFAULT_LENGTH),
            messages: VecDeque::new(),
        }
    }

    /// Keeps a message, unless its headers ask not to keep it.
    pub(crate) fn keep(&mut self, accepted: &Accepted) {
        let headers = &accepted.message.properties.headers;
        if headers.get(NO_STORE) == Some(&FieldValue::Bool(true)) {
            return;
        }
        if self.messages.len() >= self.length {
            self.messages.pop_front();
        }
        self.messages.push_back(accepted.clone());
    }

    pub(crate) fn clear(&mut self) {
        self.messages.clear();
    }
}

/// Checks the arguments of a new exchange.
pub(crate) fn validate_arguments(
    arguments: &FieldTable,
    profile: Profile,
) -> Result<(), ReplyError> {
    match arguments.get(LENGTH) {
        None => Ok(()),
        Some(
            FieldValue::I8(1..)
            | FieldValue::I16(1..)
            | FieldValue::I32(1..)
            | FieldValue::I64(1..),
        ) => Ok(()),
        Some(other) => Err(ReplyError::precondition_failed(format!(
            "{}, '{LENGTH}' must be a positive integer",
            value_after("Invalid argument ", other, profile)
        ))),
    }
}

impl Engine {
    /// Delivers the messages that `source` kept to a new binding's destination: to a queue from the
    /// oldest on, to an exchange from the latest on.
    pub(super) fn deliver_history(
        &mut self,
        caller: Caller,
        source: ExchangeId,
        destination: Destination,
    ) -> Result<(), ReplyError> {
        let history = self.exchanges.get(source).and_then(|x| x.history.as_ref());
        let Some(history) = history else {
            return Ok(());
        };
        let messages: Vec<_> = history.messages.iter().cloned().collect();
        match destination {
            Destination::Queue(queue) => {
                for message in messages {
                    self.arrive(queue, message, None);
                }
            }
            Destination::Exchange(exchange) => {
                for message in messages.into_iter().rev() {
                    let queues = self.route(caller.vhost, exchange, &message)?;
                    for &queue in &queues {
                        self.arrive(queue, message.clone(), None);
                    }
                    let is_lost = queues.is_empty();
                    self.router.put_back(queues);
                    if is_lost {
                        // The plugin treats that as a fault of the broker.
                        return Err(without_queue(self.options.profile));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Returns the error for a binding through which a recent history exchange cannot deliver its
/// history.
fn without_queue(profile: Profile) -> ReplyError {
    if profile.says_why_history_fails() {
        let text = "could not find queue/exchange ''";
        ReplyError::new(ReplyCode::InternalError, text)
    } else {
        ReplyError::crash()
    }
}
