//! A TCP proxy before the broker, for what a network can do.

use std::sync::Arc;
use std::time::Duration;

use mooq_core::Endpoint;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Hands on what comes, in each direction until it is stopped. Gone when it is dropped.
pub(crate) struct Proxy {
    pub(crate) endpoint: Endpoint,
    flows: Arc<Flows>,
    task: JoinHandle<()>,
}

struct Flows {
    to_broker: watch::Sender<bool>,
    to_client: watch::Sender<bool>,
}

impl Proxy {
    /// A proxy on a port of its own, before the broker at `broker`.
    pub(crate) async fn before(broker: &Endpoint) -> Self {
        Self::start(broker, Duration::ZERO).await
    }

    /// One that reads slower than a client sends, so that the sockets between are full.
    pub(crate) async fn slow(broker: &Endpoint) -> Self {
        Self::start(broker, Duration::from_millis(1)).await
    }

    async fn start(broker: &Endpoint, pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if !pause.is_zero() {
            // The system's buffers grow with it, and would hold megabytes.
            SockRef::from(&listener).set_tcp_mss(536).unwrap();
        }
        let mut endpoint = broker.clone();
        endpoint.port = listener.local_addr().unwrap().port();
        let flows = Arc::new(Flows {
            to_broker: watch::Sender::new(true),
            to_client: watch::Sender::new(true),
        });
        let task = tokio::spawn(accept(
            listener,
            broker.address(),
            Arc::clone(&flows),
            pause,
        ));
        Self {
            endpoint,
            flows,
            task,
        }
    }

    /// Reads nothing more from clients: what they send stays in the sockets between.
    pub(crate) fn stop_reading(&self) {
        self.flows.to_broker.send_replace(false);
    }

    /// Keeps back what the broker sends.
    pub(crate) fn hold_answers(&self) {
        self.flows.to_client.send_replace(false);
    }

    /// Hands it on again.
    pub(crate) fn release_answers(&self) {
        self.flows.to_client.send_replace(true);
    }

    /// Neither reads nor writes, and keeps every connection.
    pub(crate) fn freeze(&self) {
        self.stop_reading();
        self.hold_answers();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, broker: String, flows: Arc<Flows>, pause: Duration) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let broker = TcpStream::connect(&broker).await.unwrap();
        client.set_nodelay(true).unwrap();
        broker.set_nodelay(true).unwrap();
        let (from_client, to_client) = client.into_split();
        let (from_broker, to_broker) = broker.into_split();
        let (up, down) = (flows.to_broker.subscribe(), flows.to_client.subscribe());
        tokio::spawn(hand_on(from_client, to_broker, up, pause));
        tokio::spawn(hand_on(from_broker, to_client, down, Duration::ZERO));
    }
}

/// Hands on until either side hangs up, or the proxy is gone.
async fn hand_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut flows: watch::Receiver<bool>,
    pause: Duration,
) {
    let mut buffer = vec![0; 64 << 10];
    while flows.wait_for(|flows| *flows).await.is_ok() {
        let read = tokio::select! {
            biased;
            _ = flows.changed() => continue,
            read = from.read(&mut buffer) => read,
        };
        match read {
            Ok(count) if count > 0 => {
                let Some(read) = buffer.get(..count) else {
                    return;
                };
                if to.write_all(read).await.is_err() {
                    return;
                }
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
            // The drop of the other half says so to the other side.
            _ => return,
        }
    }
}
