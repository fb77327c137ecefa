//! Parts of Erlang that RabbitMQ's clients can observe. [`phash2`], the hash of a term, and
//! [`exs1024`], the generator behind the consistent hash, decide where hashing exchanges route.
//! [`text`] formats atoms and binaries as they stand in texts. [`term`] wraps long terms as
//! Erlang does.

pub(crate) mod exs1024;
pub(crate) mod phash2;
pub(crate) mod term;
pub(crate) mod text;
