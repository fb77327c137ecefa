//! Connecting and logging in, with errors that name the step that failed.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use mooq_core::mailbox::mailbox;
use mooq_core::{Endpoint, Error, ErrorKind, OpenedConnection, Result, Scheme};
use mooq_wire::Output;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::runtime::Handle;
use tokio::time::{timeout, timeout_at};

use super::connection::NativeConnection;
use super::session::{Handshake, Refusal, Session, Tuned};
use super::shared::Shared;
use super::task::{Task, now};
use crate::invalid_endpoint::InvalidEndpoint;
use crate::open::{AbortOnDrop, check, deadline, unreachable, unresolved};
use crate::threads::Threads;
use crate::tls::Tls;

/// Size of the read buffer, in bytes.
const READ: usize = 64 * 1024;

/// Time for the last frame to be written, once a login has failed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The threads of connections, with tokio's usual stack.
static THREADS: Threads = Threads::new(2 << 20);

pub(super) async fn open(endpoint: &Endpoint) -> Result<OpenedConnection> {
    let threads = THREADS.handle().map_err(|error| {
        let what = format!("its threads do not start: {error}");
        unreachable(endpoint, &what).with_source(error)
    })?;
    open_on(threads, endpoint).await
}

/// Opens a connection that runs on `runtime`.
pub(super) async fn open_on(runtime: &Handle, endpoint: &Endpoint) -> Result<OpenedConnection> {
    let owned = endpoint.clone();
    let opening = AbortOnDrop::spawn(runtime, async move { open_here(&owned).await });
    opening.await.unwrap_or_else(|ended| {
        Err(unreachable(endpoint, "the attempt broke down").with_source(ended))
    })
}

async fn open_here(endpoint: &Endpoint) -> Result<OpenedConnection> {
    let deadline = deadline(endpoint);
    let heartbeat = check(endpoint).map_err(|invalid| invalid.error(endpoint))?;
    let attempt = Attempt {
        endpoint,
        heartbeat,
    };
    // The step that takes too long.
    let mut step = Step::Certificates;
    let opened = timeout_at(deadline, attempt.run(&mut step)).await;
    opened.unwrap_or_else(|elapsed| Err(attempt.timed_out(step).with_source(elapsed)))
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Certificates,
    Connect,
    Handshake,
}

/// The reason why a login failed.
enum Failure {
    /// The broker hung up before it said anything.
    HungUp(Error),
    Other(Error),
}

impl Failure {
    fn error(self) -> Error {
        match self {
            Self::HungUp(error) | Self::Other(error) => error,
        }
    }
}

struct Attempt<'a> {
    endpoint: &'a Endpoint,
    /// In seconds.
    heartbeat: u16,
}

