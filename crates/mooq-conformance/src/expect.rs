//! Expectations of scenarios.

use std::future::IntoFuture;
use std::time::Duration;

use mooq_core::{CloseReason, Error};

use crate::refusals;

/// Time limit for an event. Only an event that never comes reaches it: a machine that is slow and
/// busy takes far less.
pub const LIMIT: Duration = Duration::from_secs(180);

/// Heartbeat interval of scenarios: with a shorter one, a busy machine loses connections that are
/// sound.
pub const HEARTBEAT: Duration = Duration::from_secs(60);

/// Text of a panic that a scenario intends: [`suite::main`](crate::suite::main) does not print it.
pub const INTENDED: &str = "this panic is meant to be";

/// The longest reply text that AMQP can carry, in bytes.
const MAX_REPLY_TEXT: usize = 255;

/// Class and number of an AMQP method.
pub type Method = (u16, u16);

/// AMQP's methods, by name.
pub mod method {
    use super::Method;

    macro_rules! methods {
        ($($name:ident = $id:expr;)+) => {
            $(#[allow(missing_docs, reason = "named after the method")]
            pub const $name: Method = $id;)+

            /// A method's name in the specification: `basic.publish`.
            pub(crate) fn name(method: Method) -> String {
                let names = [$(($name, stringify!($name))),+];
                let name = names.iter().find(|(id, _)| *id == method);
                name.map_or_else(
                    || format!("{}.{}", method.0, method.1),
                    |(_, name)| name.to_lowercase().replacen('_', ".", 1),
                )
            }
        };
    }

    methods! {
        CONNECTION_OPEN = (10, 40);
        EXCHANGE_DECLARE = (40, 10);
        EXCHANGE_DELETE = (40, 20);
        EXCHANGE_BIND = (40, 30);
        EXCHANGE_UNBIND = (40, 40);
        QUEUE_DECLARE = (50, 10);
        QUEUE_BIND = (50, 20);
        QUEUE_PURGE = (50, 30);
        QUEUE_DELETE = (50, 40);
        QUEUE_UNBIND = (50, 50);
        BASIC_CONSUME = (60, 20);
        BASIC_PUBLISH = (60, 40);
        BASIC_GET = (60, 70);
        BASIC_ACK = (60, 80);
        BASIC_REJECT = (60, 90);
        BASIC_RECOVER = (60, 110);
        BASIC_NACK = (60, 120);
        CONFIRM_SELECT = (85, 10);
        TX_SELECT = (90, 10);
        TX_COMMIT = (90, 20);
        TX_ROLLBACK = (90, 30);
    }
}

/// Waits for `event`.
///
/// # Panics
/// If the event does not come within [`LIMIT`].
pub async fn within<T>(what: &str, event: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(LIMIT, event)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come within {LIMIT:?}"))
}

/// Polls `holds` until it returns true, where there is no event to wait for.
///
/// # Panics
/// If it takes too long.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    within(what, waiting).await;
}

/// Asserts that the broker closed a channel or connection with exactly this reason. A text that is
/// too long for AMQP is expected as RabbitMQ shortens it.
#[track_caller]
pub fn expect_reason(err: &Error, code: u16, method: Method, text: &str) {
    let text = if text.len() > MAX_REPLY_TEXT {
        format!("{}...", &text[..MAX_REPLY_TEXT - 3])
    } else {
        text.into()
    };
    let expected = CloseReason {
        code,
        text,
        class_id: method.0,
        method_id: method.1,
    };
    assert_eq!(err.reason(), Some(&expected), "{err}");
    refusals::note(expected);
}
