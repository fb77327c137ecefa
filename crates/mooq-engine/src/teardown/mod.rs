//! Teardown: the end of connections, channels, consumers, queues and exchanges, and what a restart
//! takes with it.

mod channel;
mod consumer;
mod exchange;
mod queue;
mod restart;
