//! Random sequences of operations, performed on the in-memory broker and on RabbitMQ side by
//! side, with everything that can be observed compared after each operation.
//!
//! | Module | Its one job |
//! |---|---|
//! | `operation`, `strategy`, `arguments`, `alarms` | what a sequence is made of, and random ones |
//! | `names` | the names of a sequence as a broker has them |
//! | `client` | performs operations on one broker and gathers what comes of them |
//! | `observation` | what was gathered, in a form that can be compared |
//! | `access` | the permissions that operations take |
//! | `known` | what is known of both brokers, and which operations are left out for it |
//! | `lockstep` | one sequence on both brokers, compared step by step |
//! | `suite` | many sequences, by several workers |
//! | `print` | a failure as a scenario |

mod access;
mod alarms;
mod arguments;
mod client;
mod known;
mod lockstep;
mod names;
mod observation;
mod operation;
mod print;
mod strategy;
mod suite;

pub use suite::{Settings, run};
