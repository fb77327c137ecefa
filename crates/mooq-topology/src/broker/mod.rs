//! The broker's side: what it has, and how it is asked.

#[cfg(feature = "management-client")]
pub(crate) mod api;
#[cfg(not(feature = "management-client"))]
#[path = "no_api.rs"]
pub(crate) mod api;
pub(crate) mod changes;
pub(crate) mod declare;
pub(crate) mod management;
pub(crate) mod observed;
pub(crate) mod probe;
