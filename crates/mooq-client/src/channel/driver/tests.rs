//! What the driver does beside handing events on: deadlines, catching up, its own end.

use std::time::Duration;

use mooq::InMemoryBroker;
use mooq_core::mailbox::{Sender, mailbox};
use mooq_core::{ConsumerTag, Deliver, Endpoint, Message, Scheme, Transport};

use super::super::Inbox;
use super::*;

/// A driver that runs, and what it hears of.
async fn driven() -> (Arc<ChannelState>, Sender<ChannelEvent>) {
    let (events, mailbox) = mailbox();
    let state = Arc::<ChannelState>::default();
    let driver = drive(Arc::clone(&state), no_channel().await, mailbox);
    tokio::spawn(driver);
    (state, events)
}

/// A channel that is gone.
async fn no_channel() -> Weak<dyn TransportChannel> {
    let transport = InMemoryBroker::start().transport();
    let endpoint = Endpoint::new(Scheme::Memory);
    let opened = transport.open(&endpoint).await.unwrap();
    let channel = opened.connection.open_channel().await.unwrap().channel;
    Arc::downgrade(&channel)
}

#[tokio::test(start_paused = true)]
async fn a_publish_without_an_answer_ends_at_its_deadline() {
    let (state, _events) = driven().await;
    let began = Instant::now();
    // The second deadline is earlier than the one that the driver waits for.
    for (sequence, seconds) in [(1, 30), (2, 5)] {
        let opened = state.ledger().open(Duration::from_secs(seconds), None);
        assert_eq!(opened, (sequence, true));
        state.nudge.notify_one();
        tokio::task::yield_now().await;
    }
    for (sequence, seconds) in [(2, 5), (1, 30)] {
        let outcome = poll_fn(|cx| state.ledger().poll(sequence, cx)).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        let took = began.elapsed();
        let rest = took.saturating_sub(Duration::from_secs(seconds));
        assert!(rest < Duration::from_millis(10), "{sequence}: {took:?}");
    }
}

#[tokio::test]
async fn a_removed_consumer_has_what_was_in_the_mailbox() {
    let (state, events) = driven().await;
    let tag: ConsumerTag = "tag".try_into().unwrap();
    let inbox = Arc::new(Inbox::for_stream("queue".try_into().unwrap()));
    state.add_consumer(tag.clone(), Arc::clone(&inbox)).unwrap();
    for delivery_tag in 1..=3 {
        events.send(ChannelEvent::Deliver(Deliver {
            in_flight: Default::default(),
            consumer_tag: tag.clone(),
            delivery_tag,
            redelivered: false,
            message: Arc::new(Message {
                exchange: "".try_into().unwrap(),
                routing_key: "queue".try_into().unwrap(),
                properties: Arc::default(),
                body: "body".into(),
            }),
        }));
    }
    state.remove_consumer(&tag).await;
    assert_eq!(inbox.drain().len(), 3);
}

#[tokio::test]
async fn nobody_waits_for_a_driver_that_is_gone() {
    let (_events, mailbox) = mailbox();
    let state = Arc::<ChannelState>::default();
    let (sequence, _) = state.ledger().open(Duration::MAX, None);
    drop(drive(Arc::clone(&state), no_channel().await, mailbox));
    let outcome = poll_fn(|cx| state.ledger().poll(sequence, cx)).await;
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ConnectionLost);
    state.remove_consumer(&"tag".try_into().unwrap()).await;
}
