//! The in-memory RabbitMQ on a socket: AMQP 0-9-1 for clients in any language.
//!
//! The test owns the broker, with its faults, recordings and clock, and the service under test
//! connects to it as to a RabbitMQ:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use mooq_memory::InMemoryBroker;
//! use mooq_server::Listen;
//!
//! let broker = InMemoryBroker::start();
//! let server = broker.listen("127.0.0.1:0").await?;
//!
//! // Any client of AMQP 0-9-1. Here lapin:
//! use lapin::options::QueueDeclareOptions;
//! let connection = lapin::Connection::connect(&server.url(), Default::default()).await?;
//! let channel = connection.create_channel().await?;
//! let options = QueueDeclareOptions::default();
//! channel.queue_declare("orders".into(), options, Default::default()).await?;
//!
//! assert_eq!(broker.queues("orders").len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # How faithful it is
//!
//! The scenarios that mooq runs on RabbitMQ pass over this server as well. Eight clients run the
//! same program on both, with the same results: pika, aio-pika, kombu, amqp091-go, bunny,
//! rabbitmq-c, lapin and amqprs. Properties of messages come back octet for octet. Three differences
//! are left, apart from [those of the in-memory broker](mooq_memory): names must be UTF-8, where
//! RabbitMQ takes any octets as a routing key, a body over the broker's limit is refused as soon as
//! its header announces it, and `EXTERNAL` is always the last in the list of mechanisms.
//!
//! Faults of the broker show on the socket: a broker that is down closes new connections, and a
//! frozen link passes no byte in either direction. During an alarm the server stops reading from
//! clients that publish. It also stops reading from a client that does not read its output.
//!
//! # Features
//!
//! | Feature | Brings |
//! |---|---|
//! | `cli` | the command `mooq-server`, for tests in other languages |
//! | `management` | RabbitMQ's management HTTP API ([`ListenManagement`]) |
//! | `tls` | `amqps://`, by rustls ([`Listen::listen_tls`]), and logins by certificate |
//!
//! | Module | Responsibility |
//! |---|---|
//! | `connection` | a client's connection as a state machine: bytes and time in, commands out; effects in, bytes out |
//! | `task` | the task that moves a connection's bytes |
//! | `listener`, `unix` | the sockets that clients connect to |
//! | `serving` | accepting clients, up to the end of a server |
//! | `tls` | the server's certificate |
//! | `certificate` | the user's name in a client's certificate |

#[cfg(feature = "tls")]
mod certificate;
mod connection;
mod listener;
mod serving;
mod task;
#[cfg(feature = "tls")]
mod tls;
#[cfg(unix)]
mod unix;

#[cfg(feature = "tls")]
pub use certificate::CertificateName;
pub use listener::{Listen, Server};
#[cfg(feature = "management")]
pub use mooq_management::{ListenManagement, ManagementServer};
#[cfg(feature = "tls")]
pub use tls::ServerTls;
#[cfg(unix)]
pub use unix::UnixServer;
