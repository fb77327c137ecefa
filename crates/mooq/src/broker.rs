//! Broker of a connection, for a test to close and run again.

#[cfg(feature = "broker-ctl")]
use mooq_broker_ctl::{ControlError, RabbitMQBroker};
use mooq_client::Connection;
#[cfg(feature = "broker-ctl")]
use mooq_core::{Error, ErrorKind};
use mooq_core::{Result, Scheme};
#[cfg(feature = "memory")]
use mooq_memory::InMemoryBroker;

/// A broker that a test can close and run again, in memory or RabbitMQ.
///
/// A broker is found by its host and port, by both joined with an underscore as its
/// [name](Self::named), or by a [connection](GetBroker) to it.
///
/// # Examples
/// ```
/// use mooq::memory::InMemoryBroker;
/// use mooq::Broker;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// let in_memory = InMemoryBroker::new("orders.example", 5672);
/// in_memory.run();
///
/// let broker = Broker::named("orders.example_5672").expect("it runs");
/// broker.close().await?;
/// assert!(!in_memory.is_running());
/// broker.run().await?;
/// assert!(in_memory.is_running());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Broker {
    /// A broker in this process. With the feature `memory`.
    #[cfg(feature = "memory")]
    InMemory(InMemoryBroker),
    /// RabbitMQ, as a service or in a container. With the feature `broker-ctl`.
    #[cfg(feature = "broker-ctl")]
    RabbitMQ(RabbitMQBroker),
}

impl Broker {
    /// Returns the broker of this host and port: an in-memory one that runs, or a RabbitMQ that
    /// this process has [registered](RabbitMQBroker::register).
    #[must_use]
    pub fn lookup(host: &str, port: u16) -> Option<Self> {
        Self::in_memory(host, port).or_else(|| Self::registered(host, port))
    }

    /// Returns the broker by `host_port`, as Python's mooq names brokers: `localhost_5672`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (host, port) = name.rsplit_once('_')?;
        Self::lookup(host, port.parse().ok()?)
    }

    /// Starts the broker, or restarts it. The broker accepts connections when this returns.
    ///
    /// # Errors
    /// None in memory. For RabbitMQ, `TimedOut` if it takes longer than the broker's timeout,
    /// `ConnectFailed` if the broker cannot be controlled or does not answer; the source is
    /// the failure, a [`ControlError`].
    ///
    /// # Cancel safety
    /// RabbitMQ may still go down and come up again if the future is dropped.
    pub async fn run(&self) -> Result<()> {
        match self {
            #[cfg(feature = "memory")]
            Self::InMemory(broker) => {
                broker.run();
                Ok(())
            }
            #[cfg(feature = "broker-ctl")]
            Self::RabbitMQ(broker) => broker.run().await.map_err(|err| failed(broker, err)),
        }
    }

    /// Stops the broker. Its connections are lost, and it accepts no others when this returns.
    ///
    /// # Errors
    /// As of [`run`](Self::run).
    ///
    /// # Cancel safety
    /// RabbitMQ may still go down if the future is dropped.
    pub async fn close(&self) -> Result<()> {
        match self {
            #[cfg(feature = "memory")]
            Self::InMemory(broker) => {
                broker.close();
                Ok(())
            }
            #[cfg(feature = "broker-ctl")]
            Self::RabbitMQ(broker) => broker.close().await.map_err(|err| failed(broker, err)),
        }
    }

    /// Returns true if the broker accepts connections. RabbitMQ is checked by a handshake, which
    /// takes up to 5 s.
    pub async fn is_running(&self) -> bool {
        match self {
            #[cfg(feature = "memory")]
            Self::InMemory(broker) => broker.is_running(),
            #[cfg(feature = "broker-ctl")]
            Self::RabbitMQ(broker) => broker.status().await.is_running(),
        }
    }

    #[cfg(feature = "memory")]
    fn in_memory(host: &str, port: u16) -> Option<Self> {
        InMemoryBroker::lookup(host, port).map(Self::InMemory)
    }

    #[cfg(not(feature = "memory"))]
    fn in_memory(_host: &str, _port: u16) -> Option<Self> {
        None
    }

    #[cfg(feature = "broker-ctl")]
    fn registered(host: &str, port: u16) -> Option<Self> {
        RabbitMQBroker::lookup(host, port).map(Self::RabbitMQ)
    }

    #[cfg(not(feature = "broker-ctl"))]
    fn registered(_host: &str, _port: u16) -> Option<Self> {
        None
    }

    /// Returns the RabbitMQ there, registered or not.
    #[cfg(feature = "broker-ctl")]
    fn rabbitmq(host: &str, port: u16) -> Option<Self> {
        let registered = Self::registered(host, port);
        registered.or_else(|| Some(Self::RabbitMQ(RabbitMQBroker::new(host, port))))
    }

    #[cfg(not(feature = "broker-ctl"))]
    fn rabbitmq(_host: &str, _port: u16) -> Option<Self> {
        None
    }
}

/// Converts a failed control into an error of mooq's.
#[cfg(feature = "broker-ctl")]
fn failed(broker: &RabbitMQBroker, err: ControlError) -> Error {
    let kind = if err.is_timeout() {
        ErrorKind::TimedOut
    } else {
        ErrorKind::ConnectFailed
    };
    let message = format!(
        "the broker at {} could not be controlled: {err}",
        broker.address()
    );
    Error::connection(kind, message).with_source(err)
}

/// The broker of a connection.
///
/// The trait is here and not with the connection, which only knows how to reach a broker.
///
/// # Examples
/// ```
/// use mooq::memory::InMemoryBroker;
/// use mooq::GetBroker;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// let in_memory = InMemoryBroker::new("localhost", 5672);
/// in_memory.run();
/// let conn = mooq::connect("memory://localhost:5672").await?;
///
/// let broker = conn.get_broker().expect("it runs");
/// broker.close().await?;
/// assert!(!in_memory.is_running());
/// # Ok(())
/// # }
/// ```
pub trait GetBroker: sealed::Sealed {
    /// Returns the broker at the host and port that the connection is open to, or was open to last.
    ///
    /// For `memory://`, this is the in-memory broker that runs there: none while it is closed, and
    /// none for a broker that was started without a host. For `amqp://`, with the feature
    /// `broker-ctl`, it is the RabbitMQ that was [registered](RabbitMQBroker::register) for the
    /// address, else one that is controlled as `TEST_DISTRIBUTION` says; without the feature, none.
    fn get_broker(&self) -> Option<Broker>;
}

impl GetBroker for Connection {
    fn get_broker(&self) -> Option<Broker> {
        let endpoint = self.endpoint();
        let (host, port) = (endpoint.host.as_str(), endpoint.port);
        match endpoint.scheme {
            Scheme::Memory => Broker::in_memory(host, port),
            Scheme::Amqp | Scheme::Amqps => Broker::rabbitmq(host, port),
            _ => None,
        }
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for mooq_client::Connection {}
}
