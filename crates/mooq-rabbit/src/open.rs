//! Connecting and logging in, with errors that name the step that failed.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use amqprs::connection::{Connection, OpenConnectionArguments};
use amqprs::error::Error as AmqprsError;
use amqprs::security::SecurityCredentials;
use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use mooq_core::mailbox::mailbox;
use mooq_core::{
    AuthMechanism, CloseReason, Endpoint, Error, ErrorKind, OpenedConnection, Result, Scheme,
};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout_at};

use crate::callbacks::ConnectionHooks;
use crate::connection::RabbitConnection;
use crate::connection_state::ConnectionState;
use crate::invalid_endpoint::InvalidEndpoint;
use crate::threads;
use crate::tls::Tls;
use crate::verdict;

/// The shortest heartbeat that amqprs can keep. amqprs sends at half the interval in whole seconds,
/// so that with 1 it sends without a pause, and with 0 it disconnects at once.
const LEAST_HEARTBEAT_SECONDS: u16 = 2;

/// The smallest limit to the size of frames that AMQP allows.
const LEAST_FRAME_MAX: u32 = 4096;

/// Time that a login may go without an answer before the broker is asked for the reason. Half of
/// the connect timeout, if that is less.
const PATIENCE: Duration = Duration::from_secs(1);

/// Minimum time before a close without a reason means that the login was refused, if the broker
/// gave no reason when it was asked.
///
/// RabbitMQ delays such a close for 3 seconds. A peer that closes earlier has some other reason.
const SILENT_REFUSAL: Duration = Duration::from_secs(2);

/// End of amqprs' text for a heartbeat that the broker sends before it has answered
/// `connection.open`, as a slow broker does. amqprs gives the login up over it.
const HEARTBEAT: &str = "HeartBeat(HeartBeat)";

/// Begin and end of amqprs' text for a mechanism that the broker does not offer.
const MECHANISM: &str = "authentication '";
const NOT_OFFERED: &str = "' is not supported by server";

/// amqprs' text for the end of the stream between two frames, which is not a network error.
const HUNG_UP: &str = "peer shutdown";

pub(crate) async fn open(endpoint: &Endpoint) -> Result<OpenedConnection> {
    let driver = threads::FOR_AMQPRS.handle().map_err(|error| {
        let what = format!("its threads do not start: {error}");
        unreachable(endpoint, &what).with_source(error)
    })?;
    open_on(driver, endpoint).await
}

/// Opens a connection that runs on `driver`.
pub(crate) async fn open_on(driver: &Handle, endpoint: &Endpoint) -> Result<OpenedConnection> {
    let owned = endpoint.clone();
    let opening = AbortOnDrop::spawn(driver, async move { open_here(&owned).await });
    opening.await.unwrap_or_else(|ended| {
        Err(unreachable(endpoint, "the attempt broke down").with_source(ended))
    })
}

async fn open_here(endpoint: &Endpoint) -> Result<OpenedConnection> {
    let deadline = deadline(endpoint);
    let heartbeat = check(endpoint).map_err(|invalid| invalid.error(endpoint))?;
    let mut attempt = Attempt {
        endpoint,
        address: endpoint.address(),
        tls: None,
        deadline,
    };
    if endpoint.scheme == Scheme::Amqps {
        attempt.tls = Some(attempt.prepare_tls().await?);
    }
    loop {
        let peer = attempt.reach().await?;
        if let Some(connection) = attempt.log_in(peer, heartbeat).await? {
            return attempt.set_up(connection).await;
        }
        tracing::debug!(
            broker = attempt.address,
            "logging in again: the broker was so slow that its heartbeat came first"
        );
    }
}

/// The time at which an attempt is over that begins now.
pub(crate) fn deadline(endpoint: &Endpoint) -> Instant {
    // If the timeout is too long to add, use a deadline that is practically never reached.
    Instant::now()
        .checked_add(endpoint.connect_timeout)
        .unwrap_or_else(|| Instant::now() + Duration::from_secs(u32::MAX.into()))
}

