//! What a connection of mooq's is, as a state machine: no runtime, no lock, no I/O.
//!
//! `mooq-client` is the shell around it, as quinn is around quinn-proto. What happens and what time
//! it is come in by the methods of [`Session`]; what follows comes out by
//! [`Session::poll_output`]. Publishes enter by the [`Port`] of their channel, which is a part of
//! its own so that it can have a lock of its own.
//!
//! | File | Contents |
//! |---|---|
//! | `session` | the façade: requests, answers, timers |
//! | `phase` | the state of a connection and of a channel: open, reopening, closed |
//! | `port` | whether a channel is usable, and its publishes |
//! | `confirms`, `numbering` | publishes that wait for their confirms |
//! | `calls` | opening channels, and requests on them |
//! | `consuming`, `consumers` | registering consumers, their deliveries, and their end |
//! | `callbacks` | which callbacks to call next |
//! | `lifecycle` | the loss, the end and the close of channels |
//! | `link`, `reconnect` | the loss, the return and the close of the connection |
//! | `restore` | what to restore next |
//! | `asking` | what the broker is asked about: a queue whose consumer it cancelled, a dead-letter exchange |
//! | `topology` | what was declared over the connection |

mod asking;
mod callbacks;
mod calls;
mod channel;
mod confirms;
mod consumers;
mod consuming;
mod event;
mod ids;
mod lifecycle;
mod link;
mod numbering;
mod output;
mod phase;
mod policy;
mod port;
mod purpose;
pub mod reasons;
mod reconnect;
mod restore;
mod session;
mod shell;
mod timers;
mod topology;

pub use callbacks::{Finished, Standing, Start, Waiting};
pub use calls::described;
pub use confirms::{Permit, asked_twice};
pub use consumers::{Callback, Handed, Retry, Sink};
pub use event::{ConnectionState, Event};
pub use ids::{CallId, ChannelId, ConsumerId, PublishId, RequestId};
pub use output::{Answer, Dropped, Output, Reply, Request};
pub use phase::Phase;
pub use policy::{OnLoss, Recovery, WhileDisconnected};
pub use port::{Port, PublishTerms, Taken};
pub use purpose::AfterCancel;
pub use session::{Host, Options, Session};
pub use shell::{Link, PortCell, Shell, Wire};
pub use timers::later;
pub use topology::Escape;
