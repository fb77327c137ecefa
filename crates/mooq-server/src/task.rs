//! The task that moves the bytes of a connection.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use mooq_core::ShortString;
use mooq_engine::Effect;
use mooq_memory::{Hold, InMemoryBroker, ProtocolConnection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::connection::{Action, Connection, External, Settings};
use crate::serving::{State, reached};

/// Initial capacity of the read buffer.
const READ: usize = 64 * 1024;
/// While more than this many bytes wait to be written, no more effects are taken from the broker,
/// and nothing more is read from the client: a client that reads slowly holds up only itself.
const WRITE_AHEAD: usize = 256 * 1024;

/// Time limit for a client to hang up after its connection has ended.
const LINGER: Duration = Duration::from_secs(5);

/// Serves a client until its connection ends or the server stops. `handshake`, which begins once the
/// broker accepts the client, returns the socket, and the user that its certificate stands for.
///
/// # Errors
/// If the handshake or the socket fails.
pub(crate) async fn serve(
    handshake: impl Future<Output = io::Result<(impl AsyncRead + AsyncWrite + Unpin, External)>>,
    broker: &InMemoryBroker,
    settings: Settings,
    mut stop: watch::Receiver<State>,
) -> io::Result<()> {
    tokio::select! {
        biased;
        () = reached(&mut stop, State::Stopped) => Ok(()),
        served = serve_client(handshake, broker, settings) => served,
    }
}

async fn serve_client(
    handshake: impl Future<Output = io::Result<(impl AsyncRead + AsyncWrite + Unpin, External)>>,
    broker: &InMemoryBroker,
    settings: Settings,
) -> io::Result<()> {
    let mut connection = Connection::new(settings, now());
    let mut client: Option<ProtocolConnection> = None;
    let mut input = BytesMut::with_capacity(READ);
    let mut effects: VecDeque<Effect> = VecDeque::new();
    if !accept(&connection, broker).await {
        return Ok(());
    }
    let (mut socket, external) = tokio::select! {
        biased;
        shaken = handshake => shaken?,
        () = sleep_until_some(connection.next_deadline()) => {
            return Err(io::ErrorKind::TimedOut.into());
        }
    };
    connection.set_external(external);
    loop {
        let hold = client.as_ref().and_then(ProtocolConnection::hold);
        if hold.is_none() {
            connection.proceed(now(), &mut input);
        }
        if carry_out(&mut connection, broker, &mut client).await {
            continue;
        }
        if connection.is_over() {
            client = None;
        }
        if connection.is_finished() && connection.output().is_empty() {
            return end(socket, input).await;
        }
        let deadline = connection.next_deadline();
        let output = connection.output();
        let has_output = !output.is_empty();
        let is_behind = output.remaining() >= WRITE_AHEAD;
        let (mut reader, mut writer) = tokio::io::split(&mut socket);
        tokio::select! {
            // The deadline comes first, however much the client sends.
            biased;
            () = sleep_until_some(deadline) => {
                let hold = client.as_ref().and_then(ProtocolConnection::hold);
                connection.advance(now(), hold);
            }
            written = writer.write_buf(output), if has_output => {
                if written? == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
            }
            news = next_effects(client.as_mut(), &mut effects, hold), if !is_behind => {
                for effect in effects.drain(..) {
                    connection.effect(now(), effect);
                }
                if news == News::End {
                    client = None;
                    connection.lost();
                }
            }
            read = reader.read_buf(&mut input), if !is_behind && hold.is_none() => {
                if read? == 0 {
                    return Ok(());
                }
                connection.heard(now());
            }
        }
    }
}

/// News from the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// Effects.
    Effects,
    /// The broker has forgotten the connection, and has no more effects.
    End,
    /// The broker reads from the client again.
    Released,
}

/// Carries out the connection's actions. Returns true if there were any.
async fn carry_out(
    connection: &mut Connection,
    broker: &InMemoryBroker,
    client: &mut Option<ProtocolConnection>,
) -> bool {
    let mut commands = Vec::new();
    let mut any = false;
    while let Some(action) = connection.poll_action() {
        any = true;
        match action {
            Action::Authenticate(mechanism, credentials, name) => {
                if reach(connection, broker, name.as_ref()).await {
                    let answer = broker.authenticate(mechanism, &credentials, name.as_deref());
                    connection.authenticated(now(), answer);
                }
            }
            Action::Open(login) => {
                if reach(connection, broker, login.connection_name.as_ref()).await {
                    let answer = broker.open_protocol_connection(login);
                    let answer = answer.map(|opened| *client = Some(opened));
                    connection.opened(now(), answer);
                }
            }
            Action::Command(channel, method) => commands.push((channel, method)),
        }
    }
    if let Some(client) = client
        && !commands.is_empty()
    {
        client.send(commands);
    }
    any
}

/// Waits until the client can be greeted, up to the connection's deadline. Returns false if it cannot:
/// a broker that is down does not greet, or a health check would find it up.
async fn accept(connection: &Connection, broker: &InMemoryBroker) -> bool {
    tokio::select! {
        biased;
        accepted = broker.accept() => match accepted {
            Ok(()) => true,
            Err(refused) => {
                tracing::debug!(?refused, "client refused");
                false
            }
        },
        () = sleep_until_some(connection.next_deadline()) => false,
    }
}

/// Waits until the broker can be reached, up to the connection's deadline: a fault may freeze the
/// link, or slow it down, from the beginning. Returns false if the deadline comes first.
async fn reach(
    connection: &mut Connection,
    broker: &InMemoryBroker,
    name: Option<&ShortString>,
) -> bool {
    let reachable = broker.reachable(name.map(ShortString::as_str));
    let reached = tokio::select! {
        biased;
        () = reachable => true,
        () = sleep_until_some(connection.next_deadline()) => false,
    };
    if !reached {
        connection.advance(now(), None);
    }
    reached
}

/// Closes the socket. The client's remaining data is read, or the operating system would discard
/// output that the client has not read yet.
async fn end(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    mut input: BytesMut,
) -> io::Result<()> {
    socket.shutdown().await?;
    let reading = async {
        while socket.read_buf(&mut input).await? > 0 {
            input.clear();
        }
        Ok(())
    };
    // A client that does not hang up is abandoned.
    timeout(LINGER, reading).await.unwrap_or(Ok(()))
}

/// Waits for the broker's effects, or until the broker reads from the client if `hold` keeps it from
/// reading.
async fn next_effects(
    client: Option<&mut ProtocolConnection>,
    effects: &mut VecDeque<Effect>,
    hold: Option<Hold>,
) -> News {
    let Some(client) = client else {
        return pending().await;
    };
    let released = client.released();
    let mut released = pin!(released);
    poll_fn(|cx| match client.poll_effects(cx, effects) {
        Poll::Ready(true) => Poll::Ready(News::Effects),
        Poll::Ready(false) => Poll::Ready(News::End),
        Poll::Pending if hold.is_some() => released.as_mut().poll(cx).map(|()| News::Released),
        Poll::Pending => Poll::Pending,
    })
    .await
}

async fn sleep_until_some(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

/// The time by tokio's clock, so that a test may pause it.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod tests;
