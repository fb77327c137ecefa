//! Faults: a workload whose broker or network fails.
//!
//! A [`Workload`] publishes and consumes numbered messages, on the in-memory broker or on RabbitMQ
//! in a container, while a fault strikes the broker or the network. Under every fault, no confirmed
//! message may be lost, no message may come twice without an explanation, every call must end by
//! its deadline, and once the broker answers again the next attempt to connect must succeed: in
//! memory the first publish is confirmed within a second of that.
//!
//! | File | Contents |
//! |---|---|
//! | `suite` | the test target: every case on each of its brokers |
//! | `cases` | the cases in which one fault strikes once |
//! | `channel_errors`, `queue_deletion`, `cluster` | cases with other failures |
//! | `endurance` | closed channels, dropped futures and handles by the thousand |
//! | `soak` | random faults, for as long as you like |
//! | `site` | the broker of a case, and its faults |
//! | `node` | a container that is killed and paused; the network is a proxy of mooq-rig |
//! | `workload` | publishers and consumers at work |
//! | `record`, `timing`, `journal` | outcomes of messages and calls, and events of connections |
//! | `verdict` | the result of a workload |

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
