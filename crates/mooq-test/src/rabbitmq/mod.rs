//! A real RabbitMQ, one for all tests of the process, with a virtual host for each.

#[cfg(feature = "testcontainers")]
mod container;
mod management;
mod server;
mod vhost;

pub(crate) use vhost::OwnVhost;
