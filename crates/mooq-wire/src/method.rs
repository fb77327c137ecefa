//! The methods of AMQP 0-9-1 and RabbitMQ's extensions, in both directions
//! ([reference](https://www.rabbitmq.com/amqp-0-9-1-reference)).
//!
//! Each method is a struct of its fields, in wire order. Reserved fields are written as zero and
//! ignored when read, as RabbitMQ does.

use bytes::Bytes;
use mooq_core::{
    ConsumerTag, ExchangeKind, ExchangeName, FieldTable, QueueName, RoutingKey, ShortString,
    VirtualHost,
};

use crate::error::DecodeError;
use crate::field::Field;
use crate::limits::Limits;
use crate::reader::Reader;
use crate::writer::Writer;

/// Declares methods: `Name = class, number, [reserved before] { fields } [reserved after];`.
macro_rules! methods {
    ($(
        $(#[$doc:meta])*
        $name:ident = $class:literal, $number:literal, $wire_name:literal,
        [$($before:ty),*] {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
        } [$($after:ty),*];
    )+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $type,)*
            }

            impl From<$name> for Method {
                fn from(method: $name) -> Self {
                    Self::$name(method)
                }
            }
        )+

        /// A method of any class.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum Method {
            $($(#[$doc])* $name($name),)+
        }

        impl Method {
            /// The class and the method's number within it, as `connection.close` and
            /// `channel.close` name them.
            #[must_use]
            pub fn id(&self) -> (u16, u16) {
                match self {
                    $(Self::$name(_) => ($class, $number),)+
                }
            }

            /// The method's name in the specification, for example `basic.publish`.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $wire_name,)+
                }
            }

            /// Decodes the payload of a method frame.
            ///
            /// # Errors
            /// `UnknownMethod`, or the error of a malformed field.
            pub fn decode(payload: Bytes, limits: &Limits) -> Result<Self, DecodeError> {
                let mut reader = Reader::new(payload, limits);
                let method = match (reader.u16()?, reader.u16()?) {
                    $(
                        ($class, $number) => {
                            $(<$before as Field>::read(&mut reader)?;)*
                            let method = $name { $($field: Field::read(&mut reader)?,)* };
                            $(<$after as Field>::read(&mut reader)?;)*
                            Self::$name(method)
                        }
                    )+
                    (class, method) => return Err(DecodeError::UnknownMethod { class, method }),
                };
                reader.finish()?;
                Ok(method)
            }

            /// Writes the payload of a method frame.
            pub(crate) fn write(&self, writer: &mut Writer<'_>) {
                let (class, number) = self.id();
                writer.u16(class);
                writer.u16(number);
                match self {
                    $(
                        Self::$name($name { $($field,)* }) => {
                            $(<$before as Reserved>::blank(writer);)*
                            $($field.write(writer);)*
                            $(<$after as Reserved>::blank(writer);)*
                        }
                    )+
                }
            }

            /// Every method with its class, number and name, for tables of methods.
            pub const ALL: &[(u16, u16, &str)] = &[$(($class, $number, $wire_name),)+];
        }
    };
}

