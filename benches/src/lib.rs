//! Workloads that the Criterion benches and the `figures` command share.

pub mod client;
pub mod pipeline;
pub mod rabbit;
pub mod routing;
pub mod scaling;
pub mod seeds;
pub mod waiting;
pub mod wire;
