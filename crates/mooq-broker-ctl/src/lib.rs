//! Start, stop, restart and watch a real RabbitMQ broker from a test.
//!
//! [`RabbitMQBroker::run`] restarts the broker and returns as soon as it speaks AMQP again;
//! [`RabbitMQBroker::close`] stops the broker and returns when it no longer does. Both have a
//! timeout, and their error names the step that failed: the command with its exit status and
//! output, or the last handshake.
//!
//! A [`ControlMethod`] is the way in which a broker is controlled; unless one is given, the
//! environment variable `TEST_DISTRIBUTION` names it:
//!
//! | `TEST_DISTRIBUTION` | Command that restarts the broker |
//! |---|---|
//! | `arch` | `systemctl restart rabbitmq.service` |
//! | `ubuntu` | `service rabbitmq-server restart` |
//! | `docker` | `docker restart NAME`, where `MOOQ_BROKER_CONTAINER` is the name |
//!
//! `systemctl` and `service` go through `sudo -n` if the process does not run as root. `sudo -n`
//! never asks for a password, because a test could not answer: sudoers has to allow the command.
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
//! | Feature | Default | Effect |
//! |---|---|---|
//! | `cli` | no | adds the command `mooq-broker-ctl`: `cargo install mooq-broker-ctl --features cli` |

mod address;
mod broker;
mod command;
mod error;
mod handshake;
mod method;
mod registry;

pub use address::BrokerAddress;
pub use broker::{BrokerStatus, RabbitMQBroker};
pub use error::ControlError;
pub use handshake::HandshakeError;
pub use method::{ControlMethod, MethodError};
