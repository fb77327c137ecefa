//! Exchanges, queues, bindings and policies as one value, over the connections of [`mooq_client`].
//!
//! Services use it through the facade, as `mooq::topology`. [`Topology`] is the value, and the way
//! in:
//!
//! ```
//! use mooq::ExchangeKind::Topic;
//! use mooq::topology::{Queue, Topology};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> mooq::Result<()> {
//! # use mooq::memory::InMemoryBroker;
//! # let broker = InMemoryBroker::start();
//! # let conn = mooq::connect(&broker).await?;
//! let topology = Topology::new()
//!     .exchange("orders", Topic)
//!     .queue(Queue::new("billing").quorum().dead_letter("", "billing.dead"))
//!     .queue("billing.dead")
//!     .bind_queue("billing", "orders", "order.*");
//!
//! topology.apply(&conn).await?; // Declares all of it, idempotently.
//! topology.check(&conn).await?; // Fails with all that is missing or different.
//! let diff = topology.diff(&conn).await?; // The same as data.
//! let plan = topology.plan(&conn).await?; // The steps from there to here: print it, apply it.
//! assert!(diff.is_empty() && plan.is_empty());
//! println!("{}", topology.mermaid());
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `management-client`, `diff`, `check`, `plan` and `apply` take the address of a
//! management API, and then see and change bindings and policies too.
//!
//! | File | Contents |
//! |---|---|
//! | `topology`, `value/` | the value and its parts |
//! | `definitions`, `objects` | the value as RabbitMQ's JSON |
//! | `picture/` | the value as Mermaid and DOT |
//! | `broker/` | what a broker has: by AMQP (`probe`), by the management API (`api`), and as data (`observed`) |
//! | `diff`, `scope`, `comparing` | differences, and the call that finds them |
//! | `plan/planner`, `plan/exchanges`, `plan/queues` | the decision about a plan's steps, without I/O |
//! | `plan/executing`, `plan/moving` | carrying the steps out |

mod broker;
mod comparing;
mod definitions;
mod diff;
mod names;
mod objects;
mod picture;
mod plan;
mod resource;
mod scope;
mod topology;
mod value;

pub use broker::changes::Change;
pub use broker::management::Management;
pub use comparing::{CheckTopology, DiffTopology};
pub use diff::{Diff, Difference};
pub use plan::applying::{ApplyPlan, ApplyTopology};
pub use plan::building::PlanTopology;
pub use plan::step::Step;
pub use plan::{Blocked, Plan};
pub use resource::Resource;
pub use topology::Topology;
pub use value::binding::Binding;
pub use value::exchange::Exchange;
pub use value::policy::{AppliesTo, Policy};
pub use value::queue::Queue;
