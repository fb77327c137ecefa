//! The driver's work besides handing events on: deadlines, catching up, generations, its own end.

use std::task::{Context, Wake};
use std::time::Duration;

use mooq::InMemoryBroker;
use mooq_core::mailbox::{Sender, mailbox};
use mooq_core::{
    ConsumerTag, Deliver, Endpoint, Message, OpenedChannel, Publish, Scheme, Transport,
};

use super::super::Terms;
use super::super::generation::Source;
use super::super::inbox::Inbox;
use super::*;
use crate::connection::Connection;
use crate::faulty::Faults;
use crate::options::ConnectOptions;

/// Makes a channel whose broker and supervisor are the test: its connection is closed.
async fn channel() -> Arc<ChannelShared> {
    let transport = Arc::new(InMemoryBroker::start().transport());
    let options = ConnectOptions::new().broker(Scheme::Memory);
    let connection = Connection::open(transport, options).await.unwrap();
    let core = Arc::clone(connection.create_channel().await.unwrap().shared().core());
    connection.close().await.unwrap();
    ChannelShared::new(&core)
}

/// Makes a generation that is in use, and the sender of its events. Calls on it get no answer.
async fn generation(channel: &Arc<ChannelShared>) -> (Arc<Generation>, Sender<ChannelEvent>) {
    admit(channel, opened().await)
}

async fn opened() -> OpenedChannel {
    let transport = InMemoryBroker::start().transport();
    let opened = transport.open(&Endpoint::new(Scheme::Memory)).await;
    opened.unwrap().connection.open_channel().await.unwrap()
}

fn admit(
    channel: &Arc<ChannelShared>,
    opened: OpenedChannel,
) -> (Arc<Generation>, Sender<ChannelEvent>) {
    let generation = Arc::new(Generation::new(opened.channel, true));
    let (events, mailbox) = mailbox();
    channel.attach(&generation, mailbox);
    channel.admit(&generation, 0).unwrap();
    (generation, events)
}

fn message() -> Message {
    Message {
        exchange: "".try_into().unwrap(),
        routing_key: "queue".try_into().unwrap(),
        properties: Arc::default(),
        body: "body".into(),
    }
}

fn publish(channel: &ChannelShared, limit: Duration, resend: bool) -> u64 {
    let terms = Terms { limit, resend };
    channel.publish(Publish::new(message()), terms).unwrap().0
}

async fn outcome(channel: &ChannelShared, ticket: u64) -> Result<(), Error> {
    poll_fn(|cx| channel.ledger(|ledger| ledger.poll(ticket, cx))).await
}

fn confirmed(sequence: u64) -> ChannelEvent {
    let multiple = false;
    ChannelEvent::Confirm { sequence, multiple }
}

fn lost() -> Error {
    Error::connection(ErrorKind::ConnectionLost, "lost")
}

/// Makes a consumer of the channel, and returns its tag and its inbox.
fn consumer(channel: &ChannelShared, generation: Arc<Generation>) -> (ConsumerTag, Arc<Inbox>) {
    let tag: ConsumerTag = "tag".try_into().unwrap();
    let source = Source {
        generation,
        queue: "queue".try_into().unwrap(),
    };
    let inbox = Arc::new(Inbox::new(source, false, None));
    channel
        .add_consumer(tag.clone(), Arc::clone(&inbox))
        .unwrap();
    (tag, inbox)
}

fn deliver(tag: &ConsumerTag, delivery_tag: u64) -> ChannelEvent {
    ChannelEvent::Deliver(Deliver {
        in_flight: Default::default(),
        consumer_tag: tag.clone(),
        delivery_tag,
        redelivered: false,
        message: Arc::new(message()),
    })
}

#[tokio::test(start_paused = true)]
async fn a_publish_without_an_answer_ends_at_its_deadline() {
    let channel = channel().await;
    let (_generation, _events) = generation(&channel).await;
    let began = Instant::now();
    // The second deadline is earlier than the one that the driver waits for.
    let limits = [30, 5].map(Duration::from_secs);
    let mut tickets = Vec::new();
    for limit in limits {
        tickets.push(publish(&channel, limit, false));
        tokio::task::yield_now().await;
    }
    for (ticket, limit) in tickets.into_iter().zip(limits).rev() {
        let err = outcome(&channel, ticket).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::TimedOut);
        let rest = began.elapsed().saturating_sub(limit);
        assert!(rest < Duration::from_millis(10), "{limit:?}, and {rest:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_waits_for_the_channel_ends_at_its_deadline() {
    let channel = channel().await;
    let began = Instant::now();
    let limit = Duration::from_secs(5);
    let ticket = publish(&channel, limit, false);
    let err = outcome(&channel, ticket).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::TimedOut);
    assert!(err.to_string().contains("was not sent"), "{err}");
    assert!(began.elapsed() < limit + Duration::from_millis(10));
}