/// A reserved field.
trait Reserved {
    fn blank(writer: &mut Writer<'_>);
}

impl Reserved for bool {
    fn blank(writer: &mut Writer<'_>) {
        writer.bit(false);
    }
}

impl Reserved for u16 {
    fn blank(writer: &mut Writer<'_>) {
        writer.u16(0);
    }
}

impl Reserved for ShortString {
    fn blank(writer: &mut Writer<'_>) {
        writer.short_string("");
    }
}

impl Reserved for Bytes {
    fn blank(writer: &mut Writer<'_>) {
        writer.long_string(&[]);
    }
}

methods! {
    /// `connection.start`: the server introduces itself and offers ways to log in.
    ConnectionStart = 10, 10, "connection.start", [] {
        /// 0 for AMQP 0-9-1.
        version_major: u8,
        /// 9 for AMQP 0-9-1.
        version_minor: u8,
        /// The server's properties, including its capabilities.
        server_properties: FieldTable,
        /// The authentication mechanisms, separated by spaces.
        mechanisms: Bytes,
        /// The locales of the server's texts, separated by spaces.
        locales: Bytes,
    } [];
    /// `connection.start-ok`: the client introduces itself.
    ConnectionStartOk = 10, 11, "connection.start-ok", [] {
        /// The client's properties, including its capabilities.
        client_properties: FieldTable,
        /// The mechanism that the client has chosen.
        mechanism: ShortString,
        /// The client's response in that mechanism. It contains the password.
        response: Bytes,
        /// The locale that the client has chosen.
        locale: ShortString,
    } [];
    /// `connection.secure`: the server asks for further authentication.
    ConnectionSecure = 10, 20, "connection.secure", [] {
        /// The challenge, in the mechanism's terms.
        challenge: Bytes,
    } [];
    /// `connection.secure-ok`: the client answers the challenge.
    ConnectionSecureOk = 10, 21, "connection.secure-ok", [] {
        /// The answer.
        response: Bytes,
    } [];
    /// `connection.tune`: the server's limits.
    ConnectionTune = 10, 30, "connection.tune", [] {
        /// The highest number of a channel; 0 for no limit.
        channel_max: u16,
        /// The largest frame, in bytes; 0 for no limit.
        frame_max: u32,
        /// The interval of heartbeats, in seconds; 0 for none.
        heartbeat: u16,
    } [];
    /// `connection.tune-ok`: the limits that the client has chosen.
    ConnectionTuneOk = 10, 31, "connection.tune-ok", [] {
        /// The highest number of a channel.
        channel_max: u16,
        /// The largest frame, in bytes.
        frame_max: u32,
        /// The interval of heartbeats, in seconds; 0 for none.
        heartbeat: u16,
    } [];
    /// `connection.open`: the client chooses a virtual host.
    ConnectionOpen = 10, 40, "connection.open", [] {
        /// The virtual host.
        virtual_host: VirtualHost,
    } [ShortString, bool];
    /// `connection.open-ok`.
    ConnectionOpenOk = 10, 41, "connection.open-ok", [] {} [ShortString];
    /// `connection.close`: either side ends the connection and gives the reason.
    ConnectionClose = 10, 50, "connection.close", [] {
        /// The reply code.
        reply_code: u16,
        /// The reason in words: at most 255 bytes.
        reply_text: String,
        /// The class of the method that failed, or 0.
        class_id: u16,
        /// The method that failed, or 0.
        method_id: u16,
    } [];
    /// `connection.close-ok`.
    ConnectionCloseOk = 10, 51, "connection.close-ok", [] {} [];
    /// `connection.blocked`: the server reads nothing more from connections that publish
    /// ([RabbitMQ](https://www.rabbitmq.com/docs/connection-blocked)).
    ConnectionBlocked = 10, 60, "connection.blocked", [] {
        /// The reason in words.
        reason: ShortString,
    } [];
    /// `connection.unblocked`: the server reads again.
    ConnectionUnblocked = 10, 61, "connection.unblocked", [] {} [];
    /// `connection.update-secret`: the client's token has changed.
    ConnectionUpdateSecret = 10, 70, "connection.update-secret", [] {
        /// The new secret.
        new_secret: Bytes,
        /// The reason in words.
        reason: ShortString,
    } [];
    /// `connection.update-secret-ok`.
    ConnectionUpdateSecretOk = 10, 71, "connection.update-secret-ok", [] {} [];

    /// `channel.open`.
    ChannelOpen = 20, 10, "channel.open", [] {} [ShortString];
    /// `channel.open-ok`.
    ChannelOpenOk = 20, 11, "channel.open-ok", [] {} [Bytes];
    /// `channel.flow`: asks the peer to send content, or to stop.
    ChannelFlow = 20, 20, "channel.flow", [] {
        /// True if the peer should send content.
        active: bool,
    } [];
    /// `channel.flow-ok`.
    ChannelFlowOk = 20, 21, "channel.flow-ok", [] {
        /// True if the peer sends content.
        active: bool,
    } [];
    /// `channel.close`: either side ends the channel and gives the reason.
    ChannelClose = 20, 40, "channel.close", [] {
        /// The reply code.
        reply_code: u16,
        /// The reason in words: at most 255 bytes.
        reply_text: String,
        /// The class of the method that failed, or 0.
        class_id: u16,
        /// The method that failed, or 0.
        method_id: u16,
    } [];
    /// `channel.close-ok`.
    ChannelCloseOk = 20, 41, "channel.close-ok", [] {} [];

    /// `access.request`: obsolete, and still answered.
    AccessRequest = 30, 10, "access.request", [] {
        /// The realm.
        realm: ShortString,
        /// True for exclusive access.
        exclusive: bool,
        /// True for passive access.
        passive: bool,
        /// True for active access.
        active: bool,
        /// True for write access.
        write: bool,
        /// True for read access.
        read: bool,
    } [];
    /// `access.request-ok`.
    AccessRequestOk = 30, 11, "access.request-ok", [] {
        /// The ticket, which has no use.
        ticket: u16,
    } [];

    /// `exchange.declare`.
    ExchangeDeclare = 40, 10, "exchange.declare", [u16] {
        /// The exchange's name.
        exchange: ExchangeName,
        /// The exchange's kind.
        kind: ExchangeKind,
        /// True to only check that the exchange exists.
        passive: bool,
        /// True if the exchange survives a restart of the broker.
        durable: bool,
        /// True if the exchange is deleted when its last binding as source is removed.
        auto_delete: bool,
        /// True if only other exchanges may publish to the exchange.
        internal: bool,
        /// True if no answer is wanted.
        nowait: bool,
        /// Extensions.
        arguments: FieldTable,
    } [];
    /// `exchange.declare-ok`.
    ExchangeDeclareOk = 40, 11, "exchange.declare-ok", [] {} [];
    /// `exchange.delete`.
    ExchangeDelete = 40, 20, "exchange.delete", [u16] {
        /// The exchange's name.
        exchange: ExchangeName,
        /// True to delete the exchange only if nothing is bound to it as source.
        if_unused: bool,
        /// True if no answer is wanted.
        nowait: bool,
    } [];
    /// `exchange.delete-ok`.
    ExchangeDeleteOk = 40, 21, "exchange.delete-ok", [] {} [];
    /// `exchange.bind` ([RabbitMQ](https://www.rabbitmq.com/docs/e2e)).
    ExchangeBind = 40, 30, "exchange.bind", [u16] {
        /// The exchange that messages go to.
        destination: ExchangeName,
        /// The exchange that messages come from.
        source: ExchangeName,
        /// The key or pattern.
        routing_key: RoutingKey,
        /// True if no answer is wanted.
        nowait: bool,
        /// The headers to match, for headers exchanges.
        arguments: FieldTable,
    } [];
    /// `exchange.bind-ok`.
    ExchangeBindOk = 40, 31, "exchange.bind-ok", [] {} [];
    /// `exchange.unbind`.
    ExchangeUnbind = 40, 40, "exchange.unbind", [u16] {
        /// The exchange that messages go to.
        destination: ExchangeName,
        /// The exchange that messages come from.
        source: ExchangeName,
        /// The key or pattern.
        routing_key: RoutingKey,
        /// True if no answer is wanted.
        nowait: bool,
        /// The arguments of the binding.
        arguments: FieldTable,
    } [];
    /// `exchange.unbind-ok`, whose number is 51 in RabbitMQ.
    ExchangeUnbindOk = 40, 51, "exchange.unbind-ok", [] {} [];

    /// `queue.declare`.
    QueueDeclare = 50, 10, "queue.declare", [u16] {
        /// The queue's name. If it is empty, the broker chooses one.
        queue: QueueName,
        /// True to only check that the queue exists.
        passive: bool,
        /// True if the queue survives a restart of the broker.
        durable: bool,
        /// True if only this connection may use the queue.
        exclusive: bool,
        /// True if the queue is deleted when its last consumer goes.
        auto_delete: bool,
        /// True if no answer is wanted.
        nowait: bool,
        /// Extensions.
        arguments: FieldTable,
    } [];
    /// `queue.declare-ok`.
    QueueDeclareOk = 50, 11, "queue.declare-ok", [] {
        /// The queue's name.
        queue: QueueName,
        /// Number of ready messages.
        message_count: u32,
        /// Number of the queue's consumers.
        consumer_count: u32,
    } [];
    /// `queue.bind`.
    QueueBind = 50, 20, "queue.bind", [u16] {
        /// The queue. If it is empty, the one that the channel declared last.
        queue: QueueName,
        /// The exchange that messages come from.
        exchange: ExchangeName,
        /// The key or pattern.
        routing_key: RoutingKey,
        /// True if no answer is wanted.
        nowait: bool,
        /// The headers to match, for headers exchanges.
        arguments: FieldTable,
    } [];
    /// `queue.bind-ok`.
    QueueBindOk = 50, 21, "queue.bind-ok", [] {} [];
    /// `queue.purge`.
    QueuePurge = 50, 30, "queue.purge", [u16] {
        /// The queue. If it is empty, the one that the channel declared last.
        queue: QueueName,
        /// True if no answer is wanted.
        nowait: bool,
    } [];
    /// `queue.purge-ok`.
    QueuePurgeOk = 50, 31, "queue.purge-ok", [] {
        /// Number of messages that were ready.
        message_count: u32,
    } [];
    /// `queue.delete`.
    QueueDelete = 50, 40, "queue.delete", [u16] {
        /// The queue. If it is empty, the one that the channel declared last.
        queue: QueueName,
        /// True to delete the queue only if it has no consumers.
        if_unused: bool,
        /// True to delete the queue only if it has no ready messages.
        if_empty: bool,
        /// True if no answer is wanted.
        nowait: bool,
    } [];
    /// `queue.delete-ok`.
    QueueDeleteOk = 50, 41, "queue.delete-ok", [] {
        /// Number of messages that were ready.
        message_count: u32,
    } [];
    /// `queue.unbind`, which has no `nowait`.
    QueueUnbind = 50, 50, "queue.unbind", [u16] {
        /// The queue. If it is empty, the one that the channel declared last.
        queue: QueueName,
        /// The exchange that messages come from.
        exchange: ExchangeName,
        /// The key or pattern.
        routing_key: RoutingKey,
        /// The arguments of the binding.
        arguments: FieldTable,
    } [];
    /// `queue.unbind-ok`.
    QueueUnbindOk = 50, 51, "queue.unbind-ok", [] {} [];

    /// `basic.qos`.
    BasicQos = 60, 10, "basic.qos", [] {
        /// A limit in bytes, which RabbitMQ refuses.
        prefetch_size: u32,
        /// Number of deliveries that may be unacked; 0 for no limit.
        prefetch_count: u16,
        /// True if the limit is for the channel as a whole.
        global: bool,
    } [];
    /// `basic.qos-ok`.
    BasicQosOk = 60, 11, "basic.qos-ok", [] {} [];
    /// `basic.consume`.
    BasicConsume = 60, 20, "basic.consume", [u16] {
        /// The queue. If it is empty, the one that the channel declared last.
        queue: QueueName,
        /// The consumer's tag. If it is empty, the broker chooses one.
        consumer_tag: ConsumerTag,
        /// The flag `no-local`, which RabbitMQ ignores.
        no_local: bool,
        /// True if deliveries are settled as they are sent.
        no_ack: bool,
        /// True if the queue may have no other consumer.
        exclusive: bool,
        /// True if no answer is wanted.
        nowait: bool,
        /// Extensions.
        arguments: FieldTable,
    } [];
    /// `basic.consume-ok`.
    BasicConsumeOk = 60, 21, "basic.consume-ok", [] {
        /// The consumer's tag.
        consumer_tag: ConsumerTag,
    } [];
    /// `basic.cancel`, which the server sends as well
    /// ([RabbitMQ](https://www.rabbitmq.com/docs/consumer-cancel)).
    BasicCancel = 60, 30, "basic.cancel", [] {
        /// The consumer's tag.
        consumer_tag: ConsumerTag,
        /// True if no answer is wanted.
        nowait: bool,
    } [];
    /// `basic.cancel-ok`.
    BasicCancelOk = 60, 31, "basic.cancel-ok", [] {
        /// The consumer's tag.
        consumer_tag: ConsumerTag,
    } [];
    /// `basic.publish`, followed by content.
    BasicPublish = 60, 40, "basic.publish", [u16] {
        /// The exchange.
        exchange: ExchangeName,
        /// The routing key.
        routing_key: RoutingKey,
        /// True if the broker returns the message when it reaches no queue.
        mandatory: bool,
        /// True if the broker returns the message when no consumer is ready. RabbitMQ refuses this
        /// flag.
        immediate: bool,
    } [];
    /// `basic.return`, followed by content.
    BasicReturn = 60, 50, "basic.return", [] {
        /// The reason as a number.
        reply_code: u16,
        /// The reason in words: at most 255 bytes.
        reply_text: String,
        /// The exchange that the message was published to.
        exchange: ExchangeName,
        /// The routing key that the message was published with.
        routing_key: RoutingKey,
    } [];
    /// `basic.deliver`, followed by content.
    BasicDeliver = 60, 60, "basic.deliver", [] {
        /// The consumer's tag.
        consumer_tag: ConsumerTag,
        /// The number to settle the delivery by.
        delivery_tag: u64,
        /// True if the message was delivered before and requeued.
        redelivered: bool,
        /// The exchange that the message was published to.
        exchange: ExchangeName,
        /// The routing key that the message was published with.
        routing_key: RoutingKey,
    } [];
    /// `basic.get`.
    BasicGet = 60, 70, "basic.get", [u16] {
        /// The queue. If it is empty, the one that the channel declared last.
        queue: QueueName,
        /// True if the message is settled as it is sent.
        no_ack: bool,
    } [];
    /// `basic.get-ok`, followed by content.
    BasicGetOk = 60, 71, "basic.get-ok", [] {
        /// The number to settle the message by.
        delivery_tag: u64,
        /// True if the message was delivered before and requeued.
        redelivered: bool,
        /// The exchange that the message was published to.
        exchange: ExchangeName,
        /// The routing key that the message was published with.
        routing_key: RoutingKey,
        /// Number of messages that are still ready in the queue.
        message_count: u32,
    } [];
    /// `basic.get-empty`.
    BasicGetEmpty = 60, 72, "basic.get-empty", [] {} [ShortString];
    /// `basic.ack`, which the server sends as a confirm
    /// ([RabbitMQ](https://www.rabbitmq.com/docs/confirms)).
    BasicAck = 60, 80, "basic.ack", [] {
        /// Tag of the delivery, or number of the publish.
        delivery_tag: u64,
        /// True for all deliveries or publishes up to this one as well.
        multiple: bool,
    } [];
    /// `basic.reject`.
    BasicReject = 60, 90, "basic.reject", [] {
        /// Tag of the delivery.
        delivery_tag: u64,
        /// True to requeue the message.
        requeue: bool,
    } [];
    /// `basic.recover-async`, the old form of `basic.recover` that has no answer.
    BasicRecoverAsync = 60, 100, "basic.recover-async", [] {
        /// True to requeue the messages.
        requeue: bool,
    } [];
    /// `basic.recover`.
    BasicRecover = 60, 110, "basic.recover", [] {
        /// True to requeue the messages.
        requeue: bool,
    } [];
    /// `basic.recover-ok`.
    BasicRecoverOk = 60, 111, "basic.recover-ok", [] {} [];
    /// `basic.nack`, which the server sends as a refusal of a publish
    /// ([RabbitMQ](https://www.rabbitmq.com/docs/nack)).
    BasicNack = 60, 120, "basic.nack", [] {
        /// Tag of the delivery, or number of the publish.
        delivery_tag: u64,
        /// True for all deliveries or publishes up to this one as well.
        multiple: bool,
        /// True to requeue the message.
        requeue: bool,
    } [];

    /// `confirm.select` ([RabbitMQ](https://www.rabbitmq.com/docs/confirms)).
    ConfirmSelect = 85, 10, "confirm.select", [] {
        /// True if no answer is wanted.
        nowait: bool,
    } [];
    /// `confirm.select-ok`.
    ConfirmSelectOk = 85, 11, "confirm.select-ok", [] {} [];

    /// `tx.select`.
    TxSelect = 90, 10, "tx.select", [] {} [];
    /// `tx.select-ok`.
    TxSelectOk = 90, 11, "tx.select-ok", [] {} [];
    /// `tx.commit`.
    TxCommit = 90, 20, "tx.commit", [] {} [];
    /// `tx.commit-ok`.
    TxCommitOk = 90, 21, "tx.commit-ok", [] {} [];
    /// `tx.rollback`.
    TxRollback = 90, 30, "tx.rollback", [] {} [];
    /// `tx.rollback-ok`.
    TxRollbackOk = 90, 31, "tx.rollback-ok", [] {} [];
}

impl Method {
    /// Returns true if content follows: a header frame and the frames of a body.
    #[must_use]
    pub fn has_content(&self) -> bool {
        matches!(
            self,
            Self::BasicPublish(_)
                | Self::BasicReturn(_)
                | Self::BasicDeliver(_)
                | Self::BasicGetOk(_)
        )
    }
}
