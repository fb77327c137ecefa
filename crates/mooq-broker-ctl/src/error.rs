//! Errors of broker control.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use crate::address::BrokerAddress;
use crate::handshake::HandshakeError;
use crate::method::MethodError;

/// The reason why a broker could not be restarted, stopped or waited for.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use mooq_broker_ctl::{ControlError, RabbitMQBroker};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // Nothing listens at port 1.
/// let broker = RabbitMQBroker::new("127.0.0.1", 1).timeout(Duration::from_millis(100));
///
/// let error = broker.wait().await.unwrap_err();
/// assert!(matches!(error, ControlError::NotRunning { .. }));
/// assert!(error.is_timeout());
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The method to control the broker is unknown.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// The command could not be started, or waiting for it failed.
    #[error("`{command}` could not be run")]
    CommandNotRun {
        /// The command with its arguments.
        command: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// The command ended with a failure.
    #[error("`{command}` failed with {status}: {output}")]
    CommandFailed {
        /// The command with its arguments.
        command: String,
        /// The command's exit status.
        status: ExitStatus,
        /// The end of the command's output on stdout and stderr.
        output: String,
    },
    /// The command had not ended at the timeout. It goes on by itself.
    #[error("`{command}` had not ended after {timeout:?}")]
    CommandUnfinished {
        /// The command with its arguments.
        command: String,
        /// The time that was spent waiting for the command.
        timeout: Duration,
    },
    /// At the timeout the broker did not answer an AMQP handshake yet.
    #[error("RabbitMQ at {address} did not answer a handshake within {timeout:?}")]
    NotRunning {
        /// The address at which the broker was expected.
        address: BrokerAddress,
        /// The timeout of the whole operation.
        timeout: Duration,
        /// Result of the last handshake.
        #[source]
        last: HandshakeError,
    },
    /// The command to stop the broker succeeded, but at the timeout a broker still answered AMQP
    /// handshakes. Perhaps it is not the broker that the command controls.
    #[error("RabbitMQ at {address} still answers handshakes {timeout:?} after it was told to stop")]
    StillRunning {
        /// The address at which a broker still answers.
        address: BrokerAddress,
        /// The timeout of the whole operation.
        timeout: Duration,
    },
}

impl ControlError {
    /// Returns true if the operation ended because of the timeout.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::CommandUnfinished { .. } | Self::NotRunning { .. } | Self::StillRunning { .. }
        )
    }
}
