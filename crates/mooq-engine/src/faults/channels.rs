//! Faults that close channels and cancel consumers.

use mooq_core::{ChannelEvent, CloseReason, Error};

use super::Scope;
use super::scope::Involved;
use crate::Engine;
use crate::channel::Ended;
use crate::command::Effect;
use crate::consumer::Status;
use crate::recording::Settled;
use crate::time::Time;

impl Engine {
    /// Closes channels with a reply code and text. Returns the number of closed channels.
    ///
    /// The close names no method: the broker does not know which method a test means to have
    /// failed.
    pub fn close_channels(&mut self, now: Time, scope: &Scope, code: u16, text: &str) -> usize {
        self.advance(now);
        self.note_fault("closes channels", scope);
        let mut closed = 0;
        for key in self.connections_in(scope) {
            let connection = key;
            let Some(open) = self.connections.get(key) else {
                continue;
            };
            let channels: Vec<_> = open.channels().collect();
            for key in channels {
                let Some(channel) = self.channels.get(key).filter(|c| !c.has_ended()) else {
                    continue;
                };
                let number = channel.number;
                let reason = CloseReason {
                    code,
                    text: text.to_owned(),
                    class_id: 0,
                    method_id: 0,
                };
                self.note_close(connection, number, &reason);
                self.end_channel(key, Ended::Failed, Settled::ChannelClosed);
                self.effects.push_back(Effect::Channel {
                    connection,
                    channel: number,
                    event: ChannelEvent::Closed(Error::channel_closed(reason)),
                });
                closed += 1;
            }
        }
        self.finish();
        closed
    }

    /// Cancels consumers, as a queue does that becomes unavailable. The consumers' unacked
    /// deliveries remain theirs to settle. Returns the number of cancelled consumers.
    pub fn cancel_consumers(&mut self, now: Time, scope: &Scope) -> usize {
        self.advance(now);
        self.note_fault("cancels consumers", scope);
        let fitting: Vec<_> = self
            .consumers
            .iter()
            .filter(|(_, consumer)| consumer.status != Status::Cancelled)
            .filter(|(_, consumer)| {
                let channel = self.channels.get(consumer.channel);
                let connection = channel.and_then(|c| self.connections.get(c.connection));
                let queue = self.queues.get(consumer.queue);
                let queue = queue.map(|queue| queue.name.as_str());
                let name = connection.and_then(|connection| connection.name.as_deref());
                scope.fits(Involved {
                    queues: queue.as_slice(),
                    ..Involved::connection(name)
                })
            })
            .map(|(key, consumer)| (key, consumer.channel, consumer.tag.clone()))
            .collect();
        let count = fitting.len();
        for (key, channel, tag) in fitting {
            // Cancelling the first of them may have removed the queue, and the queue's other
            // consumers with it.
            if self.consumers.get(key).is_some() {
                self.await_channel(channel);
                self.notify_cancelled(channel, tag);
                self.end_consumer(key);
            }
        }
        self.finish();
        count
    }
}
