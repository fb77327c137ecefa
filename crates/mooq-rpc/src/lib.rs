//! Requests and replies over the channels of [`mooq_client`], by RabbitMQ's [direct
//! reply-to](https://www.rabbitmq.com/docs/direct-reply-to).
//!
//! Services use it through the facade, `mooq`. The trait [`Rpc`] is the way in. Of the client it
//! uses what users use, and [`mooq_client::hooks`].
//!
//! | File | Contents |
//! |---|---|
//! | `rpc` | the trait: the methods of a channel |
//! | `request` | the builder of a request |
//! | `attempt` | a request under way: its attempts, up to its reply |
//! | `waiting`, `replies` | the requests of a channel that wait, and the consumer of their replies |
//! | `register` | the builder of a responder |
//! | `responder` | a request's way through a responder, up to its ack |
//! | `remote_error` | errors of a responder, and their form on the wire |
//! | `encoded` | bodies that are encoded already |

mod attempt;
mod encoded;
mod register;
mod remote_error;
mod replies;
mod request;
mod responder;
mod rpc;
mod waiting;

pub use register::{RegisterResponder, ResponderRegistration};
pub use remote_error::RemoteError;
pub use request::Request;
pub use responder::Responder;
pub use rpc::Rpc;
