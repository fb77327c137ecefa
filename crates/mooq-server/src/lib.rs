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
//! | Module | Responsibility |
//! |---|---|
//! | `connection` | a client's connection as a state machine: bytes and time in, commands out; effects in, bytes out |
//! | `task` | the task that moves a connection's bytes |
//! | `listener` | the socket that clients connect to |

mod connection;
mod listener;
mod task;

pub use listener::{Listen, Server};
