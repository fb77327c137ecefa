use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, ConnectionProperties};
use mooq_core::{Consume, Error, ErrorKind, QueueDeclare, QueueName};

use crate::broker::{Broker, name, soon};

/// Publishes a message whose header holds text that is not UTF-8, which mooq cannot.
async fn publish(broker: &Broker, queue: &QueueName) {
    let url = format!("amqp://{}", broker.endpoint.address());
    let connection = lapin::Connection::connect(&url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut headers = FieldTable::default();
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

/// What ends a connection that reads from `queue`, by a consumer or by hand.
async fn read(broker: &Broker, queue: &QueueName, consume: bool) -> Error {
    let (mut connection, channel) = broker.channel().await;
    let err = if consume {
        // Whether it has begun when the message comes is open.
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
