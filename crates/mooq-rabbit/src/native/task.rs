//! The task of a connection: it moves bytes and keeps the time.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::BytesMut;
use mooq_wire::Output;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Sleep;

use super::shared::Shared;

/// Size of the read buffer, in bytes.
const READ: usize = 64 * 1024;

pub(super) struct Task<S> {
    socket: S,
    shared: Arc<Shared>,
    /// Bytes that were read and are not a complete frame yet.
    input: BytesMut,
    /// Bytes that are being written.
    output: Output,
    /// False once the broker has hung up.
    reads: bool,
    /// True if the socket may hold back what was written.
    unflushed: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Task<S> {
    pub(super) fn new(socket: S, shared: Arc<Shared>, input: BytesMut) -> Self {
        Self {
            socket,
            shared,
            input,
            output: Output::new(),
            reads: true,
            unflushed: false,
            timer: None,
        }
    }

    /// Reads once, and handles what was read. Ready if something happened.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.reads {
            return Poll::Pending;
        }
        // A frame that is being read has room for all of it already.
        self.input.reserve(READ / 4);
        let read = ready!(pin!(self.socket.read_buf(&mut self.input)).poll(cx));
        match read {
            Ok(1..) => self.handle(),
            Ok(0) => self.hung_up(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.hung_up(Some(error)),
        }
        Poll::Ready(())
    }

    fn handle(&mut self) {
        let input = &mut self.input;
        while self
            .shared
            .input(|session| session.receive(now(), &mut *input))
        {}
    }

    fn hung_up(&mut self, error: Option<io::Error>) {
        self.reads = false;
        self.shared.input(|session| session.hung_up(error));
    }

    /// Writes and flushes. Ready once there is nothing to write.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let written = ready!(pin!(self.socket.write_buf(&mut self.output)).poll(cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for the deadline.
    fn poll_timer(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline else {
            return Poll::Pending;
        };
        let deadline = tokio::time::Instant::from_std(deadline);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Task<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = self.get_mut();
        loop {
            // Read first: silence counts only if there is nothing to read.
            let has_read = task.poll_read(cx).is_ready();
            let status = task.shared.take_output(now(), &mut task.output, cx);
            if status.is_lost {
                return Poll::Ready(());
            }
            let had_output = !task.output.is_empty();
            match task.poll_write(cx) {
                Poll::Ready(Ok(())) if status.has_ended && !had_output => {
                    // Best effort: the broker knows that the connection has ended.
                    let _ = Pin::new(&mut task.socket).poll_shutdown(cx);
                    return Poll::Ready(());
                }
                // There may be more to write by now.
                Poll::Ready(Ok(())) if had_output => continue,
                Poll::Ready(Ok(())) | Poll::Pending => {}
                Poll::Ready(Err(error)) => {
                    task.hung_up(Some(error));
                    continue;
                }
            }
            if !has_read && task.poll_timer(status.deadline, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl<S> Drop for Task<S> {
    fn drop(&mut self) {
        // If the runtime is shut down, the task is dropped before the connection has ended.
        self.shared.task_ended();
    }
}

/// The time by tokio's clock, so that a test may pause it.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
