//! When and where a message that failed is retried: without I/O, clock or runtime.
//!
//! Services use it through the facade, `mooq`, which re-exports [`Retry`]. mooq-client asks
//! [`Retry::verdict`] what becomes of a failed message, and carries that out.
//!
//! | File | Contents |
//! |---|---|
//! | `retry` | the policy that users build, [`Retry`] |
//! | `verdict` | the consequence of a failure, by the policy |
//! | `delay` | delays: arithmetic, steps and text |
//! | `ladder` | the exchanges and queues in which messages wait: [`DelayQueue`], [`Ladder`] |
//! | `trail` | the headers of a retried message: [`Trail`] |

mod delay;
mod ladder;
mod retry;
mod trail;
mod verdict;

pub use delay::{LONGEST, STEPS};
pub use ladder::{DelayQueue, Ladder, parked_name, parking_queue};
pub use retry::{DelayedReturn, Retry};
pub use trail::{Mark, Trail};
pub use verdict::{End, Failed, Known, Verdict};
