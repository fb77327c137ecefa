//! The codec against itself, against amq-protocol, and against malformed bytes.

// A failed expectation is meant to panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod content;
mod frames;
mod generate;
mod malformed;
mod oracle;
