//! Commands of a channel, as futures of amqprs.

use std::future::Future;
use std::pin::Pin;

use amqprs::channel::Channel;
use mooq_core::{Publish, Settle, Settlement};

use crate::convert;

/// A command for a worker to perform.
pub(crate) enum Command {
    Publish(Publish),
    Settle(Settle),
    Call(Call),
    /// A command that has already begun and must be finished.
    Begun(Operation),
}

/// A request with an answer. The request sends the answer to its caller itself, and drops the reply
/// sender when it fails.
pub(crate) type Call = Box<dyn FnOnce(Channel) -> Operation + Send>;
/// An unfinished call of amqprs.
pub(crate) type Operation = Pin<Box<dyn Future<Output = Outcome> + Send>>;
pub(crate) type Outcome<T = ()> = Result<T, amqprs::error::Error>;

impl Command {
    /// Number of bytes that the command adds to a queue.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Publish(publish) => publish.message.body.len(),
            Self::Settle(_) | Self::Call(_) | Self::Begun(_) => 0,
        }
    }

    pub(crate) fn begin(self, channel: Channel) -> Operation {
        match self {
            Self::Publish(publish) => {
                let (properties, body, args) = convert::publish(publish);
                Box::pin(async move { channel.basic_publish(properties, body, args).await })
            }
            Self::Settle(settle) => Box::pin(async move { send_settle(&channel, settle).await }),
            Self::Call(call) => call(channel),
            Self::Begun(operation) => operation,
        }
    }
}

pub(crate) async fn send_settle(channel: &Channel, settle: Settle) -> Outcome {
    match settle.settlement {
        Settlement::Ack => channel.basic_ack(convert::ack(settle)).await,
        Settlement::Nack { requeue } => channel.basic_nack(convert::nack(settle, requeue)).await,
        Settlement::Reject { requeue } => {
            channel.basic_reject(convert::reject(settle, requeue)).await
        }
    }
}
