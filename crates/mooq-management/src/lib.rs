//! RabbitMQ's management HTTP API for the in-memory broker.
//!
//! Tools and tests that talk to RabbitMQ's management plugin talk to an in-memory broker in the
//! same way: the same paths, JSON and status codes, as the version of RabbitMQ that the broker
//! behaves as. Requests act on the state that in-process connections and sockets share.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use mooq_management::ListenManagement;
//! use mooq_memory::InMemoryBroker;
//!
//! let broker = InMemoryBroker::start();
//! let management = broker.listen_management("127.0.0.1:0").await?;
//!
//! // Any HTTP client. Here ureq, in a thread, because it blocks:
//! let url = format!("{}/api/queues/%2F/orders", management.url());
//! let declaring = tokio::task::spawn_blocking(move || {
//!     let as_guest = ureq::put(&url).header("authorization", "Basic Z3Vlc3Q6Z3Vlc3Q=");
//!     as_guest.send(r#"{"durable": true}"#)
//! });
//! assert_eq!(declaring.await??.status(), 201);
//!
//! assert_eq!(broker.queues("orders").len(), 1);
//! management.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What is served
//!
//! | Path under `/api` | Methods |
//! |---|---|
//! | `overview`, `cluster-name`, `nodes`, `whoami`, `version`, `extensions` | GET |
//! | `vhosts` | GET, PUT, DELETE, and their `permissions`, `topic-permissions`, `connections` and `channels` |
//! | `users` | GET, PUT, DELETE, `bulk-delete`, `without-permissions` |
//! | `permissions`, `topic-permissions` | GET, PUT, DELETE |
//! | `policies`, `operator-policies` | GET, PUT, DELETE |
//! | `parameters`, `global-parameters` | GET |
//! | `exchanges` | GET, PUT, DELETE, `publish`, and their bindings |
//! | `queues` | GET, PUT, DELETE, `get`, `contents` (purge), and their bindings |
//! | `bindings` | GET, POST, DELETE |
//! | `connections` | GET, DELETE (close) |
//! | `channels`, `consumers` | GET |
//! | `definitions` | GET, POST |
//! | `aliveness-test`, `healthchecks/node`, `health/checks` | GET |
//!
//! Lists take `columns`, `sort`, `sort_reverse`, `page`, `page_size`, `name` and `use_regex`.
//! Figures of the machine (memory, reductions, garbage collection) and message rates are left out:
//! they are no part of what the in-memory broker imitates. Any other path is answered with 404, as
//! by a RabbitMQ without the plugin that serves it.
//!
//! Users log in by HTTP basic authentication, and need a [tag](https://www.rabbitmq.com/docs/management#permissions):
//! `guest` is an administrator, and [`set_user_tags`](mooq_memory::InMemoryBroker::set_user_tags)
//! tags others. A body may have 20 MB, as by RabbitMQ's default.
//!
//! | Module | Responsibility |
//! |---|---|
//! | `server` | the socket, and the tasks that serve it |
//! | `routes`, `handlers` | a handler for each path and method |
//! | `access` | authentication, and what a user may see |
//! | `body`, `failure`, `listing` | JSON bodies in, errors out, and what lists have in common |
//! | `client` | AMQP methods on behalf of a user |
//! | `views` | the JSON of each object, without I/O |
//! | `versions` | differences between RabbitMQ's versions |

mod access;
mod body;
mod client;
mod failure;
mod handlers;
mod listing;
mod routes;
mod server;
mod versions;
mod views;

pub use server::{ListenManagement, ManagementServer};
