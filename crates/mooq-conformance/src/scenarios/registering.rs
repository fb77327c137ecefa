//! Registering consumers: the exchanges and queues that it declares, and consumer tags.

use mooq::{Delivery, ErrorKind, ErrorScope};

use crate::Fixture;
use crate::scenario;
use crate::steps::record;

#[scenario]
async fn a_consumers_tag_is_the_one_asked_for_and_only_once(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    let (recorder, mut calls) = record::<String>();
    let register = |tag: &str| {
        chan.register_consumer(fixture.name("exchange"), "fanout")
            .queue(&queue)
            .tag(tag)
            .callback(recorder.clone().callback())
    };
    let mine = register("mine").await.unwrap();
    assert_eq!(mine.tag(), &"mine");
    assert_eq!(register("other").await.unwrap().tag(), &"other");
    // RabbitMQ would close the connection for this, so the client refuses.
    let err = register("mine").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotAllowed);
    assert_eq!(err.scope(), ErrorScope::Operation);
    assert!(err.to_string().contains("'mine'"), "{err}");
    // The first consumer goes on, and its tag is free once it is cancelled.
    for body in ["to one", "to the other"] {
        chan.publish("", body).routing_key(&queue).await.unwrap();
        assert_eq!(calls.next(&conn).await.msg, body);
    }
    mine.cancel().await.unwrap();
    register("mine").await.unwrap();
}

#[scenario]
async fn a_tag_of_ones_own_does_not_disturb_those_that_mooq_chooses(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let (recorder, _calls) = record::<String>();
    for number in 1..4 {
        chan.register_consumer(fixture.name("exchange"), "fanout")
            .tag(format!("mooq-{number}"))
            .callback(recorder.clone().callback())
            .await
            .unwrap();
    }
    let stream = chan.consume::<String>(&queue).await.unwrap();
    stream.cancel().await.unwrap();
}

#[scenario]
async fn the_order_of_setters_does_not_matter(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let register = || chan.register_consumer(&exchange, "direct");
    let ignore = |_: Delivery<String>| async {};
    let (before, after) = (fixture.name("before"), fixture.name("after"));
    register()
        .exclusive()
        .auto_delete()
        .queue_argument("x-max-length", 5)
        .queue(&before)
        .callback(ignore)
        .await
        .unwrap();
    register()
        .queue(&after)
        .queue_argument("x-max-length", 5)
        .auto_delete()
        .exclusive()
        .callback(ignore)
        .await
        .unwrap();
    for queue in [&before, &after] {
        let declare = chan.declare_queue(queue).exclusive().auto_delete();
        let same = declare.argument("x-max-length", 5).await.unwrap();
        assert_eq!(same.consumer_count, 1);
        let (_conn, other) = fixture.channel().await;
        let err = other.declare_queue(queue).passive().await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ResourceLocked, "{queue}");
    }
}

#[scenario]
async fn an_empty_queue_name_is_no_name(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let consumer = chan
        .register_consumer(fixture.name("exchange"), "fanout")
        .queue("")
        .callback(|_: Delivery<String>| async {})
        .await
        .unwrap();
    let queue = consumer.queue().clone();
    assert!(queue.starts_with("amq.gen-"), "{queue}");
    conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    let err = chan.declare_queue(&queue).passive().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::QueueNotFound);
}

#[scenario]
async fn an_unnamed_queue_goes_when_its_channel_is_closed(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let register = || chan.register_consumer(&exchange, "fanout");
    let closed = register().callback(|_: Delivery<String>| async {});
    let closed = closed.await.unwrap().queue();
    chan.close().await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    let err = chan.declare_queue(&closed).passive().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::QueueNotFound);
}

#[scenario]
async fn an_unnamed_queue_goes_when_its_consumer_is_cancelled(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let register = chan.register_consumer(fixture.name("exchange"), "fanout");
    let consumer = register.callback(|_: Delivery<String>| async {});
    let consumer = consumer.await.unwrap();
    let queue = consumer.queue();
    consumer.cancel().await.unwrap();
    let err = chan.declare_queue(&queue).passive().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::QueueNotFound);
}

#[scenario]
async fn an_unnamed_queue_is_there_before_events_are_processed(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let (recorder, mut calls) = record::<String>();
    let register = chan.register_consumer(&exchange, "fanout");
    register.callback(recorder.callback()).await.unwrap();
    chan.publish(&exchange, "early").await.unwrap();
    // Processing starts late, and in two rounds.
    assert_eq!(calls.next(&conn).await.msg, "early");
    chan.publish(&exchange, "late").await.unwrap();
    assert_eq!(calls.next(&conn).await.msg, "late");
}

#[scenario]
async fn a_consumer_of_an_exchange_with_options_names_them(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (exchange, unrouted) = (fixture.name("exchange"), fixture.name("unrouted"));
    chan.declare_exchange(&exchange, "direct")
        .alternate_exchange(&unrouted)
        .await
        .unwrap();
    let (recorder, mut calls) = record::<String>();
    for passive in [false, true] {
        chan.register_consumer(&exchange, "direct")
            .exchange(|exchange| match passive {
                true => exchange.passive(),
                false => exchange.alternate_exchange(&unrouted),
            })
            .callback(recorder.clone().callback())
            .await
            .unwrap();
    }
    chan.publish(&exchange, "to both").await.unwrap();
    assert_eq!(calls.take(&conn, 2).await.len(), 2);

    let err = chan
        .register_consumer(&exchange, "direct")
        .callback(recorder.callback())
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ExchangeMismatch);
}
