use mooq_core::{
    ChannelEvent, Consume, ConsumerTag, ErrorKind, ErrorScope, QueueName, Settle, Settlement,
};

use crate::broker::{Broker, soon};

fn consume(queue: &QueueName, tag: &str) -> Consume {
    Consume {
        tag: tag.try_into().unwrap(),
        ..Consume::new(queue.clone())
    }
}

pub(crate) async fn deliveries_come_in_order_and_are_settled(broker: &Broker) {
    const MESSAGES: u64 = 20_000;
    let (connection, mut channel) = broker.channel().await;
    let queue = channel.queue().await;
    for count in 1..=MESSAGES {
        channel.publish(&queue, count.to_string()).await;
    }
    soon(channel.channel.qos(250, false)).await.unwrap();
    soon(channel.channel.consume(consume(&queue, "ordered")))
        .await
        .unwrap();
    for count in 1..=MESSAGES {
        let delivery = channel.delivery().await;
        assert_eq!(delivery.delivery_tag, count);
        assert_eq!(delivery.message.body, count.to_string());
        assert_eq!(delivery.consumer_tag, "ordered");
        assert!(!delivery.redelivered);
        channel.ack(count);
    }
    // All are settled: nothing comes back when the channel closes.
    soon(channel.channel.close()).await.unwrap();
    let channel = connection.channel().await;
    assert_eq!(soon(channel.channel.purge_queue(queue)).await.unwrap(), 0);
    connection.check_and_close().await;
}

pub(crate) async fn the_broker_names_consumers_and_queues(broker: &Broker) {
    let (connection, mut channel) = broker.channel().await;
    let queue = channel.queue().await;
    // Both empty: the queue that was declared last, and a tag of the broker's choice.
    let tag = soon(channel.channel.consume(Consume::new(QueueName::default()))).await;
    let tag = tag.unwrap();
    assert!(tag.starts_with("amq.ctag-"), "{tag}");
    channel.publish(&queue, "hello").await;
    let delivery = channel.delivery().await;
    assert_eq!(delivery.consumer_tag, tag);
    let nack = Settle {
        delivery_tag: delivery.delivery_tag,
        multiple: true,
        settlement: Settlement::Nack { requeue: true },
    };
    channel.channel.settle(nack).unwrap();
    let delivery = channel.delivery().await;
    assert!(delivery.redelivered);
    let reject = Settle {
        delivery_tag: delivery.delivery_tag,
        multiple: false,
        settlement: Settlement::Reject { requeue: false },
    };
    channel.channel.settle(reject).unwrap();
    connection.check_and_close().await;
}

/// amqprs knows the consumer only after consume-ok; deliveries follow it closely.
pub(crate) async fn nothing_is_lost_between_consume_and_its_answer(broker: &Broker) {
    const CONSUMERS: u64 = 200;
    let (connection, mut channel) = broker.channel().await;
    let queue = channel.queue().await;
    soon(channel.channel.qos(1, false)).await.unwrap();
    for _ in 0..CONSUMERS {
        channel.publish(&queue, "one each").await;
    }
    for count in 1..=CONSUMERS {
        let tag = soon(channel.channel.consume(Consume::new(queue.clone())))
            .await
            .unwrap();
        let delivery = channel.delivery().await;
        assert_eq!(
            (delivery.delivery_tag, &delivery.consumer_tag),
            (count, &tag)
        );
    }
    connection.check_and_close().await;
}

