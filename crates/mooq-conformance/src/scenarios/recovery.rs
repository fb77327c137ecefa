//! Recovery of lost connections and channels.

use std::pin::pin;
use std::time::Duration;

use mooq::{
    Channel, ConnectOptions, Connection, Delivery, ErrorKind, ErrorScope, Event, Events, Recovery,
};

use crate::expect::LIMIT;
use crate::scenario;
use crate::steps::{fill, put, ready_in, record, until_gone};
use crate::{Fixture, within};

/// A connection that can be lost, with a channel.
pub(super) struct Victim {
    pub(super) conn: Connection,
    pub(super) chan: Channel,
    fixture: Fixture,
    name: String,
    events: Events,
}

impl Victim {
    pub(super) async fn connect(fixture: &Fixture) -> Self {
        Self::connect_with(fixture, fixture.options()).await
    }

    pub(super) async fn connect_with(fixture: &Fixture, options: ConnectOptions) -> Self {
        let name = fixture.name("victim");
        let conn = fixture.open(options.name(&name)).await.unwrap();
        let chan = conn.create_channel().await.unwrap();
        Self {
            events: conn.events(),
            conn,
            chan,
            fixture: fixture.clone(),
            name,
        }
    }

    /// Closes the connection as an administrator.
    pub(super) async fn close_by_force(&self) {
        let control = self.fixture.control();
        control.close_connections(&self.name, "maintenance").await;
    }

    /// Loses the connection, and waits until it is back. Returns the events in between.
    pub(super) async fn lose(&mut self) -> Vec<Event> {
        self.close_by_force().await;
        self.is_back().await
    }

    /// Waits until the connection is back. Returns the events before.
    pub(super) async fn is_back(&mut self) -> Vec<Event> {
        let back = |event: &Event| matches!(event, Event::Reconnected { .. });
        self.events_until("the connection's return", back).await
    }

    /// Waits for an event, and returns those before it.
    pub(super) async fn events_until(
        &mut self,
        what: &str,
        last: impl Fn(&Event) -> bool,
    ) -> Vec<Event> {
        let mut before = Vec::new();
        let events = &mut self.events;
        let mut until = pin!(async {
            while let Some(event) = events.next().await {
                if last(&event) {
                    return before;
                }
                before.push(event);
            }
            panic!("the connection has ended: {before:?}");
        });
        within(what, &mut until).await
    }

    /// Makes the broker close the channel, and waits until it is open again.
    async fn break_channel(&mut self) {
        let missing = self.fixture.name("missing");
        self.chan.publish(&missing, "lost").await.unwrap_err();
        let reopened = |event: &Event| matches!(event, Event::ChannelReopened(_));
        self.events_until("the channel's return", reopened).await;
    }
}

#[scenario]
async fn declared_topology_is_there_again_after_a_loss(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (source, exchange) = (fixture.name("source"), fixture.name("exchange"));
    let queue = fixture.name("queue");
    let chan = &victim.chan;
    // All of these are deleted with the connection, or once they are unused.
    let transient = chan.declare_exchange(&source, "topic").auto_delete();
    transient.await.unwrap();
    let transient = chan.declare_exchange(&exchange, "fanout").auto_delete();
    transient.await.unwrap();
    chan.declare_queue(&queue).exclusive().await.unwrap();
    chan.bind_exchange(&exchange, &source, "a.#").await.unwrap();
    chan.bind_queue(&queue, &exchange, "").await.unwrap();
    victim.lose().await;
    let publish = victim.chan.publish(&source, "body").routing_key("a.b");
    publish.await.unwrap();
    assert_eq!(ready_in(&victim.chan, &queue).await, 1);
}

