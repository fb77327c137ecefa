//! Limits on data from a peer.

use mooq_core::FieldTable;

/// The smallest `frame_max` that two peers may agree on, in bytes: the size that a peer has to
/// accept before `connection.tune` (AMQP 0-9-1, 4.2.3).
pub const MIN_FRAME_MAX: u32 = 4096;

/// Limits of the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest payload of a frame, in bytes. RabbitMQ compares the payload, and not the whole
    /// frame, with the `frame_max` that was agreed; so does this codec.
    pub frame_max: u32,
    /// Maximum depth of nested tables and arrays: 1 is a table that holds no others. At most 101,
    /// because the values in a [`FieldTable`] have 100 levels at most.
    pub table_depth: u8,
    /// True to record a key whose value nests too deep in its table ([`FieldTable::refuse`]) and to
    /// read on, instead of failing with `TooDeep`. For clients, who have to read the messages of
    /// any publisher.
    pub records_deep_values: bool,
}

impl Limits {
    /// The limits until `connection.tune-ok`: frames of at most 4,096 bytes.
    #[must_use]
    pub const fn before_tune() -> Self {
        Self::tuned(MIN_FRAME_MAX)
    }

    /// The limits once `frame_max`, in bytes, has been agreed.
    #[must_use]
    pub const fn tuned(frame_max: u32) -> Self {
        Self {
            frame_max,
            // One level for the outermost table, and the levels of the values in it.
            table_depth: 1 + FieldTable::MAX_DEPTH as u8,
            records_deep_values: false,
        }
    }

    /// The same limits, where a value that nests too deep is recorded in its table.
    #[must_use]
    pub const fn recording_deep_values(self) -> Self {
        Self {
            records_deep_values: true,
            ..self
        }
    }
}

impl Default for Limits {
    /// RabbitMQ's default `frame_max` of 131,072 bytes, and tables of at most 101 levels.
    fn default() -> Self {
        Self::tuned(131_072)
    }
}
