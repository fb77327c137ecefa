//! RabbitMQ for Rust services on tokio, with an in-memory RabbitMQ that a unit test can trust.
//!
//! A service [connects](connect), opens a [`Channel`], registers producers and consumers on it,
//! publishes, and [processes events](Connection::process_events). `amqp://…` connects to RabbitMQ,
//! `memory://…` to a broker in this process that answers as RabbitMQ does; the rest of the code is
//! the same.
//!
//! # Tutorial
//!
//! ## Two services
//!
//! One service says hello, the other repeats the message in capitals. Here both are in one program;
//! nothing changes when they are two, or when the URL is `amqp://localhost:5672`.
//!
//! ```
//! use mooq::memory::InMemoryBroker;
//! use mooq::{Delivery, ExchangeKind::Direct};
//!
//! #[tokio::main]
//! async fn main() -> mooq::Result<()> {
//!     let broker = InMemoryBroker::new("localhost", 5672);
//!     broker.run();
//!
//!     // The loud one: declares an exchange and a queue, binds them by two keys.
//!     let loud = mooq::connect("memory://localhost:5672").await?;
//!     let chan = loud.create_channel().await?;
//!     chan.register_consumer("in2com_log", Direct)
//!         .routing_keys(["greetings", "goodbyes"])
//!         .callback(|resp: Delivery<String>| async move {
//!             println!("{}", resp.msg.to_uppercase());
//!         })
//!         .await?;
//!
//!     // The one that greets: declares the same exchange, and publishes to it.
//!     let hello = mooq::connect("memory://localhost:5672").await?;
//!     let chan = hello.create_channel().await?;
//!     chan.register_producer("in2com_log", Direct).await?;
//!     chan.publish("in2com_log", "Hello World!")
//!         .routing_key("greetings")
//!         .await?;
//!
//!     // Prints HELLO WORLD! A service has `.with_graceful_shutdown(…)` instead.
//!     loud.process_events().until_idle().await
//! }
//! ```
//!
//! Three habits run through the whole of mooq:
//!
//! - Every option is a setter, and `.await` carries the call out: nothing happens before.
//! - Names are text where you write them, and checked when the call is carried out.
//! - A message is any value that serde can write as JSON; a callback states the type that it
//!   expects. Other [codecs](Encode) are a setter away.
//!
//! ## Publishing
//!
//! Awaiting a [`publish`](Channel::publish) waits for the broker's confirm. An error is returned to
//! the call that caused it, by [kind](ErrorKind).
//!
//! ```
//! # use mooq::memory::InMemoryBroker;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> mooq::Result<()> {
//! # let broker = InMemoryBroker::start();
//! # let conn = mooq::connect(&broker).await?;
//! # let chan = conn.create_channel().await?;
//! use mooq::{ErrorKind, ExchangeKind::Topic};
//!
//! chan.register_producer("orders", Topic).await?;
//!
//! // No queue is bound yet, so a mandatory message is returned as an error.
//! let err = chan
//!     .publish("orders", &["pencil", "paper"])
//!     .routing_key("order.new")
//!     .mandatory()
//!     .await
//!     .unwrap_err();
//! assert_eq!(err.kind(), ErrorKind::Returned);
//! # Ok(())
//! # }
//! ```
//!
//! See [`Publish`] for headers, priorities and other properties, and for publishing many at once.
//!
//! ## Consuming
//!
//! A [callback](RegisterConsumer::callback) runs for each message while events are processed, and
//! its outcome settles the message: `()` and `Ok` acknowledge it. After an error or a panic the
//! message is retried, after delays that grow, and no message is lost ([`Retry`]).
//!
//! ```
//! # use mooq::memory::InMemoryBroker;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> mooq::Result<()> {
//! # let broker = InMemoryBroker::start();
//! # let conn = mooq::connect(&broker).await?;
//! # let chan = conn.create_channel().await?;
//! use mooq::{Delivery, ExchangeKind::Topic};
//!
//! async fn bill(order: Delivery<Vec<String>>) -> Result<(), std::io::Error> {
//!     println!("{}: {} things", order.routing_key, order.msg.len());
//!     Ok(())
//! }
//!
//! chan.register_consumer("orders", Topic)
//!     .queue("orders-to-bill") // Shared, and kept without consumers.
//!     .routing_key("order.*")
//!     .callback(bill)
//!     .await?;
//! # chan.publish("orders", &["pencil"]).routing_key("order.new").await?;
//! # conn.process_events().cycles(1).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A queue can also be read as a [stream](Channel::consume), or [one message](Channel::get) at a
//! time.
//!
//! ## Unit tests
//!
//! A test starts a broker of its own. No other test sees it, and nothing has to be cleaned up. With
//! the feature `test`, the attribute `#[mooq::test]` does that for you, in memory or on RabbitMQ:
//! see the [testing guide](https://github.com/mooq-rs/mooq/blob/main/docs/testing.md).
//!
//! ```
//! use mooq::memory::InMemoryBroker;
//! use mooq::{Connection, Delivery};
//!
//! /// The service under test: adds one to what comes to "in", for "out".
//! async fn start(conn: &Connection) -> mooq::Result<()> {
//!     let chan = conn.create_channel().await?;
//!     chan.declare_queue("out").await?;
//!     let out = chan.clone();
//!     chan.register_consumer("in", "direct")
//!         .callback(move |number: Delivery<i32>| {
//!             let out = out.clone();
//!             async move { out.publish("", &(number.msg + 1)).routing_key("out").await }
//!         })
//!         .await?;
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> mooq::Result<()> {
//! // In a #[tokio::test]:
//! let conn = mooq::connect(&InMemoryBroker::start()).await?;
//! start(&conn).await?;
//!
//! let chan = conn.create_channel().await?;
//! chan.publish("in", &41).await?;
//! conn.process_events().cycles(1).await?;
//!
//! assert_eq!(chan.get_one::<i32>("out").await?.ack().await?, 42);
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//!
//! | To | see |
//! |---|---|
//! | connect, close, run callbacks | [`connect`], [`ConnectOptions`], [`TlsOptions`], [`Connection`], [`ProcessEvents`] |
//! | log in by a certificate, or with credentials that change | [`ConnectOptions::login_by_certificate`], [`ConnectOptions::credentials_from`], [`CredentialsProvider`] |
//! | use several connections, for publishing and for consuming | [`pool`], [`Pool`] |
//! | recover a lost connection | [`Recovery`], [`ConnectionState`], [`Event`], [`OnLoss`] |
//! | declare, bind, delete | [`Channel`], [`DeclareExchange`](topology::DeclareExchange), [`DeclareQueue`](topology::DeclareQueue), [`Bind`](topology::Bind) |
//! | declare all at once, compare, plan, draw | [`Topology`](topology::Topology), [`Plan`](topology::Plan) |
//! | publish | [`Publish`], [`Confirmation`] |
//! | consume | [`RegisterConsumer`], [`Delivery`], [`Deliveries`], [`Get`] |
//! | encode and decode | [`Json`], [`Text`], [`RawBytes`], [`ByContentType`], [`ByType`], [`Encode`], [`Decode`], and those of the features |
//! | retry what fails, later | [`Retry`], [`Outcome`], [`Publish::delay`] |
//! | request, and answer requests | [`Rpc`], [`Request`], [`RegisterResponder`], [`RemoteError`] |
//! | run callbacks on several threads, in order by a key, in batches | [`Schedule`] |
//! | wrap callbacks and publishes | [`layers`] |
//! | handle errors | [`Error`], [`ErrorKind`], [`ErrorScope`], [`CloseReason`] |
//! | test | `mooq::test` and `mooq::testing`, [`memory`], [`Delivery::new`] |
//! | wait in a test, inspect, assert | [`InMemoryBroker::wait_idle`](memory::InMemoryBroker::wait_idle), [`InMemoryBroker::record`](memory::InMemoryBroker::record), [`Recording`](memory::Recording), [`Selection`](memory::Selection) |
//! | see what led to the failure of a test | [`Timeline`](memory::Timeline) |
//! | inject faults | [`faults`] |
//! | close a connection's broker and run it again | [`GetBroker`], [`Broker`] |
//! | run a test with many seeds | `mooq::testing::for_each_seed`, [`InMemoryBroker::start_seeded`](memory::InMemoryBroker::start_seeded) |
//!
//! # Features
//!
//! | Feature | Default | Effect |
//! |---|---|---|
//! | `rabbit` | yes | `amqp://` URLs: RabbitMQ, over amqprs |
//! | `tls` | yes | `amqps://` URLs: the same over TLS, by rustls; useful with `rabbit` |
//! | `memory` | yes | `memory://` URLs, and [`memory`] |
//! | `native` | no | [`NativeTransport`]: RabbitMQ without amqprs, for connections that are opened with it |
//! | `server` | no | [`server`]: the in-memory broker on a socket, for services that use another client |
//! | `management` | no | [`server`] also serves RabbitMQ's management HTTP API |
//! | `management-client` | no | [`topology`] compares and changes a broker by its management API |
//! | `broker-ctl` | no | [`Broker`] for RabbitMQ too: run and closed as [`GetBroker::get_broker`] returns it |
//! | `test` | no | the attribute `mooq::test` and `mooq::testing`, for `[dev-dependencies]` |
//! | `metrics` | no | figures of connections, by the `metrics` facade |
//! | `otel` | no | spans by OpenTelemetry's conventions, and trace context in headers |
//! | `msgpack`, `cbor`, `protobuf` | no | the codecs `MsgPack`, `Cbor` and `Protobuf` |
//! | `gzip`, `zstd` | no | `Compressed`: bodies that are compressed, and expanded within a limit |
//! | `testcontainers` | no | tests on RabbitMQ in a container, if `MOOQ_TEST_BROKER` asks for it |
//!
//! A URL whose feature is off is an error of kind [`UnsupportedScheme`](ErrorKind::UnsupportedScheme).

/// The names that most services use, for `use mooq::prelude::*`. Unlike `use mooq::*`, the prelude
/// leaves out the attribute `mooq::test`, beside which `#[test]` would be ambiguous.
///
/// ```test_harness
/// use mooq::prelude::*;
///
/// fn yell(resp: &Delivery<String>) -> String {
///     resp.msg.to_uppercase()
/// }
///
/// #[test]
/// fn loud_yells() {
///     assert_eq!(yell(&Delivery::new("hello".into())), "HELLO");
/// }
/// ```
pub mod prelude {
    #[cfg(feature = "memory")]
    pub use crate::memory::InMemoryBroker;
    pub use crate::{
        Channel, ConnectOptions, Connection, Delivery, ErrorKind, ExchangeKind,
        ExchangeKind::{Direct, Fanout, Headers, Topic},
        Json, Outcome, RawBytes, Retry, Rpc, Schedule, Text,
    };
}

/// Layers around callbacks and publishes, in the shape of [tower](https://docs.rs/tower).
///
/// See the [guide](https://github.com/mooq-rs/mooq/blob/main/docs/layers.md).
pub mod layers {
    pub use mooq_client::Outgoing;
    pub use mooq_layers::*;
}

/// Figures of connections, by the [metrics](https://docs.rs/metrics) facade: their names and units,
/// and what counts them over a transport of your own.
///
/// See the [guide](https://github.com/mooq-rs/mooq/blob/main/docs/metrics.md).
#[cfg(feature = "metrics")]
pub mod metrics {
    pub use mooq_metrics::*;

    use crate::connect::ConnectTo;
    pub use crate::connect::Counted;

    /// Connects with figures: of what is published, delivered and settled, of callbacks, and of
    /// recovery.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # let broker = mooq::memory::InMemoryBroker::new("localhost", 5672);
    /// # broker.run();
    /// let conn = mooq::connect(mooq::metrics::counted("memory://localhost:5672")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn counted<T: ConnectTo>(to: T) -> Counted<T> {
        Counted(to)
    }
}