#[scenario]
async fn an_empty_queue_name_stands_for_the_last_queue_after_a_loss_too(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
    let chan = &victim.chan;
    chan.declare_exchange(&exchange, "direct").await.unwrap();
    // The last queue of another channel differs.
    let other = victim.conn.create_channel().await.unwrap();
    let others = fixture.name("other queue");
    other.declare_queue(&others).exclusive().await.unwrap();
    chan.declare_queue(&queue).exclusive().await.unwrap();
    chan.bind_queue("", &exchange, "key").await.unwrap();
    // Without a key either, the queue's name is the key.
    chan.bind_queue("", &exchange, "").await.unwrap();
    let mut stream = chan.consume::<String>("").await.unwrap();
    victim.lose().await;
    for key in ["key", queue.as_str()] {
        let publish = victim.chan.publish(&exchange, key).routing_key(key);
        publish.mandatory().await.unwrap();
        let delivery = within("the delivery", stream.next()).await.unwrap();
        assert_eq!(delivery.unwrap().ack().await.unwrap(), key);
    }
    assert_eq!(ready_in(&other, &others).await, 0);
    victim
        .chan
        .unbind_queue("", &exchange, "key")
        .await
        .unwrap();
    drop(stream);
    victim.chan.delete_queue("").await.unwrap();
    victim.lose().await;
    let there = other.declare_queue(&queue).passive().await.unwrap_err();
    assert_eq!(there.kind(), ErrorKind::QueueNotFound);
}

#[scenario]
async fn deleted_topology_does_not_come_back_after_a_loss(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
    let chan = &victim.chan;
    chan.declare_exchange(&exchange, "fanout").await.unwrap();
    chan.declare_queue(&queue).await.unwrap();
    let kept = fixture.name("kept");
    chan.declare_queue(&kept).await.unwrap();
    chan.bind_queue(&kept, &exchange, "").await.unwrap();
    chan.unbind_queue(&kept, &exchange, "").await.unwrap();
    chan.delete_queue(&queue).await.unwrap();
    victim.lose().await;
    victim.chan.publish(&exchange, "body").await.unwrap();
    assert_eq!(ready_in(&victim.chan, &kept).await, 0);
    let missing = victim.chan.declare_queue(&queue).passive().await;
    let err = missing.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::QueueNotFound);
}

#[scenario]
async fn queue_deleted_by_another_does_not_come_back_without_its_consumer(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
    let (other_queue, mut calls) = (fixture.name("other"), Vec::new());
    for queue in [&queue, &other_queue] {
        let (recorder, recorded) = record::<String>();
        let register = victim.chan.register_consumer(&exchange, "fanout");
        let register = register.queue(queue).callback(recorder.callback());
        register.await.unwrap();
        calls.push(recorded);
    }
    fixture.control().delete_queue(&queue).await;
    let ended = |event: &Event| matches!(event, Event::ConsumerEnded { .. });
    victim.events_until("the consumer's end", ended).await;
    // Processing reports that once, and goes on.
    let err = victim.conn.process_events().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConsumerCancelled);
    victim.lose().await;
    victim.chan.publish(&exchange, "body").await.unwrap();
    assert_eq!(calls[1].next(&victim.conn).await.msg, "body");
    let missing = victim.chan.declare_queue(&queue).passive().await;
    let err = missing.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::QueueNotFound);
}

#[scenario]
async fn a_callback_goes_on_after_a_loss(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
    let (recorder, mut calls) = record::<String>();
    let register = victim.chan.register_consumer(&exchange, "fanout");
    let consumer = register.queue(&queue).callback(recorder.callback());
    let consumer = consumer.await.unwrap();
    for body in ["one", "two", "three"] {
        victim.chan.publish(&exchange, body).await.unwrap();
        assert_eq!(calls.next(&victim.conn).await.msg, body);
        // The answer proves that the ack has arrived.
        assert_eq!(ready_in(&victim.chan, &queue).await, 0);
        victim.lose().await;
    }
    assert_eq!(consumer.queue(), queue.as_str());
    consumer.cancel().await.unwrap();
    victim.lose().await;
    put(&victim.chan, &queue, "kept").await;
    assert_eq!(ready_in(&victim.chan, &queue).await, 1);
}

#[scenario]
async fn a_stream_goes_on_after_a_loss(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let queue = fixture.name("queue");
    fill(&victim.chan, &queue, &["one", "two"]).await;
    let mut stream = victim.chan.consume::<String>(&queue).await.unwrap();
    let one = within("the first", stream.next()).await.unwrap().unwrap();
    assert_eq!(one.ack().await.unwrap(), "one");
    // The answer proves that the ack has arrived.
    assert!(ready_in(&victim.chan, &queue).await <= 1);
    victim.lose().await;
    let two = within("the second", stream.next()).await.unwrap().unwrap();
    assert_eq!(two.msg, "two");
    two.ack().await.unwrap();
    put(&victim.chan, &queue, "three").await;
    let three = within("the third", stream.next()).await.unwrap().unwrap();
    assert_eq!((three.msg.as_str(), three.redelivered), ("three", false));
}

