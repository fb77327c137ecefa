//! Recovery of queues and exchanges: new names, and deletions before the loss.

use mooq::{ErrorKind, Event};

use super::recovery::Victim;
use crate::scenario;
use crate::steps::{put, ready_in, record, until_gone};
use crate::{Fixture, within};

#[scenario]
async fn a_queue_that_the_broker_renames_keeps_its_bindings_and_consumers(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let exchange = fixture.name("exchange");
    let (recorder, mut calls) = record::<String>();
    let register = victim.chan.register_consumer(&exchange, "fanout");
    let consumer = register.callback(recorder.callback()).await.unwrap();
    let old = consumer.queue();
    let before = victim.lose().await;
    let new = consumer.queue();
    assert_ne!(old, new);
    let renamed = before.iter().find_map(|event| match event {
        Event::QueueRenamed { from, to } => Some((from.clone(), to.clone())),
        _ => None,
    });
    assert_eq!(renamed, Some((old.clone(), new.clone())));
    until_gone(&fixture, &old).await;
    // The binding is restored, and calls may use the old name.
    victim.chan.publish(&exchange, "bound").await.unwrap();
    let call = calls.next(&victim.conn).await;
    assert_eq!((call.msg.as_str(), &call.queue), ("bound", &new));
    assert_eq!(ready_in(&victim.chan, &old).await, 0);
    // A routing key is not translated: no queue has the old name.
    let lost = victim.chan.publish("", "named").routing_key(&*old);
    let err = lost.mandatory().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Returned, "{err}");
    let other = fixture.name("other");
    let chan = &victim.chan;
    chan.declare_exchange(&other, "fanout").await.unwrap();
    chan.bind_queue(&old, &other, "").await.unwrap();
    victim.lose().await;
    until_gone(&fixture, &new).await;
    victim.chan.publish(&other, "bound again").await.unwrap();
    assert_eq!(calls.next(&victim.conn).await.msg, "bound again");
}

#[scenario]
async fn a_queue_that_the_broker_named_and_kept_keeps_its_name(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let queue = victim.chan.declare_queue("").await.unwrap().name;
    put(&victim.chan, &queue, "kept").await;
    let before = victim.lose().await;
    let renamed = |event: &Event| matches!(event, Event::QueueRenamed { .. });
    assert!(!before.iter().any(renamed), "{before:?}");
    assert_eq!(ready_in(&victim.chan, &queue).await, 1);
    victim.chan.delete_queue(queue).await.unwrap();
}

#[scenario(alone)]
async fn a_call_that_waits_for_the_connection_means_a_queue_by_its_new_name(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let chan = victim.chan.clone();
    let exchange = fixture.name("exchange");
    chan.declare_exchange(&exchange, "fanout").await.unwrap();
    let old = chan.declare_queue("").exclusive().await.unwrap().name;
    let down = fixture.control().stop().await;
    let mut state = victim.conn.state();
    within("the loss", state.wait_for(|state| !state.is_connected()))
        .await
        .unwrap();
    let binding = async { chan.bind_queue(&old, &exchange, "").await };
    let back = async {
        down.end().await;
        victim.is_back().await
    };
    let (bound, _) = tokio::join!(binding, back);
    bound.unwrap();
    chan.publish(&exchange, "bound").await.unwrap();
    assert_eq!(ready_in(&chan, &old).await, 1);
}

#[scenario]
async fn an_auto_delete_queue_comes_back_for_a_consumer_of_another_channel(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let queue = fixture.name("queue");
    let declare = victim.chan.declare_queue(&queue).auto_delete();
    declare.await.unwrap();
    let first = victim.chan.consume::<String>(&queue).await.unwrap();
    let other = victim.conn.create_channel().await.unwrap();
    let mut second = other.consume::<String>(&queue).await.unwrap();
    first.cancel().await.unwrap();
    victim.lose().await;
    put(&victim.chan, &queue, "body").await;
    let delivery = within("the delivery", second.next()).await.unwrap();
    assert_eq!(delivery.unwrap().ack().await.unwrap(), "body");
}

#[scenario]
async fn an_auto_delete_queue_that_went_with_its_channel_does_not_come_back(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let queue = fixture.name("queue");
    let other = victim.conn.create_channel().await.unwrap();
    other.declare_queue(&queue).auto_delete().await.unwrap();
    let _stream = other.consume::<String>(&queue).await.unwrap();
    other.close().await.unwrap();
    victim.lose().await;
    let missing = victim.chan.declare_queue(&queue).passive().await;
    let err = missing.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::QueueNotFound);
}

#[scenario]
async fn an_auto_delete_exchange_that_went_with_its_binding_does_not_come_back(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (queue, exchange) = (fixture.name("queue"), fixture.name("exchange"));
    let chan = &victim.chan;
    let register = chan.declare_exchange(&exchange, "fanout").auto_delete();
    register.await.unwrap();
    chan.declare_queue(&queue).await.unwrap();
    chan.bind_queue(&queue, &exchange, "").await.unwrap();
    chan.delete_queue(&queue).await.unwrap();
    victim.lose().await;
    let err = victim.chan.publish(&exchange, "lost").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ExchangeNotFound);
}
