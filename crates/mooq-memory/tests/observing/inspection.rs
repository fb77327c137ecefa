//! Looking in: each noun, by name and by glob.

use std::sync::Arc;
use std::time::Duration;

use mooq::memory::InMemoryBroker;
use mooq::{ConnectOptions, Connection, Delivery, VirtualHost};

use crate::{publish, set_up};

#[tokio::test]
async fn bindings_are_sorted_and_tell_their_arguments() {
    let (broker, _conn, chan) = set_up().await;
    chan.declare_exchange("events", "headers").await.unwrap();
    chan.declare_exchange("all", "fanout").await.unwrap();
    for queue in ["b", "a"] {
        chan.declare_queue(queue).await.unwrap();
        chan.bind_queue(queue, "events", "")
            .argument("kind", queue)
            .await
            .unwrap();
    }
    chan.bind_exchange("all", "events", "").await.unwrap();
    chan.bind_queue("a", "all", "key").await.unwrap();

    let seen: Vec<_> = broker
        .bindings("events")
        .into_iter()
        .map(|binding| {
            let kind = binding.arguments.get("kind").cloned();
            (binding.queue().map(ToString::to_string), kind)
        })
        .collect();
    assert_eq!(
        seen,
        [
            (Some("a".to_owned()), Some("a".into())),
            (Some("b".to_owned()), Some("b".into())),
            (None, None),
        ]
    );
    let from_all = broker.bindings("a*");
    assert_eq!(from_all.len(), 1, "the default exchange's are not there");
    assert_eq!(from_all[0].source, "all");
    assert_eq!(from_all[0].routing_key, "key");
    assert_eq!(broker.bindings("nothing"), []);
}

#[tokio::test]
async fn consumers_tell_what_they_may_take_and_which_is_active() {
    let (broker, _conn, chan) = set_up().await;
    chan.declare_queue("jobs")
        .argument("x-single-active-consumer", true)
        .await
        .unwrap();
    publish(&chan, "jobs", 1).await;
    let _first = chan.consume::<i32>("jobs").prefetch(3).await.unwrap();
    let _second = chan.consume::<i32>("jobs").auto_ack().await.unwrap();

    let [first, second] = &*broker.consumers("j*") else {
        panic!("two consumers")
    };
    // A consumer of such a queue has a channel of its own.
    assert_eq!((first.connection, first.channel), (1, 2));
    assert_eq!((first.unacked, first.credit), (1, Some(2)));
    assert!(first.active && !first.auto_ack);
    assert_eq!((second.unacked, second.credit), (0, None));
    assert!(!second.active && second.auto_ack);
}

#[tokio::test]
async fn messages_are_looked_at_where_they_are_in_the_order_in_which_they_leave() {
    let (broker, _conn, chan) = set_up().await;
    chan.declare_queue("jobs")
        .argument("x-max-priority", 5)
        .await
        .unwrap();
    for priority in [1, 3, 2] {
        chan.publish("", &priority)
            .routing_key("jobs")
            .priority(priority)
            .await
            .unwrap();
    }
    let bodies = |broker: &InMemoryBroker| -> Vec<_> {
        let ready = broker.ready_messages("jobs").into_iter();
        ready.map(|ready| ready.message.body.clone()).collect()
    };
    assert_eq!(bodies(&broker), ["3", "2", "1"]);
    assert_eq!(bodies(&broker), ["3", "2", "1"], "they are still there");

    let fetched = chan.get_one::<i32>("jobs").await.unwrap();
    let unacked = &broker.unacked_messages("*")[0];
    assert_eq!(
        (&*unacked.message.body, unacked.delivery_tag),
        (&b"3"[..], 1)
    );
    assert_eq!(unacked.consumer_tag, None);
    fetched.requeue().await.unwrap();
    let back = &broker.ready_messages("jobs")[0];
    assert!(back.redelivered && back.message.body == "3");
    assert_eq!(broker.unacked_messages("*"), []);
}

#[tokio::test]
async fn deliveries_settled_in_a_transaction_are_unacked_until_its_commit() {
    use mooq_core::{Endpoint, Scheme, Settle, Settlement, Transport};

    let (broker, _conn, chan) = set_up().await;
    chan.declare_queue("jobs").await.unwrap();
    publish(&chan, "jobs", 1).await;
    let (transport, endpoint) = (broker.transport(), Endpoint::new(Scheme::Memory));
    let opened = transport.open(&endpoint).await.unwrap();
    let tx = opened.connection.open_channel().await.unwrap().channel;
    tx.raw_methods().unwrap().tx_select().await.unwrap();
    let fetched = tx.get("jobs".try_into().unwrap(), false).await.unwrap();
    tx.settle(Settle {
        delivery_tag: fetched.unwrap().delivery_tag,
        multiple: false,
        settlement: Settlement::Ack,
    })
    .unwrap();
    assert_eq!(broker.unacked_messages("jobs").len(), 1);
    let channel = &broker.connections("*")[1].channels[0];
    assert!(channel.transactional && channel.unacked == 1);
    tx.raw_methods().unwrap().tx_commit().await.unwrap();
    assert_eq!(broker.unacked_messages("jobs"), []);
}

#[tokio::test(start_paused = true)]
async fn a_message_tells_how_long_it_may_still_wait() {
    let (broker, _conn, chan) = set_up().await;
    chan.declare_queue("jobs").await.unwrap();
    publish(&chan, "jobs", 1).await;
    chan.publish("", &2)
        .routing_key("jobs")
        .expiration(Duration::from_secs(60))
        .await
        .unwrap();
    tokio::time::advance(Duration::from_secs(20)).await;
    let left: Vec<_> = broker
        .ready_messages("jobs")
        .iter()
        .map(|ready| ready.expires_in)
        .collect();
    assert_eq!(left, [None, Some(Duration::from_secs(40))]);
}

#[tokio::test]
async fn connections_are_found_by_the_names_that_their_clients_gave_them() {
    let broker = InMemoryBroker::start();
    broker.add_vhost("other").unwrap();
    let mut open = Vec::new();
    for options in [
        ConnectOptions::new().name("billing"),
        ConnectOptions::new(),
        ConnectOptions::new().name("shop").vhost("other"),
    ] {
        open.push(
            Connection::open(Arc::new(broker.transport()), options)
                .await
                .unwrap(),
        );
    }
    let chan = open[2].create_channel().await.unwrap();
    chan.register_consumer("log", "fanout")
        .callback(|_: Delivery<String>| async {})
        .await
        .unwrap();

    let numbers = |glob| -> Vec<_> {
        let found = broker.connections(glob).into_iter();
        found.map(|connection| connection.number).collect()
    };
    assert_eq!(numbers("*"), [1, 2, 3]);
    assert_eq!(numbers("billing"), [1]);
    assert_eq!(numbers("s?op"), [3]);
    let shop = &broker.connections("shop")[0];
    assert_eq!((&*shop.user, &*shop.vhost), ("guest", "other"));
    assert_eq!(shop.channels[0].consumers, 1);
    assert!(shop.channels[0].confirms && !shop.blocked);

    let other = VirtualHost::try_from("other").unwrap();
    assert_eq!(broker.queues("*").len(), 0);
    assert_eq!(broker.consumers_in(&other, "*").len(), 1);

    open.remove(0).close().await.unwrap();
    assert_eq!(numbers("*"), [2, 3], "numbers are given once");
}