#[scenario]
async fn a_delivery_from_before_a_loss_is_stale_and_comes_again(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let queue = fixture.name("queue");
    fill(&victim.chan, &queue, &["held"]).await;
    let mut stream = victim.chan.consume::<String>(&queue).await.unwrap();
    let stale = within("the first", stream.next()).await.unwrap().unwrap();
    victim.lose().await;
    let err = stale.ack().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::StaleDelivery);
    assert_eq!(err.scope(), ErrorScope::Operation);
    let again = within("the second", stream.next()).await.unwrap().unwrap();
    assert_eq!((again.msg.as_str(), again.redelivered), ("held", true));
    again.ack().await.unwrap();
    assert_eq!(ready_in(&victim.chan, &queue).await, 0);
}

#[scenario]
async fn a_message_that_comes_back_after_a_loss_has_not_failed_yet(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let (finish, finished) = tokio::sync::watch::channel(false);
    let register = victim.chan.register_consumer(&exchange, "fanout");
    register
        .queue(&queue)
        .callback(move |msg: Delivery<String>| {
            let (begun, mut finished) = (begun.clone(), finished.clone());
            async move {
                begun.send(msg.redelivered).unwrap();
                finished.wait_for(|finished| *finished).await.unwrap();
                // The first call runs while the connection is lost, the second one fails.
                Err::<(), _>("the database is away")
            }
        })
        .await
        .unwrap();
    victim.chan.publish(&exchange, "body").await.unwrap();
    let conn = victim.conn.clone();
    let processing = tokio::spawn(async move { conn.process_events().await });
    assert_eq!(within("the first call", begins.recv()).await, Some(false));
    victim.lose().await;
    finish.send_replace(true);
    assert_eq!(within("the second call", begins.recv()).await, Some(true));
    // The message is tried again, and is not lost.
    assert_eq!(within("the third call", begins.recv()).await, Some(true));
    victim.conn.close().await.unwrap();
    within("the end", processing).await.unwrap().unwrap();
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(ready_in(&chan, &queue).await, 1);
}

#[scenario]
async fn message_waiting_for_a_retry_comes_back_after_a_loss(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
    let (recorder, mut calls) = record::<String>();
    let hour = Duration::from_secs(3_600);
    let register = victim.chan.register_consumer(&exchange, "fanout");
    register
        .queue(&queue)
        // With room for one: the requeued message must not take it up.
        .concurrency(1)
        .retry(mooq::Retry::every(hour).in_place())
        .callback(move |msg: Delivery<String>| {
            let fails = !msg.redelivered;
            recorder.note(msg);
            async move { if fails { Err("not yet") } else { Ok(()) } }
        })
        .await
        .unwrap();
    victim.chan.publish(&exchange, "body").await.unwrap();
    assert!(!calls.next(&victim.conn).await.redelivered);
    victim.lose().await;
    assert!(calls.next(&victim.conn).await.redelivered);
    victim.conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(ready_in(&chan, &queue).await, 0);
}

#[scenario]
async fn a_callback_that_runs_through_a_loss_sees_its_message_again(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let exchange = fixture.name("exchange");
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let (finish, finished) = tokio::sync::watch::channel(false);
    victim
        .chan
        .register_consumer(&exchange, "fanout")
        .queue(fixture.name("queue"))
        .concurrency(1)
        .callback(move |msg: Delivery<String>| {
            let (begun, mut finished) = (begun.clone(), finished.clone());
            async move {
                begun.send(msg.redelivered).unwrap();
                finished.wait_for(|finished| *finished).await.unwrap();
            }
        })
        .await
        .unwrap();
    victim.chan.publish(&exchange, "body").await.unwrap();
    let conn = victim.conn.clone();
    let processing = tokio::spawn(async move { conn.process_events().await });
    assert_eq!(within("the first call", begins.recv()).await, Some(false));
    victim.lose().await;
    finish.send(true).unwrap();
    assert_eq!(within("the second call", begins.recv()).await, Some(true));
    victim.conn.close().await.unwrap();
    within("the end", processing).await.unwrap().unwrap();
}

