//! What goes wrong with a message on its way out.

use std::sync::Arc;

use mooq_core::Message;

use super::Fault;
use super::scope::Involved;
use crate::engine::Engine;
use crate::engine::arena::Key;
use crate::engine::channel::Channel;
use crate::engine::queue::Queue;

impl Engine {
    /// A message as it comes out of a queue for a channel: with another body if a fault strikes.
    pub(in crate::engine) fn perhaps_corrupted(
        &mut self,
        message: Arc<Message>,
        queue: Key<Queue>,
        channel: Key<Channel>,
    ) -> Arc<Message> {
        if self.faults.is_empty() {
            return message;
        }
        let corrupted = |fault: &Fault| matches!(fault, Fault::CorruptBodies(_)).then_some(());
        let channel = self.channels.get(channel);
        let connection = channel.and_then(|c| self.connections.get(c.connection.0));
        let queue = self.queues.get(queue).map(|queue| queue.name.as_str());
        let what = Involved {
            exchange: Some(&message.exchange),
            queues: queue.as_slice(),
            ..Involved::connection(connection.and_then(|open| open.name.as_deref()))
        };
        if self.faults.strike(what, corrupted).is_none() {
            return message;
        }
        let mut message = Arc::unwrap_or_clone(message);
        message.body = corrupt(&message.body).into();
        message.into()
    }
}

/// Other bytes than these, and no text: every bit is turned. Nothing becomes a single byte that is
/// in no text either.
fn corrupt(body: &[u8]) -> Vec<u8> {
    if body.is_empty() {
        return vec![0xff];
    }
    body.iter().map(|byte| !byte).collect()
}
