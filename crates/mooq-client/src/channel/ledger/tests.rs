//! Outcomes of publishes, for any order of answers, returns and deadlines.

use std::sync::Arc;

use mooq_core::{FieldTable, Properties};

use super::*;
use crate::connection::Buffer;

const LIMIT: Duration = Duration::from_secs(30);

fn ledger(publishes: usize) -> Ledger {
    let mut ledger = Ledger::default();
    for _ in 0..publishes {
        ledger.open(LIMIT, None);
    }
    ledger
}

fn mandatory(messages: &[&Message]) -> Ledger {
    let mut ledger = Ledger::default();
    for &message in messages {
        ledger.open(LIMIT, Some(sent(message, false)));
    }
    ledger
}

/// A mandatory message in flight.
fn sent(message: &Message, resend: bool) -> Box<Kept> {
    Kept::sent(publish(message), resend)
}

fn publish(message: &Message) -> Publish {
    Publish {
        mandatory: true,
        ..Publish::new(message.clone())
    }
}

/// A message that waits for the channel.
fn waiting(message: &Message) -> Box<Kept> {
    let buffer = Arc::new(Buffer::new(1_000_000));
    let room = buffer.room_for(message).unwrap();
    Kept::waiting(publish(message), false, room)
}

fn lost() -> Error {
    Error::connection(ErrorKind::ConnectionLost, "lost")
}

fn lose(ledger: &mut Ledger) {
    ledger.lose(&lost(), Instant::now(), false, &mut Vec::new());
}

/// Hands the waiting publishes to a new generation, and returns the colours of their messages.
fn replay(ledger: &mut Ledger) -> Vec<String> {
    let mut handed = Vec::new();
    let hand_over = |publish: &mut Publish| {
        let colour = publish.message.properties.headers.get("colour");
        handed.push(format!("{:?}", colour.unwrap()));
        Ok(())
    };
    ledger.replay(hand_over).unwrap();
    handed
}

/// A message that differs from others only in its header.
fn message(header: &str) -> Message {
    let mut properties = Properties::default();
    properties.headers = FieldTable::new().with("colour", header).unwrap();
    Message {
        exchange: "x".try_into().unwrap(),
        routing_key: "k".try_into().unwrap(),
        properties: Arc::new(properties),
        body: "same".into(),
    }
}

fn returned(message: &Message) -> Returned {
    Returned {
        reply_code: 312,
        reply_text: "NO_ROUTE".into(),
        message: Arc::new(message.clone()),
    }
}

fn confirm(ledger: &mut Ledger, sequence: u64) {
    ledger.settle(sequence, false, &Ok(()), &mut Vec::new());
}

fn confirm_up_to(ledger: &mut Ledger, sequence: u64) {
    ledger.settle(sequence, true, &Ok(()), &mut Vec::new());
}

fn outcome(ledger: &mut Ledger, sequence: u64) -> Poll<Result<()>> {
    ledger.poll(sequence, &Context::from_waker(Waker::noop()))
}

fn settled_ok(ledger: &mut Ledger, sequence: u64) -> bool {
    matches!(outcome(ledger, sequence), Poll::Ready(Ok(())))
}

fn failure(ledger: &mut Ledger, sequence: u64) -> ErrorKind {
    match outcome(ledger, sequence) {
        Poll::Ready(Err(err)) => err.kind(),
        other => panic!("publish {sequence} has not failed: {other:?}"),
    }
}

#[tokio::test]
async fn a_multiple_confirms_all_up_to_it_and_no_more() {
    let mut ledger = ledger(5);
    confirm(&mut ledger, 2);
    confirm_up_to(&mut ledger, 4);
    for sequence in 1..=4 {
        assert!(settled_ok(&mut ledger, sequence), "{sequence}");
    }
    assert!(outcome(&mut ledger, 5).is_pending());
}

#[tokio::test]
async fn an_answer_out_of_order_does_not_hide_those_before_it() {
    let mut ledger = ledger(3);
    confirm(&mut ledger, 3);
    assert!(outcome(&mut ledger, 1).is_pending());
    confirm_up_to(&mut ledger, 2);
    assert!(settled_ok(&mut ledger, 1));
    assert!(settled_ok(&mut ledger, 2));
    assert!(settled_ok(&mut ledger, 3));
}

#[tokio::test]
async fn a_slot_goes_once_it_is_answered_and_was_asked_for_or_abandoned() {
    let mut ledger = ledger(3);
    ledger.abandon(2);
    confirm_up_to(&mut ledger, 3);
    assert!(settled_ok(&mut ledger, 1));
    assert!(settled_ok(&mut ledger, 3));
    assert!(ledger.slots.is_empty());
    assert_eq!(ledger.open(LIMIT, None).0, 4, "numbers never start again");
}

