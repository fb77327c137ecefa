//! Names, messages, options, errors and the transport traits that every mooq crate shares.
//!
//! This crate has no I/O and no async runtime. Services use it through the facade, `mooq`; it is of
//! direct interest to authors of transports:
//!
//! | Module | Contents |
//! |---|---|
//! | [`name`] | names parsed once at the edge: at most 255 bytes, cheap to clone |
//! | [`value`] | header and argument tables with every AMQP field type |
//! | [`properties`], [`message`] | messages as they are published and delivered |
//! | [`topology`] | exchanges, queues and bindings as they are declared |
//! | [`queue_arguments`], [`first_error`] | what builders have in common: setters of queues, and their errors |
//! | [`error`] | one [`Error`] with a kind, a scope and the broker's own words |
//! | [`returned`] | a returned message, as an error's source |
//! | [`endpoint`] | address of a broker and login to it, parsed from a URL |
//! | [`transport`], [`event`], [`mailbox`] | the interface between a transport and the runtime
//! above it |
//! | `json`, with the feature of that name | tables of headers and arguments as JSON |
//! | [`in_flight`] | the number of things in flight, for brokers that count them |

pub mod endpoint;
pub mod error;
pub mod event;
pub mod first_error;
pub mod in_flight;
#[cfg(feature = "json")]
pub mod json;
pub mod mailbox;
pub mod message;
pub mod name;
pub mod properties;
pub mod queue_arguments;
pub mod returned;
pub mod topology;
pub mod transport;
pub mod value;

pub use endpoint::{
    AuthMechanism, ClientCertificate, Credentials, Endpoint, Endpoints, Scheme, TlsOptions,
};
pub use error::{CloseReason, Error, ErrorKind, ErrorScope, Result};
pub use event::{ChannelEvent, ConnectionEvent, Deliver};
pub use first_error::FirstError;
pub use message::{Message, Publish};
pub use name::{
    ConsumerTag, ExchangeName, IntoChecked, QueueName, RoutingKey, ShortString, VirtualHost,
};
pub use properties::{DeliveryMode, Properties, Verbatim};
pub use queue_arguments::Overflow;
pub use returned::Returned;
pub use topology::{
    Binding, BindingDestination, ExchangeDeclare, ExchangeKind, QueueDeclare, QueueDeclared,
};
pub use transport::{
    Consume, Fetched, Handoff, OpenedChannel, OpenedConnection, RawMethods, Settle, Settlement,
    Transport, TransportChannel, TransportConnection,
};
pub use value::{Decimal, FieldTable, FieldValue};
