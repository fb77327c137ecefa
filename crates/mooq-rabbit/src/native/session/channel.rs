//! A channel: its requests, publishes and settlements in the order of the calls.

mod receiving;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mooq_core::{Error, ErrorKind, Publish, Result, Settle, Settlement};
use mooq_wire::method::{BasicAck, BasicNack, BasicReject, ChannelClose, Method};

use super::confirms::Confirms;
use super::consumers::Consumers;
use super::content::Assembly;
use super::outbox::Outbox;
use super::requests::{Ticket, Waiting};
use super::unacked::Unacked;

/// Time that a close waits for confirms of earlier publishes.
const LATE_CONFIRMS: Duration = Duration::from_secs(5);

/// Time that a close waits for the answer to a request whose caller is gone.
pub(super) const FORSAKEN: Duration = Duration::from_secs(1);

/// The identity of a channel: the number of one that is closed may be that of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChannelId {
    pub(crate) number: u16,
    pub(super) serial: u64,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) id: ChannelId,
    phase: Phase,
    /// The reason why no more calls are taken.
    refusal: Option<Error>,
    pub(super) content: Assembly,
    waiting: Option<Waiting>,
    /// Calls that wait for the answer to an earlier one.
    deferred: VecDeque<Deferred>,
    pub(super) unacked: Unacked,
    pub(super) confirms: Confirms,
    pub(super) consumers: Consumers,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Earlier calls and their confirms are awaited. The time for the confirms is set once all
    /// calls are sent.
    Draining {
        confirms_until: Option<Instant>,
    },
    /// `channel.close` has been sent.
    Closing,
}

#[derive(Debug)]
enum Deferred {
    Publish(Publish),
    Settle(Settle),
    Request {
        method: Method,
        ticket: Ticket,
        is_forsaken: bool,
    },
    /// A method without an answer.
    Method(Method),
}

/// A frame of the broker's that ends the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unexpected {0}")]
pub(super) struct Unexpected(pub(super) &'static str);

/// The channel's next step after a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    /// The channel is closed, and its number is free.
    Free,
}

impl Channel {
    pub(super) fn new(id: ChannelId) -> Self {
        Self {
            id,
            phase: Phase::Open,
            refusal: None,
            content: Assembly::default(),
            waiting: None,
            deferred: VecDeque::new(),
            unacked: Unacked::default(),
            confirms: Confirms::default(),
            consumers: Consumers::default(),
        }
    }

    pub(super) fn refusal(&self) -> Option<&Error> {
        self.refusal.as_ref()
    }

    fn check(&self) -> Result<()> {
        match &self.refusal {
            Some(reason) => Err(reason.clone()),
            None => Ok(()),
        }
    }

    // Calls.

    pub(super) fn publish(&mut self, out: &mut Outbox, publish: Publish) -> Result<()> {
        self.check()?;
        if self.deferred.is_empty() {
            self.send_publish(out, publish);
        } else {
            out.deferred += publish.message.body.len();
            self.deferred.push_back(Deferred::Publish(publish));
        }
        Ok(())
    }

    pub(super) fn settle(&mut self, out: &mut Outbox, settle: Settle) -> Result<()> {
        self.check()?;
        if self.deferred.is_empty() {
            self.send_settle(out, settle);
        } else {
            self.deferred.push_back(Deferred::Settle(settle));
        }
        Ok(())
    }

    /// Sends a request, once the one before is answered.
    pub(super) fn request(
        &mut self,
        out: &mut Outbox,
        method: Method,
        ticket: Ticket,
    ) -> Result<()> {
        self.check()?;
        if self.waiting.is_none() {
            self.send_request(out, method, ticket, false);
        } else {
            self.deferred.push_back(Deferred::Request {
                method,
                ticket,
                is_forsaken: false,
            });
        }
        Ok(())
    }

    /// Sends a method that has no answer.
    pub(super) fn send(&mut self, out: &mut Outbox, method: Method) -> Result<()> {
        self.check()?;
        if self.deferred.is_empty() {
            self.write(out, method);
        } else {
            self.deferred.push_back(Deferred::Method(method));
        }
        Ok(())
    }

    /// Records that no caller waits for the answer to a request.
    pub(super) fn forsake(&mut self, ticket: Ticket) {
        if let Some(waiting) = &mut self.waiting
            && waiting.ticket == ticket
        {
            waiting.is_forsaken = true;
            return;
        }
        for call in &mut self.deferred {
            if let Deferred::Request {
                ticket: of,
                is_forsaken,
                ..
            } = call
                && *of == ticket
            {
                *is_forsaken = true;
            }
        }
    }

    /// Takes no more calls from here on, for `reason`, and finishes the earlier ones.
    pub(super) fn drain(&mut self, reason: Error) {
        self.refusal.get_or_insert(reason);
        if self.phase == Phase::Open {
            self.phase = Phase::Draining {
                confirms_until: None,
            };
        }
    }

