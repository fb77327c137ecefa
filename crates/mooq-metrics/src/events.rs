//! Reconnects, parked messages, and other events of a connection.

use metrics::{counter, gauge};
use mooq_client::{Connection, Event, Fate};

use crate::names::{BLOCKED, GAVE_UP, LOST, RECONNECTED};

/// Counts the events of a connection, in a task that ends with it and does not keep it open.
///
/// # Panics
/// Panics outside a tokio runtime.
pub fn count_events(connection: &Connection) {
    let mut events = connection.events();
    tokio::spawn(async move {
        let mut blocked = Blocked(false);
        while let Some(event) = events.next().await {
            match event {
                Event::Lost(_) => {
                    counter!(LOST).increment(1);
                    blocked.set(false);
                }
                Event::Reconnected { .. } => counter!(RECONNECTED).increment(1),
                Event::Blocked(_) => blocked.set(true),
                Event::Unblocked => blocked.set(false),
                Event::GaveUp { queue, fate, .. } => {
                    let fate = match fate {
                        Fate::Parked(_) => "parked",
                        Fate::Rejected => "rejected",
                        _ => "dropped",
                    };
                    counter!(GAVE_UP, "queue" => queue.to_string(), "fate" => fate).increment(1);
                }
                _ => {}
            }
        }
    });
}

/// Whether the connection counts as blocked.
struct Blocked(bool);

impl Blocked {
    fn set(&mut self, blocked: bool) {
        match (self.0, blocked) {
            (false, true) => gauge!(BLOCKED).increment(1),
            (true, false) => gauge!(BLOCKED).decrement(1),
            _ => {}
        }
        self.0 = blocked;
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.set(false);
    }
}
