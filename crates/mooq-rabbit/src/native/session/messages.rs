//! Messages from the broker: deliveries, returns and fetched messages, and those among them that
//! cannot be read.

use std::sync::Arc;

use bytes::Bytes;
use mooq_core::in_flight::InFlight;
use mooq_core::{
    ChannelEvent, ConsumerTag, Deliver, Error, ErrorKind, Fetched, Message, Properties, QueueName,
    Returned,
};
use mooq_wire::method::{BasicCancel, BasicGetOk, BasicNack, Method};

use super::channel::{Channel, Unexpected};
use super::outbox::Outbox;
use super::unreadable::Head;

impl Channel {
    pub(super) fn message(
        &mut self,
        out: &mut Outbox,
        method: Method,
        properties: Arc<Properties>,
        body: Bytes,
    ) -> Result<(), Unexpected> {
        match method {
            Method::BasicDeliver(deliver) => {
                if !self.takes(out, &deliver.consumer_tag, deliver.delivery_tag) {
                    return Ok(());
                }
                let event = ChannelEvent::Deliver(Deliver {
                    consumer_tag: deliver.consumer_tag,
                    delivery_tag: deliver.delivery_tag,
                    redelivered: deliver.redelivered,
                    message: Arc::new(Message {
                        exchange: deliver.exchange,
                        routing_key: deliver.routing_key,
                        properties,
                        body,
                    }),
                    in_flight: InFlight::default(),
                });
                out.tell(self.id.number, event);
                Ok(())
            }
            Method::BasicReturn(returned) => {
                let event = ChannelEvent::Return(Returned {
                    reply_code: returned.reply_code,
                    reply_text: returned.reply_text,
                    message: Arc::new(Message {
                        exchange: returned.exchange,
                        routing_key: returned.routing_key,
                        properties,
                        body,
                    }),
                });
                out.tell(self.id.number, event);
                Ok(())
            }
            method => Err(Unexpected(method.name())),
        }
    }

    /// Records a delivery. Returns false if its consumer is given up: then the message is requeued.
    fn takes(&mut self, out: &mut Outbox, tag: &ConsumerTag, delivery_tag: u64) -> bool {
        let consumer = self.consumers.find(tag);
        let (no_ack, is_given_up) = consumer.map_or((false, false), |consumer| {
            (consumer.no_ack, consumer.is_given_up)
        });
        if !no_ack {
            self.unacked.delivered(delivery_tag);
            if is_given_up {
                self.requeue(out, delivery_tag);
            }
        }
        !is_given_up
    }

    pub(super) fn fetched(
        &mut self,
        no_ack: bool,
        fetched: BasicGetOk,
        properties: Arc<Properties>,
        body: Bytes,
    ) -> Fetched {
        if !no_ack {
            self.unacked.delivered(fetched.delivery_tag);
        }
        Fetched {
            delivery_tag: fetched.delivery_tag,
            redelivered: fetched.redelivered,
            message_count: fetched.message_count,
            message: Arc::new(Message {
                exchange: fetched.exchange,
                routing_key: fetched.routing_key,
                properties,
                body,
            }),
            in_flight: InFlight::default(),
        }
    }

    /// Gives a message back that cannot be read, and its consumer up: the message would come again
    /// and again.
    pub(super) fn unreadable(
        &mut self,
        out: &mut Outbox,
        head: Head,
        reason: &str,
    ) -> Result<(), Unexpected> {
        match head {
            Head::Deliver {
                consumer_tag,
                delivery_tag,
            } => {
                let mut queue = QueueName::default();
                let (mut no_ack, mut is_new) = (false, false);
                if let Some(consumer) = self.consumers.find(&consumer_tag) {
                    queue = consumer.queue.clone();
                    no_ack = consumer.no_ack;
                    is_new = !std::mem::replace(&mut consumer.is_given_up, true);
                }
                let fate = if no_ack { "lost" } else { "requeued" };
                tracing::warn!(
                    %queue,
                    consumer = %consumer_tag,
                    "a message of queue '{queue}' cannot be read: {reason}. It is {fate}, and its \
                     consumer is cancelled: remove the message with another client"
                );
                if !no_ack {
                    self.unacked.delivered(delivery_tag);
                }
                // Cancelled first, or the message would be the next one to come.
                if is_new && !self.is_closing() {
                    let consumer_tag = consumer_tag.clone();
                    let nowait = true;
                    self.write(
                        out,
                        BasicCancel {
                            consumer_tag,
                            nowait,
                        },
                    );
                }
                if !no_ack {
                    self.requeue(out, delivery_tag);
                }
                if is_new {
                    out.tell(
                        self.id.number,
                        ChannelEvent::ConsumerCancelled(consumer_tag),
                    );
                }
            }
            Head::GetOk { delivery_tag } => {
                let Some(Method::BasicGet(get)) = self.request_in_progress() else {
                    return Err(Unexpected("basic.get-ok"));
                };
                let (queue, no_ack) = (self.consumers.queue(&get.queue), get.no_ack);
                let fate = if no_ack { "lost" } else { "requeued" };
                let what = format!(
                    "the message fetched from queue '{queue}' cannot be read: {reason}. It is {fate}"
                );
                tracing::warn!(%queue, "{what}");
                if !no_ack {
                    self.unacked.delivered(delivery_tag);
                    self.requeue(out, delivery_tag);
                }
                self.finish(out, Err(Error::new(ErrorKind::Decode, what)));
            }
            // Only what this side has published is returned, which is UTF-8.
            Head::Return => tracing::warn!("a returned message cannot be read: {reason}"),
        }
        Ok(())
    }

    fn requeue(&mut self, out: &mut Outbox, delivery_tag: u64) {
        // A channel that is being closed requeues by itself.
        if !self.is_closing() {
            self.write(
                out,
                BasicNack {
                    delivery_tag,
                    multiple: false,
                    requeue: true,
                },
            );
            self.unacked.settled(delivery_tag, false);
        }
    }
}
