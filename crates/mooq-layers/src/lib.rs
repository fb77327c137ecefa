//! Layers around the callbacks and publishes of [`mooq_client`], in the shape of
//! [tower](https://docs.rs/tower).
//!
//! Services use them through the facade, as `mooq::layers`.
//!
//! | File | Contents |
//! |---|---|
//! | `rate` | at most so many calls in a time |
//! | `deduplicate` | messages that were handled already are not handled again |
//! | `seen` | where the ids of handled messages are kept: the trait, and the store in memory |
//! | `ack_first` | acknowledgement before the callback |
//! | `with` | these layers as methods of a registration |

mod ack_first;
mod deduplicate;
mod rate;
mod seen;
mod with;

pub use ack_first::{AckFirst, AckedFirst};
pub use deduplicate::{Deduplicate, Deduplicated};
pub use rate::{RateLimit, RateLimited};
pub use seen::{Seen, SeenInMemory};
pub use with::WithLayers;

pub use mooq_client::layers::{
    CallbackLayer, CallbackService, PublishLayer, PublishService, Undecodable,
};
pub use tower::limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer};
pub use tower::timeout::TimeoutLayer;
