//! Pools of connections: publishers apart from consumers.
//!
//! RabbitMQ stops reading from every connection that has published when it runs out of memory or
//! disk. On such a connection acks wait as well as publishes, and the queues that should be emptied
//! stay full. A pool publishes on some connections and consumes on others, so that consumers go on.
//!
//! Services use it through the facade, `mooq`, which has the way in: `mooq::pool`.
//!
//! | File | Contents |
//! |---|---|
//! | `builder` | the builder of a pool |
//! | `pool` | the pool: publishing, channels, and its end |
//! | `process_events` | running the callbacks of all connections |
//! | `member` | one connection of a pool, and its replacement |

mod builder;
mod member;
mod pool;
mod process_events;

pub use builder::PoolBuilder;
pub use pool::Pool;
pub use process_events::ProcessPoolEvents;
