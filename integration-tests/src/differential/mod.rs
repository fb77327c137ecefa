//! Random sequences of operations on the in-memory broker and RabbitMQ side by side. After each
//! operation everything observable is compared.
//!
//! | Module | Its one job |
//! |---|---|
//! | `operation`, `strategy`, `arguments`, `alarms` | the parts of a sequence, and random sequences
//! |
//! | `names` | the names of a sequence on a broker |
//! | `client` | performs operations on one broker and gathers the effects |
//! | `observation` | the effects, in a form that can be compared |
//! | `access` | the permissions that operations need |
//! | `known` | knowledge of both brokers, and the operations to leave out |
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