pub(crate) fn unreachable(endpoint: &Endpoint, what: &str) -> Error {
    Error::connection(
        ErrorKind::ConnectFailed,
        format!("cannot connect to {}: {what}", endpoint.address()),
    )
}

/// Returns true if the peer hung up as RabbitMQ does to refuse a login without a reason.
fn is_silent_refusal(error: &AmqprsError, after: Duration) -> bool {
    let hung_up = matches!(error, AmqprsError::NetworkError(text) if text == HUNG_UP);
    hung_up && after >= SILENT_REFUSAL
}

/// Rejects endpoints that amqprs cannot handle, and returns the heartbeat in seconds.
pub(crate) fn check(endpoint: &Endpoint) -> std::result::Result<u16, InvalidEndpoint> {
    if !matches!(endpoint.scheme, Scheme::Amqp | Scheme::Amqps) {
        let what = "the RabbitMQ transport speaks amqp and amqps";
        return Err(InvalidEndpoint::only(ErrorKind::UnsupportedScheme, what));
    }
    let invalid = |what: &str| Err(InvalidEndpoint::only(ErrorKind::InvalidArgument, what));
    if endpoint.auth_mechanism == AuthMechanism::External {
        if endpoint.scheme != Scheme::Amqps {
            return invalid("a login by certificate (EXTERNAL) takes TLS: connect by amqps");
        }
        if endpoint.tls.client_certificate.is_none() {
            return invalid("a login by certificate (EXTERNAL) takes a client certificate");
        }
    }
    // SASL PLAIN separates name and password by this byte.
    let credentials = &endpoint.credentials;
    if credentials.username.contains('\0') || credentials.password.contains('\0') {
        return invalid("the user name or the password holds a NUL");
    }
    match u16::try_from(endpoint.heartbeat.as_secs()) {
        Ok(seconds) if seconds >= LEAST_HEARTBEAT_SECONDS => Ok(seconds),
        _ => invalid(&format!(
            "the heartbeat is {:?}, expected {LEAST_HEARTBEAT_SECONDS} to {} seconds",
            endpoint.heartbeat,
            u16::MAX
        )),
    }
}

struct Attempt<'a> {
    endpoint: &'a Endpoint,
    address: String,
    /// The TLS settings, if TLS is used.
    tls: Option<Tls>,
    deadline: Instant,
}