#[tokio::test]
async fn whoever_waits_is_woken_by_the_answer() {
    let mut ledger = ledger(3);
    for sequence in 1..=3 {
        assert!(outcome(&mut ledger, sequence).is_pending());
    }
    let mut woken = Vec::new();
    ledger.settle(2, true, &Ok(()), &mut woken);
    assert_eq!(woken.len(), 2);
    ledger.fail_all(&lost(), &mut woken);
    assert_eq!(woken.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_overdue_ends_and_the_rest_waits() {
    let mut ledger = Ledger::default();
    ledger.open(Duration::from_secs(1), None);
    ledger.open(LIMIT, None);
    assert!(outcome(&mut ledger, 1).is_pending());
    tokio::time::advance(Duration::from_secs(2)).await;
    let mut woken = Vec::new();
    ledger.expire(Instant::now(), "", &mut woken);
    assert_eq!(woken.len(), 1);
    assert_eq!(failure(&mut ledger, 1), ErrorKind::TimedOut);
    assert!(outcome(&mut ledger, 2).is_pending());
    assert!(ledger.armed().is_some());
    // The broker's answers go on counting from the first.
    confirm(&mut ledger, 1);
    confirm_up_to(&mut ledger, 2);
    assert!(settled_ok(&mut ledger, 2));
    assert!(ledger.slots.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_return_after_the_deadline_is_not_the_next_attempts() {
    let message = message("red");
    let mut ledger = mandatory(&[&message]);
    tokio::time::advance(LIMIT).await;
    ledger.expire(Instant::now(), "", &mut Vec::new());
    assert_eq!(failure(&mut ledger, 1), ErrorKind::TimedOut);
    // Now there is a queue, and the same message is published again.
    ledger.open(LIMIT, Some(sent(&message, false)));
    assert!(!ledger.returned(returned(&message)), "nobody waits for it");
    confirm_up_to(&mut ledger, 2);
    assert!(settled_ok(&mut ledger, 2));
}

#[tokio::test]
async fn equal_messages_that_come_back_one_by_one_each_end_their_own_publish() {
    let message = message("red");
    let mut ledger = mandatory(&[&message, &message]);
    for sequence in 1..=2 {
        assert!(ledger.returned(returned(&message)));
        confirm(&mut ledger, sequence);
    }
    // No outcome is taken before both are settled.
    for sequence in 1..=2 {
        assert_eq!(failure(&mut ledger, sequence), ErrorKind::Returned);
    }
}

#[tokio::test]
async fn of_messages_that_differ_in_a_header_the_right_one_comes_back() {
    let (red, green) = (message("red"), message("green"));
    let mut ledger = mandatory(&[&red, &green]);
    assert!(ledger.returned(returned(&green)));
    confirm_up_to(&mut ledger, 2);
    assert!(settled_ok(&mut ledger, 1));
    assert_eq!(failure(&mut ledger, 2), ErrorKind::Returned);
}

#[tokio::test]
async fn a_message_whose_headers_changed_on_the_way_comes_back_all_the_same() {
    let mut ledger = mandatory(&[&message("red")]);
    assert!(ledger.returned(returned(&message("crimson"))));
    confirm(&mut ledger, 1);
    assert_eq!(failure(&mut ledger, 1), ErrorKind::Returned);
}

#[tokio::test]
async fn an_unknown_or_repeated_answer_changes_nothing() {
    let mut ledger = ledger(1);
    confirm(&mut ledger, 9);
    assert!(outcome(&mut ledger, 1).is_pending());
    confirm_up_to(&mut ledger, 9);
    let refused = Err(Error::new(ErrorKind::Nacked, "late"));
    ledger.settle(1, false, &refused, &mut Vec::new());
    assert!(settled_ok(&mut ledger, 1));
    ledger.open(LIMIT, None);
    confirm_up_to(&mut ledger, 2);
    assert!(settled_ok(&mut ledger, 2));
}

#[tokio::test]
async fn a_limit_beyond_the_clock_is_no_limit() {
    let mut ledger = Ledger::default();
    ledger.open(Duration::MAX, None);
    ledger.expire(Instant::now(), "", &mut Vec::new());
    assert!(outcome(&mut ledger, 1).is_pending());
}

#[tokio::test]
async fn at_a_loss_what_is_on_its_way_ends_or_is_sent_again_as_it_was_asked() {
    let [red, green, blue] = ["red", "green", "blue"].map(message);
    let mut ledger = Ledger::default();
    ledger.open(LIMIT, Some(sent(&red, true)));
    ledger.open(LIMIT, Some(sent(&green, false)));
    ledger.open(LIMIT, Some(sent(&blue, true)));
    confirm(&mut ledger, 1);
    lose(&mut ledger);
    assert!(settled_ok(&mut ledger, 1), "it was confirmed before");
    assert_eq!(failure(&mut ledger, 2), ErrorKind::ConnectionLost);
    assert!(outcome(&mut ledger, 3).is_pending());
    assert_eq!(replay(&mut ledger), [r#"String("blue")"#]);
    // The message is the first of the new generation.
    confirm(&mut ledger, 1);
    assert!(settled_ok(&mut ledger, 3));
    assert!(ledger.slots.is_empty());
}

#[tokio::test]
async fn what_waits_for_the_channel_is_sent_in_order_before_what_is_new() {
    let mut ledger = ledger(2);
    lose(&mut ledger);
    let (red, green) = (message("red"), message("green"));
    ledger.open(LIMIT, Some(waiting(&red)));
    ledger.open(LIMIT, Some(waiting(&green)));
    lose(&mut ledger);
    assert_eq!(
        replay(&mut ledger),
        [r#"String("red")"#, r#"String("green")"#]
    );
    ledger.open(LIMIT, None);
    confirm(&mut ledger, 1);
    assert!(settled_ok(&mut ledger, 3));
    assert!(outcome(&mut ledger, 4).is_pending());
    confirm_up_to(&mut ledger, 3);
    assert!(settled_ok(&mut ledger, 4));
    assert!(settled_ok(&mut ledger, 5));
    for ticket in 1..=2 {
        assert_eq!(failure(&mut ledger, ticket), ErrorKind::ConnectionLost);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_overdue_while_it_waits_is_never_sent() {
    let mut ledger = Ledger::default();
    ledger.open(LIMIT, Some(waiting(&message("red"))));
    // No publisher waits for this one.
    ledger.open(LIMIT, Some(waiting(&message("green"))));
    ledger.abandon(2);
    tokio::time::advance(LIMIT).await;
    ledger.expire(Instant::now(), "", &mut Vec::new());
    assert!(replay(&mut ledger).is_empty());
    let Poll::Ready(Err(err)) = outcome(&mut ledger, 1) else {
        panic!("it has no outcome");
    };
    assert_eq!(err.kind(), ErrorKind::TimedOut);
    assert!(err.to_string().contains("was not sent"), "{err}");
    assert!(ledger.slots.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_overdue_is_not_sent_again() {
    let mut ledger = Ledger::default();
    ledger.open(LIMIT, Some(sent(&message("red"), true)));
    ledger.open(LIMIT, Some(sent(&message("green"), true)));
    ledger.abandon(2);
    tokio::time::advance(LIMIT).await;
    ledger.expire(Instant::now(), "", &mut Vec::new());
    assert_eq!(failure(&mut ledger, 1), ErrorKind::TimedOut);
    lose(&mut ledger);
    assert!(replay(&mut ledger).is_empty());
    assert!(ledger.slots.is_empty());
}

#[tokio::test(start_paused = true)]
async fn resend_that_stays_unsent_after_a_loss_is_not_called_unsent() {
    let mut ledger = Ledger::default();
    ledger.open(LIMIT, Some(sent(&message("red"), true)));
    ledger.open(LIMIT, Some(waiting(&message("green"))));
    lose(&mut ledger);
    tokio::time::advance(LIMIT).await;
    ledger.expire(Instant::now(), "", &mut Vec::new());
    let text = |ledger: &mut Ledger, ticket| match outcome(ledger, ticket) {
        Poll::Ready(Err(err)) if err.kind() == ErrorKind::TimedOut => err.to_string(),
        other => panic!("publish {ticket} is not overdue: {other:?}"),
    };
    let red = text(&mut ledger, 1);
    assert!(red.contains("the broker may have it"), "{red}");
    assert!(!red.contains("the message was not sent"), "{red}");
    let green = text(&mut ledger, 2);
    assert!(green.contains("the message was not sent"), "{green}");
    assert!(replay(&mut ledger).is_empty());
    assert!(ledger.slots.is_empty());
}

#[tokio::test]
async fn a_channel_that_the_broker_closed_gets_nothing_again() {
    let mut ledger = Ledger::default();
    ledger.open(LIMIT, Some(sent(&message("red"), true)));
    let closed = Error::channel(ErrorKind::ExchangeNotFound, "no such exchange");
    ledger.lose(&closed, Instant::now(), true, &mut Vec::new());
    assert_eq!(failure(&mut ledger, 1), ErrorKind::ExchangeNotFound);
    assert!(replay(&mut ledger).is_empty());
}

#[tokio::test]
async fn a_replay_that_breaks_off_leaves_the_rest_waiting() {
    let mut ledger = Ledger::default();
    for colour in ["red", "green", "blue"] {
        ledger.open(LIMIT, Some(waiting(&message(colour))));
    }
    let mut taken = 0;
    let hand_over = |_: &mut Publish| match taken {
        0 => {
            taken += 1;
            Ok(())
        }
        _ => Err(lost()),
    };
    ledger.replay(hand_over).unwrap_err();
    lose(&mut ledger);
    // The first may have arrived.
    assert_eq!(failure(&mut ledger, 1), ErrorKind::ConnectionLost);
    assert_eq!(
        replay(&mut ledger),
        [r#"String("green")"#, r#"String("blue")"#]
    );
}
