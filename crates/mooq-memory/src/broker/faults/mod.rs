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
//! | [`close_channels`](Faults::close_channels) | closes channels with any code and text | any channel error | at once |
//! | [`cancel_consumers`](Faults::cancel_consumers) | cancels consumers, whose queues stay | a queue whose node goes down | at once |
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
mod guard;
mod link;
mod outages;

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
/// queues no login is refused. Faults of the broker as a whole know no limits: [`Self::restart`]
/// and [`Self::stop`].
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
