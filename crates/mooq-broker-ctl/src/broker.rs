//! The broker under control.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::address::BrokerAddress;
use crate::error::ControlError;
use crate::handshake::{HandshakeError, handshake};
use crate::method::{ControlMethod, MethodError, User};

const DEFAULT_DEADLINE: Duration = Duration::from_secs(60);
/// How long one handshake may take. A broker that is up answers within milliseconds; one that
/// is silent for this long is hung, and is asked again on a new connection.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// The pauses between handshakes: from the first, doubling, to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// A RabbitMQ that runs on its own, as a service or in a container, and that a test restarts,
/// stops and watches.
///
/// By default it is at `localhost:5672`, is controlled by the method that the environment
/// variable `TEST_DISTRIBUTION` names, and every operation has 60 s.
///
/// The operations need a tokio runtime with I/O and time enabled.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use mooq_broker_ctl::{ControlMethod, RabbitMQBroker};
///
/// let broker = RabbitMQBroker::new("localhost", 5673)
///     .method(ControlMethod::docker("my-rabbit"))
///     .deadline(Duration::from_secs(20));
///
/// assert_eq!(broker.address().to_string(), "localhost:5673");
/// ```
#[derive(Debug, Clone)]
pub struct RabbitMQBroker {
    address: BrokerAddress,
    /// What the environment says when it is needed, if none.
    method: Option<ControlMethod>,
    deadline: Duration,
}

impl RabbitMQBroker {
    /// The broker that listens at `host` and `port`. The host is a name or a literal IPv4 or
    /// IPv6 address.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self::at(BrokerAddress::new(host, port))
    }

    /// The broker that listens there.
    fn at(address: BrokerAddress) -> Self {
        Self {
            address,
            method: None,
            deadline: DEFAULT_DEADLINE,
        }
    }

    /// How [`run`](Self::run) and [`close`](Self::close) control the broker. Without this they
    /// ask [`ControlMethod::from_env`].
    #[must_use]
    pub fn method(mut self, method: ControlMethod) -> Self {
        self.method = Some(method);
        self
    }

    /// How long one operation may take as a whole, the command and the handshakes after it.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Where the broker listens.
    #[must_use]
    pub fn address(&self) -> &BrokerAddress {
        &self.address
    }

    /// Restarts the broker, or starts it if it is stopped, and returns when it answers an AMQP
    /// handshake.
    ///
    /// The one that answers is the restarted broker and not the one from before: the commands
    /// end only when the old process has.
    ///
    /// # Errors
    ///
    /// [`Method`](ControlError::Method) if it is not known how to control the broker; one of
    /// [`CommandNotRun`](ControlError::CommandNotRun),
    /// [`CommandFailed`](ControlError::CommandFailed) and
    /// [`CommandUnfinished`](ControlError::CommandUnfinished) if the command does not succeed;
    /// [`NotRunning`](ControlError::NotRunning) if it does, but the broker does not answer
    /// within the deadline.
    ///
    /// # Cancel safety
    ///
    /// A command that has begun goes on when this future is dropped, so that the broker may
    /// still go down and come up again. Another `run` brings it to a known state.
    pub async fn run(&self) -> Result<(), ControlError> {
        let began = Instant::now();
        let command = self.control()?.restart_command(User::current());
        command.run(self.deadline).await?;
        self.answers_within(self.left(began)).await
    }

    /// Stops the broker, and returns when it no longer answers an AMQP handshake. One that is
    /// stopped already stays so.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), but [`StillRunning`](ControlError::StillRunning) if a broker
    /// still answers at the deadline.
    ///
    /// # Cancel safety
    ///
    /// A command that has begun goes on when this future is dropped, so that the broker may
    /// still go down. Another `close` brings it to a known state.
    pub async fn close(&self) -> Result<(), ControlError> {
        let began = Instant::now();
        let command = self.control()?.stop_command(User::current());
        command.run(self.deadline).await?;
        self.silent_within(self.left(began)).await
    }

    /// Waits until the broker answers an AMQP handshake. Controls nothing and needs no
    /// [`ControlMethod`].
    ///
    /// # Errors
    ///
    /// [`NotRunning`](ControlError::NotRunning) if it does not within the deadline.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time: nothing but a connection is lost.
    pub async fn wait(&self) -> Result<(), ControlError> {
        self.answers_within(self.deadline).await
    }

    /// Whether the broker answers an AMQP handshake now; a silent one is given 5 s, or the
    /// deadline if that is shorter. Controls nothing and needs no [`ControlMethod`].
    ///
    /// There is no login, so RabbitMQ logs each time that a client closed the connection early.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time: nothing but a connection is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use mooq_broker_ctl::{BrokerStatus, RabbitMQBroker};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// // Nothing listens at port 1.
    /// match RabbitMQBroker::new("127.0.0.1", 1).status().await {
    ///     BrokerStatus::Running => unreachable!(),
    ///     BrokerStatus::NotRunning(reason) => {
    ///         assert_eq!(reason.to_string(), "no connection could be made");
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn status(&self) -> BrokerStatus {
        match handshake(&self.address, HANDSHAKE_LIMIT.min(self.deadline)).await {
            Ok(()) => BrokerStatus::Running,
            Err(reason) => BrokerStatus::NotRunning(reason),
        }
    }

    fn control(&self) -> Result<ControlMethod, MethodError> {
        self.method.clone().map_or_else(ControlMethod::from_env, Ok)
    }

    /// What is left of the deadline for an operation that began then.
    fn left(&self, began: Instant) -> Duration {
        self.deadline.saturating_sub(began.elapsed())
    }

    async fn answers_within(&self, limit: Duration) -> Result<(), ControlError> {
        let mut last = HandshakeError::TimedOut { after: limit };
        let answers = poll_until(
            async || match handshake(&self.address, HANDSHAKE_LIMIT).await {
                Ok(()) => true,
                Err(error) => {
                    last = error;
                    false
                }
            },
        );
        match timeout(limit, answers).await {
            Ok(()) => Ok(()),
            Err(_) => Err(ControlError::NotRunning {
                address: self.address.clone(),
                deadline: self.deadline,
                last,
            }),
        }
    }

    async fn silent_within(&self, limit: Duration) -> Result<(), ControlError> {
        let silent = poll_until(async || handshake(&self.address, HANDSHAKE_LIMIT).await.is_err());
        timeout(limit, silent)
            .await
            .map_err(|_| ControlError::StillRunning {
                address: self.address.clone(),
                deadline: self.deadline,
            })
    }
}

