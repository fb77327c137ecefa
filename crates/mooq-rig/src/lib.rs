//! Parts of tests that several crates share.
//!
//! | Module | Contents |
//! |---|---|
//! | `rabbitmq` | images of RabbitMQ, and the start of their containers |
//! | `management` | the HTTP API of a RabbitMQ's management plugin |
//! | `proxy` | a TCP proxy that fails as networks do |
//! | `peer` | listeners that a test answers itself |
//! | `certificates` | an authority and what it issues |

pub mod certificates;
pub mod management;
pub mod peer;
pub mod proxy;
pub mod rabbitmq;
