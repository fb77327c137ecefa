//! Buffer for publishes that wait for the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mooq_core::{Error, ErrorKind, Message, Result};

/// Approximate number of bytes that a message takes besides its body.
const OVERHEAD: usize = 256;

/// Number of bytes of publishes that wait for one connection, and its limit.
#[derive(Debug)]
pub(crate) struct Buffer {
    used: AtomicUsize,
    limit: usize,
}

/// Room that a waiting publish takes, until it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    buffer: Arc<Buffer>,
    bytes: usize,
}

impl Buffer {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            limit,
        }
    }

    /// Reserves room for `message`.
    ///
    /// # Errors
    /// `BufferFull`.
    pub(crate) fn room_for(self: &Arc<Self>, message: &Message) -> Result<Room> {
        let bytes = message.body.len().saturating_add(OVERHEAD);
        let take = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        match self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        {
            Ok(_) => Ok(Room {
                buffer: Arc::clone(self),
                bytes,
            }),
            Err(used) => Err(Error::new(
                ErrorKind::BufferFull,
                format!(
                    "the connection is lost, and {used} bytes of publishes wait for it already: \
                     {bytes} more do not fit into the buffer of {} bytes",
                    self.limit
                ),
            )),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.buffer.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: usize) -> Message {
        Message {
            exchange: "x".try_into().unwrap(),
            routing_key: "k".try_into().unwrap(),
            properties: Arc::default(),
            body: vec![0; body].into(),
        }
    }

    #[test]
    fn there_is_room_up_to_the_limit_and_again_when_some_is_given_back() {
        let buffer = Arc::new(Buffer::new(2 * (OVERHEAD + 100)));
        let first = buffer.room_for(&message(100)).unwrap();
        let _second = buffer.room_for(&message(100)).unwrap();
        let err = buffer.room_for(&message(0)).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::BufferFull);
        drop(first);
        buffer.room_for(&message(100)).unwrap();
    }
}