impl Default for RabbitMQBroker {
    /// The broker at `localhost:5672`.
    fn default() -> Self {
        Self::at(BrokerAddress::default())
    }
}

/// Asks again and again, with growing pauses, until the answer is yes. There is no event to
/// wait for instead: a port does not tell when somebody begins to listen.
async fn poll_until(mut ask: impl AsyncFnMut() -> bool) {
    let mut pause = FIRST_PAUSE;
    while !ask().await {
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What [`RabbitMQBroker::status`] found.
#[derive(Debug)]
pub enum BrokerStatus {
    /// The broker answers AMQP handshakes.
    Running,
    /// It does not, for this reason.
    NotRunning(HandshakeError),
}

impl BrokerStatus {
    /// Whether the broker answers AMQP handshakes.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// `connection.start` with no arguments, in its frame.
    const START: [u8; 12] = [1, 0, 0, 0, 0, 0, 4, 0, 10, 0, 10, 0xCE];

    /// Accepts connections for ever, and answers the handshakes for which `answers` says so.
    async fn broker_at(listener: &TcpListener, mut answers: impl FnMut(usize) -> bool) {
        for count in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 8]).await.unwrap();
            if answers(count) {
                stream.write_all(&START).await.unwrap();
            }
        }
    }

    async fn listen() -> (TcpListener, RabbitMQBroker) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, RabbitMQBroker::new("127.0.0.1", port))
    }

    #[tokio::test]
    async fn wait_asks_until_the_broker_answers() {
        let (listener, broker) = listen().await;
        let mut asked = 0;
        let peer = broker_at(&listener, |count| {
            asked = count + 1;
            count == 3
        });
        tokio::select! {
            waited = broker.wait() => waited.unwrap(),
            () = peer => {}
        }
        assert_eq!(asked, 4);
    }

    #[tokio::test]
    async fn a_stopped_broker_is_asked_until_it_is_silent() {
        let (listener, broker) = listen().await;
        let mut asked = 0;
        let peer = broker_at(&listener, |count| {
            asked = count + 1;
            count < 3
        });
        tokio::select! {
            silent = broker.silent_within(DEFAULT_DEADLINE) => silent.unwrap(),
            () = peer => {}
        }
        assert_eq!(asked, 4);
    }

    #[tokio::test]
    async fn the_last_handshake_is_the_source_of_the_error() {
        let (listener, broker) = listen().await;
        let broker = broker.deadline(Duration::from_millis(100));
        let error = tokio::select! {
            waited = broker.wait() => waited.unwrap_err(),
            () = broker_at(&listener, |_| false) => return,
        };
        assert!(
            matches!(
                error,
                ControlError::NotRunning {
                    last: HandshakeError::Closed,
                    ..
                }
            ),
            "{error:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_shorter_than_one_handshake_holds() {
        let (_listener, broker) = listen().await;
        let deadline = Duration::from_secs(1);
        let began = Instant::now();
        let error = broker.deadline(deadline).wait().await.unwrap_err();
        assert_eq!(began.elapsed().as_secs(), 1);
        assert!(
            matches!(
                error,
                ControlError::NotRunning { last: HandshakeError::TimedOut { after }, .. }
                    if after == deadline
            ),
            "{error:?}"
        );
    }
}