/// OpenTelemetry: spans by its conventions for messaging, and W3C trace context in headers.
///
/// See the [guide](https://github.com/mooq-rs/mooq/blob/main/docs/tracing.md).
#[cfg(feature = "otel")]
pub mod otel {
    pub use mooq_trace::{TraceCallbacks, TracePublishes, extract, inject};

    use crate::connect::ConnectTo;
    pub use crate::connect::Traced;

    /// Connects with traces: spans for connecting, publishes, callbacks and recovery, and trace
    /// context in the headers of what is published.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # let broker = mooq::memory::InMemoryBroker::new("localhost", 5672);
    /// # broker.run();
    /// let conn = mooq::connect(mooq::otel::traced("memory://localhost:5672")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn traced<T: ConnectTo>(to: T) -> Traced<T> {
        Traced(to)
    }
}

/// Declaring, binding and deleting exchanges and queues: what the methods of [`Channel`] return; and
/// all of them as one value, a [`Topology`](topology::Topology), that is applied, compared with a
/// broker, brought about by a plan, and drawn.
///
/// See the [guide](https://github.com/mooq-rs/mooq/blob/main/docs/topology.md).
pub mod topology {
    pub use mooq_client::{
        Bind, DeclareExchange, DeclareQueue, DeleteExchange, DeleteQueue, Overflow,
    };
    pub use mooq_core::QueueDeclared;
    pub use mooq_topology::{
        AppliesTo, ApplyPlan, ApplyTopology, Binding, Blocked, Change, CheckTopology, Diff,
        DiffTopology, Difference, Exchange, Management, Plan, PlanTopology, Policy, Queue,
        Resource, Step, Topology,
    };
}

