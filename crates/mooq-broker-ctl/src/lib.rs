//! Start, stop, restart and watch a real RabbitMQ broker from a test.
//!
//! [`RabbitMQBroker::run`] restarts the broker and returns as soon as it speaks AMQP again;
//! [`RabbitMQBroker::close`] stops it and returns when it no longer does. Both have a
//! deadline, and their error says what failed: the command with its exit status and output,
//! or the last handshake.
//!
//! How the broker is controlled is a [`ControlMethod`]; unless one is given, the environment
//! variable `TEST_DISTRIBUTION` names it:
//!
//! | `TEST_DISTRIBUTION` | restarts the broker by |
//! |---|---|
//! | `arch` | `systemctl restart rabbitmq.service` |
//! | `ubuntu` | `service rabbitmq-server restart` |
//! | `docker` | `docker restart NAME`, where `MOOQ_BROKER_CONTAINER` is the name |
//!
//! `systemctl` and `service` go through `sudo -n` when the process is not root's. It never
//! asks for a password, since a test could not answer: sudoers has to allow the command.
//!
//! # Examples
//!
//! ```
//! use mooq_broker_ctl::{ControlMethod, RabbitMQBroker};
//!
//! # async fn test() -> Result<(), mooq_broker_ctl::ControlError> {
//! let broker = RabbitMQBroker::default().method(ControlMethod::docker("my-rabbit"));
//!
//! broker.run().await?; // restarted, and answering
//! // … is the service connected again?
//! broker.close().await?; // stopped, and no longer answering
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! | Feature | Default | What it adds |
//! |---|---|---|
//! | `cli` | no | the command `mooq-broker-ctl`: `cargo install mooq-broker-ctl --features cli` |

mod address;
mod broker;
mod command;
mod error;
mod handshake;
mod method;

pub use address::BrokerAddress;
pub use broker::{BrokerStatus, RabbitMQBroker};
pub use error::ControlError;
pub use handshake::HandshakeError;
pub use method::{ControlMethod, MethodError};
