//! A TCP proxy on loopback with the faults of a network.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;

/// Bytes that are carried at once.
const CHUNK: usize = 16 * 1024;

/// State of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineState {
    /// Sound: everything gets through.
    Sound,
    /// Connections are reset, new ones as soon as they open.
    Cut,
    /// Nothing gets through in either direction, while connections stay open. Data arrives once the
    /// state ends.
    Frozen,
    /// Data from clients is held up until the state ends. Data from the broker gets through.
    Unheard,
    /// Data from the broker is held up until the state ends. Data from clients gets through.
    Unanswered,
    /// Each piece of up to 16 KiB is delayed by this time: a long and narrow line.
    Slow(Duration),
}

/// A port of this machine that leads to a broker. The broker may move; the port stays.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// The proxy's own runtime, which outlives those of test cases. None once dropped.
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared {
    network: watch::Sender<LineState>,
    upstream: Mutex<SocketAddr>,
}

impl Proxy {
    /// A proxy that leads to `upstream`.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn to(upstream: SocketAddr) -> Self {
        Self::on(Self::listener(), upstream)
    }

    /// Leads to `upstream` over a narrow line: the system buffers little data from clients.
    ///
    /// # Panics
    /// Likewise.
    #[must_use]
    pub fn narrow(upstream: SocketAddr) -> Self {
        let listener = Self::listener();
        // The system's buffers grow with the segment size, and would hold megabytes.
        let limited = SockRef::from(&listener).set_tcp_mss(536);
        limited.expect("a socket's segments can be limited");
        Self::on(listener, upstream)
    }

    fn listener() -> std::net::TcpListener {
        // The standard library's listener: tokio's cannot be awaited here.
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
        let nonblocking = listener.set_nonblocking(true);
        nonblocking.expect("a socket can be made nonblocking");
        listener
    }

    fn on(listener: std::net::TcpListener, upstream: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("proxy")
            .enable_all()
            .build()
            .expect("a tokio runtime starts");
        let in_runtime = runtime.enter();
        let listener = TcpListener::from_std(listener).expect("the runtime takes the socket");
        drop(in_runtime);
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            network: watch::Sender::new(LineState::Sound),
            upstream: Mutex::new(upstream),
        });
        runtime.spawn(listen(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            runtime: Some(runtime),
        }
    }

    /// The port of this machine.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Leads new connections to `upstream`.
    pub fn lead_to(&self, upstream: SocketAddr) {
        *self.shared.upstream() = upstream;
    }

    /// Sets the state of the network.
    pub fn set(&self, network: LineState) {
        self.shared.network.send_replace(network);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Does not wait, so that it may be called from a task.
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn upstream(&self) -> std::sync::MutexGuard<'_, SocketAddr> {
        self.upstream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> LineState {
        *self.network.borrow()
    }

    /// Waits until the state of the network fits.
    async fn until(&self, fits: impl Fn(LineState) -> bool) {
        let mut network = self.network.subscribe();
        // The sender is in this struct, so this cannot fail.
        let _ = network.wait_for(|now| fits(*now)).await;
    }
}

/// Direction of data.
#[derive(Debug, Clone, Copy)]
enum Direction {
    ToBroker,
    ToClient,
}

impl Direction {
    /// Returns true if data gets through in this direction. A cut lets no held-up data through: it
    /// ends the connection.
    fn is_open(self, network: LineState) -> bool {
        match network {
            LineState::Sound | LineState::Slow(_) => true,
            LineState::Cut | LineState::Frozen => false,
            LineState::Unheard => matches!(self, Self::ToClient),
            LineState::Unanswered => matches!(self, Self::ToBroker),
        }
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            shared.until(|now| now != LineState::Frozen).await;
            if shared.now() == LineState::Cut {
                reset(&client);
                return;
            }
            let upstream = *shared.upstream();
            match TcpStream::connect(upstream).await {
                Ok(broker) => carry(client, broker, &shared).await,
                // The client sees the same as without a proxy.
                Err(_) => reset(&client),
            }
        });
    }
}

/// Makes the drop of `stream` a reset for the peer, and not an orderly end.
fn reset(stream: &TcpStream) {
    // Setting this fails only for a socket that is gone already.
    let _ = stream.set_zero_linger();
}

/// Carries both directions until one end is closed or the network is cut.
async fn carry(mut client: TcpStream, mut broker: TcpStream, shared: &Shared) {
    for stream in [&client, &broker] {
        // The proxy must not be slower than a network.
        let _ = stream.set_nodelay(true);
        reset(stream);
    }
    // Borrowed halves: owned ones would end in good order when they are dropped.
    let (from_client, to_client) = client.split();
    let (from_broker, to_broker) = broker.split();
    // An end of one direction is passed on as such, and the other goes on; an error ends both.
    let both = async {
        tokio::try_join!(
            one_way(Direction::ToBroker, from_client, to_broker, shared),
            one_way(Direction::ToClient, from_broker, to_client, shared)
        )
    };
    tokio::select! {
        () = shared.until(|now| now == LineState::Cut) => {}
        _ = both => {}
    }
}

