//! Outcomes of publishes, whatever the order in which answers, returns and deadlines come.

use std::sync::Arc;

use mooq_core::{FieldTable, Properties};

use super::*;

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
        ledger.open(LIMIT, Some(Box::new(message.clone())));
    }
    ledger
}

/// A message that differs from others in its header alone.
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
    let lost = Error::new(ErrorKind::ConnectionLost, "lost");
    ledger.fail_all(&lost, &mut woken);
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
    ledger.expire(Instant::now(), &mut woken);
    assert_eq!(woken.len(), 1);
    assert_eq!(failure(&mut ledger, 1), ErrorKind::DeadlineExceeded);
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
    ledger.expire(Instant::now(), &mut Vec::new());
    assert_eq!(failure(&mut ledger, 1), ErrorKind::DeadlineExceeded);
    // Now there is a queue, and the same message is published again.
    ledger.open(LIMIT, Some(Box::new(message.clone())));
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
    // Nobody asks before both are settled.
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
    ledger.expire(Instant::now(), &mut Vec::new());
    assert!(outcome(&mut ledger, 1).is_pending());
}