#[scenario]
async fn failed_redeclare_is_reported_and_the_rest_comes_back(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (gone, exchange) = (fixture.name("gone"), fixture.name("exchange"));
    let queue = fixture.name("queue");
    victim.chan.declare_exchange(&gone, "fanout").await.unwrap();
    victim.chan.declare_queue(&queue).exclusive().await.unwrap();
    let (recorder, mut calls) = record::<String>();
    let register = victim.chan.register_consumer(&exchange, "fanout");
    let consumer = register.callback(recorder.callback()).await.unwrap();
    let lost = consumer.queue();
    // Another connection declares the exchange with a different type.
    let (_conn, other) = fixture.channel().await;
    other.delete_exchange(&gone).await.unwrap();
    other.declare_exchange(&gone, "direct").await.unwrap();
    let before = victim.lose().await;
    let told: Vec<_> = before
        .iter()
        .filter_map(|event| match event {
            Event::NotRestored { what, error } => Some((what.as_str(), error.kind())),
            _ => None,
        })
        .collect();
    let what = format!("exchange '{gone}'");
    assert_eq!(told, [(what.as_str(), ErrorKind::ExchangeMismatch)]);
    until_gone(&fixture, &lost).await;
    victim.chan.publish(&exchange, "body").await.unwrap();
    assert_eq!(calls.next(&victim.conn).await.msg, "body");
    assert_eq!(ready_in(&victim.chan, &queue).await, 0);
}

#[scenario]
async fn a_channel_that_the_broker_closes_is_opened_again_with_its_consumers(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
    let (recorder, mut calls) = record::<String>();
    let register = victim.chan.register_consumer(&exchange, "fanout");
    let fleeting = register.queue(&queue).auto_delete();
    fleeting.callback(recorder.callback()).await.unwrap();
    victim.break_channel().await;
    victim.chan.publish(&exchange, "body").await.unwrap();
    assert_eq!(calls.next(&victim.conn).await.msg, "body");
    assert!(victim.conn.is_open());
}

#[scenario]
async fn a_call_that_fails_leaves_a_channel_that_works(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    for _ in 0..3 {
        let err = chan.declare_queue(&queue).passive().await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::QueueNotFound);
    }
    chan.declare_queue(&queue).await.unwrap();
    let missing = fixture.name("missing");
    let err = chan.publish(&missing, "lost").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ExchangeNotFound);
    put(&chan, &queue, "body").await;
    assert_eq!(ready_in(&chan, &queue).await, 1);
}

#[scenario]
async fn a_consumer_whose_queue_is_gone_after_a_loss_says_so_and_others_go_on(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (queue, exchange) = (fixture.name("queue"), fixture.name("exchange"));
    // Declared on another connection, so recovery does not declare it.
    let (_conn, owner) = fixture.channel().await;
    owner.declare_queue(&queue).await.unwrap();
    let (recorder, mut calls) = record::<String>();
    let register = victim.chan.register_consumer(&exchange, "fanout");
    let other = register.queue(fixture.name("other"));
    other.callback(recorder.callback()).await.unwrap();
    let mut stream = victim.chan.consume::<String>(&queue).await.unwrap();
    victim.close_by_force().await;
    owner.delete_queue(&queue).await.unwrap();
    let ended = |event: &Event| matches!(event, Event::ConsumerEnded { .. });
    victim.events_until("the consumer's end", ended).await;
    let err = within("the last item", stream.next()).await;
    let kind = err.unwrap().unwrap_err().kind();
    // The queue was deleted before or after the connection's return.
    let gone = [ErrorKind::QueueNotFound, ErrorKind::ConsumerCancelled];
    assert!(gone.contains(&kind), "{kind:?}");
    assert!(stream.next().await.is_none());
    victim.chan.publish(&exchange, "body").await.unwrap();
    assert_eq!(calls.next(&victim.conn).await.msg, "body");
}

