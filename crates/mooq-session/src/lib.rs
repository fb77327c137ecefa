//! The state machine of a connection, without I/O, locks or a runtime.
//!
//! `mooq-client` is the shell around it, as quinn is around quinn-proto. Events and the time come
//! in through the methods of [`Session`]; requests, replies and events come out through
//! [`Session::poll_output`]. Publishes enter through the [`Port`] of their channel, which is
//! separate so that it can have its own lock.
//!
//! | File | Contents |
//! |---|---|
//! | `session` | the façade: requests, answers, timers |
//! | `shell` | the traits that the driver implements |
//! | `output` | requests, replies and events that the driver carries out |
//! | `purpose` | for each request, how its answer is used |
//! | `timers` | times at which the session must act |
//! | `ids` | ids of channels, consumers, requests, calls, publishes and jobs |
//! | `phase` | the state of a connection and of a channel: open, reopening, closed |
//! | `reasons` | standard close reasons |
//! | `event` | state and events of a connection, for users |
//! | `frame` | what fits in a frame, and what RabbitMQ takes in it |
//! | `policy` | recovery policies |
//! | `channel` | a channel: its port, waiting calls, and the registration of its consumers |
//! | `port` | state of a channel, and its publishes |
//! | `confirms`, `numbering` | publishes that wait for their confirms |
//! | `calls` | opening channels, and requests on them |
//! | `consuming`, `consumers` | registering consumers, their deliveries, and their end |
//! | `callbacks` | choice of the callbacks that start next |
//! | `lifecycle` | the loss, the end and the close of channels |
//! | `link`, `reconnect` | the loss, the return and the close of the connection |
//! | `restore` | restoring topology and channels after a loss |
//! | `asking` | questions to the broker: a queue whose consumer it cancelled, a dead-letter exchange |
//! | `topology` | exchanges, queues and bindings that were declared over the connection |
//!
//! | Term | Meaning |
//! |---|---|
//! | link | one open connection of the transport; a connection has one link after another |
//! | wire | one open channel of the transport; a channel has one wire after another |
//! | shell | the driver of the session: transport, locks and tasks (in `mooq-client`) |
//! | port | the part of a channel that publishes, under a lock of its own |
//! | caller | a user's call that waits for its reply |
//! | outbox | the outputs that the driver has not taken yet |
//! | job | one task of a restoration, such as redeclaring a queue |
//! | owner | the channel on which a consumer with a dedicated channel was registered |
//! | runner | the one task that awaits `process_events` |
//! | hand out | give a delivery to a callback, a stream or a `get`, which settles it |
//! | give back | requeue a delivery: with `basic.nack` one that was not tried, with `basic.reject` one that failed |
//! | abandoned | of a call: its caller no longer waits |

mod asking;
mod callbacks;
mod calls;
mod channel;
mod confirms;
mod consumers;
mod consuming;
mod event;
mod frame;
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
mod registering;
mod restore;
mod session;
mod shell;
mod timers;
mod topology;

pub use callbacks::{Finished, RunnerStatus, Start, Waiting};
pub use calls::described;
pub use confirms::{Permit, PublishTerms, already_resolved};
pub use consumers::{Callback, Direct, Handed, Retry, Sink};
pub use event::{ConnectionState, Event, Fate};
pub use frame::{check_arguments, check_properties};
pub use ids::{CallId, ChannelId, ConsumerId, PublishId, RequestId};
pub use output::{Answer, Dropped, Output, Reply, Request};
pub use phase::Phase;
pub use policy::{OnLoss, Recovery, WhileDisconnected};
pub use port::{Port, Taken};
pub use purpose::AfterCancel;
pub use session::{Host, Options, Session};
pub use shell::{Link, PortCell, Shell, Wire};
pub use timers::later;
pub use topology::DeadLetterInfo;