impl Attempt<'_> {
    async fn prepare_tls(&self) -> Result<Tls> {
        match timeout_at(self.deadline, Tls::of(self.endpoint)).await {
            Ok(tls) => tls.map_err(|invalid| invalid.error(self.endpoint)),
            Err(elapsed) => {
                let time = self.endpoint.connect_timeout;
                let what = format!("the certificates were not read within {time:?}");
                Err(InvalidEndpoint::new(what, elapsed).error(self.endpoint))
            }
        }
    }

    /// Finds an address at which something listens.
    ///
    /// amqprs would do this itself, but returns the same error for a name that does not resolve, a
    /// port that refuses and a peer that hangs up.
    async fn reach(&self) -> Result<SocketAddr> {
        let Endpoint { host, port, .. } = self.endpoint;
        let connect = async {
            let found = tokio::net::lookup_host((host.as_str(), *port)).await;
            let addresses: Vec<SocketAddr> =
                found.map_err(|e| self.error(&unresolved(&e), e))?.collect();
            let stream = TcpStream::connect(&addresses[..])
                .await
                .map_err(|e| self.error(&e.to_string(), e))?;
            stream
                .peer_addr()
                .map_err(|e| self.error(&e.to_string(), e))
        };
        match timeout_at(self.deadline, connect).await {
            Ok(outcome) => outcome,
            Err(elapsed) => Err(self.timed_out("accept the connection", elapsed)),
        }
    }

    /// Returns none if the login has to be made again.
    async fn log_in(&self, peer: SocketAddr, heartbeat: u16) -> Result<Option<Connection>> {
        let began = Instant::now();
        let arguments = self.arguments(peer, heartbeat);
        // In a task of its own: amqprs panics on some answers that are not AMQP. Its future may be
        // dropped only before the connection is open, and it has to be dropped for a timeout,
        // because amqprs has none.
        let here = Handle::current();
        let opening = AbortOnDrop::spawn(&here, async move { Connection::open(&arguments).await });
        let mut refusal = pin!(self.refusal(peer).fuse());
        let opened = async {
            tokio::select! {
                biased;
                opened = opening => Ok(opened),
                Some(reason) = &mut refusal => Err(reason),
            }
        };
        let opened = match timeout_at(self.deadline, opened).await {
            Ok(Err(reason)) => return Err(Error::connection_refused(&self.address, reason)),
            Ok(Ok(opened)) => Ok(opened),
            Err(elapsed) => Err(elapsed),
        };
        match opened {
            Ok(Ok(Ok(connection))) => Ok(Some(connection)),
            Ok(Ok(Err(AmqprsError::ConnectionOpenError(text)))) if text.ends_with(HEARTBEAT) => {
                Ok(None)
            }
            Ok(Ok(Err(error))) => {
                let after = began.elapsed();
                // On a busy machine the broker hangs up before it has been heard on the reason.
                if is_silent_refusal(&error, after)
                    && !refusal.is_terminated()
                    && let Ok(Some(reason)) = timeout_at(self.deadline, refusal).await
                {
                    return Err(Error::connection_refused(&self.address, reason));
                }
                Err(match self.tls_refusal(peer, &error).await {
                    Some(refusal) => refusal,
                    None => self.refused(error, after),
                })
            }
            Ok(Err(ended)) if ended.is_panic() => {
                Err(self.error("its answer is not AMQP 0-9-1", ended))
            }
            Ok(Err(ended)) => Err(self.error("the attempt broke down", ended)),
            Err(elapsed) => Err(self.timed_out("finish the handshake", elapsed)),
        }
    }

    /// Returns the broker's reason for refusing the login, once it has been silent about it. None if
    /// the broker does not refuse, or gives no reason.
    async fn refusal(&self, peer: SocketAddr) -> Option<CloseReason> {
        tokio::time::sleep(PATIENCE.min(self.endpoint.connect_timeout / 2)).await;
        let asked = async {
            let stream = TcpStream::connect(peer).await?;
            match &self.tls {
                Some(tls) => verdict::ask(tls.connect(stream).await?, self.endpoint).await,
                None => verdict::ask(stream, self.endpoint).await,
            }
        };
        match asked.await {
            Ok(reason) => reason,
            Err(error) => {
                tracing::debug!(broker = self.address, %error, "no verdict on a silent login");
                None
            }
        }
    }

    fn arguments(&self, peer: SocketAddr, heartbeat: u16) -> OpenConnectionArguments {
        let Endpoint {
            vhost,
            credentials,
            auth_mechanism,
            connection_name,
            ..
        } = self.endpoint;
        // amqprs joins host and port into one text, so an IPv6 address needs its brackets.
        let host = match peer {
            SocketAddr::V4(v4) => v4.ip().to_string(),
            SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
        };
        let mut arguments = OpenConnectionArguments::default();
        arguments
            .host(&host)
            .port(peer.port())
            .virtual_host(vhost)
            .connection_name(connection_name.as_deref().unwrap_or("mooq"))
            .credentials(match auth_mechanism {
                AuthMechanism::External => SecurityCredentials::new_external(),
                _ => {
                    let (username, password) = (&credentials.username, &credentials.password);
                    SecurityCredentials::new_plain(username, password)
                }
            })
            .heartbeat(heartbeat);
        if let Some(tls) = &self.tls {
            tls.set(&mut arguments);
        }
        arguments
    }

    async fn set_up(&self, connection: Connection) -> Result<OpenedConnection> {
        // The broker's own limit wins if it is lower.
        let heartbeat = connection.heartbeat();
        if heartbeat < LEAST_HEARTBEAT_SECONDS {
            let what = format!("it asks for a heartbeat of {heartbeat} s, and 2 s is the least");
            return Err(self.unreachable(&what));
        }
        // amqprs takes the broker's value, and splits bodies to this less 8 bytes.
        match connection.frame_max() {
            0 => {
                return Err(self.unreachable(
                    "it sets no limit to the size of frames (frame_max is 0), which AMQP allows \
                     but amqprs cannot do",
                ));
            }
            bytes @ 1..LEAST_FRAME_MAX => {
                return Err(self.unreachable(&format!(
                    "it asks for frames of at most {bytes} bytes, and {LEAST_FRAME_MAX} is the \
                     least that AMQP allows"
                )));
            }
            LEAST_FRAME_MAX.. => {}
        }
        let (sender, events) = mailbox();
        let channel_max = connection.channel_max();
        let state = Arc::new(ConnectionState::new(self.endpoint, sender, channel_max));
        // If amqprs' reader has already ended, this drops the hooks, which notifies the state.
        let hooks = ConnectionHooks(Arc::clone(&state));
        if let Err(error) = connection.register_callback(hooks).await {
            return Err(self.error("it hung up after the login", error));
        }
        tracing::debug!(broker = self.address, "connection opened");
        Ok(OpenedConnection {
            connection: Arc::new(RabbitConnection::new(connection, state)),
            events,
        })
    }

    /// Returns the TLS error behind an error of amqprs, if TLS is the cause.
    async fn tls_refusal(&self, peer: SocketAddr, error: &AmqprsError) -> Option<Error> {
        let (Some(tls), AmqprsError::NetworkError(_)) = (&self.tls, error) else {
            return None;
        };
        let refusal = timeout_at(self.deadline, tls.refusal(peer)).await.ok()??;
        let what = format!("cannot connect to {}: TLS failed: {refusal}", self.address);
        Some(Error::connection(ErrorKind::TlsFailed, what).with_source(refusal))
    }

    /// Converts an error of amqprs during the login.
    fn refused(&self, error: AmqprsError, after: Duration) -> Error {
        match &error {
            AmqprsError::ConnectionOpenError(text) => match close_reason(text) {
                Some(reason) => Error::connection_refused(&self.address, reason),
                None if text.starts_with(MECHANISM) && text.ends_with(NOT_OFFERED) => {
                    let own = self.endpoint.auth_mechanism.as_str();
                    let address = &self.address;
                    let what = format!("cannot connect to {address}: it does not offer {own}");
                    Error::connection(ErrorKind::AuthenticationFailed, what).with_source(error)
                }
                None => self.error("its answer is not what AMQP 0-9-1 asks for", error),
            },
            _ if is_silent_refusal(&error, after) => Error::connection(
                ErrorKind::AuthenticationFailed,
                format!(
                    "{} hung up {:.1} s into the login without a word, which is what RabbitMQ \
                     does when {}",
                    self.address,
                    after.as_secs_f32(),
                    match self.endpoint.auth_mechanism {
                        AuthMechanism::External => "no user has the certificate's name".to_owned(),
                        _ => format!(
                            "the name or the password of user '{}' is wrong",
                            self.endpoint.credentials.username
                        ),
                    }
                ),
            )
            .with_source(error),
            _ => self.error("it hung up during the handshake", error),
        }
    }

    fn timed_out(&self, what: &str, elapsed: tokio::time::error::Elapsed) -> Error {
        Error::connection_timed_out(&self.address, what, self.endpoint.connect_timeout)
            .with_source(elapsed)
    }

    fn error(
        &self,
        what: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        self.unreachable(what).with_source(source)
    }

    fn unreachable(&self, what: &str) -> Error {
        unreachable(self.endpoint, what)
    }
}

