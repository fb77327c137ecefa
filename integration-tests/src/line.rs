//! A client's line to its broker, on which things get lost or come late.

use std::net::SocketAddr;
use std::time::Duration;

use mooq::ConnectOptions;
use mooq_memory::InMemoryBroker;
use mooq_memory::faults::FaultGuard;

use crate::Fixture;
use crate::control::Control;
use crate::expect::until;
use crate::faults::proxy::{Network, Proxy};

/// A line that only the scenario's own client uses: with the in-memory broker's faults on it, or
/// by a proxy in front of RabbitMQ.
#[derive(Debug)]
pub struct Line {
    options: ConnectOptions,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory { broker: InMemoryBroker },
    RabbitMq { proxy: Proxy },
}

/// Something is wrong with a line.
#[derive(Debug)]
#[must_use = "in memory nothing is wrong any more when this is dropped"]
pub enum Trouble<'a> {
    /// The in-memory broker's fault.
    Memory(FaultGuard),
    /// The proxy that does not carry everything.
    RabbitMq(&'a Proxy),
}

impl Line {
    /// A sound line to the scenario's broker.
    #[must_use]
    pub fn of(fixture: &Fixture) -> Self {
        let options = fixture.options();
        match fixture.control() {
            Control::Memory(broker) | Control::Wire(broker) => Self {
                options,
                place: Place::Memory {
                    broker: broker.clone(),
                },
            },
            Control::RabbitMq(_) => {
                let port = options.endpoint().expect("the options are valid").port;
                let proxy = Proxy::to(SocketAddr::from(([127, 0, 0, 1], port)));
                Self {
                    options: options.port(proxy.port()),
                    place: Place::RabbitMq { proxy },
                }
            }
        }
    }

    /// How to connect over it.
    pub fn options(&self) -> ConnectOptions {
        self.options.clone()
    }

    /// Cuts the connection that its client calls so. No connection is opened over it afterwards.
    ///
    /// # Panics
    /// If there is none, in memory.
    pub fn cut(&self, name: &str) {
        match &self.place {
            Place::Memory { broker } => {
                let dropped = broker.faults().connection(name).drop_connections();
                assert!(dropped > 0, "there is no connection '{name}'");
            }
            Place::RabbitMq { proxy } => proxy.set(Network::Cut),
        }
    }

    /// The next confirm gets lost, and the connection with it, at [`Trouble::cut`] at the latest.
    pub fn lose_confirm(&self) -> Trouble<'_> {
        self.strike(Network::Unanswered, |broker| {
            broker.faults().lose_confirms(1)
        })
    }

    /// The next acknowledgement gets lost, and the connection with it, at [`Trouble::cut`] at the
    /// latest.
    pub fn lose_ack(&self) -> Trouble<'_> {
        self.strike(Network::Unheard, |broker| broker.faults().lose_acks(1))
    }

    /// What the broker sends arrives later by `delay` at least.
    pub fn slow(&self, delay: Duration) -> Trouble<'_> {
        self.strike(Network::Slow(delay), |broker| broker.faults().slow(delay))
    }

    /// Nothing goes over it, and no connection is opened.
    pub fn down(&self) -> Trouble<'_> {
        self.strike(Network::Cut, |broker| broker.faults().refuse_connections())
    }

    /// No connection is opened over it until this is dropped, or until the trouble ends that has
    /// cut it. Connections that are open stay.
    pub fn refuse_connections(&self) -> Option<FaultGuard> {
        match &self.place {
            Place::Memory { broker } => Some(broker.faults().refuse_connections()),
            // One that is cut takes none.
            Place::RabbitMq { .. } => None,
        }
    }

    fn strike(
        &self,
        network: Network,
        fault: impl FnOnce(&InMemoryBroker) -> FaultGuard,
    ) -> Trouble<'_> {
        match &self.place {
            Place::Memory { broker } => Trouble::Memory(fault(broker)),
            Place::RabbitMq { proxy } => {
                proxy.set(network);
                Trouble::RabbitMq(proxy)
            }
        }
    }
}

impl Trouble<'_> {
    /// Loses the connection, with what has not got through. In memory the fault does that.
    pub async fn cut(&self) {
        match self {
            Self::Memory(fault) => until("the fault's strike", || fault.strikes() == 1).await,
            Self::RabbitMq(proxy) => proxy.set(Network::Cut),
        }
    }

    /// The line is sound again.
    pub fn end(self) {
        if let Self::RabbitMq(proxy) = self {
            proxy.set(Network::Sound);
        }
    }
}
