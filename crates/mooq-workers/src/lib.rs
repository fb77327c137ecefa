//! Callbacks in batches, on several threads, and in order by a key.
//!
//! Services use it through the facade, `mooq`. The trait [`Schedule`] is the way in. Of the client
//! it uses what users use, and [`mooq_client::hooks`].
//!
//! | File | Contents |
//! |---|---|
//! | `schedule` | the trait: the methods of a registration |
//! | `register` | the registrations that it is for |
//! | `workers` | the builder of a callback on several threads, or in order by a key |
//! | `lanes` | turns of the deliveries with the same key |
//! | `batches` | the builder of a callback for batches, and the outcomes of a batch |
//! | `batching` | how deliveries come together in a batch |

mod batches;
mod batching;
mod lanes;
mod register;
mod schedule;
mod workers;

pub use batches::{BatchFailed, Batches, IntoBatchOutcome};
#[doc(hidden)]
pub use lanes::{Key, Lanes, Turn};
pub use register::Register;
pub use schedule::Schedule;
pub use workers::{AnyOrder, ByKey, Workers};
