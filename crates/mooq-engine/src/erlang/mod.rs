//! Parts of Erlang that RabbitMQ's clients can observe. [`phash2`], the hash of a term, and
//! [`exs1024`], the generator behind the consistent hash, decide where hashing exchanges route.
//! [`term`] turns the values of headers and arguments into terms. [`text`] formats atoms, binaries,
//! strings and floats as they stand in texts, and [`layout`] breaks long terms into lines.

pub(crate) mod exs1024;
pub(crate) mod layout;
pub(crate) mod phash2;
pub(crate) mod term;
pub(crate) mod text;