/// The in-memory broker: starting and observing it, its policies and alarms.
#[cfg(feature = "memory")]
pub mod memory {
    pub use mooq_memory::{
        Activity, Alarm, AlarmGuard, ApplyTo, BindingInfo, ChannelInfo, ClientDetails,
        ClientSocket, ConnectionInfo, ConsumerInfo, DeadLetterReason, DeprecatedFeatures,
        ExchangeInfo, InMemoryBroker, ListenerGuard, ListenerInfo, Options, PermissionsInfo,
        Plugin, Policy, PolicyInfo, Profile, PublishOutcome, QueueDetails, QueueInfo, QueueTally,
        QueueType, ReadyMessage, Recorded, RecordedDeadLetter, RecordedDelivery, RecordedPublish,
        Recording, Selection, Settled, Timeline, TopicPermissionsInfo, UnackedMessage, UserInfo,
        VirtualHostInfo, VirtualHostMetadata,
    };
}

/// The in-memory broker on a socket, for services that use another AMQP 0-9-1 client.
///
/// See the [guide](https://github.com/mooq-rs/mooq/blob/main/docs/other-clients.md).
#[cfg(feature = "server")]
pub mod server {
    #[cfg(unix)]
    pub use mooq_server::UnixServer;
    pub use mooq_server::{Listen, Server};
    #[cfg(feature = "management")]
    pub use mooq_server::{ListenManagement, ManagementServer};
}

