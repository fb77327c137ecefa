//! What can go wrong when a broker is controlled.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use crate::address::BrokerAddress;
use crate::handshake::HandshakeError;
use crate::method::MethodError;

/// Why a broker could not be restarted, stopped or waited for.
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
/// let broker = RabbitMQBroker::new("127.0.0.1", 1).deadline(Duration::from_millis(100));
///
/// let error = broker.wait().await.unwrap_err();
/// assert!(matches!(error, ControlError::NotRunning { .. }));
/// assert!(error.is_deadline());
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// It is not known how to control the broker.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// The command could not be started, or not be waited for.
    #[error("`{command}` could not be run")]
    CommandNotRun {
        /// The command with its arguments.
        command: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The command ended and said that it failed.
    #[error("`{command}` failed with {status}: {output}")]
    CommandFailed {
        /// The command with its arguments.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote to stdout and stderr.
        output: String,
    },
    /// The command had not ended at the deadline. It goes on by itself.
    #[error("`{command}` had not ended after {deadline:?}")]
    CommandUnfinished {
        /// The command with its arguments.
        command: String,
        /// How long it was waited for.
        deadline: Duration,
    },
    /// At the deadline the broker did not answer an AMQP handshake yet.
    #[error("RabbitMQ at {address} did not answer a handshake within {deadline:?}")]
    NotRunning {
        /// Where it was expected.
        address: BrokerAddress,
        /// The deadline of the whole operation.
        deadline: Duration,
        /// What became of the last handshake.
        #[source]
        last: HandshakeError,
    },
    /// The command to stop the broker succeeded, but at the deadline a broker still answered
    /// AMQP handshakes. Perhaps it is another one than the command controls.
    #[error(
        "RabbitMQ at {address} still answers handshakes {deadline:?} after it was told to stop"
    )]
    StillRunning {
        /// Where it still answers.
        address: BrokerAddress,
        /// The deadline of the whole operation.
        deadline: Duration,
    },
}

impl ControlError {
    /// Whether it is the deadline that ended the operation.
    #[must_use]
    pub fn is_deadline(&self) -> bool {
        matches!(
            self,
            Self::CommandUnfinished { .. } | Self::NotRunning { .. } | Self::StillRunning { .. }
        )
    }
}
