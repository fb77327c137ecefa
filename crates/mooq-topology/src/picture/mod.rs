//! Pictures of a topology.

mod dot;
mod graph;
mod mermaid;