/// Text for an error of looking up a host name. An error with an operating system's number is not
/// about the name: there are too many open files, for example.
pub(crate) fn unresolved(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => format!("looking up the host name failed: {error}"),
        None => format!("the host name does not resolve: {error}"),
    }
}

/// Parses the broker's `connection.close` from an error of amqprs, which holds it as debug text
/// only.
fn close_reason(text: &str) -> Option<CloseReason> {
    let close = text.split_once("Close { reply_code: ")?.1;
    let (code, rest) = close.split_once(", reply_text: ShortStr(")?;
    let (_, rest) = rest.split_once(", \"")?;
    // The reply text may contain a virtual host's name, and so any text: it is parsed from the
    // right.
    let (reply_text, rest) = rest.rsplit_once("\"), class_id: ")?;
    let (class_id, rest) = rest.split_once(", method_id: ")?;
    let (method_id, _) = rest.split_once(' ')?;
    Some(CloseReason {
        code: code.parse().ok()?,
        text: reply_text.replace("\\\"", "\"").replace("\\\\", "\\"),
        class_id: class_id.parse().ok()?,
        method_id: method_id.parse().ok()?,
    })
}

/// A task that is aborted when the future that waits for it is dropped.
pub(crate) struct AbortOnDrop<T> {
    /// Taken only by the drop.
    task: Option<JoinHandle<T>>,
    runtime: Handle,
}

