//! Outputs of the session: frames for the broker, and events for the handles.

use std::collections::VecDeque;

use mooq_core::{ChannelEvent, ConnectionEvent, Publish, Result};
use mooq_wire::Output;
use mooq_wire::method::{BasicPublish, Method};

use super::requests::{Answer, Ticket};

/// An event for a handle.
#[derive(Debug)]
pub(crate) enum Event {
    /// For the channel of this number. `ChannelEvent::Closed` is the channel's last event; the
    /// number may then be that of another channel.
    Channel(u16, ChannelEvent),
    Connection(ConnectionEvent),
    Answer(Ticket, Result<Answer>),
}

#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) output: Output,
    pub(super) events: VecDeque<Event>,
    /// The largest frame that the broker takes, in bytes.
    pub(super) frame_max: u32,
    /// Numbers of channels that keep acks back until the next write.
    pub(super) with_acks: Vec<u16>,
    /// Size of the bodies that wait in channels for an answer, in bytes.
    pub(super) deferred: usize,
}

impl Outbox {
    pub(super) fn new(output: Output, frame_max: u32) -> Self {
        Self {
            output,
            events: VecDeque::new(),
            frame_max,
            with_acks: Vec::new(),
            deferred: 0,
        }
    }

    pub(super) fn send(&mut self, channel: u16, method: impl Into<Method>) {
        self.output.method(channel, &method.into());
    }

    pub(super) fn publish(&mut self, channel: u16, publish: Publish) {
        let message = publish.message;
        let method = Method::BasicPublish(BasicPublish {
            exchange: message.exchange,
            routing_key: message.routing_key,
            mandatory: publish.mandatory,
            immediate: publish.immediate,
        });
        let Self {
            output, frame_max, ..
        } = self;
        output.content(
            channel,
            &method,
            &message.properties,
            &message.body,
            *frame_max,
        );
    }

    pub(super) fn tell(&mut self, channel: u16, event: ChannelEvent) {
        self.events.push_back(Event::Channel(channel, event));
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: Result<Answer>) {
        self.events.push_back(Event::Answer(ticket, answer));
    }
}
