//! Faults: what happens to a workload when something goes wrong with its broker.
//!
//! A [`Workload`] publishes and consumes with numbered messages, on the in-memory broker or on
//! RabbitMQ in a container, while a fault strikes the broker or the network. Whatever it is,
//! nothing that was confirmed may be lost, no message may come twice without an explanation, every
//! call must end by its deadline, and once the broker answers again the next attempt to connect must
//! succeed: in memory the first publish is confirmed within a second of that.
//!
//! | File | What it is |
//! |---|---|
//! | `suite` | the test target: every case on every broker that it is for |
//! | `cases` | the cases in which one fault strikes once |
//! | `channel_errors`, `queue_deletion`, `cluster` | cases in which something else happens |
//! | `endurance` | what wears a client out: closed channels, dropped futures and handles |
//! | `soak` | random faults, for as long as you like |
//! | `site` | the broker of a case, and the faults that it knows |
//! | `node` | a container that is killed and paused; the network is a proxy of mooq-rig |
//! | `workload` | publishers and consumers at work |
//! | `record`, `timing`, `journal` | what became of messages and calls, and what connections said |
//! | `verdict` | what came of it all |

pub mod cases;
pub mod channel_errors;
mod cluster;
mod endurance;
pub mod journal;
pub mod node;
mod queue_deletion;
pub mod record;
pub mod site;
pub mod soak;
pub mod suite;
pub mod timing;
pub mod verdict;
pub mod workload;

pub use site::{Fault, Site};
pub use workload::{Plan, Workload};
