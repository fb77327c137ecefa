//! Faults on demand: what goes wrong between a service and RabbitMQ, when a test says so.
//!
//! [`InMemoryBroker::faults`] leads to all of them. Those that last end when their [`FaultGuard`]
//! is dropped; the others have happened when the method returns.
//!
//! | Fault | What it does | What it stands for | Ends |
//! |---|---|---|---|
//! | [`drop_connections`](Faults::drop_connections) | cuts connections without a word | a network or a host that fails | at once |
//! | [`close_connections`](Faults::close_connections) | closes connections with 320 and a text | `rabbitmqctl close_connection` | at once |
//! | [`refuse_connections`](Faults::refuse_connections) | takes no new connections | nothing listens on the port | with its guard |
//! | [`restart`](Faults::restart) | closes all connections with 320, forgets what is not durable or persistent | a node that is restarted | at once |
//! | [`stop`](Faults::stop) | the same, and takes no connections | a node that is down for a while | with its guard |
//! | [`freeze`](Faults::freeze) | answers nothing, delivers nothing, hears nothing | a paused machine, a network that swallows packets | with its guard |
//! | [`slow`](Faults::slow) | whatever the broker sends arrives later | a slow network, a busy node | with its guard |
//! | [`refuse_logins`](Faults::refuse_logins) | takes no password: 403 | a password or user that was changed | with its guard |
//! | [`raise_alarm`](Faults::raise_alarm) of memory | blocks whoever publishes | a node that is low on memory | with its guard |
//! | [`raise_alarm`](Faults::raise_alarm) of disk | the same | a node whose disk is full | with its guard |
//! | [`limit_channels`](Faults::limit_channels) | one channel more costs the connection: 530 | `channel_max` reached, by channels that leak | with its guard |
//! | [`close_channels`](Faults::close_channels) | closes channels with any code and text | any channel error | at once |
//! | [`cancel_consumers`](Faults::cancel_consumers) | cancels consumers, whose queues stay | a queue whose node goes down | at once |
//! | [`delete_queues`](Faults::delete_queues) | deletes queues under their consumers | an operator, another service | at once |
//! | [`fill_queues`](Faults::fill_queues) | queues take nothing: nack | `max-length` reached with `reject-publish` | with its guard |
//! | [`hold_queues`](Faults::hold_queues) | queues deliver nothing | a queue that is busy with its disk | with its guard |
//! | [`reorder_queues`](Faults::reorder_queues) | deliveries of several queues overtake each other | queues that are busy at different times | with its guard |
//! | [`nack_publishes`](Faults::nack_publishes) | refuses the next N publishes | a queue that fails inside | with its guard |
//! | [`lose_publishes`](Faults::lose_publishes) | the next N publishes are lost with their connections | a connection lost before the broker has read | with its guard |
//! | [`lose_confirms`](Faults::lose_confirms) | takes the next N publishes, and loses the connection before the confirm | a connection lost at the worst moment | with its guard |
//! | [`lose_acks`](Faults::lose_acks) | the next N acknowledgements are lost with their connections; what they were for comes again | a connection lost after the work is done | with its guard |
//! | [`duplicate_deliveries`](Faults::duplicate_deliveries) | what the next N acknowledgements were for comes again | a quorum queue whose leader changes | with its guard |
//! | [`corrupt_bodies`](Faults::corrupt_bodies) | the next N messages come with another body | a publisher that writes something else | with its guard |
//!
//! A fault strikes all that it can, unless it is limited [to a connection](Faults::connection),
//! [to an exchange](Faults::exchange) or [to a queue](Faults::queue) by name. Several may be there
//! at once; where two would strike the same, the older one does.
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
//! assert_eq!(err.kind(), ErrorKind::BrokerConnectionError);
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
use crate::engine::{Fault, Scope};

/// The faults of one broker, or those within the limits that are set. See the
/// [module's description](self) for a list.
#[derive(Debug, Clone)]
pub struct Faults {
    broker: InMemoryBroker,
    scope: Scope,
}

/// Limits. They are [globs](https://docs.rs/glob-match), in which `*` stands for any text without
/// `/`, and `**` for any text.
///
/// What involves no such thing is not struck: a login involves no queue, so that with a limit to
/// queues no login is refused. Faults of the broker as a whole know no limits: [`Self::restart`],
/// [`Self::stop`] and [`Self::raise_alarm`].
impl Faults {
    pub(super) fn new(broker: InMemoryBroker) -> Self {
        Self {
            broker,
            scope: Scope::default(),
        }
    }

    /// Only for connections with such a
    /// [name](https://www.rabbitmq.com/docs/connections#client-provided-names). One that has none
    /// is called the empty text.
    #[must_use]
    pub fn connection(mut self, glob: impl Into<String>) -> Self {
        self.scope.connection = Some(glob.into());
        self
    }

    /// Only for messages that are published to such an exchange. The default exchange's name is
    /// the empty text.
    #[must_use]
    pub fn exchange(mut self, glob: impl Into<String>) -> Self {
        self.scope.exchange = Some(glob.into());
        self
    }

    /// Only for such queues, in any virtual host.
    #[must_use]
    pub fn queue(mut self, glob: impl Into<String>) -> Self {
        self.scope.queue = Some(glob.into());
        self
    }

    fn begin(self, fault: Fault) -> FaultGuard {
        let Self { broker, scope } = self;
        let id = broker
            .shared
            .administer(|engine, now| engine.begin_fault(now, fault, scope));
        FaultGuard::new(broker, id)
    }
}