pub(crate) async fn no_delivery_follows_a_cancel(broker: &Broker) {
    const MESSAGES: u32 = 5000;
    let (connection, mut channel) = broker.channel().await;
    let queue = channel.queue().await;
    for _ in 0..MESSAGES {
        channel.publish(&queue, "x").await;
    }
    let tag = soon(channel.channel.consume(Consume::new(queue.clone())))
        .await
        .unwrap();
    soon(channel.channel.cancel(tag.clone())).await.unwrap();
    let mut delivered = 0;
    while let Some(event) = channel.events.try_recv() {
        assert!(matches!(event, ChannelEvent::Deliver(_)), "{event:?}");
        delivered += 1;
    }
    let left = soon(channel.channel.purge_queue(queue)).await.unwrap();
    assert_eq!(delivered + left, MESSAGES);
    assert!(channel.events.try_recv().is_none(), "a late delivery");
    // Earlier deliveries can still be settled, and a tag that is free again can be cancelled.
    channel.ack(1);
    soon(channel.channel.cancel(tag)).await.unwrap();
    connection.check_and_close().await;
}

pub(crate) async fn a_deleted_queue_cancels_its_consumers(broker: &Broker) {
    let (connection, mut channel) = broker.channel().await;
    let queue = channel.queue().await;
    soon(channel.channel.consume(consume(&queue, "orphan")))
        .await
        .unwrap();
    channel.publish(&queue, "the last one").await;
    let other = connection.channel().await;
    let delivery = channel.delivery().await;
    assert_eq!(delivery.message.body, "the last one");
    soon(other.channel.delete_queue(queue, false, false))
        .await
        .unwrap();
    let event = channel.event().await;
    assert!(
        matches!(&event, ChannelEvent::ConsumerCancelled(tag) if tag == "orphan"),
        "{event:?}"
    );
    // The channel lives on, and the tag is free.
    let queue = channel.queue().await;
    soon(channel.channel.consume(consume(&queue, "orphan")))
        .await
        .unwrap();
    channel.publish(&queue, "again").await;
    assert_eq!(channel.delivery().await.message.body, "again");

    // However close the deletion follows, the cancel is announced.
    for _ in 0..50 {
        let queue = channel.queue().await;
        let tag: ConsumerTag = queue.as_str().try_into().unwrap();
        let consuming = channel.channel.consume(consume(&queue, &tag));
        let deleting = other.channel.delete_queue(queue.clone(), false, false);
        let (consumed, deleted) = soon(async { tokio::join!(consuming, deleting) }).await;
        deleted.unwrap();
        if consumed.is_err() {
            // The deletion was first: the channel is closed with 404.
            channel = connection.channel().await;
            continue;
        }
        let event = channel.event().await;
        assert!(
            matches!(&event, ChannelEvent::ConsumerCancelled(t) if *t == tag),
            "{event:?}"
        );
    }
    connection.check_and_close().await;
}

pub(crate) async fn an_unknown_tag_closes_the_channel(broker: &Broker) {
    let (connection, mut channel) = broker.channel().await;
    channel.ack(77);
    let err = channel.closed().await;
    assert_eq!(err.kind(), ErrorKind::PreconditionFailed, "{err:?}");
    assert_eq!(err.scope(), ErrorScope::Channel);
    let reason = err.reason().unwrap();
    assert_eq!(
        (reason.code, reason.class_id, reason.method_id),
        (406, 60, 80)
    );
    connection.check_and_close().await;
}

pub(crate) async fn messages_are_fetched_one_by_one(broker: &Broker) {
    let (connection, channel) = broker.channel().await;
    let queue = channel.queue().await;
    let get = || channel.channel.get(queue.clone(), false);
    assert!(soon(get()).await.unwrap().is_none());
    channel.publish(&queue, "1").await;
    channel.publish(&queue, "2").await;
    let first = soon(get()).await.unwrap().unwrap();
    assert_eq!((first.delivery_tag, first.message_count), (1, 1));
    let second = soon(get()).await.unwrap().unwrap();
    assert_eq!((second.delivery_tag, second.message_count), (2, 0));
    assert_eq!(second.message.body, "2");
    soon(channel.channel.raw_methods().unwrap().recover(true))
        .await
        .unwrap();
    let again = soon(get()).await.unwrap().unwrap();
    assert!(again.redelivered);
    assert_eq!(again.message.body, "1");
    connection.check_and_close().await;
}