impl Attempt<'_> {
    async fn run(&self, step: &mut Step) -> Result<OpenedConnection> {
        let tls = match self.endpoint.scheme {
            Scheme::Amqps => {
                let tls = Tls::of(self.endpoint).await;
                Some(tls.map_err(|invalid| invalid.error(self.endpoint))?)
            }
            _ => None,
        };
        *step = Step::Connect;
        let socket = self.connect().await?;
        *step = Step::Handshake;
        let Some(tls) = tls else {
            return self.log_in(socket).await.map_err(Failure::error);
        };
        let peer = socket.peer_addr();
        let socket = tls.connect(socket).await;
        let socket = socket.map_err(|error| self.tls_failed(error))?;
        match (self.log_in(socket).await, peer) {
            (Ok(opened), _) => Ok(opened),
            // The broker checks the client's certificate after the handshake of TLS 1.3. Its
            // reason may be lost, because it hangs up before it reads what was sent meanwhile.
            (Err(Failure::HungUp(error)), Ok(peer)) => match tls.refusal(peer).await {
                Some(refusal) => Err(self.tls_failed(refusal)),
                None => Err(error),
            },
            (Err(failure), _) => Err(failure.error()),
        }
    }

    async fn connect(&self) -> Result<TcpStream> {
        let Endpoint { host, port, .. } = self.endpoint;
        let found = lookup_host((host.as_str(), *port)).await;
        let addresses: Vec<_> = found
            .map_err(|error| self.error(&unresolved(&error), error))?
            .collect();
        let socket = TcpStream::connect(&addresses[..]).await;
        let socket = socket.map_err(|error| self.error(&error.to_string(), error))?;
        // Small frames are not held back: what belongs together is written together.
        let set = socket.set_nodelay(true);
        set.map_err(|error| self.error(&error.to_string(), error))?;
        Ok(socket)
    }

    async fn log_in(
        &self,
        mut socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> std::result::Result<OpenedConnection, Failure> {
        let mut handshake = Handshake::new(self.endpoint, self.heartbeat);
        let mut input = BytesMut::with_capacity(READ);
        match self
            .shake_hands(&mut socket, &mut handshake, &mut input)
            .await
        {
            Ok(tuned) => Ok(self.set_up(socket, tuned, handshake.output, input)),
            Err(error) => {
                // Not an error of its own, if the broker does not read any more.
                let _ = timeout(LAST_WORDS, write(&mut socket, &mut handshake.output)).await;
                Err(error)
            }
        }
    }

    async fn shake_hands(
        &self,
        socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
        handshake: &mut Handshake,
        input: &mut BytesMut,
    ) -> std::result::Result<Tuned, Failure> {
        loop {
            write(socket, &mut handshake.output)
                .await
                .map_err(|error| self.failed(handshake, error))?;
            let read = socket.read_buf(input).await;
            let read = read.map_err(|error| self.failed(handshake, error))?;
            if read == 0 {
                return Err(self.failed(handshake, io::ErrorKind::UnexpectedEof.into()));
            }
            let received = handshake.receive(input);
            let refused = |refusal: Refusal| {
                let error = refusal.error(&self.endpoint.address());
                Failure::Other(error)
            };
            if let Some(tuned) = received.map_err(refused)? {
                return Ok(tuned);
            }
        }
    }

    fn set_up(
        &self,
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        tuned: Tuned,
        output: Output,
        input: BytesMut,
    ) -> OpenedConnection {
        let address = self.endpoint.address();
        tracing::debug!(broker = address, "connection opened");
        let (sender, events) = mailbox();
        let session = Session::new(address, &tuned, output, now());
        let shared = Arc::new(Shared::new(session, sender));
        tokio::spawn(Task::new(socket, Arc::clone(&shared), input));
        OpenedConnection {
            connection: Arc::new(NativeConnection::new(shared, tuned.frame_max)),
            events,
        }
    }

    /// The error for a socket that fails during the handshake.
    fn failed(&self, handshake: &Handshake, error: io::Error) -> Failure {
        // An error of rustls.
        if self.endpoint.scheme == Scheme::Amqps && error.kind() == io::ErrorKind::InvalidData {
            return Failure::Other(self.tls_failed(error));
        }
        let error = self.error("it hung up during the handshake", error);
        if handshake.awaits_start() {
            Failure::HungUp(error)
        } else {
            Failure::Other(error)
        }
    }

    fn tls_failed(&self, error: io::Error) -> Error {
        let address = self.endpoint.address();
        let what = format!("cannot connect to {address}: TLS failed: {error}");
        Error::connection(ErrorKind::TlsFailed, what).with_source(error)
    }

    fn timed_out(&self, step: Step) -> Error {
        let limit = self.endpoint.connect_timeout;
        let what = match step {
            Step::Certificates => {
                let what = format!("the certificates were not read within {limit:?}");
                return InvalidEndpoint::only(ErrorKind::InvalidArgument, what)
                    .error(self.endpoint);
            }
            Step::Connect => "accept the connection",
            Step::Handshake => "finish the handshake",
        };
        Error::connection_timed_out(&self.endpoint.address(), what, limit)
    }

    fn error(&self, what: &str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        unreachable(self.endpoint, what).with_source(source)
    }
}

async fn write(socket: &mut (impl AsyncWrite + Unpin), output: &mut Output) -> io::Result<()> {
    socket.write_all_buf(output).await?;
    socket.flush().await
}
