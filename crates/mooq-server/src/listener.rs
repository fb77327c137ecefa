//! The socket that clients connect to.

use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mooq_core::Scheme;
use mooq_engine::ClientSocket;
use mooq_memory::{InMemoryBroker, ListenerGuard};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::connection::Settings;
use crate::task;
#[cfg(feature = "tls")]
use crate::tls::ServerTls;

/// Opens a socket for an in-memory broker.
pub trait Listen {
    /// Listens on `address`, and serves every client that connects, until the returned handle is
    /// dropped or stopped. Port 0 stands for any free port.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    fn listen(
        &self,
        address: impl ToSocketAddrs + Send,
    ) -> impl Future<Output = io::Result<Server>> + Send;

    /// Listens as [`listen`](Self::listen) does, for clients that speak TLS.
    ///
    /// # Errors
    /// `InvalidInput` if a file of `tls` cannot be used, which the error names; otherwise if the
    /// address cannot be listened on.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn serve() -> std::io::Result<()> {
    /// use mooq_memory::InMemoryBroker;
    /// use mooq_server::{Listen, ServerTls};
    ///
    /// let broker = InMemoryBroker::start();
    /// let tls = ServerTls::new("server.pem", "server-key.pem");
    /// let server = broker.listen_tls("127.0.0.1:0", &tls).await?;
    /// assert!(server.url().starts_with("amqps://guest:guest@127.0.0.1:"));
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "tls")]
    fn listen_tls(
        &self,
        address: impl ToSocketAddrs + Send,
        tls: &ServerTls,
    ) -> impl Future<Output = io::Result<Server>> + Send;
}

impl Listen for InMemoryBroker {
    async fn listen(&self, address: impl ToSocketAddrs + Send) -> io::Result<Server> {
        Server::start(self, address, Encryption::None).await
    }

    #[cfg(feature = "tls")]
    async fn listen_tls(
        &self,
        address: impl ToSocketAddrs + Send,
        tls: &ServerTls,
    ) -> io::Result<Server> {
        Server::start(self, address, Encryption::Tls(tls.acceptor()?)).await
    }
}

/// Encryption of a socket's connections.
#[derive(Clone)]
enum Encryption {
    None,
    #[cfg(feature = "tls")]
    Tls(tokio_rustls::TlsAcceptor),
}

impl Encryption {
    /// RabbitMQ's name of the protocol.
    fn protocol(&self) -> &'static str {
        match self {
            Self::None => "amqp",
            #[cfg(feature = "tls")]
            Self::Tls(_) => "amqp/ssl",
        }
    }

    fn is_tls(&self) -> bool {
        self.scheme() != Scheme::Amqp
    }

    fn scheme(&self) -> Scheme {
        match self {
            Self::None => Scheme::Amqp,
            #[cfg(feature = "tls")]
            Self::Tls(_) => Scheme::Amqps,
        }
    }
}

/// A broker's socket. Dropping it closes the socket and all connections to it at once.
#[derive(Debug)]
#[must_use = "the socket is closed when this is dropped"]
pub struct Server {
    scheme: Scheme,
    address: SocketAddr,
    stop: watch::Sender<State>,
    accepting: Option<JoinHandle<()>>,
    _announced: ListenerGuard,
}

impl Server {
    async fn start(
        broker: &InMemoryBroker,
        address: impl ToSocketAddrs + Send,
        encryption: Encryption,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let scheme = encryption.scheme();
        let announced = broker.announce_listener(encryption.protocol(), address);
        let (stop, stopped) = watch::channel(State::Serving);
        let accepting = tokio::spawn(accept(listener, encryption, broker.clone(), stopped));
        Ok(Self {
            scheme,
            address,
            stop,
            accepting: Some(accepting),
            _announced: announced,
        })
    }

