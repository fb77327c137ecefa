//! Methods and messages that the broker sends on a channel, and the channel's end.

use mooq_core::{ChannelEvent, CloseReason, Error, Result};
use mooq_wire::method::{BasicCancelOk, ChannelClose, ChannelCloseOk, ChannelFlowOk, Method};

use super::super::content::Received;
use super::super::outbox::Outbox;
use super::super::requests::{Answer, answer};
use super::{Channel, Deferred, Next, Phase, Unexpected, closed_here};

impl Channel {
    pub(in crate::native::session) fn received(
        &mut self,
        out: &mut Outbox,
        received: Received,
    ) -> std::result::Result<Next, Unexpected> {
        let number = self.id.number;
        match received {
            Received::Message(Method::BasicGetOk(fetched), properties, body) => {
                let Some(Method::BasicGet(get)) = self.request_in_progress() else {
                    return Err(Unexpected("basic.get-ok"));
                };
                let no_ack = get.no_ack;
                let fetched = self.fetched(no_ack, fetched, properties, body);
                self.finish(out, Ok(Answer::Fetched(Some(fetched))));
            }
            Received::Message(method, properties, body) => {
                self.message(out, method, properties, body)?;
            }
            Received::Unreadable(head, reason) => self.unreadable(out, head, &reason)?,
            Received::Method(Method::BasicAck(ack)) => {
                self.confirms.confirm(ack.delivery_tag, ack.multiple);
                let event = ChannelEvent::Confirm {
                    sequence: ack.delivery_tag,
                    multiple: ack.multiple,
                };
                out.tell(number, event);
            }
            Received::Method(Method::BasicNack(nack)) => {
                self.confirms.confirm(nack.delivery_tag, nack.multiple);
                let event = ChannelEvent::Nack {
                    sequence: nack.delivery_tag,
                    multiple: nack.multiple,
                };
                out.tell(number, event);
            }
            Received::Method(Method::BasicCancel(cancel)) => {
                if !cancel.nowait && self.phase != Phase::Closing {
                    let consumer_tag = cancel.consumer_tag.clone();
                    self.write(out, BasicCancelOk { consumer_tag });
                }
                if self.consumers.remove(&cancel.consumer_tag) {
                    out.tell(number, ChannelEvent::ConsumerCancelled(cancel.consumer_tag));
                }
            }
            Received::Method(Method::ChannelFlow(flow)) => {
                // RabbitMQ never asks for it. Publishes are held up by TCP all the same.
                if self.phase != Phase::Closing {
                    let active = flow.active;
                    self.write(out, ChannelFlowOk { active });
                }
            }
            Received::Method(Method::ChannelClose(close)) => {
                return Ok(self.closed_by_broker(out, close));
            }
            Received::Method(Method::ChannelCloseOk(_)) => {
                if self.phase != Phase::Closing {
                    return Err(Unexpected("channel.close-ok"));
                }
                let reason = self.refusal.clone().unwrap_or_else(closed_here);
                self.end(out, &reason);
                return Ok(Next::Free);
            }
            Received::Method(method) => self.answer(out, method)?,
        }
        Ok(Next::GoOn)
    }

    /// The request that waits for an answer.
    pub(in crate::native::session) fn request_in_progress(&self) -> Option<&Method> {
        Some(&self.waiting.as_ref()?.request)
    }

    fn answer(&mut self, out: &mut Outbox, method: Method) -> std::result::Result<(), Unexpected> {
        let name = method.name();
        let Some(waiting) = &self.waiting else {
            return Err(Unexpected(name));
        };
        let answer = answer(&waiting.request, method).ok_or(Unexpected(name))?;
        match (&waiting.request, &answer) {
            (_, Answer::Declared(declared)) => self.consumers.declared(declared.name.clone()),
            (Method::BasicConsume(consume), Answer::Consumer(tag)) => {
                self.consumers.add(tag.clone(), consume);
            }
            (Method::BasicCancel(cancel), _) => {
                self.consumers.remove(&cancel.consumer_tag);
            }
            _ => {}
        }
        self.finish(out, Ok(answer));
        Ok(())
    }

    /// Answers the request in progress, and sends the calls behind it.
    pub(in crate::native::session) fn finish(&mut self, out: &mut Outbox, answer: Result<Answer>) {
        if let Some(waiting) = self.waiting.take() {
            out.answer(waiting.ticket, answer);
        }
        // After its close, nothing is sent on a channel.
        if self.phase != Phase::Closing {
            self.resume(out);
        }
    }

    pub(in crate::native::session) fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    fn closed_by_broker(&mut self, out: &mut Outbox, close: ChannelClose) -> Next {
        let reason = Error::channel_closed(CloseReason {
            code: close.reply_code,
            text: close.reply_text,
            class_id: close.class_id,
            method_id: close.method_id,
        });
        // Acks that were kept back are of no use to a closed channel.
        out.send(self.id.number, ChannelCloseOk {});
        if self.phase == Phase::Closing {
            // Both sides close the channel. The number is free once the broker has answered, too.
            self.refusal = Some(reason);
            return Next::GoOn;
        }
        self.end(out, &reason);
        Next::Free
    }

    /// Ends the channel for `reason`: whoever waits gets it.
    pub(in crate::native::session) fn end(&mut self, out: &mut Outbox, reason: &Error) {
        self.refusal = Some(reason.clone());
        if let Some(waiting) = self.waiting.take() {
            out.answer(waiting.ticket, Err(reason.clone()));
        }
        for call in self.deferred.drain(..) {
            match call {
                Deferred::Request { ticket, .. } => out.answer(ticket, Err(reason.clone())),
                Deferred::Publish(publish) => out.deferred -= publish.message.body.len(),
                Deferred::Settle(_) | Deferred::Method(_) => {}
            }
        }
        out.tell(self.id.number, ChannelEvent::Closed(reason.clone()));
    }
}