#[cfg(any(feature = "memory", feature = "broker-ctl"))]
mod broker;
mod connect;

#[cfg(any(feature = "memory", feature = "broker-ctl"))]
pub use broker::{Broker, GetBroker};
pub use bytes;
pub use connect::{ConnectTo, connect, pool};
pub use mooq_client::{
    Callback, CallbackError, Channel, Confirmation, ConnectOptions, Connection, ConnectionState,
    ConsumeQueue, Consumer, CredentialsProvider, DelayedPublish, Deliveries, Delivery, Event,
    Events, Fate, Get, GetOne, IntoOutcome, NoCallback, OnLoss, Outcome, ProcessEvents, Processing,
    Publish, Published, Recovery, RegisterCallback, RegisterConsumer, Retry, WhileDisconnected,
    WithCallback,
};
#[cfg(feature = "cbor")]
pub use mooq_codecs::Cbor;
#[cfg(any(feature = "gzip", feature = "zstd"))]
pub use mooq_codecs::Compressed;
#[cfg(feature = "msgpack")]
pub use mooq_codecs::MsgPack;
#[cfg(feature = "protobuf")]
pub use mooq_codecs::Protobuf;
pub use mooq_codecs::{
    ByContentType, ByType, CodecError, ContentTypes, Decode, Encode, Encoded, Json, RawBytes, Text,
};
pub use mooq_core::{
    AuthMechanism, ClientCertificate, CloseReason, ConsumerTag, Credentials, Decimal, DeliveryMode,
    Endpoint, Error, ErrorKind, ErrorScope, ExchangeKind, ExchangeName, FieldTable, FieldValue,
    IntoChecked, Message, Properties, QueueName, Result, Returned, RoutingKey, Scheme, ShortString,
    TlsOptions, VirtualHost,
};
#[cfg(feature = "test")]
pub use mooq_macros::test;
#[cfg(feature = "memory")]
pub use mooq_memory::faults;
pub use mooq_pool::{Pool, PoolBuilder, ProcessPoolEvents};
#[cfg(feature = "native")]
pub use mooq_rabbit::NativeTransport;
pub use mooq_rpc::{
    RegisterResponder, RemoteError, Request, Responder, ResponderRegistration, Rpc,
};
#[cfg(feature = "test")]
#[doc(inline)]
pub use mooq_test as testing;
pub use mooq_workers::{
    AnyOrder, BatchFailed, Batches, ByKey, IntoBatchOutcome, Schedule, Workers,
};

