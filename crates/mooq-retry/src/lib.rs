//! When and where a message that failed is retried: without clock, runtime or I/O of its own.
//!
//! Services use it through the facade, `mooq`, which re-exports [`Retry`] and [`Outcome`].
//! mooq-client asks [`Retry::verdict`] what becomes of a failed message, and gives the [`Channel`]
//! by which it is moved.
//!
//! | File | Contents |
//! |---|---|
//! | `retry` | the policy that users build, [`Retry`] |
//! | `outcome` | the outcome of a callback, [`Outcome`] |
//! | `verdict` | the consequence of a failure, by the policy |
//! | `delay` | delays: arithmetic, steps and text |
//! | `ladder` | the exchanges and queues in which messages wait: [`DelayQueue`], [`Ladder`] |
//! | `destination` | publishing to them, and their declaration and deletion |
//! | `departure` | the copy that is published, [`Departure`] |
//! | `trail` | the headers of a retried message: [`Trail`] |

mod delay;
mod departure;
mod destination;
mod ladder;
mod outcome;
mod retry;
mod trail;
mod verdict;

pub use delay::{LONGEST, STEPS};
pub use departure::Departure;
pub use destination::{
    Call, Channel, Destination, check_broker, check_delayed, declare_for, delete_for,
    delete_of_exchange,
};
pub use ladder::{DelayQueue, Ladder, parked_name, parking_queue};
pub use outcome::Outcome;
pub use retry::Retry;
pub use trail::{Mark, Trail, death_count, delivery_count, without_counts};
pub use verdict::{Failed, Known, To, Verdict};
