//! Accepting clients on a socket, and serving them until the server ends.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::timeout;

/// Pause before the next client after an error of the operating system, for example too many open
/// files.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// State of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum State {
    /// The server accepts clients.
    Serving,
    /// The server waits until its clients have hung up.
    Draining,
    /// The server closes all connections.
    Stopped,
}

/// A socket that clients connect to.
pub(crate) trait Socket: Send + 'static {
    /// Waits for a client, and returns the future that serves it. Dropping the future of the wait
    /// loses no client.
    fn accept(
        &self,
        stopped: &watch::Receiver<State>,
    ) -> impl Future<Output = io::Result<Client>> + Send;
}

/// A client being served.
pub(crate) type Client = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The task that accepts clients. Dropping it closes the socket and all connections to it at once.
#[derive(Debug)]
pub(crate) struct Serving {
    stop: watch::Sender<State>,
    accepting: Option<JoinHandle<()>>,
}

impl Serving {
    pub(crate) fn start(socket: impl Socket) -> Self {
        let (stop, stopped) = watch::channel(State::Serving);
        Self {
            stop,
            accepting: Some(tokio::spawn(accept(socket, stopped))),
        }
    }

    /// Closes the socket and all connections to it, and waits until they are closed.
    pub(crate) async fn stop(&mut self) {
        self.stop.send_replace(State::Stopped);
        self.end().await;
    }

    /// Closes the socket, waits until all clients have hung up, for `limit` at most, and closes the
    /// connections that are left.
    pub(crate) async fn drain(&mut self, limit: Duration) {
        self.stop.send_replace(State::Draining);
        if timeout(limit, self.end()).await.is_err() {
            self.stop().await;
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

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.send_replace(State::Stopped);
    }
}

async fn accept(socket: impl Socket, stopped: watch::Receiver<State>) {
    let mut stop = stopped.clone();
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept(&stopped) => match accepted {
                Ok(client) => {
                    clients.spawn(client);
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
    drop(socket);
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