#[scenario]
async fn a_consumer_that_fails_to_come_back_leaves_anothers_deliveries_sound(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (busy, gone) = (fixture.name("busy"), fixture.name("gone"));
    let bodies = ["1", "2", "3", "4", "5"];
    fill(&victim.chan, &busy, &bodies).await;
    let (_conn, owner) = fixture.channel().await;
    // The queue is deleted with its only consumer, and so with the connection.
    owner.declare_queue(&gone).auto_delete().await.unwrap();
    // The first consumer is registered again and has its messages, and then the second one fails
    // the channel.
    let mut first = victim.chan.consume::<String>(&busy).await.unwrap();
    let mut second = victim.chan.consume::<String>(&gone).await.unwrap();
    victim.lose().await;
    let err = within("the second's end", second.next()).await;
    let err = err.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::QueueNotFound, "{err}");
    for body in bodies {
        let next = within("the next", first.next()).await.unwrap().unwrap();
        assert_eq!(next.ack().await.unwrap(), body);
    }
    // If a delivery had been settled twice, the broker would have closed the channel.
    assert_eq!(ready_in(&victim.chan, &busy).await, 0);
    drop(second);
    victim.conn.close().await.unwrap();
    assert_eq!(ready_in(&owner, &busy).await, 0);
}

#[scenario]
async fn a_channel_that_comes_back_alone_leaves_the_queues_of_others_as_they_are(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (exchange, fleeting) = (fixture.name("exchange"), fixture.name("fleeting"));
    let register = victim.chan.register_consumer(&exchange, "fanout");
    let register = register.queue(&fleeting).auto_delete();
    let (recorder, _calls) = record::<String>();
    register.callback(recorder.callback()).await.unwrap();
    let other = victim.conn.create_channel().await.unwrap();
    let (recorder, mut calls) = record::<String>();
    let replies = fixture.name("replies");
    let register = other.register_consumer(&replies, "fanout");
    let consumer = register.callback(recorder.callback()).await.unwrap();
    let queue = consumer.queue();
    victim.break_channel().await;
    assert_eq!(consumer.queue(), queue);
    put(&victim.chan, &queue, "reply").await;
    assert_eq!(calls.next(&victim.conn).await.msg, "reply");
}

#[scenario]
async fn loss_without_recovery_is_the_end(fixture: Fixture) {
    let options = fixture.options().recovery(Recovery::off());
    let victim = Victim::connect_with(&fixture, options).await;
    victim.close_by_force().await;
    let reason = within("the end", victim.conn.closed()).await;
    assert_eq!(reason.kind(), ErrorKind::ConnectionLost);
    assert_eq!(reason.reason().map(|reason| reason.code), Some(320));
    let err = victim.chan.publish("", "late").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    let err = victim.conn.process_events().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    assert!(victim.conn.state().borrow().is_closed());
}

#[scenario]
async fn processing_goes_on_through_a_loss(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let exchange = fixture.name("exchange");
    let (recorder, mut calls) = record::<String>();
    let register = victim.chan.register_consumer(&exchange, "fanout");
    let consumer = register.callback(recorder.callback()).await.unwrap();
    let conn = victim.conn.clone();
    let processing = tokio::spawn(async move { conn.process_events().await });
    for body in ["one", "two"] {
        let lost = consumer.queue();
        victim.lose().await;
        until_gone(&fixture, &lost).await;
        victim.chan.publish(&exchange, body).await.unwrap();
        assert_eq!(within("the callback", calls.noted()).await.msg, body);
    }
    victim.conn.close().await.unwrap();
    within("the end", processing).await.unwrap().unwrap();
}

#[scenario]
async fn a_wait_for_a_message_ends_with_the_loss(fixture: Fixture) {
    let victim = Victim::connect(&fixture).await;
    let queue = fixture.name("queue");
    victim.chan.declare_queue(&queue).await.unwrap();
    let get = victim.chan.get::<String>(&queue);
    let get = get.timeout(LIMIT).into_future();
    let get = tokio::spawn(get);
    // Wait until the get has become a consumer.
    let (_conn, other) = fixture.channel().await;
    within("the consumer", async {
        while other
            .declare_queue(&queue)
            .passive()
            .await
            .unwrap()
            .consumer_count
            == 0
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    victim.close_by_force().await;
    let err = within("the end", get).await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost);
}
