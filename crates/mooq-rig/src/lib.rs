//! Parts of tests that several crates share.
//!
//! | Module | Contents |
//! |---|---|
//! | `rabbitmq` | images of RabbitMQ, and the start of their containers |
//! | `management` | the HTTP API of a RabbitMQ's management plugin |
//! | `proxy` | a TCP proxy with the faults of a network |
//! | `peer` | listeners that a test answers |
//! | `certificates` | an authority and its certificates |

pub mod certificates;
pub mod management;
pub mod peer;
pub mod proxy;
pub mod rabbitmq;
