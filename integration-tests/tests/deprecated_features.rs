//! Deprecated features, permitted and denied: in memory by the options, on RabbitMQ by its
//! configuration.

use mooq::ConnectOptions;
use mooq::memory::{InMemoryBroker, Options, Profile};
use mooq_conformance::Broker;
use mooq_conformance::raw::{queue, quorum_queue, table};
use mooq_core::{Consume, Endpoint, QueueDeclare, Scheme, Transport};
use mooq_integration_tests::rabbitmq::container::{self, Image, RabbitContainer};
use mooq_rabbit::RabbitTransport;
use tokio::runtime::Runtime;

const FEATURES: [&str; 3] = [
    "global_qos",
    "queue_master_locator",
    "transient_nonexcl_queues",
];

/// Asserts that a broker permits or denies all of the features. Each attempt has a connection of
/// its own, which a denied feature closes.
async fn permits(transport: &dyn Transport, endpoint: &Endpoint, permitted: bool) {
    let transient = QueueDeclare {
        durable: false,
        ..queue("transient")
    };
    let located = QueueDeclare {
        arguments: table([("x-queue-master-locator", "client-local".into())]),
        ..queue("located")
    };
    for (feature, declare) in [
        ("transient_nonexcl_queues", transient),
        ("queue_master_locator", located),
    ] {
        let opened = transport.open(endpoint).await.unwrap();
        let channel = opened.connection.open_channel().await.unwrap().channel;
        let declared = channel.declare_queue(declare).await;
        let text = declared.err().map(|err| err.reason().unwrap().text.clone());
        let first_line = text.as_deref().and_then(|text| text.lines().next());
        let denied = format!("INTERNAL_ERROR - Feature `{feature}` is deprecated.");
        assert_eq!(first_line, (!permitted).then_some(denied.as_str()));
    }

    // A quorum queue refuses a consumer on a channel with a global limit. If global limits are
    // denied, the channel has none.
    let opened = transport.open(endpoint).await.unwrap();
    let channel = opened.connection.open_channel().await.unwrap().channel;
    channel.declare_queue(quorum_queue("quorum")).await.unwrap();
    channel.qos(1, true).await.unwrap();
    let consumed = channel.consume(Consume::new("quorum".try_into().unwrap()));
    let text = consumed
        .await
        .err()
        .map(|err| err.reason().unwrap().text.clone());
    let limited = "NOT_IMPLEMENTED - queue 'quorum' in vhost '/' does not support global qos";
    assert_eq!(text.as_deref(), permitted.then_some(limited));
}

#[tokio::test]
async fn deprecated_features_in_memory_follow_the_options() {
    for profile in [Profile::V4_0, Profile::V4_3] {
        for permitted in [true, false] {
            let mut options = Options::of(profile);
            let features = &mut options.deprecated_features;
            features.global_qos = Some(permitted);
            features.queue_master_locator = Some(permitted);
            features.transient_nonexcl_queues = Some(permitted);
            let broker = InMemoryBroker::start_with_options(options);
            let endpoint = Endpoint::new(Scheme::Memory);
            permits(&broker.transport(), &endpoint, permitted).await;
        }
    }
}

#[test]
#[ignore = "needs Docker: run integration-tests/run-all"]
fn deprecated_features_on_rabbitmq_follow_its_configuration() {
    for image in [Image::current(), Image::v4_3()] {
        for permitted in [true, false] {
            let setting = |feature| format!("deprecated_features.permit.{feature} = {permitted}\n");
            let settings: String = FEATURES.into_iter().map(setting).collect();
            let container =
                RabbitContainer::start_with(&image, container::version(&image), &settings).unwrap();
            let options: ConnectOptions = container.url().as_str().try_into().unwrap();
            let endpoint = options.endpoint().unwrap();
            let runtime = Runtime::new().unwrap();
            runtime.block_on(permits(&RabbitTransport, &endpoint, permitted));
            drop(container);
        }
    }
}
