//! Handles and builders. Each file has its own part of [`Channel`](crate::Channel) or
//! [`Connection`](crate::Connection).

pub(crate) mod channel;
pub(crate) mod confirmation;
pub(crate) mod connection;
pub(crate) mod consumer;
pub(crate) mod consumer_options;
pub(crate) mod declare;
pub(crate) mod delay;
pub(crate) mod delivery;
pub(crate) mod events;
pub(crate) mod exchange;
pub(crate) mod forward;
pub(crate) mod get;
pub mod hooks;
pub mod layers;
pub(crate) mod options;
pub(crate) mod outcome;
pub(crate) mod process_events;
pub(crate) mod processing;
pub(crate) mod publish;
pub(crate) mod published;
pub(crate) mod register;
pub(crate) mod register_callback;
pub(crate) mod registration;
pub(crate) mod stream;
pub(crate) mod subscription;
