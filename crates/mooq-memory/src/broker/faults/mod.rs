//! Faults on demand: failures between a service and RabbitMQ that a test starts.
//!
//! [`InMemoryBroker::faults`] leads to all of them. Lasting faults end when their [`FaultGuard`] is
//! dropped; the others have happened when the method returns.
//!
//! | Fault | Effect | Real cause | Ends |
//! |---|---|---|---|
//! | [`drop_connections`](Faults::drop_connections) | drops connections without a close | a network or a host that fails | at once |
//! | [`close_connections`](Faults::close_connections) | closes connections with 320 and a text | `rabbitmqctl close_connection` | at once |
//! | [`refuse_connections`](Faults::refuse_connections) | refuses new connections | nothing listens on the port | with its guard |
//! | [`restart`](Faults::restart) | closes all connections with 320, drops everything that is not durable or persistent | a node that is restarted | at once |
//! | [`stop`](Faults::stop) | the same, and refuses connections | a node that is down for a while | with its guard |
//! | [`freeze`](Faults::freeze) | answers, delivers and receives nothing | a paused machine, a network that swallows packets | with its guard |
//! | [`slow`](Faults::slow) | delays everything that the broker sends | a slow network, a busy node | with its guard |
//! | [`refuse_logins`](Faults::refuse_logins) | refuses every login: 403, and every new secret: 530 | a password or user that was changed, a token that is not valid | with its guard |
//! | [`raise_alarm`](Faults::raise_alarm) of memory | blocks connections that publish | a node that is low on memory | with its guard |
//! | [`raise_alarm`](Faults::raise_alarm) of disk | the same | a node whose disk is full | with its guard |
//! | [`limit_channels`](Faults::limit_channels) | closes a connection that opens one channel too many: 530 | `channel_max` reached, by channels that leak | with its guard |
//! | [`close_channels`](Faults::close_channels) | closes channels with any code and text | any channel error | at once |
//! | [`cancel_consumers`](Faults::cancel_consumers) | cancels consumers and keeps their queues | a queue whose node goes down | at once |
//! | [`delete_queues`](Faults::delete_queues) | deletes queues under their consumers | an operator, another service | at once |
//! | [`fill_queues`](Faults::fill_queues) | queues take no message: nack | `max-length` reached with `reject-publish` | with its guard |
//! | [`hold_queues`](Faults::hold_queues) | queues deliver no message | a queue that is busy with its disk | with its guard |
//! | [`reorder_queues`](Faults::reorder_queues) | deliveries of several queues overtake each other | queues that are busy at different times | with its guard |
//! | [`nack_publishes`](Faults::nack_publishes) | nacks the next N publishes | a queue that fails with an internal error | with its guard |
//! | [`lose_publishes`](Faults::lose_publishes) | loses the next N publishes with their connections | a connection lost before the broker has read | with its guard |
//! | [`lose_confirms`](Faults::lose_confirms) | takes the next N publishes, and loses the connection before the confirm | a connection lost at the worst moment | with its guard |
//! | [`lose_acks`](Faults::lose_acks) | loses the next N acknowledgements with their connections; their messages are redelivered | a connection lost after the work is done | with its guard |
//! | [`duplicate_deliveries`](Faults::duplicate_deliveries) | redelivers the messages of the next N acknowledgements | a quorum queue whose leader changes | with its guard |
//! | [`corrupt_bodies`](Faults::corrupt_bodies) | delivers the next N messages with another body | a publisher that writes something else | with its guard |
//!
//! A fault applies to the whole broker, unless it is limited [to a connection](Faults::connection),
//! [to an exchange](Faults::exchange) or [to a queue](Faults::queue) by name. Several faults may be
//! active at once; if two apply to the same thing, the older one strikes.
//!
//! # Examples
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use mooq_core::{Endpoint, ErrorKind, Scheme, Transport};
//! use mooq_memory::InMemoryBroker;
//!
//! let broker = InMemoryBroker::start();
//! let mut billing = Endpoint::new(Scheme::Memory);
//! billing.connection_name = Some("billing".try_into()?);
//!
//! let down = broker.faults().connection("bill*").refuse_connections();
//! let err = broker.transport().open(&billing).await.unwrap_err();
//! assert_eq!(err.kind(), ErrorKind::ConnectFailed);
//! assert_eq!(down.strikes(), 1);
//!
//! drop(down);
//! broker.transport().open(&billing).await?;
//! # Ok::<(), mooq_core::Error>(())
//! # }).unwrap();
//! ```

mod channels;
mod connections;
mod deliveries;
mod guard;
mod limits;
mod link;
mod outages;
mod publishes;
mod queues;

pub use guard::FaultGuard;
pub use outages::Outage;

use super::InMemoryBroker;
use mooq_engine::{Fault, Scope};

/// Faults of one broker, within the limits that are set. See the [module's description](self) for a
/// list.
#[derive(Debug, Clone)]
pub struct Faults {
    broker: InMemoryBroker,
    scope: Scope,
}

/// Limits, given as [globs](https://docs.rs/glob-match), in which `*` stands for any text without
/// `/`, and `**` for any text.
///
/// A limit excludes everything that involves no such object: a login involves no queue, so that
/// with a limit to queues no login is refused. Faults of the broker as a whole cannot be limited:
/// [`Self::restart`], [`Self::stop`] and [`Self::raise_alarm`].
impl Faults {
    pub(super) fn new(broker: InMemoryBroker) -> Self {
        Self {
            broker,
            scope: Scope::default(),
        }
    }

    /// Limits the fault to connections whose
    /// [name](https://www.rabbitmq.com/docs/connections#client-provided-names) matches. A
    /// connection without a name has the empty text as its name.
    #[must_use]
    pub fn connection(mut self, glob: impl Into<String>) -> Self {
        self.scope.connection = Some(glob.into());
        self
    }

    /// Limits the fault to messages that are published to an exchange whose name matches. The
    /// default exchange's name is the empty text.
    #[must_use]
    pub fn exchange(mut self, glob: impl Into<String>) -> Self {
        self.scope.exchange = Some(glob.into());
        self
    }

    /// Limits the fault to queues whose names match, in any virtual host.
    #[must_use]
    pub fn queue(mut self, glob: impl Into<String>) -> Self {
        self.scope.queue = Some(glob.into());
        self
    }

    fn begin(self, fault: Fault) -> FaultGuard {
        let Self { broker, scope } = self;
        let id = broker
            .shared
            .admin(|engine, now| engine.begin_fault(now, fault, scope));
        FaultGuard::new(broker, id)
    }
}