async fn one_way(
    direction: Direction,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    shared: &Shared,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        shared.until(|now| direction.is_open(now)).await;
        let length = from.read(&mut chunk).await?;
        shared.until(|now| direction.is_open(now)).await;
        if length == 0 {
            return to.shutdown().await;
        }
        let now = shared.now();
        if let LineState::Slow(delay) = now {
            // The delay ends early if the network changes.
            let _ = timeout(delay, shared.until(|later| later != now)).await;
            shared.until(|now| direction.is_open(now)).await;
        }
        to.write_all(&chunk[..length]).await?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpSocket;
    use tokio::task::JoinHandle;

    use super::*;

    async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(180), event)
            .await
            .unwrap_or_else(|_| panic!("{what} did not come in time"))
    }

    /// A peer that sends all data back.
    async fn echo() -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        (address, task)
    }

    async fn client(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(("127.0.0.1", proxy.port()))
            .await
            .unwrap()
    }

    /// Asserts that a new connection is reset, while it opens or afterwards.
    async fn is_reset(proxy: &Proxy) {
        let ended = within("the end", async {
            let address = ("127.0.0.1", proxy.port());
            TcpStream::connect(address).await?.read(&mut [0; 1]).await
        });
        let ended = ended.await;
        assert!(ended.is_err(), "{ended:?}");
    }

    async fn comes_back(client: &mut TcpStream, text: &str) -> io::Result<()> {
        client.write_all(text.as_bytes()).await?;
        let mut back = vec![0; text.len()];
        within("the echo", client.read_exact(&mut back)).await?;
        assert_eq!(back, text.as_bytes());
        Ok(())
    }

    #[tokio::test]
    async fn sound_network_carries_and_cut_network_resets() {
        let (address, _echo) = echo().await;
        let proxy = Proxy::to(address);
        let mut before = client(&proxy).await;
        comes_back(&mut before, "before").await.unwrap();

        proxy.set(LineState::Cut);
        let ended = within("the end", before.read(&mut [0; 1])).await;
        assert!(ended.is_err(), "{ended:?}");
        is_reset(&proxy).await;

        proxy.set(LineState::Sound);
        comes_back(&mut client(&proxy).await, "after")
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn frozen_network_delivers_when_it_thaws() {
        let (address, _echo) = echo().await;
        let proxy = Proxy::to(address);
        let mut one = client(&proxy).await;
        comes_back(&mut one, "before").await.unwrap();

        proxy.set(LineState::Frozen);
        one.write_all(b"during").await.unwrap();
        let mut back = [0; 6];
        let nothing = tokio::time::timeout(Duration::from_millis(50), one.read_exact(&mut back));
        assert!(nothing.await.is_err(), "nothing gets through");

        proxy.set(LineState::Sound);
        within("the echo", one.read_exact(&mut back)).await.unwrap();
        assert_eq!(&back, b"during");
    }

    #[tokio::test]
    async fn network_held_up_in_one_direction_loses_its_data_when_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::to(listener.local_addr().unwrap());
        let mut client = client(&proxy).await;
        let (mut broker, _) = within("the connection", listener.accept()).await.unwrap();

        proxy.set(LineState::Unheard);
        client.write_all(b"lost").await.unwrap();
        broker.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        let answered = within("the answer", client.read_exact(&mut answer));
        answered.await.unwrap();

        proxy.set(LineState::Cut);
        let heard = within("the end", broker.read(&mut [0; 4])).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    #[tokio::test]
    async fn slow_network_delays_each_direction() {
        let (address, _echo) = echo().await;
        let proxy = Proxy::to(address);
        let mut one = client(&proxy).await;
        comes_back(&mut one, "before").await.unwrap();

        let delay = Duration::from_millis(30);
        proxy.set(LineState::Slow(delay));
        let began = std::time::Instant::now();
        comes_back(&mut one, "during").await.unwrap();
        assert!(began.elapsed() >= 2 * delay);
    }

    #[tokio::test]
    async fn a_broker_that_is_away_is_a_reset_until_it_is_somewhere_else() {
        // Bound but not listening, so that no other process has the port.
        let nobody = TcpSocket::new_v4().unwrap();
        nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let proxy = Proxy::to(nobody.local_addr().unwrap());
        is_reset(&proxy).await;

        let (address, _echo) = echo().await;
        proxy.lead_to(address);
        comes_back(&mut client(&proxy).await, "here").await.unwrap();
    }
}