/// The README's snippets, compiled and run with the doctests.
#[cfg(all(doctest, feature = "test"))]
#[doc = include_str!("../../../README.md")]
pub struct ReadmeDoctests;

/// The documentation's snippets about time, likewise.
#[cfg(all(doctest, feature = "memory"))]
#[doc = include_str!("../../../docs/virtual-time.md")]
pub struct VirtualTimeDoctests;

/// The snippets of the page for users of Python's mooq, likewise.
#[cfg(all(doctest, feature = "memory"))]
#[doc = include_str!("../../../docs/coming-from-python.md")]
pub struct ComingFromPythonDoctests;

/// The snippets of the guide to requests and replies, likewise.
#[cfg(all(doctest, feature = "memory"))]
#[doc = include_str!("../../../docs/rpc.md")]
pub struct RpcDoctests;

/// The snippets of the guide to logins, likewise.
#[cfg(all(doctest, feature = "memory"))]
#[doc = include_str!("../../../docs/authentication.md")]
pub struct AuthenticationDoctests;

/// The snippets of the guide to pools, likewise.
#[cfg(all(doctest, feature = "memory"))]
#[doc = include_str!("../../../docs/pools.md")]
pub struct PoolsDoctests;

/// The snippets of the page about direct exchanges, likewise.
#[cfg(all(doctest, feature = "rabbit"))]
#[doc = include_str!("../../../docs/direct.md")]
pub struct DirectDoctests;

/// The snippets of the page about topologies, likewise.
#[cfg(all(doctest, feature = "management", feature = "management-client"))]
#[doc = include_str!("../../../docs/topology.md")]
pub struct TopologyDoctests;

/// The snippets of the page about retries, likewise.
#[cfg(all(doctest, feature = "memory"))]
#[doc = include_str!("../../../docs/retries.md")]
pub struct RetriesDoctests;

/// The testing guide's snippets, likewise.
#[cfg(all(doctest, feature = "test"))]
#[doc = include_str!("../../../docs/testing.md")]
pub struct TestingGuideDoctests;

/// The snippets of the page about workers, order and batches, likewise.
#[cfg(all(doctest, feature = "memory"))]
#[doc = include_str!("../../../docs/workers.md")]
pub struct WorkersDoctests;

/// The snippets of the page about layers, likewise.
#[cfg(all(doctest, feature = "memory"))]
#[doc = include_str!("../../../docs/layers.md")]
pub struct LayersDoctests;

/// The snippets of the page about figures, likewise.
#[cfg(all(doctest, feature = "memory", feature = "metrics"))]
#[doc = include_str!("../../../docs/metrics.md")]
pub struct MetricsDoctests;

/// The snippets of the page about traces, likewise.
#[cfg(all(doctest, feature = "memory", feature = "otel"))]
#[doc = include_str!("../../../docs/tracing.md")]
pub struct TracingDoctests;

/// The snippets of the page about codecs, likewise.
#[cfg(all(
    doctest,
    feature = "memory",
    feature = "gzip",
    feature = "msgpack",
    feature = "zstd"
))]
#[doc = include_str!("../../../docs/codecs.md")]
pub struct CodecsDoctests;

/// The snippets of the guide for services that use another client, likewise.
#[cfg(all(doctest, feature = "server", feature = "test"))]
#[doc = include_str!("../../../docs/other-clients.md")]
pub struct OtherClientsDoctests;
