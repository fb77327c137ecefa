//! The broker under control.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::address::BrokerAddress;
use crate::error::ControlError;
use crate::handshake::{HandshakeError, handshake};
use crate::method::{ControlMethod, MethodError, User};
use crate::registry;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Time limit of one handshake. A broker that is up answers within milliseconds; one that is silent
/// for this long is hung, and is asked again on a new connection.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// The pauses between handshakes: from the first, doubling, to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// A RabbitMQ that runs on its own, as a service or in a container, and that a test restarts, stops
/// and watches.
///
/// By default the broker is at `localhost:5672`, is controlled by the method that the environment
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
///     .timeout(Duration::from_secs(20));
///
/// assert_eq!(broker.address().to_string(), "localhost:5673");
/// ```
#[derive(Debug, Clone)]
pub struct RabbitMQBroker {
    address: BrokerAddress,
    /// The method. If `None`, it is read from the environment when it is needed.
    method: Option<ControlMethod>,
    timeout: Duration,
    /// True if the broker answered at the end of the last [`run`](Self::run) that is done. Shared
    /// by clones.
    outcomes: Arc<watch::Sender<bool>>,
}

impl RabbitMQBroker {
    /// The broker that listens at `host` and `port`. The host is a name or a literal IPv4 or
    /// IPv6 address.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self::at(BrokerAddress::new(host, port))
    }

    /// The broker that listens at `address`.
    fn at(address: BrokerAddress) -> Self {
        Self {
            address,
            method: None,
            timeout: DEFAULT_TIMEOUT,
            outcomes: Arc::default(),
        }
    }

    /// Sets the method by which [`run`](Self::run) and [`close`](Self::close) control the broker.
    /// Without it they use [`ControlMethod::from_env`].
    #[must_use]
    pub fn method(mut self, method: ControlMethod) -> Self {
        self.method = Some(method);
        self
    }

    /// Sets the time limit of one operation as a whole: the command and the handshakes after it.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Adds this broker to the process's registry, where [`lookup`](Self::lookup) finds it by its
    /// host and port, in place of any other.
    ///
    /// # Examples
    /// ```
    /// use mooq_broker_ctl::{ControlMethod, RabbitMQBroker};
    ///
    /// RabbitMQBroker::new("localhost", 5673)
    ///     .method(ControlMethod::docker("my-rabbit"))
    ///     .register();
    ///
    /// assert!(RabbitMQBroker::lookup("localhost", 5673).is_some());
    /// assert!(RabbitMQBroker::lookup("localhost", 5674).is_none());
    /// ```
    pub fn register(&self) {
        registry::register(self);
    }

    /// The broker that was [registered](Self::register) last for this host and port.
    #[must_use]
    pub fn lookup(host: &str, port: u16) -> Option<Self> {
        registry::lookup(&BrokerAddress::new(host, port))
    }

    /// The address that the broker listens at.
    #[must_use]
    pub fn address(&self) -> &BrokerAddress {
        &self.address
    }

    /// Restarts the broker, or starts it if it is stopped, and returns when it answers an AMQP
    /// handshake.
    ///
    /// The broker that answers is the restarted one and not the one from before: the commands end
    /// only when the old process has ended.
    ///
    /// # Errors
    ///
    /// [`Method`](ControlError::Method) if the method to control the broker is unknown; one of
    /// [`CommandNotRun`](ControlError::CommandNotRun),
    /// [`CommandFailed`](ControlError::CommandFailed) and
    /// [`CommandUnfinished`](ControlError::CommandUnfinished) if the command does not succeed;
    /// [`NotRunning`](ControlError::NotRunning) if the command succeeds, but the broker does not
    /// answer within the timeout.
    ///
    /// # Cancel safety
    ///
    /// A command that has begun goes on when this future is dropped, so that the broker may
    /// still go down and come up again. Another `run` brings it to a known state.
    pub async fn run(&self) -> Result<(), ControlError> {
        let outcome = self.restart().await;
        self.outcomes.send_replace(outcome.is_ok());
        outcome
    }

    async fn restart(&self) -> Result<(), ControlError> {
        let began = Instant::now();
        let command = self.control()?.restart_command(User::current());
        command.run(self.timeout).await?;
        self.answers_within(self.left(began)).await
    }

    /// Returns the outcome of the next [`run`](Self::run) of this broker or of a clone, for tasks
    /// that do not call `run`: `true` once the broker answers, `false` if that run fails or no
    /// further run is possible. A run that is dropped midway has no outcome: the one after it
    /// counts.
    ///
    /// A run counts if it ends after this call, whether the returned future is being awaited or
    /// not.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use mooq_broker_ctl::{ControlMethod, RabbitMQBroker};
    ///
    /// let broker = RabbitMQBroker::new("127.0.0.1", 1).method(ControlMethod::docker("no-such"));
    /// let is_running = broker.running();
    /// let (ran, is_running) = tokio::join!(broker.run(), is_running);
    ///
    /// ran.unwrap_err();
    /// assert!(!is_running, "there is no such container");
    /// # }
    /// ```
    pub fn running(&self) -> impl Future<Output = bool> + Send + use<> {
        let mut outcomes = self.outcomes.subscribe();
        async move { outcomes.changed().await.is_ok() && *outcomes.borrow() }
    }

    /// Stops the broker, and returns when it no longer answers an AMQP handshake. A broker that is
    /// already stopped stays stopped.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), but [`StillRunning`](ControlError::StillRunning) if a broker
    /// still answers at the timeout.
    ///
    /// # Cancel safety
    ///
    /// A command that has begun goes on when this future is dropped, so that the broker may
    /// still go down. Another `close` brings it to a known state.
    pub async fn close(&self) -> Result<(), ControlError> {
        let began = Instant::now();
        let command = self.control()?.stop_command(User::current());
        command.run(self.timeout).await?;
        self.silent_within(self.left(began)).await
    }

    /// Waits until the broker answers an AMQP handshake. Controls nothing and needs no
    /// [`ControlMethod`].
    ///
    /// # Errors
    ///
    /// [`NotRunning`](ControlError::NotRunning) if the broker does not answer within the timeout.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop at any time: only a connection is lost.
    pub async fn wait(&self) -> Result<(), ControlError> {
        self.answers_within(self.timeout).await
    }

    /// Checks if the broker answers an AMQP handshake now; a silent broker is given 5 s, or the
    /// timeout if that is shorter. Controls nothing and needs no [`ControlMethod`].
    ///
    /// The check does not log in, so RabbitMQ logs each time that a client closed the connection
    /// early.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop at any time: only a connection is lost.
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
        match handshake(&self.address, HANDSHAKE_LIMIT.min(self.timeout)).await {
            Ok(()) => BrokerStatus::Running,
            Err(reason) => BrokerStatus::NotRunning(reason),
        }
    }

    fn control(&self) -> Result<ControlMethod, MethodError> {
        self.method.clone().map_or_else(ControlMethod::from_env, Ok)
    }

    /// The part of the timeout that is left for an operation that began at `began`.
    fn left(&self, began: Instant) -> Duration {
        self.timeout.saturating_sub(began.elapsed())
    }

    async fn answers_within(&self, limit: Duration) -> Result<(), ControlError> {
        let mut last = HandshakeError::TimedOut { after: limit };
        let answers = async {
            let mut pauses = Pauses::default();
            while let Err(error) = handshake(&self.address, HANDSHAKE_LIMIT).await {
                last = error;
                pauses.next().await;
            }
        };
        match timeout(limit, answers).await {
            Ok(()) => Ok(()),
            Err(_) => Err(ControlError::NotRunning {
                address: self.address.clone(),
                timeout: self.timeout,
                last,
            }),
        }
    }

    async fn silent_within(&self, limit: Duration) -> Result<(), ControlError> {
        let silent = async {
            let mut pauses = Pauses::default();
            while handshake(&self.address, HANDSHAKE_LIMIT).await.is_ok() {
                pauses.next().await;
            }
        };
        timeout(limit, silent)
            .await
            .map_err(|_| ControlError::StillRunning {
                address: self.address.clone(),
                timeout: self.timeout,
            })
    }
}

