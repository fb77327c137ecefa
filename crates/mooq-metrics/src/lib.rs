//! Figures of mooq's connections, by the [metrics](https://docs.rs/metrics) facade: what is
//! published, delivered and settled, how long that takes, and what recovery does.
//!
//! Services use it through the facade, `mooq`, with the feature `metrics`: `mooq::metrics::counted`
//! connects with figures. Without a recorder of the `metrics` facade, they go nowhere.
//!
//! | File | Contents |
//! |---|---|
//! | `names` | the names of the figures |
//! | `transport`, `channel` | [`Metered`]: a transport that counts what passes |
//! | `publishes` | the publishes of a channel that are not confirmed yet |
//! | `callbacks` | [`MeteredCallbacks`]: a layer that times callbacks |
//! | `events` | [`count_events`]: reconnects, parked messages, and other events |

mod callbacks;
mod channel;
mod events;
mod names;
mod publishes;
mod transport;

pub use callbacks::{MeteredCallback, MeteredCallbacks};
pub use events::count_events;
pub use names::*;
pub use transport::Metered;
