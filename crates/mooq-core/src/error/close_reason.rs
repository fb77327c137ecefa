//! The broker's reason for closing a channel or a connection.

use std::fmt;

/// `channel.close` or `connection.close` as the broker sent it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CloseReason {
    /// The reply code (AMQP 0-9-1, 1.2), for example 404.
    pub code: u16,
    /// The reply text, for example `NOT_FOUND - no queue 'q' in vhost '/'`.
    pub text: String,
    /// The class of the method that failed, for example 50 for `queue`; 0 if no method failed.
    pub class_id: u16,
    /// The id, within its class, of the method that failed.
    pub method_id: u16,
}

impl CloseReason {
    /// The failed method by name, for example `queue.declare`, if it is a method that clients send.
    #[must_use]
    pub fn method(&self) -> Option<&'static str> {
        Some(match (self.class_id, self.method_id) {
            (10, 11) => "connection.start-ok",
            (10, 31) => "connection.tune-ok",
            (10, 40) => "connection.open",
            (10, 50) => "connection.close",
            (20, 10) => "channel.open",
            (20, 20) => "channel.flow",
            (20, 40) => "channel.close",
            (40, 10) => "exchange.declare",
            (40, 20) => "exchange.delete",
            (40, 30) => "exchange.bind",
            (40, 40) => "exchange.unbind",
            (50, 10) => "queue.declare",
            (50, 20) => "queue.bind",
            (50, 30) => "queue.purge",
            (50, 40) => "queue.delete",
            (50, 50) => "queue.unbind",
            (60, 10) => "basic.qos",
            (60, 20) => "basic.consume",
            (60, 30) => "basic.cancel",
            (60, 40) => "basic.publish",
            (60, 70) => "basic.get",
            (60, 80) => "basic.ack",
            (60, 90) => "basic.reject",
            (60, 100) => "basic.recover-async",
            (60, 110) => "basic.recover",
            (60, 120) => "basic.nack",
            (85, 10) => "confirm.select",
            (90, 10) => "tx.select",
            (90, 20) => "tx.commit",
            (90, 30) => "tx.rollback",
            _ => return None,
        })
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.text, self.code)?;
        if let Some(method) = self.method() {
            write!(f, ", {method}")?;
        }
        f.write_str(")")
    }
}