impl<T: Send + 'static> AbortOnDrop<T> {
    pub(crate) fn spawn(
        runtime: &Handle,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        Self {
            task: Some(runtime.spawn(future)),
            runtime: runtime.clone(),
        }
    }
}

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, JoinError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        match &mut self.task {
            Some(task) => std::pin::Pin::new(task).poll(cx),
            None => std::task::Poll::Pending,
        }
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // If the task has ended, this drops a connection of amqprs, which panics outside of a
            // runtime.
            let _entered = self.runtime.enter();
            drop(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use mooq_core::ErrorScope;

    use super::*;

    #[test]
    fn the_close_is_read_from_amqprs_text() {
        let text = r#"failed to open connection, reason: Close(MethodHeader(10, 50), Close { reply_code: 530, reply_text: ShortStr(39, "NOT_ALLOWED - vhost a\"), class_id: 1 not found"), class_id: 10, method_id: 40 })"#;
        let reason = close_reason(text).unwrap();
        assert_eq!(
            reason,
            CloseReason {
                code: 530,
                text: "NOT_ALLOWED - vhost a\"), class_id: 1 not found".into(),
                class_id: 10,
                method_id: 40,
            }
        );
        assert_eq!(
            close_reason("failed to negotiate: HeartBeat(HeartBeat)"),
            None
        );
    }

    #[test]
    fn a_lookup_that_the_system_fails_says_nothing_about_the_name() {
        // EMFILE, as getaddrinfo returns it.
        let unresolved = unresolved(&io::Error::from_raw_os_error(24));
        assert!(unresolved.contains("Too many open files"), "{unresolved}");
        assert!(!unresolved.contains("does not resolve"), "{unresolved}");
    }

    #[test]
    fn a_silent_close_is_a_refused_login_only_if_it_was_kept_back() {
        let mut endpoint = Endpoint::new(Scheme::Amqp);
        endpoint.credentials.password = "hunter2".into();
        let attempt = Attempt {
            endpoint: &endpoint,
            address: endpoint.address(),
            tls: None,
            deadline: Instant::now(),
        };
        let hung_up = || AmqprsError::NetworkError(HUNG_UP.into());

        let late = attempt.refused(hung_up(), Duration::from_secs(3));
        assert_eq!(late.kind(), ErrorKind::AuthenticationFailed);
        assert_eq!(late.scope(), ErrorScope::Connection);
        assert!(late.to_string().contains("localhost:5672"), "{late}");
        assert!(!format!("{late:?}").contains("hunter2"), "{late:?}");

        let early = attempt.refused(hung_up(), Duration::from_millis(5));
        assert_eq!(early.kind(), ErrorKind::ConnectFailed);

        for text in [
            "network io error: Connection reset by peer (os error 104)",
            "network io error: Connection timed out (os error 110)",
            "connection interrupted",
        ] {
            let error = AmqprsError::NetworkError(text.into());
            let late = attempt.refused(error, Duration::from_secs(3));
            assert_eq!(late.kind(), ErrorKind::ConnectFailed, "{late}");
        }
    }
}
