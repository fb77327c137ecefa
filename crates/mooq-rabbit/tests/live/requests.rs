use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::future::join_all;
use mooq_core::{
    Binding, BindingDestination, ChannelEvent, Consume, ErrorKind, ErrorScope, ExchangeDeclare,
    ExchangeKind, FieldTable, QueueDeclare, QueueName,
};

use crate::broker::{Broker, Connection, name, soon, to_queue};

pub(crate) async fn every_request_is_answered(broker: &Broker) {
    let (connection, mut channel) = broker.channel().await;
    let c = Arc::clone(&channel.channel);
    let declare = ExchangeDeclare {
        durable: false,
        ..ExchangeDeclare::new("live-x".try_into().unwrap(), ExchangeKind::Topic)
    };
    soon(c.declare_exchange(declare.clone())).await.unwrap();
    let passive = ExchangeDeclare {
        passive: true,
        ..declare
    };
    soon(c.declare_exchange(passive)).await.unwrap();

    let queue = channel.queue().await;
    assert!(queue.starts_with("amq.gen-"), "{queue}");
    for destination in [
        // Empty: the queue declared last.
        BindingDestination::Queue(QueueName::default()),
        BindingDestination::Exchange("amq.fanout".try_into().unwrap()),
    ] {
        let binding = Binding {
            source: "live-x".try_into().unwrap(),
            destination,
            routing_key: "a.*".try_into().unwrap(),
            arguments: FieldTable::new().with("x-n", 1).unwrap(),
        };
        soon(c.bind(binding.clone())).await.unwrap();
        soon(c.bind(binding.clone())).await.unwrap();
        soon(c.unbind(binding.clone())).await.unwrap();
        soon(c.unbind(binding)).await.unwrap();
    }
    // The broker counts only what it has confirmed.
    soon(c.confirm_select()).await.unwrap();
    for body in ["1", "2", "3"] {
        channel.publish(&queue, body).await;
    }
    while !matches!(
        channel.event().await,
        ChannelEvent::Confirm { sequence: 3, .. }
    ) {}
    let declared = soon(c.declare_queue(QueueDeclare {
        passive: true,
        ..QueueDeclare::new(queue.clone())
    }))
    .await
    .unwrap();
    assert_eq!((declared.message_count, declared.consumer_count), (3, 0));
    assert_eq!(declared.name, queue);
    assert_eq!(soon(c.purge_queue(queue.clone())).await.unwrap(), 3);
    channel.publish(&queue, "4").await;
    assert_eq!(
        soon(c.delete_queue(queue.clone(), false, false))
            .await
            .unwrap(),
        1
    );
    assert_eq!(soon(c.delete_queue(queue, false, false)).await.unwrap(), 0);
    soon(c.qos(10, false)).await.unwrap();
    soon(c.raw_methods().unwrap().recover(true)).await.unwrap();
    soon(c.delete_exchange("live-x".try_into().unwrap(), false))
        .await
        .unwrap();
    soon(c.delete_exchange("live-x".try_into().unwrap(), false))
        .await
        .unwrap();

    let transactions = connection.channel().await;
    let t = &transactions.channel;
    let queue = transactions.queue().await;
    soon(t.raw_methods().unwrap().tx_select()).await.unwrap();
    transactions.publish(&queue, "undone").await;
    soon(t.raw_methods().unwrap().tx_rollback()).await.unwrap();
    transactions.publish(&queue, "done").await;
    soon(t.raw_methods().unwrap().tx_commit()).await.unwrap();
    assert_eq!(soon(t.purge_queue(queue)).await.unwrap(), 1);
    connection.check_and_close().await;
}

/// amqprs panics on what is longer, which mooq's names refuse, and, with its feature
/// `compliance_assert`, on many of these characters.
pub(crate) async fn names_of_any_sort_are_taken(broker: &Broker) {
    let long = "x".repeat(255);
    let mut endpoint = broker.endpoint.clone();
    endpoint.connection_name = Some(long.as_str().try_into().unwrap());
    let connection = Connection::open(&endpoint).await;
    let channel = connection.channel().await;
    for text in [&long, " a/b\\c\t@:#%ü\u{1f407}'\"\0"] {
        let declare = QueueDeclare {
            exclusive: true,
            ..QueueDeclare::new(text.try_into().unwrap())
        };
        let declared = soon(channel.channel.declare_queue(declare)).await.unwrap();
        assert_eq!(declared.name, text);
        let declare = ExchangeDeclare::new(text.try_into().unwrap(), ExchangeKind::Direct);
        soon(channel.channel.declare_exchange(declare))
            .await
            .unwrap();
        let binding = Binding {
            source: text.try_into().unwrap(),
            destination: BindingDestination::Queue(declared.name.clone()),
            routing_key: text.try_into().unwrap(),
            arguments: FieldTable::new(),
        };
        soon(channel.channel.bind(binding)).await.unwrap();
        let consume = Consume {
            tag: text.try_into().unwrap(),
            ..Consume::new(declared.name)
        };
        let tag = soon(channel.channel.consume(consume)).await.unwrap();
        assert_eq!(tag, text);
        soon(channel.channel.cancel(tag)).await.unwrap();
        soon(
            channel
                .channel
                .delete_exchange(text.try_into().unwrap(), false),
        )
        .await
        .unwrap();
    }
    connection.check_and_close().await;
}