impl Default for RabbitMQBroker {
    /// The broker at `localhost:5672`.
    fn default() -> Self {
        Self::at(BrokerAddress::default())
    }
}

/// The growing pauses between handshakes with a broker. There is no event to wait for instead: a
/// port gives no notice when a process begins to listen.
struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pauses {
    async fn next(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}

/// Result of [`RabbitMQBroker::status`].
#[derive(Debug)]
pub enum BrokerStatus {
    /// The broker answers AMQP handshakes.
    Running,
    /// The broker does not answer, for this reason.
    NotRunning(HandshakeError),
}

impl BrokerStatus {
    /// Returns true if the broker answers AMQP handshakes.
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

    /// Accepts connections for ever, and answers the handshakes for which `answers` returns true.
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

    /// Compiling is the test.
    #[test]
    fn every_operation_can_be_spawned() {
        fn can_be_spawned(_: impl Future<Output: Send> + Send + 'static) {}
        let broker = || RabbitMQBroker::new("127.0.0.1", 1);
        can_be_spawned(async move { broker().run().await });
        can_be_spawned(async move { broker().wait().await });
        can_be_spawned(async move { broker().close().await });
        can_be_spawned(async move { broker().status().await });
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
            silent = broker.silent_within(DEFAULT_TIMEOUT) => silent.unwrap(),
            () = peer => {}
        }
        assert_eq!(asked, 4);
    }

    #[tokio::test]
    async fn running_tells_of_the_next_run_by_whatever_clone() {
        let (_listener, broker) = listen().await;
        let running = broker.running();
        let absent = ControlMethod::docker("mooq-no-such-container");
        broker.clone().method(absent).run().await.unwrap_err();
        assert!(!running.await);

        let running = broker.running();
        broker.outcomes.send_replace(true);
        assert!(running.await);

        let running = broker.running();
        drop(broker);
        assert!(!running.await, "no run can come");
    }

    #[test]
    fn one_that_is_registered_again_takes_the_place() {
        let broker = RabbitMQBroker::new("registered.example", 5672);
        broker.register();
        let short = broker.clone().timeout(Duration::from_secs(1));
        short.register();
        let found = RabbitMQBroker::lookup("registered.example", 5672).unwrap();
        assert_eq!(found.timeout, short.timeout);
        assert!(RabbitMQBroker::lookup("registered.example", 5673).is_none());
    }

    #[tokio::test]
    async fn the_last_handshake_is_the_source_of_the_error() {
        let mut errors = Vec::new();
        // On a busy machine a short timeout is over before the first handshake.
        for timeout in [100, 1_000, 10_000].map(Duration::from_millis) {
            let (listener, broker) = listen().await;
            let broker = broker.timeout(timeout);
            let error = tokio::select! {
                waited = broker.wait() => waited.unwrap_err(),
                () = broker_at(&listener, |_| false) => unreachable!("it never answers"),
            };
            if let ControlError::NotRunning {
                last: HandshakeError::Closed,
                ..
            } = error
            {
                return;
            }
            errors.push(error);
        }
        panic!("{errors:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_shorter_than_one_handshake_holds() {
        let (_listener, broker) = listen().await;
        let timeout = Duration::from_secs(1);
        let began = Instant::now();
        let error = broker.timeout(timeout).wait().await.unwrap_err();
        assert_eq!(began.elapsed().as_secs(), 1);
        assert!(
            matches!(
                error,
                ControlError::NotRunning { last: HandshakeError::TimedOut { after }, .. }
                    if after == timeout
            ),
            "{error:?}"
        );
    }
}
