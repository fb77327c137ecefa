//! Assertions on what a broker has recorded. They panic, as assertions do, and say what was
//! expected, what was recorded, and which of it comes nearest.

#![allow(clippy::panic, reason = "an assertion that fails panics")]

mod criterion;
mod differences;
mod record;
mod report;
mod selection;
mod text;

pub use record::Recorded;
pub use selection::Selection;
