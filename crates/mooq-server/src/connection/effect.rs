//! The broker's effects: replies, and the events of channels and of the connection.

use std::time::Instant;

use mooq_core::{ChannelEvent, ConnectionEvent, ShortString};
use mooq_engine::{Effect, Reply};
use mooq_wire::method::{
    BasicAck, BasicCancel, BasicNack, ChannelClose, ConnectionBlocked, ConnectionCloseOk,
    ConnectionUnblocked, ConnectionUpdateSecretOk,
};

use super::channel::Channel;
use super::command::{Request, RequestKind};
use super::{Connection, ConnectionRequest, answer, reason_of};

impl Connection {
    /// Takes an effect from the broker.
    pub(crate) fn effect(&mut self, now: Instant, effect: Effect) {
        match effect {
            Effect::Reply { channel, reply, .. } => self.reply(channel, reply),
            Effect::Channel { channel, event, .. } => self.channel_event(channel, event),
            Effect::Connection { event, .. } => self.connection_event(now, event),
        }
    }

    fn reply(&mut self, number: u16, reply: Reply) {
        if number == 0 {
            return match self.requests.pop_front() {
                Some(ConnectionRequest::UpdateSecret) => {
                    self.output.method(0, &ConnectionUpdateSecretOk {}.into());
                }
                Some(ConnectionRequest::Close) => {
                    self.output.method(0, &ConnectionCloseOk {}.into());
                    self.finish();
                }
                None => {}
            };
        }
        let Some(channel) = self.channels.get_mut(&number) else {
            return;
        };
        let Some(Request { kind, nowait }) = channel.requests.pop_front() else {
            return;
        };
        match (&kind, reply) {
            (RequestKind::BasicGet { no_ack }, Reply::Fetched(Some(fetched))) => {
                let message = &fetched.message;
                self.output.content(
                    number,
                    &answer::fetched(&fetched),
                    &message.properties,
                    &message.body,
                    self.frame_max,
                );
                if !no_ack {
                    channel
                        .unsettled
                        .add(fetched.delivery_tag, fetched.in_flight);
                }
            }
            (_, reply) => {
                match (&kind, &reply) {
                    (RequestKind::BasicConsume { no_ack: true }, Reply::Consuming(tag)) => {
                        channel.automatic.insert(tag.clone());
                    }
                    (RequestKind::BasicCancel { tag }, _) => {
                        channel.automatic.remove(tag);
                    }
                    (RequestKind::ChannelClose, _) if !channel.closing => {
                        // The client may have opened the channel again without waiting.
                        let requests = std::mem::take(&mut channel.requests);
                        if requests.is_empty() {
                            self.channels.remove(&number);
                        } else {
                            *channel = Channel {
                                requests,
                                ..Channel::default()
                            };
                        }
                    }
                    _ => {}
                }
                if let Some(method) = answer::answer(kind, reply)
                    && !nowait
                {
                    self.output.method(number, &method);
                }
            }
        }
    }

    fn channel_event(&mut self, number: u16, event: ChannelEvent) {
        let Some(channel) = self.channels.get_mut(&number) else {
            return;
        };
        match event {
            ChannelEvent::Deliver(deliver) => {
                self.output.content(
                    number,
                    &answer::deliver(&deliver),
                    &deliver.message.properties,
                    &deliver.message.body,
                    self.frame_max,
                );
                if !channel.automatic.contains(&deliver.consumer_tag) {
                    channel
                        .unsettled
                        .add(deliver.delivery_tag, deliver.in_flight);
                }
            }
            ChannelEvent::Return(returned) => self.output.content(
                number,
                &answer::returned(&returned),
                &returned.message.properties,
                &returned.message.body,
                self.frame_max,
            ),
            ChannelEvent::Confirm { sequence, multiple } => {
                let ack = BasicAck {
                    delivery_tag: sequence,
                    multiple,
                };
                self.output.method(number, &ack.into());
            }
            ChannelEvent::Nack { sequence, multiple } => {
                let nack = BasicNack {
                    delivery_tag: sequence,
                    multiple,
                    requeue: false,
                };
                self.output.method(number, &nack.into());
            }
            ChannelEvent::ConsumerCancelled(consumer_tag) => {
                channel.automatic.remove(&consumer_tag);
                let nowait = true;
                let cancel = BasicCancel {
                    consumer_tag,
                    nowait,
                };
                self.output.method(number, &cancel.into());
            }
            ChannelEvent::Closed(why) => {
                // The broker drops all other requests that it has not answered.
                let mut requests = std::mem::take(&mut channel.requests);
                requests.retain(|request| request.kind == RequestKind::ChannelClose);
                *channel = Channel {
                    closing: true,
                    requests,
                    ..Channel::default()
                };
                let reason = reason_of(&why);
                let close = ChannelClose {
                    reply_code: reason.code,
                    reply_text: reason.text,
                    class_id: reason.class_id,
                    method_id: reason.method_id,
                };
                self.output.method(number, &close.into());
            }
        }
    }

    fn connection_event(&mut self, now: Instant, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Blocked(reason) => {
                let reason = ShortString::try_from(reason).unwrap_or_default();
                self.output.method(0, &ConnectionBlocked { reason }.into());
            }
            ConnectionEvent::Unblocked => {
                self.output.method(0, &ConnectionUnblocked {}.into());
            }
            // No event of a broker's.
            ConnectionEvent::CredentialsRenewed | ConnectionEvent::CredentialsNotRenewed { .. } => {
            }
            // Without a reason the connection is dropped, as by a fault: nothing more is sent.
            ConnectionEvent::Closed(why) => self.close(now, why.reason().cloned()),
        }
    }
}
