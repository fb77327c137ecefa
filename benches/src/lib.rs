//! Workloads that the Criterion benches and the `figures` command share.

pub mod pipeline;
pub mod rabbit;
pub mod routing;
