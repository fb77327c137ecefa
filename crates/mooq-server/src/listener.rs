//! The socket that clients connect to.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mooq_memory::InMemoryBroker;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use crate::connection::Settings;
use crate::task;

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
}

impl Listen for InMemoryBroker {
    async fn listen(&self, address: impl ToSocketAddrs + Send) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, self.clone(), stopped));
        Ok(Server {
            address,
            stop,
            accepting: Some(accepting),
        })
    }
}

/// A broker's socket. Dropping it closes the socket and all connections to it at once.
#[derive(Debug)]
#[must_use = "the socket is closed when this is dropped"]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// The address that the server listens on, with the port that was chosen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for clients that log in as guest: `amqp://guest:guest@127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@{}", self.address)
    }

    /// Closes the socket and all connections to it, and waits until they are closed.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(accepting) = self.accepting.take() {
            // The task neither panics nor is it aborted; if it were, it would have ended too.
            let _ = accepting.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Pause before the next client after an error of the operating system, for example too many open
/// files.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

async fn accept(listener: TcpListener, broker: InMemoryBroker, stopped: watch::Receiver<bool>) {
    let mut stop = stopped.clone();
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    // A broker that is down does not greet, or a health check would find it up.
                    if let Err(refused) = broker.accept() {
                        tracing::debug!(%peer, ?refused, "a client was not accepted");
                        continue;
                    }
                    clients.spawn(serve(socket, peer, broker.clone(), stopped.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            },
            Some(ended) = clients.join_next() => log_panic(ended),
            () = told_to_stop(&mut stop) => break,
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
        tracing::error!(%error, "the task of a client's connection failed");
    }
}

/// Waits until the server stops.
pub(crate) async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    // An error means that the handle is gone, which also stops the server.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    broker: InMemoryBroker,
    stopped: watch::Receiver<bool>,
) {
    // Answers are small, and clients wait for them.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let settings = Settings::of(&broker.options());
    if let Err(error) = task::serve(socket, &broker, settings, stopped).await {
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