    /// The address that the server listens on, with the port that was chosen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for clients that log in as guest: `amqp://guest:guest@127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://guest:guest@{}", self.scheme.as_str(), self.address)
    }

    /// Closes the socket and all connections to it, and waits until they are closed.
    ///
    /// # Cancel safety
    /// If the future is dropped after its first poll, the server still stops, but without a wait.
    pub async fn stop(mut self) {
        self.stop.send_replace(State::Stopped);
        self.end().await;
    }

    /// Closes the socket, and waits until all clients have hung up, for `limit` at most; closes the
    /// connections that are left. For a broker that has been stopped, so that its clients are sent
    /// the reason and may answer.
    ///
    /// # Cancel safety
    /// Dropping the future closes all connections at once.
    pub async fn drain(mut self, limit: Duration) {
        self.stop.send_replace(State::Draining);
        if timeout(limit, self.end()).await.is_err() {
            self.stop.send_replace(State::Stopped);
            self.end().await;
        }
    }

    async fn end(&mut self) {
        if let Some(accepting) = &mut self.accepting {
            // The task neither panics nor is aborted; in both cases it would have ended too.
            let _ = accepting.await;
            self.accepting = None;
        }
    }
}

/// State of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum State {
    /// The server accepts clients.
    Serving,
    /// The server waits until its clients have hung up.
    Draining,
    /// The server closes all connections.
    Stopped,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(State::Stopped);
    }
}

/// Pause before the next client after an error of the operating system, for example too many open
/// files.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

async fn accept(
    listener: TcpListener,
    encryption: Encryption,
    broker: InMemoryBroker,
    stopped: watch::Receiver<State>,
) {
    let mut stop = stopped.clone();
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    let (encryption, broker) = (encryption.clone(), broker.clone());
                    clients.spawn(serve(socket, peer, encryption, broker, stopped.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            },
            Some(ended) = clients.join_next() => log_panic(ended),
            () = reached(&mut stop, State::Draining) => break,
        }
    }
    drop(listener);
    while let Some(ended) = clients.join_next().await {
        log_panic(ended);
    }
}

/// A client's task that panicked takes its connection down, and no other.
fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "task of a client's connection panicked");
    }
}

/// Waits until the server is in this state, or beyond.
pub(crate) async fn reached(stop: &mut watch::Receiver<State>, state: State) {
    // An error means that the handle is gone, which also stops the server.
    let _ = stop.wait_for(|now| *now >= state).await;
}

async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    encryption: Encryption,
    broker: InMemoryBroker,
    stopped: watch::Receiver<State>,
) {
    // Answers are small, and clients wait for them.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let mut settings = Settings::of(&broker.options());
    // A client that has hung up has no address.
    settings.socket = socket.local_addr().ok().map(|local| ClientSocket {
        peer,
        local,
        tls: encryption.is_tls(),
    });
    let served = match encryption {
        Encryption::None => task::serve(ready(Ok(socket)), &broker, settings, stopped).await,
        #[cfg(feature = "tls")]
        Encryption::Tls(tls) => task::serve(tls.accept(socket), &broker, settings, stopped).await,
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a client's connection failed");
    }
}

#[cfg(test)]
mod tests {
    // A failed expectation is meant to panic.
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// The first byte of the server's answer to a protocol header; `None` if it hangs up.
    async fn greeting(server: &Server) -> Option<u8> {
        let mut socket = TcpStream::connect(server.address()).await.unwrap();
        // The server may have hung up before.
        let _ = socket.write_all(b"AMQP\0\0\x09\x01").await;
        socket.read_u8().await.ok()
    }

    #[tokio::test]
    async fn broker_that_is_down_does_not_greet() {
        let broker = InMemoryBroker::start();
        let server = broker.listen("127.0.0.1:0").await.unwrap();
        assert_eq!(greeting(&server).await, Some(1));

        let outage = broker.faults().stop();
        assert_eq!(greeting(&server).await, None);
        drop(outage);
        assert_eq!(greeting(&server).await, Some(1));

        let refusing = broker.faults().refuse_connections();
        assert_eq!(greeting(&server).await, None);
        assert_eq!(refusing.strikes(), 1);
        drop(refusing);
        assert_eq!(greeting(&server).await, Some(1));
        server.stop().await;
    }
}
