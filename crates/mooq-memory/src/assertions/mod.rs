//! Assertions on the records of a broker. They panic, as assertions do, with a message that shows
//! the expected records, the actual ones, and the nearest of these.

#![allow(clippy::panic, reason = "an assertion that fails panics")]

mod criterion;
mod differences;
mod record;
mod report;
mod selection;
mod text;

pub use record::Recorded;
pub use selection::Selection;
