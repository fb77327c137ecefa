use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, LongString};
use lapin::{BasicProperties, ConnectionProperties};
use mooq_core::{
    Binding, BindingDestination, ChannelEvent, Consume, Error, ErrorKind, ErrorScope, FieldTable,
    FieldValue, Message, QueueDeclare, QueueName, RoutingKey,
};

use crate::broker::{Broker, name, soon};
use crate::raw::{self, Nested, publish_nested};

/// Publishes a message whose header holds text that is not UTF-8, which mooq cannot.
async fn publish(broker: &Broker, queue: &QueueName) {
    let url = format!("amqp://{}", broker.endpoint.address());
    let connection = lapin::Connection::connect(&url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut headers = lapin::types::FieldTable::default();
    let text = AMQPValue::LongString(LongString::from(vec![0xff]));
    headers.insert("latin".into(), text);
    let properties = BasicProperties::default().with_headers(headers);
    let options = BasicPublishOptions::default();
    let key = queue.as_str().into();
    channel
        .basic_publish("".into(), key, options, b"poison", properties)
        .await
        .unwrap();
    connection.close(200, "done".into()).await.unwrap();
}

/// Returns the error that ends a connection that reads from `queue`, by a consumer or by a fetch.
async fn read(broker: &Broker, queue: &QueueName, consume: bool) -> Error {
    let (mut connection, channel) = broker.channel().await;
    let err = if consume {
        // The consumer may or may not have begun when the message arrives.
        let _ = soon(channel.channel.consume(Consume::new(queue.clone()))).await;
        connection.closed().await
    } else {
        let fetched = soon(channel.channel.get(queue.clone(), false)).await;
        let err = fetched.unwrap_err();
        assert_eq!(connection.closed().await.to_string(), err.to_string());
        err
    };
    assert_eq!(err.kind(), ErrorKind::ConnectionLost, "{err:?}");
    err
}

/// amqprs gives up the connection when it cannot read a header, and the message, which goes back
/// to its queue, is the first that the next connection gets.
pub(crate) async fn a_message_that_ends_every_connection_is_said_to(broker: &Broker) {
    let (connection, channel) = broker.channel().await;
    for consume in [true, false] {
        let queue = name();
        soon(
            channel
                .channel
                .declare_queue(QueueDeclare::new(queue.clone())),
        )
        .await
        .unwrap();
        publish(broker, &queue).await;
        for _ in 0..2 {
            let err = read(broker, &queue, consume).await;
            assert!(!err.to_string().contains("UTF-8"), "{err}");
        }
        let err = read(broker, &queue, consume).await;
        assert!(err.to_string().contains("UTF-8"), "{err}");
        let named = format!("'{queue}' (3 times)");
        assert!(err.to_string().contains(&named), "{err}");
        soon(channel.channel.delete_queue(queue, false, false))
            .await
            .unwrap();
    }
    connection.check_and_close().await;
}

/// On a stack of the usual size, 700 levels abort a process that is built without optimizations, and
/// 2,200 any. A frame of 128 KiB has room for 21,800 tables, or 26,100 arrays.
pub(crate) async fn a_header_may_nest_as_deep_as_a_frame_allows(broker: &Broker) {
    let (connection, mut channel) = broker.channel().await;
    let queue = channel.queue().await;
    let depths = [
        (
            Nested::Tables,
            &[1, 100, 101, 700, 2_200, 18_000, 21_800][..],
        ),
        (Nested::Arrays, &[100, 101, 700, 26_100][..]),
    ];
    let mut expected = Vec::new();
    for (nested, levels) in depths {
        for levels in levels {
            publish_nested(&broker.endpoint, &queue, nested, *levels).await;
            expected.push(*levels > 100);
        }
    }
    let is_too_deep = |message: &Message| {
        let headers = &message.properties.headers;
        assert_eq!(&message.body[..], b"poison");
        assert_eq!(headers.too_deep().is_none(), headers.len() == 1);
        headers.too_deep().is_some()
    };
    // By hand, and then by a consumer.
    for expected in &expected {
        let fetched = soon(channel.channel.get(queue.clone(), false)).await;
        let fetched = fetched.unwrap().expect("it is there");
        assert_eq!(is_too_deep(&fetched.message), *expected);
    }
    soon(channel.channel.raw_methods().unwrap().recover(true))
        .await
        .unwrap();
    soon(channel.channel.consume(Consume::new(queue.clone())))
        .await
        .unwrap();
    for expected in &expected {
        let deliver = channel.delivery().await;
        assert_eq!(is_too_deep(&deliver.message), *expected);
        channel.ack(deliver.delivery_tag);
    }
    connection.check_and_close().await;
}

/// By its routing key. It costs its own consumer, and no connection any more.
pub(crate) async fn a_queue_that_ends_every_connection_is_left_off(broker: &Broker) {
    let (connection, channel) = broker.channel().await;
    let queue = name();
    let declare = QueueDeclare::new(queue.clone());
    soon(channel.channel.declare_queue(declare)).await.unwrap();
    let bind = Binding {
        source: "amq.fanout".try_into().unwrap(),
        destination: BindingDestination::Queue(queue.clone()),
        routing_key: RoutingKey::default(),
        arguments: FieldTable::new(),
    };
    soon(channel.channel.bind(bind)).await.unwrap();
    raw::publish(&broker.endpoint, "amq.fanout", b"caf\xe9", &[0; 4]).await;

    let mut losses = 0;
    let (reader, refusal) = loop {
        let (mut reader, channel) = broker.channel().await;
        // The consumer may or may not have begun when the message arrives.
        let consumed = soon(channel.channel.consume(Consume::new(queue.clone()))).await;
        match consumed {
            Err(err) if err.kind() == ErrorKind::ConsumerCancelled => break (reader, err),
            _ => assert_eq!(reader.closed().await.kind(), ErrorKind::ConnectionLost),
        }
        losses += 1;
        assert!(losses < 50, "it is still read from");
    };
    // More where the broker took longer than 2 s over a message: such an end proves nothing.
    assert!(losses >= 5, "{losses}: {refusal}");
    let in_a_row = format!("{losses} connections in a row");
    assert_eq!(refusal.scope(), ErrorScope::Operation);
    for said in [queue.as_str(), "UTF-8", &in_a_row] {
        assert!(refusal.to_string().contains(said), "{refusal}");
    }
    let mut reading = reader.channel().await;
    let fetched = soon(reading.channel.get(queue.clone(), false)).await;
    assert_eq!(fetched.unwrap_err().to_string(), refusal.to_string());
    // Others are read from.
    let other = reading.queue().await;
    let consume = Consume::new(other.clone());
    soon(reading.channel.consume(consume)).await.unwrap();
    reading.publish(&other, "fine").await;
    assert_eq!(&reading.delivery().await.message.body[..], b"fine");
    drop(reading);
    reader.check_and_close().await;

    let deleted = channel.channel.delete_queue(queue, false, false);
    assert_eq!(soon(deleted).await.unwrap(), 1);
    connection.check_and_close().await;
}

/// By its routing key, consumed and fetched; a header's text may be any bytes.
pub(crate) async fn a_message_that_is_not_utf8_costs_its_consumer_only(broker: &Broker) {
    let (connection, mut channel) = broker.channel().await;
    let queue = channel.queue().await;
    let bind = Binding {
        source: "amq.fanout".try_into().unwrap(),
        destination: BindingDestination::Queue(queue.clone()),
        routing_key: RoutingKey::default(),
        arguments: FieldTable::new(),
    };
    soon(channel.channel.bind(bind)).await.unwrap();
    raw::publish(&broker.endpoint, "amq.fanout", b"caf\xe9", &[0; 4]).await;
    let consume = Consume::new(queue.clone());
    let tag = soon(channel.channel.consume(consume)).await.unwrap();
    let event = channel.event().await;
    assert!(
        matches!(&event, ChannelEvent::ConsumerCancelled(cancelled) if *cancelled == tag),
        "{event:?}"
    );
    let fetched = soon(channel.channel.get(queue.clone(), false)).await;
    let err = fetched.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Decode, "{err:?}");
    assert_eq!(err.scope(), ErrorScope::Operation);
    for said in [queue.as_str(), "routing key", "UTF-8"] {
        assert!(err.to_string().contains(said), "{err}");
    }
    // It is still there, for a client that can read it.
    assert_eq!(
        soon(channel.channel.purge_queue(queue.clone()))
            .await
            .unwrap(),
        1
    );

    publish(broker, &queue).await;
    let consume = Consume::new(queue.clone());
    soon(channel.channel.consume(consume)).await.unwrap();
    let delivery = channel.delivery().await;
    let latin = delivery.message.properties.headers.get("latin");
    assert_eq!(latin, Some(&FieldValue::Bytes(vec![0xff].into())));
    channel.ack(delivery.delivery_tag);
    connection.check_and_close().await;
}
