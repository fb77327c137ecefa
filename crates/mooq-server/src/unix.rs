//! A Unix socket that clients connect to.

use std::future::ready;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mooq_memory::InMemoryBroker;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use crate::connection::{External, Settings};
use crate::serving::{Client, Serving, Socket, State};
use crate::task;

/// A broker's Unix socket. Dropping it closes the socket and all connections to it at once, and
/// removes its file.
#[derive(Debug)]
#[must_use = "the socket is closed when this is dropped"]
pub struct UnixServer {
    path: PathBuf,
    serving: Serving,
}

impl UnixServer {
    pub(crate) async fn start(broker: &InMemoryBroker, path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let bound = match UnixListener::bind(&path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(&path).await => {
                std::fs::remove_file(&path)?;
                UnixListener::bind(&path)
            }
            bound => bound,
        };
        let listener = bound.map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        let broker = broker.clone();
        Ok(Self {
            path,
            serving: Serving::start(UnixSocket { listener, broker }),
        })
    }

    /// The absolute path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the socket and all connections to it, waits until they are closed, and removes the
    /// socket's file.
    ///
    /// # Cancel safety
    /// If the future is dropped after its first poll, the server still stops, but without a wait.
    pub async fn stop(mut self) {
        self.serving.stop().await;
    }

    /// As [`stop`](Self::stop), but waits until all clients have hung up, for `limit` at most.
    ///
    /// # Cancel safety
    /// Dropping the future closes all connections at once.
    pub async fn drain(mut self, limit: Duration) {
        self.serving.drain(limit).await;
    }
}

impl Drop for UnixServer {
    fn drop(&mut self) {
        // Another server may have the path by now only if the file was removed before.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Returns true if the file is that of a server that was killed: nothing listens there.
async fn is_stale(path: &Path) -> bool {
    // The connection to a file that is no socket is refused as well.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let connected = UnixStream::connect(path).await;
    is_socket && connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

struct UnixSocket {
    listener: UnixListener,
    broker: InMemoryBroker,
}

impl Socket for UnixSocket {
    async fn accept(&self, stopped: &watch::Receiver<State>) -> io::Result<Client> {
        let (socket, _) = self.listener.accept().await?;
        let (broker, stopped) = (self.broker.clone(), stopped.clone());
        Ok(Box::pin(async move {
            let settings = Settings::of(&broker.options());
            let socket = ready(Ok((socket, External::Off)));
            if let Err(error) = task::serve(socket, &broker, settings, stopped).await {
                tracing::debug!(%error, "a client's connection failed");
            }
        }))
    }
}