    /// Returns true if the channel waits for nothing that a close has to wait for.
    pub(super) fn is_drained(&mut self, now: Instant) -> bool {
        let Phase::Draining { confirms_until } = &mut self.phase else {
            return true;
        };
        match &mut self.waiting {
            // RabbitMQ takes a minute over a queue whose node is down.
            Some(waiting) if waiting.is_forsaken => {
                now >= *waiting.until.get_or_insert(now + FORSAKEN)
            }
            Some(_) => false,
            None => {
                let until = *confirms_until.get_or_insert(now + LATE_CONFIRMS);
                self.confirms.are_all() || now >= until
            }
        }
    }

    /// The time at which [`is_drained`](Self::is_drained) has to be asked again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let Phase::Draining { confirms_until } = self.phase else {
            return None;
        };
        match &self.waiting {
            Some(waiting) => waiting.until,
            None => confirms_until,
        }
    }

    /// Sends `channel.close`.
    pub(super) fn close(&mut self, out: &mut Outbox) {
        self.write(
            out,
            ChannelClose {
                reply_code: 200,
                reply_text: "closed by the client".into(),
                class_id: 0,
                method_id: 0,
            },
        );
        self.phase = Phase::Closing;
    }

    /// Sends nothing more: the connection is being closed.
    pub(super) fn stop(&mut self, out: &mut Outbox) {
        if self.phase != Phase::Closing {
            self.release_acks(out);
            self.phase = Phase::Closing;
        }
    }

    // Sending.

    /// Writes a method, after the acks that were kept back.
    pub(super) fn write(&mut self, out: &mut Outbox, method: impl Into<Method>) {
        self.release_acks(out);
        out.send(self.id.number, method);
    }

    pub(super) fn release_acks(&mut self, out: &mut Outbox) {
        let number = self.id.number;
        self.unacked.release(|delivery_tag, multiple| {
            out.send(
                number,
                BasicAck {
                    delivery_tag,
                    multiple,
                },
            );
        });
    }

    fn send_publish(&mut self, out: &mut Outbox, publish: Publish) {
        self.release_acks(out);
        self.confirms.publish();
        out.publish(self.id.number, publish);
    }

    fn send_settle(&mut self, out: &mut Outbox, settle: Settle) {
        let Settle {
            delivery_tag,
            multiple,
            settlement,
        } = settle;
        if settlement == Settlement::Ack && !multiple {
            let is_first = !self.unacked.has_acks();
            if self.unacked.keep_back(delivery_tag) {
                if is_first {
                    out.with_acks.push(self.id.number);
                }
                return;
            }
        }
        let method = match settlement {
            Settlement::Ack => Method::BasicAck(BasicAck {
                delivery_tag,
                multiple,
            }),
            Settlement::Nack { requeue } => Method::BasicNack(BasicNack {
                delivery_tag,
                multiple,
                requeue,
            }),
            Settlement::Reject { requeue } => Method::BasicReject(BasicReject {
                delivery_tag,
                requeue,
            }),
        };
        let multiple = multiple && !matches!(settlement, Settlement::Reject { .. });
        self.write(out, method);
        self.unacked.settled(delivery_tag, multiple);
    }

    fn send_request(
        &mut self,
        out: &mut Outbox,
        method: Method,
        ticket: Ticket,
        is_forsaken: bool,
    ) {
        match &method {
            Method::ConfirmSelect(_) => self.confirms.begin(),
            Method::TxSelect(_) | Method::BasicRecover(_) => {
                self.release_acks(out);
                self.unacked.give_up();
            }
            _ => {}
        }
        self.write(out, method.clone());
        self.waiting = Some(Waiting {
            ticket,
            request: method,
            is_forsaken,
            until: None,
        });
    }

    /// Sends the calls that waited for an answer, up to the next request.
    fn resume(&mut self, out: &mut Outbox) {
        while let Some(call) = self.deferred.pop_front() {
            match call {
                Deferred::Publish(publish) => {
                    out.deferred -= publish.message.body.len();
                    self.send_publish(out, publish);
                }
                Deferred::Settle(settle) => self.send_settle(out, settle),
                Deferred::Method(method) => self.write(out, method),
                Deferred::Request {
                    method,
                    ticket,
                    is_forsaken,
                } if self.waiting.is_none() => {
                    self.send_request(out, method, ticket, is_forsaken);
                }
                request @ Deferred::Request { .. } => {
                    self.deferred.push_front(request);
                    break;
                }
            }
        }
    }
}

/// The reason for failed calls once this side closes the channel.
pub(super) fn closed_here() -> Error {
    Error::channel(
        ErrorKind::ChannelClosed,
        "the channel was closed from this side",
    )
}