#[tokio::test]
async fn confirms_before_a_loss_count_and_the_next_generation_counts_anew() {
    let channel = channel().await;
    let (_first, events) = generation(&channel).await;
    let limit = Duration::from_secs(30);
    let tickets = [false, false, true].map(|resend| publish(&channel, limit, resend));
    events.send(confirmed(1));
    events.send(ChannelEvent::Closed(lost()));
    assert!(outcome(&channel, tickets[0]).await.is_ok());
    let err = outcome(&channel, tickets[1]).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    let waits = publish(&channel, limit, false);

    let (_second, events) = generation(&channel).await;
    events.send(confirmed(2));
    assert!(outcome(&channel, waits).await.is_ok());
    events.send(confirmed(1));
    assert!(outcome(&channel, tickets[2]).await.is_ok());
}

#[tokio::test]
async fn a_generation_that_was_given_up_confirms_nothing() {
    let channel = channel().await;
    let (_first, old_events) = generation(&channel).await;
    let limit = Duration::from_secs(30);
    let second = opened().await;
    channel.inlet().catch_up().await;
    // All without giving the driver its turn; the driver finds the old event before the new
    // generation.
    channel.lose(&lost());
    let ticket = publish(&channel, limit, false);
    old_events.send(confirmed(1));
    let (_second, events) = admit(&channel, second);
    channel.inlet().catch_up().await;
    let outcome_now = outcome(&channel, ticket).now_or_never();
    assert!(outcome_now.is_none(), "{outcome_now:?}");
    events.send(confirmed(1));
    outcome(&channel, ticket).await.unwrap();
}

#[tokio::test]
async fn a_publish_refused_in_the_moment_of_loss_shares_the_fate_of_what_is_in_flight() {
    let channel = channel().await;
    let faults = Faults::default();
    let (_first, events) = admit(&channel, faults.on_channel(opened().await));
    let limit = Duration::from_secs(30);
    let tickets = [false, true].map(|resend| {
        faults.refuse_publish(lost());
        publish(&channel, limit, resend)
    });
    events.send(ChannelEvent::Closed(lost()));
    let err = outcome(&channel, tickets[0]).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    let (_second, events) = generation(&channel).await;
    events.send(confirmed(1));
    outcome(&channel, tickets[1]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_close_beside_one_of_the_brokers_closes_what_has_taken_its_place() {
    let channel = channel().await;
    let (_first, _events) = generation(&channel).await;
    let second = opened().await;
    let mut closing = pin!(channel.close());
    assert!((&mut closing).now_or_never().is_none());
    channel.lose(&Error::channel(ErrorKind::ResourceLocked, "closed"));
    let (second, _events) = admit(&channel, second);
    let closed = tokio::time::timeout(Duration::from_secs(30), closing).await;
    assert!(closed.is_ok(), "the close waits for the second to end");
    assert!(second.transport().closed().is_some());
}

/// Makes the broker deliver again each time a delivery has arrived.
struct Again {
    inbox: Arc<Inbox>,
    events: Sender<ChannelEvent>,
    tag: ConsumerTag,
}

impl Wake for Again {
    fn wake(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self));
        while self.inbox.poll(&Context::from_waker(&waker)).is_ready() {}
        self.events.send(deliver(&self.tag, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn deadlines_hold_while_events_come_without_a_pause() {
    let channel = channel().await;
    let (generation, events) = generation(&channel).await;
    let (tag, inbox) = consumer(&channel, generation);
    Waker::from(Arc::new(Again { inbox, events, tag })).wake();
    tokio::task::yield_now().await;

    let limit = Duration::from_secs(5);
    let ticket = publish(&channel, limit, false);
    tokio::task::yield_now().await;
    tokio::time::advance(limit).await;
    for _ in 0..2 * IN_A_ROW {
        if let Some(ended) = outcome(&channel, ticket).now_or_never() {
            assert_eq!(ended.unwrap_err().kind(), ErrorKind::TimedOut);
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the driver never looks at the deadline");
}

#[tokio::test]
async fn a_removed_consumer_has_what_was_in_the_mailbox() {
    let channel = channel().await;
    let (generation, events) = generation(&channel).await;
    let (tag, inbox) = consumer(&channel, generation);
    for delivery_tag in 1..=3 {
        events.send(deliver(&tag, delivery_tag));
    }
    channel.remove_consumer(&tag).await;
    let got = std::iter::from_fn(|| inbox.pop());
    let tags: Vec<_> = got.map(|(deliver, ..)| deliver.delivery_tag).collect();
    assert_eq!(tags, [1, 2, 3]);
}

#[tokio::test]
async fn nobody_waits_for_a_driver_that_is_gone() {
    let channel = channel().await;
    let (_generation, _events) = generation(&channel).await;
    let ticket = publish(&channel, Duration::MAX, false);
    drop(drive(Arc::downgrade(&channel), Arc::clone(channel.inlet())));
    let err = outcome(&channel, ticket).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    channel.remove_consumer(&"tag".try_into().unwrap()).await;
}
