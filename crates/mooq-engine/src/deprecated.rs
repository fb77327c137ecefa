//! Deprecated features, which RabbitMQ is going to remove and which a broker permits or denies
//! meanwhile ([deprecated features](https://www.rabbitmq.com/docs/deprecated-features)).

/// Deprecated features that a broker permits. `None` stands for the profile's default, which is
/// that of RabbitMQ's own packages and images. Debian's packages differ in one feature:
/// [`transient_nonexcl_queues`](Self::transient_nonexcl_queues).
///
/// # Examples
/// As `deprecated_features.permit.transient_nonexcl_queues` in `rabbitmq.conf`:
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use mooq_core::{Endpoint, QueueDeclare, Scheme, Transport};
/// use mooq_memory::{InMemoryBroker, Options, Profile};
///
/// let mut transient = QueueDeclare::new("orders".try_into()?);
/// transient.durable = false;
/// for permitted in [true, false] {
///     let mut options = Options::of(Profile::V4_3);
///     options.deprecated_features.transient_nonexcl_queues = Some(permitted);
///     let broker = InMemoryBroker::start_with_options(options);
///     let opened = broker.transport().open(&Endpoint::new(Scheme::Memory)).await?;
///     let channel = opened.connection.open_channel().await?.channel;
///     assert_eq!(channel.declare_queue(transient.clone()).await.is_ok(), permitted);
/// }
/// # Ok::<(), mooq_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeprecatedFeatures {
    /// True if `basic.qos` with `global` limits all consumers of a channel together. If that is
    /// denied, `basic.qos` limits each later consumer by itself. Permitted by default before 4.3.
    pub global_qos: Option<bool>,
    /// True if a classic queue may be declared with `x-queue-master-locator`. If that is denied,
    /// the declare fails with 541. Permitted by default before 4.3.
    pub queue_master_locator: Option<bool>,
    /// True if a queue may be neither durable nor exclusive. If that is denied, the declare fails
    /// with 541. Permitted by default before 4.3, and in Debian's packages of 4.3 as well.
    pub transient_nonexcl_queues: Option<bool>,
}

/// A deprecated feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deprecated {
    GlobalQos,
    QueueMasterLocator,
    TransientSharedQueues,
}

impl Deprecated {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::GlobalQos => "global_qos",
            Self::QueueMasterLocator => "queue_master_locator",
            Self::TransientSharedQueues => "transient_nonexcl_queues",
        }
    }
}
