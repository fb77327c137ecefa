//! The sockets of in-memory brokers.

use std::io;
use std::sync::{OnceLock, mpsc};

use mooq_core::{Error, ErrorKind, Result};
use mooq_memory::InMemoryBroker;
use mooq_server::{Listen, Server};
use tokio::runtime::{Builder, Runtime};

/// Opens a socket for a broker, on loopback.
///
/// All sockets are served by one thread of their own: a test's runtime may have a single thread,
/// which a client that blocks would keep from serving it.
///
/// # Errors
/// `ConnectFailed` if there is no port to listen on.
pub(crate) fn listen(broker: &InMemoryBroker) -> Result<Server> {
    let broker = broker.clone();
    let (opened, listening) = mpsc::channel();
    // Not by block_on: the caller may be on a runtime.
    runtime().map_err(failed)?.spawn(async move {
        // The receiver waits below.
        let _ = opened.send(broker.listen("127.0.0.1:0").await);
    });
    let listening = listening.recv().map_err(|e| failed(io::Error::other(e)))?;
    listening.map_err(failed)
}

fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("mooq-test-server")
        .enable_all()
        .build()?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

fn failed(error: io::Error) -> Error {
    let message = format!("the in-memory broker has no socket: {error}");
    Error::connection(ErrorKind::ConnectFailed, message).with_source(error)
}