pub(crate) async fn requests_of_one_method_do_not_mix_up(broker: &Broker) {
    let (connection, channel) = broker.channel().await;
    let names: Vec<_> = (0..50).map(|_| name()).collect();
    let declare = |name: &QueueName| {
        channel.channel.declare_queue(QueueDeclare {
            exclusive: true,
            ..QueueDeclare::new(name.clone())
        })
    };
    let declared = soon(join_all(names.iter().map(declare))).await;
    for (name, declared) in names.iter().zip(declared) {
        assert_eq!(&declared.unwrap().name, name);
    }
    connection.check_and_close().await;
}

pub(crate) async fn requests_may_be_dropped_at_any_point(broker: &Broker) {
    let (connection, channel) = broker.channel().await;
    let queue = channel.queue().await;
    for round in 0..300_u64 {
        let request = channel.channel.purge_queue(queue.clone());
        // Not a wait for something to happen: a random point at which to drop the future.
        let point = Duration::from_micros(round * 7 % 1500);
        let _ = tokio::time::timeout(point, request).await;
        let get = channel.channel.get(queue.clone(), true);
        let mut get = pin!(get);
        let _ = get.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    // Requests that were begun happen in full.
    let dropped = name();
    {
        let declare = channel
            .channel
            .declare_queue(QueueDeclare::new(dropped.clone()));
        let mut declare = pin!(declare);
        let _ = declare
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
    }
    let passive = QueueDeclare {
        passive: true,
        ..QueueDeclare::new(dropped.clone())
    };
    soon(channel.channel.declare_queue(passive)).await.unwrap();
    soon(channel.channel.delete_queue(dropped, false, false))
        .await
        .unwrap();
    connection.check_and_close().await;
}

pub(crate) async fn the_reason_of_a_close_reaches_every_caller(broker: &Broker) {
    let (connection, mut channel) = broker.channel().await;
    let c = &channel.channel;
    let missing = QueueDeclare {
        passive: true,
        ..QueueDeclare::new("no-such-queue".try_into().unwrap())
    };
    // The second and third wait behind the first, which closes the channel.
    let (first, second, third) = soon(async {
        tokio::join!(
            c.declare_queue(missing.clone()),
            c.purge_queue(name()),
            c.declare_queue(missing)
        )
    })
    .await;
    let errors = [first.unwrap_err(), second.unwrap_err(), third.unwrap_err()];
    for err in &errors {
        assert_eq!(err.kind(), ErrorKind::ConsumerQueueNotFound, "{err:?}");
        assert_eq!(err.scope(), ErrorScope::Channel);
        let reason = err.reason().unwrap();
        assert_eq!(
            (reason.code, reason.class_id, reason.method_id),
            (404, 50, 10)
        );
        assert_eq!(
            reason.text,
            "NOT_FOUND - no queue 'no-such-queue' in vhost '/'"
        );
    }
    let later = soon(c.qos(1, false)).await.unwrap_err();
    assert_eq!(later.to_string(), errors[0].to_string());
    let later = c.publish(to_queue(&name(), "")).unwrap_err();
    assert_eq!(later.to_string(), errors[0].to_string());
    soon(c.close()).await.unwrap();
    assert_eq!(channel.closed().await.to_string(), errors[0].to_string());
    connection.check_and_close().await;
}

pub(crate) async fn a_closed_channel_leaves_the_others_alone(broker: &Broker) {
    let (connection, first) = broker.channel().await;
    let second = connection.channel().await;
    let queue = second.queue().await;
    let err = soon(first.channel.purge_queue(name())).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConsumerQueueNotFound);
    assert_eq!(soon(second.channel.purge_queue(queue)).await.unwrap(), 0);
    connection.check_and_close().await;
}

pub(crate) async fn opening_channels_may_be_dropped(broker: &Broker) {
    let connection = broker.connect().await;
    for round in 0..200_u64 {
        let opening = connection.connection.open_channel();
        let point = Duration::from_micros(round * 11 % 1500);
        let _ = tokio::time::timeout(point, opening).await;
    }
    connection.check_and_close().await;
}
