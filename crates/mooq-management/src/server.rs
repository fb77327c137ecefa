//! The socket of the API, and the tasks that serve it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use mooq_memory::{InMemoryBroker, ListenerGuard};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use crate::routes;

/// Serves the management API of an in-memory broker.
pub trait ListenManagement {
    /// Listens on `address`, and serves the API over HTTP/1.1 until the returned handle is dropped
    /// or stopped. Port 0 stands for any free port.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    fn listen_management(
        &self,
        address: impl ToSocketAddrs + Send,
    ) -> impl Future<Output = io::Result<ManagementServer>> + Send;
}

impl ListenManagement for InMemoryBroker {
    async fn listen_management(
        &self,
        address: impl ToSocketAddrs + Send,
    ) -> io::Result<ManagementServer> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let announced = self.announce_listener("http", address);
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(accept(listener, routes::of(self), stopped));
        Ok(ManagementServer {
            address,
            stop,
            serving: Some(serving),
            _announced: announced,
        })
    }
}

/// The socket of a broker's management API. Dropping it closes the socket and all connections to it
/// at once.
#[derive(Debug)]
#[must_use = "the socket is closed when this is dropped"]
pub struct ManagementServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: Option<JoinHandle<()>>,
    _announced: ListenerGuard,
}

impl ManagementServer {
    /// The address that the server listens on, with the port that was chosen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL, above the `/api` of all paths: `http://127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes the socket and all connections to it, and waits until they are closed. Requests that
    /// are being answered are cut off.
    ///
    /// # Cancel safety
    /// If the future is dropped after its first poll, the server still stops, but without a wait.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(serving) = self.serving.take() {
            // The task neither panics nor is aborted; in both cases it would have ended too.
            let _ = serving.await;
        }
    }
}

impl Drop for ManagementServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Time limit for a client to send the header of a request.
const HEADER_LIMIT: Duration = Duration::from_secs(30);

/// Pause before the next client after an error of the operating system, for example too many open
/// files.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

async fn accept(listener: TcpListener, routes: Router, mut stopped: watch::Receiver<bool>) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    clients.spawn(serve(socket, peer, routes.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            },
            Some(ended) = clients.join_next() => log_panic(ended),
            () = until_stopped(&mut stopped) => break,
        }
    }
    drop(listener);
    clients.shutdown().await;
}

/// Waits until the server is stopped.
async fn until_stopped(stopped: &mut watch::Receiver<bool>) {
    // An error means that the handle is gone, which also stops the server.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// A client's task that panicked takes its connection down, and no other.
fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "task of a client's connection panicked");
    }
}

async fn serve(socket: TcpStream, peer: SocketAddr, routes: Router) {
    // Answers are small, and clients wait for them.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(routes));
    if let Err(error) = connection.await {
        tracing::debug!(%peer, %error, "a client's connection failed");
    }
}
