//! The socket that clients connect to.

use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::Path;
use std::time::Duration;

use mooq_core::Scheme;
use mooq_engine::ClientSocket;
use mooq_memory::{InMemoryBroker, ListenerGuard};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::watch;

use crate::connection::{External, Settings};
use crate::serving::{Client, Serving, Socket, State};
use crate::task;
#[cfg(feature = "tls")]
use crate::tls::{Acceptor, ServerTls};
#[cfg(unix)]
use crate::unix::UnixServer;

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

    /// Listens on a Unix socket at `path`, for clients on this machine that take a path or a
    /// connected socket. A file that a killed server has left there is replaced.
    ///
    /// # Errors
    /// If the path cannot be listened on, which the error names: `AddrInUse` if a server listens
    /// there, or the file is something else.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// use mooq_memory::InMemoryBroker;
    /// use mooq_server::Listen;
    ///
    /// let directory = tempfile::tempdir()?;
    /// let broker = InMemoryBroker::start();
    /// let server = broker.listen_unix(directory.path().join("broker.sock")).await?;
    /// let socket = tokio::net::UnixStream::connect(server.path()).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(unix)]
    fn listen_unix(
        &self,
        path: impl AsRef<Path> + Send,
    ) -> impl Future<Output = io::Result<UnixServer>> + Send;
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

    #[cfg(unix)]
    async fn listen_unix(&self, path: impl AsRef<Path> + Send) -> io::Result<UnixServer> {
        UnixServer::start(self, path.as_ref()).await
    }
}

/// Encryption of a socket's connections.
#[derive(Clone)]
enum Encryption {
    None,
    #[cfg(feature = "tls")]
    Tls(Acceptor),
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
    serving: Serving,
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
        let announced = broker.announce_listener(encryption.protocol(), address);
        Ok(Self {
            scheme: encryption.scheme(),
            address,
            serving: Serving::start(TcpSocket {
                listener,
                encryption,
                broker: broker.clone(),
            }),
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
        self.serving.stop().await;
    }

    /// Closes the socket, and waits until all clients have hung up, for `limit` at most; closes the
    /// connections that are left. For a broker that has been stopped, so that its clients are sent
    /// the reason and may answer.
    ///
    /// # Cancel safety
    /// Dropping the future closes all connections at once.
    pub async fn drain(mut self, limit: Duration) {
        self.serving.drain(limit).await;
    }
}

struct TcpSocket {
    listener: TcpListener,
    encryption: Encryption,
    broker: InMemoryBroker,
}

impl Socket for TcpSocket {
    async fn accept(&self, stopped: &watch::Receiver<State>) -> io::Result<Client> {
        let (socket, peer) = self.listener.accept().await?;
        let (encryption, broker) = (self.encryption.clone(), self.broker.clone());
        let stopped = stopped.clone();
        Ok(Box::pin(serve(socket, peer, encryption, broker, stopped)))
    }
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
        Encryption::None => {
            let socket = ready(Ok((socket, External::Off)));
            task::serve(socket, &broker, settings, stopped).await
        }
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
