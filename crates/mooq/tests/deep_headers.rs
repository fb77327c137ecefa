//! A message whose headers nest too deep: an error on that delivery alone, handled by the
//! consumer's policy. (No in-memory client can send such a message. The test makes up the record of
//! it, on the broker's own transport.)

#![cfg(feature = "memory")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is a test, the functions beside it too"
)]

use std::sync::Arc;

use mooq::memory::InMemoryBroker;
use mooq::{Delivery, ErrorKind, Retry};
use mooq_core::{Endpoint, Message, Properties, Publish, Scheme, Transport};

#[tokio::test]
async fn a_message_that_nests_too_deep_is_an_error_on_its_delivery() -> mooq::Result<()> {
    let broker = InMemoryBroker::start();
    let chan = mooq::connect(&broker).await?.create_channel().await?;
    chan.declare_queue("dead").await?;
    let orders = chan.declare_queue("orders");
    let orders = orders.argument("x-dead-letter-exchange", "");
    orders.argument("x-dead-letter-routing-key", "dead").await?;

    let raw = broker
        .transport()
        .open(&Endpoint::new(Scheme::Memory))
        .await?;
    let raw = raw.connection.open_channel().await?.channel;
    let poison = || {
        let mut properties = Properties::default();
        properties.headers.refuse("deep".try_into().unwrap());
        let message = Message {
            exchange: "".try_into().unwrap(),
            routing_key: "orders".try_into().unwrap(),
            properties: Arc::new(properties),
            body: "\"poison\"".into(),
        };
        drop(raw.publish(Publish::new(message)).unwrap());
    };
    let said = "header 'deep' nests deeper than 100 levels";

    poison();
    broker.wait_idle().await;
    let err = chan.get::<String>("orders").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Decode);
    assert!(err.to_string().contains(said), "{err}");

    let mut stream = chan.consume::<String>("orders").await?;
    poison();
    let err = stream.next().await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Decode);
    assert!(err.to_string().contains(said), "{err}");
    chan.publish("", "good").routing_key("orders").await?;
    assert_eq!(stream.next().await.unwrap()?.ack().await?, "good");
    stream.cancel().await?;

    let conn = mooq::connect(&broker).await?;
    let worker = conn.create_channel().await?;
    let (seen, mut served) = tokio::sync::mpsc::unbounded_channel();
    let consumer = worker
        .register_consumer("amq.fanout", "fanout")
        .queue("orders");
    let consumer = consumer.queue_argument("x-dead-letter-exchange", "");
    let consumer = consumer.queue_argument("x-dead-letter-routing-key", "dead");
    let callback = move |order: Delivery<String>| {
        seen.send(order.msg.clone()).unwrap();
        async {}
    };
    let consumer = consumer.on_decode_error(Retry::never().then_reject());
    consumer.callback(callback).await?;
    poison();
    chan.publish("", "good again").routing_key("orders").await?;
    conn.process_events().until_idle().await?;
    assert_eq!(served.try_recv().as_deref(), Ok("good again"));
    assert!(
        served.try_recv().is_err(),
        "the callback was not called with the deep message"
    );

    assert_eq!(chan.declare_queue("dead").passive().await?.message_count, 3);
    Ok(())
}
