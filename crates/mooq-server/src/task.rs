//! The task that moves the bytes of a connection.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use mooq_engine::{Effect, Method};
use mooq_memory::{InMemoryBroker, ProtocolConnection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::connection::{Action, Connection, Settings};
use crate::listener::told_to_stop;

/// Maximum number of bytes read at a time.
const READ: usize = 64 * 1024;
/// While more than this many bytes wait to be written, no more effects are taken from the broker: a
/// client that reads slowly holds up only itself.
const WRITE_AHEAD: usize = 256 * 1024;

/// Time limit for a client to hang up after its connection has ended.
const LINGER: Duration = Duration::from_secs(5);

/// Serves a client until its connection ends or `stop` is set.
///
/// # Errors
/// If the socket fails.
pub(crate) async fn serve(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    broker: &InMemoryBroker,
    settings: Settings,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut connection = Connection::new(settings, now());
    let mut client: Option<ProtocolConnection> = None;
    let mut input = BytesMut::with_capacity(READ);
    let mut effects: VecDeque<Effect> = VecDeque::new();
    loop {
        carry_out(&mut connection, broker, &mut client, &mut effects).await;
        // Input that waited for the broker's answer can be handled now.
        connection.proceed(now(), &mut input);
        if carry_out(&mut connection, broker, &mut client, &mut effects).await {
            continue;
        }
        if connection.is_finished() && connection.output().is_empty() {
            return end(socket, input).await;
        }
        let deadline = connection.next_deadline();
        let takes_effects = connection.output().remaining() < WRITE_AHEAD;
        let output = connection.output();
        let has_output = !output.is_empty();
        let (mut reader, mut writer) = tokio::io::split(&mut socket);
        tokio::select! {
            biased;
            written = writer.write_buf(output), if has_output => {
                if written? == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
            }
            more = next_effects(client.as_mut(), &mut effects), if takes_effects => {
                for effect in effects.drain(..) {
                    connection.effect(now(), effect);
                }
                if !more {
                    client = None;
                }
            }
            read = reader.read_buf(&mut input) => {
                if read? == 0 {
                    return Ok(());
                }
                connection.receive(now(), &mut input);
            }
            () = sleep_until_some(deadline) => connection.advance(now()),
            () = told_to_stop(&mut stop) => return Ok(()),
        }
    }
}

/// Carries out the connection's actions. Returns true if there were any.
async fn carry_out(
    connection: &mut Connection,
    broker: &InMemoryBroker,
    client: &mut Option<ProtocolConnection>,
    effects: &mut VecDeque<Effect>,
) -> bool {
    let mut commands = Vec::new();
    let mut any = false;
    while let Some(action) = connection.poll_action() {
        any = true;
        match action {
            Action::Authenticate(credentials, name) => {
                // A fault may freeze the broker, or slow it down, from the beginning.
                let reachable = broker.reachable(name.as_deref());
                match timeout_at_some(connection.next_deadline(), reachable).await {
                    Some(()) => {
                        let answer = broker.authenticate(&credentials, name.as_deref());
                        connection.authenticated(now(), answer);
                    }
                    None => connection.advance(now()),
                }
            }
            Action::Open(login) => {
                let answer = broker.open_protocol_connection(login);
                let answer = answer.map(|opened| *client = Some(opened));
                connection.opened(now(), answer);
            }
            Action::Command(channel, method) => commands.push((channel, method)),
            Action::Say(channel, method) => {
                hand_over(connection, client.as_mut(), &mut commands, effects);
                connection.say(channel, &method);
            }
            Action::Close(reason) => {
                hand_over(connection, client.as_mut(), &mut commands, effects);
                *client = None;
                connection.close(now(), reason);
            }
        }
    }
    if let Some(client) = client
        && !commands.is_empty()
    {
        client.send(commands);
    }
    any
}

/// Passes the commands so far to the broker, and takes the effects.
fn hand_over(
    connection: &mut Connection,
    client: Option<&mut ProtocolConnection>,
    commands: &mut Vec<(u16, Method)>,
    effects: &mut VecDeque<Effect>,
) {
    let Some(client) = client else {
        return;
    };
    client.send(commands.drain(..));
    // Effects that are not there yet, because a fault holds them up, are not waited for.
    let _ = client.poll_effects(&mut Context::from_waker(Waker::noop()), effects);
    for effect in effects.drain(..) {
        connection.effect(now(), effect);
    }
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

/// Waits for the broker's effects. Returns false when no more follow.
async fn next_effects(
    client: Option<&mut ProtocolConnection>,
    effects: &mut VecDeque<Effect>,
) -> bool {
    match client {
        Some(client) => poll_fn(|cx| client.poll_effects(cx, effects)).await,
        None => pending().await,
    }
}

async fn sleep_until_some(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

/// Returns the output of `future`, if it completes by the deadline.
async fn timeout_at_some<T>(
    deadline: Option<std::time::Instant>,
    future: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = sleep_until_some(deadline) => None,
    }
}

/// The time by tokio's clock, so that a test may pause it.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod tests;
