//! Callbacks that amqprs calls for events of the broker.
//!
//! amqprs runs the callbacks in its reader and in each channel's dispatcher. A request made in a
//! callback would wait for an answer that the waiting task itself has to read, so all callbacks do
//! is to store and to push. Dropping the callbacks is a signal too: amqprs drops them when its
//! reader or dispatcher ends, by agreement, by an error of the socket or by a panic, and gives no
//! other reliable signal: its `listen_network_io_failure` never returns if it is called too late.

use std::sync::Arc;

use amqprs::callbacks::{ChannelCallback, ConnectionCallback};
use amqprs::channel::Channel;
use amqprs::connection::Connection;
use amqprs::error::Error as AmqprsError;
use amqprs::{Ack, BasicProperties, Cancel, Close, CloseChannel, Nack, Return};
use async_trait::async_trait;
use mooq_core::{ChannelEvent, ConnectionEvent, Error};

use crate::channel_state::ChannelState;
use crate::connection_state::ConnectionState;
use crate::convert;

type Done<T = ()> = Result<T, AmqprsError>;

pub(crate) struct ConnectionHooks(pub(crate) Arc<ConnectionState>);

#[async_trait]
impl ConnectionCallback for ConnectionHooks {
    async fn close(&mut self, _: &Connection, close: Close) -> Done {
        let reason = Error::connection_closed(convert::connection_close(&close));
        self.0.die(reason);
        Ok(())
    }

    // Not called in practice: amqprs does not announce to the broker that it supports this.
    async fn blocked(&mut self, _: &Connection, reason: String) {
        self.0.send(ConnectionEvent::Blocked(reason));
    }

    async fn unblocked(&mut self, _: &Connection) {
        self.0.send(ConnectionEvent::Unblocked);
    }

    async fn secret_updated(&mut self, _: &Connection) {}
}

impl Drop for ConnectionHooks {
    fn drop(&mut self) {
        self.0.reader_ended();
    }
}

pub(crate) struct ChannelHooks(pub(crate) Arc<ChannelState>);

#[async_trait]
impl ChannelCallback for ChannelHooks {
    async fn close(&mut self, channel: &Channel, close: CloseChannel) -> Done {
        let reason = Error::channel_closed(convert::channel_close(&close));
        tracing::debug!(
            broker = self.0.connection.address(),
            channel = channel.channel_id(),
            %reason,
            "channel closed by the broker"
        );
        if self.0.closed_by_broker(reason) {
            // A close from this side may be under way, and the broker's close-ok to it would find
            // no dispatcher, upon which amqprs gives up the connection. So this dispatcher stays to
            // receive the close-ok, and ends with the connection.
            let reason = self.0.connection.dead().await;
            return Err(AmqprsError::ChannelCloseError(reason.to_string()));
        }
        Ok(())
    }

    // The result must be Ok: only then does amqprs end the consumer's queue.
    async fn cancel(&mut self, _: &Channel, cancel: Cancel) -> Done {
        let tag = convert::name(cancel.consumer_tag());
        self.0.consumers.cancelled_by_broker(tag);
        Ok(())
    }

    async fn flow(&mut self, _: &Channel, active: bool) -> Done<bool> {
        Ok(active)
    }

    async fn publish_ack(&mut self, _: &Channel, ack: Ack) {
        let (sequence, multiple) = (ack.delivery_tag(), ack.mutiple());
        let confirm = ChannelEvent::Confirm { sequence, multiple };
        self.0.events.send(confirm);
        self.0.confirms.confirm(sequence, multiple);
    }

    async fn publish_nack(&mut self, _: &Channel, nack: Nack) {
        let (sequence, multiple) = (nack.delivery_tag(), nack.multiple());
        self.0
            .events
            .send(ChannelEvent::Nack { sequence, multiple });
        self.0.confirms.confirm(sequence, multiple);
    }

    async fn publish_return(
        &mut self,
        _: &Channel,
        head: Return,
        properties: BasicProperties,
        body: Vec<u8>,
    ) {
        let returned = convert::returned(&head, &properties, body);
        self.0.events.send(ChannelEvent::Return(returned));
    }
}

impl Drop for ChannelHooks {
    fn drop(&mut self) {
        self.0.dispatcher_ended();
    }
}
