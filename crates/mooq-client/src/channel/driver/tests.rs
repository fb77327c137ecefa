//! What the driver does beside handing events on: deadlines, catching up, generations, its own
//! end.

use std::time::Duration;

use mooq::InMemoryBroker;
use mooq_core::mailbox::{Sender, mailbox};
use mooq_core::{ConsumerTag, Deliver, Endpoint, Message, Publish, Scheme, Transport};

use super::super::Terms;
use super::super::generation::Source;
use super::super::inbox::Inbox;
use super::*;
use crate::connection::Connection;
use crate::options::ConnectOptions;

/// A channel whose broker and supervisor are the test: its connection is closed.
async fn channel() -> Arc<ChannelShared> {
    let transport = Arc::new(InMemoryBroker::start().transport());
    let options = ConnectOptions::new().broker(Scheme::Memory);
    let connection = Connection::open(transport, options).await.unwrap();
    let core = Arc::clone(connection.create_channel().await.unwrap().shared().core());
    connection.close().await.unwrap();
    ChannelShared::new(&core)
}

/// A generation that is in use, and what it hears. Nothing answers what is sent on it.
async fn generation(channel: &Arc<ChannelShared>) -> (Arc<Generation>, Sender<ChannelEvent>) {
    let transport = InMemoryBroker::start().transport();
    let opened = transport.open(&Endpoint::new(Scheme::Memory)).await;
    let opened = opened.unwrap().connection.open_channel().await.unwrap();
    let generation = Arc::new(Generation::new(opened.channel, true));
    let (events, mailbox) = mailbox();
    channel.attach(&generation, mailbox);
    channel.admit(Arc::clone(&generation)).unwrap();
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

fn lost() -> ChannelEvent {
    ChannelEvent::Closed(Error::connection(ErrorKind::ConnectionLost, "lost"))
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
        assert_eq!(err.kind(), ErrorKind::DeadlineExceeded);
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
    assert_eq!(err.kind(), ErrorKind::DeadlineExceeded);
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
    events.send(lost());
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
async fn a_removed_consumer_has_what_was_in_the_mailbox() {
    let channel = channel().await;
    let (generation, events) = generation(&channel).await;
    let tag: ConsumerTag = "tag".try_into().unwrap();
    let source = Source {
        generation,
        queue: "queue".try_into().unwrap(),
    };
    let inbox = Arc::new(Inbox::new(source, false, None));
    channel
        .add_consumer(tag.clone(), Arc::clone(&inbox))
        .unwrap();
    for delivery_tag in 1..=3 {
        events.send(ChannelEvent::Deliver(Deliver {
            in_flight: Default::default(),
            consumer_tag: tag.clone(),
            delivery_tag,
            redelivered: false,
            message: Arc::new(message()),
        }));
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
