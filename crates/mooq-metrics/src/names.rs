//! The names of the figures.

/// Counter: messages that were handed to the broker, those of retries and requests included.
pub const PUBLISHED: &str = "mooq_published_total";
/// Counter: publishes that the broker has confirmed.
pub const CONFIRMED: &str = "mooq_confirmed_total";
/// Counter: publishes that the broker has refused.
pub const NACKED: &str = "mooq_nacked_total";
/// Counter: mandatory messages that reached no queue. Each is confirmed as well.
pub const RETURNED: &str = "mooq_returned_total";
/// Gauge: publishes without an answer of the broker.
pub const UNCONFIRMED: &str = "mooq_unconfirmed";
/// Histogram: seconds from a publish to the broker's answer.
pub const CONFIRM_SECONDS: &str = "mooq_confirm_seconds";

/// Counter: messages that the broker has sent. Label `redelivered`: `true` or `false`.
pub const DELIVERED: &str = "mooq_delivered_total";
/// Counter: deliveries that were settled. Label `outcome`: `ack`, `requeue` or `reject`.
pub const SETTLED: &str = "mooq_settled_total";
/// Gauge: deliveries that are to be settled and are not yet.
pub const UNSETTLED: &str = "mooq_unsettled";

/// Histogram: seconds that a callback took. Labels `queue`, and `outcome`: `ok`, `error`, or
/// `dropped` for one that panicked or was cut off.
pub const CALLBACK_SECONDS: &str = "mooq_callback_seconds";
/// Gauge: callbacks that run. Label `queue`.
pub const CALLBACKS_RUNNING: &str = "mooq_callbacks_running";
/// Counter: callbacks that were called again for a message that had failed. Label `queue`.
pub const RETRIED: &str = "mooq_retried_total";

/// Gauge: connections that are open.
pub const CONNECTIONS: &str = "mooq_connections";
/// Gauge: connections from which the broker does not read, because of an alarm.
pub const BLOCKED: &str = "mooq_connections_blocked";
/// Counter: connections that were lost.
pub const LOST: &str = "mooq_lost_total";
/// Counter: connections that were opened again after a loss.
pub const RECONNECTED: &str = "mooq_reconnected_total";
/// Counter: messages that failed for good. Labels `queue`, and `fate`: `parked`, `rejected` or
/// `dropped`.
pub const GAVE_UP: &str = "mooq_gave_up_total";
