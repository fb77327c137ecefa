//! Outcomes of publishes, for any order of answers, returns and deadlines.

use std::sync::Arc;

use mooq_core::{FieldTable, Properties};

use super::*;
const LIMIT: Duration = Duration::from_secs(30);

fn confirms(publishes: usize) -> Confirms {
    let mut confirms = Confirms::default();
    for _ in 0..publishes {
        confirms.open(LIMIT, Instant::now(), None);
    }
    confirms
}

fn mandatory(messages: &[&Message]) -> Confirms {
    let mut confirms = Confirms::default();
    for &message in messages {
        confirms.open(LIMIT, Instant::now(), Some(sent(message, false)));
    }
    confirms
}

fn terms(resend: bool) -> PublishTerms {
    PublishTerms {
        limit: LIMIT,
        resend,
        expires: false,
    }
}

/// A mandatory message in flight.
fn sent(message: &Message, resend: bool) -> Box<Retained> {
    Retained::sent(publish(message), terms(resend))
}

fn publish(message: &Message) -> Publish {
    Publish {
        mandatory: true,
        ..Publish::new(message.clone())
    }
}

/// A message that waits for the channel.
fn waiting(message: &Message) -> Box<Retained> {
    Retained::waiting(publish(message), terms(false), Permit::new(()))
}

fn lost() -> Error {
    Error::connection(ErrorKind::ConnectionLost, "lost")
}

fn lose(confirms: &mut Confirms) {
    confirms.lose(&lost(), Instant::now(), false, &mut Vec::new());
}

/// Hands the waiting publishes to a new wire, and returns the colours of their messages.
fn replay(confirms: &mut Confirms) -> Vec<String> {
    let mut handed = Vec::new();
    let hand_over = |publish: &mut Publish| {
        let colour = publish.message.properties.headers.get("colour");
        handed.push(format!("{:?}", colour.unwrap()));
        Ok(())
    };
    confirms.replay(7, Instant::now(), hand_over).unwrap();
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

fn confirm(confirms: &mut Confirms, sequence: u64) {
    confirms.settle(sequence, false, &Ok(()), &mut Vec::new());
}

fn confirm_up_to(confirms: &mut Confirms, sequence: u64) {
    confirms.settle(sequence, true, &Ok(()), &mut Vec::new());
}

fn outcome(confirms: &mut Confirms, sequence: u64) -> Poll<Result<u64>> {
    confirms.poll(sequence, &Context::from_waker(Waker::noop()))
}

fn settled_ok(confirms: &mut Confirms, sequence: u64) -> bool {
    matches!(outcome(confirms, sequence), Poll::Ready(Ok(_)))
}

fn failure(confirms: &mut Confirms, sequence: u64) -> ErrorKind {
    match outcome(confirms, sequence) {
        Poll::Ready(Err(err)) => err.kind(),
        other => panic!("publish {sequence} has not failed: {other:?}"),
    }
}

#[test]
fn a_multiple_confirms_all_up_to_it_and_no_more() {
    let mut confirms = confirms(5);
    confirm(&mut confirms, 2);
    confirm_up_to(&mut confirms, 4);
    for sequence in 1..=4 {
        assert!(settled_ok(&mut confirms, sequence), "{sequence}");
    }
    assert!(outcome(&mut confirms, 5).is_pending());
}

#[test]
fn an_answer_out_of_order_does_not_hide_those_before_it() {
    let mut confirms = confirms(3);
    confirm(&mut confirms, 3);
    assert!(outcome(&mut confirms, 1).is_pending());
    confirm_up_to(&mut confirms, 2);
    assert!(settled_ok(&mut confirms, 1));
    assert!(settled_ok(&mut confirms, 2));
    assert!(settled_ok(&mut confirms, 3));
}

#[test]
fn a_slot_goes_once_it_is_answered_and_was_asked_for_or_abandoned() {
    let mut confirms = confirms(3);
    confirms.abandon(2);
    confirm_up_to(&mut confirms, 3);
    assert!(settled_ok(&mut confirms, 1));
    assert!(settled_ok(&mut confirms, 3));
    assert!(confirms.slots.is_empty());
    assert_eq!(
        confirms.open(LIMIT, Instant::now(), None).0,
        4,
        "numbers never start again"
    );
}

#[test]
fn whoever_waits_is_woken_by_the_answer() {
    let mut confirms = confirms(3);
    for sequence in 1..=3 {
        assert!(outcome(&mut confirms, sequence).is_pending());
    }
    let mut woken = Vec::new();
    confirms.settle(2, true, &Ok(()), &mut woken);
    assert_eq!(woken.len(), 2);
    confirms.fail_all(&lost(), &mut woken);
    assert_eq!(woken.len(), 3);
}

#[test]
fn what_is_overdue_ends_and_the_rest_waits() {
    let mut confirms = Confirms::default();
    confirms.open(Duration::from_secs(1), Instant::now(), None);
    confirms.open(LIMIT, Instant::now(), None);
    assert!(outcome(&mut confirms, 1).is_pending());
    let mut woken = Vec::new();
    confirms.expire(Instant::now() + Duration::from_secs(2), "", &mut woken);
    assert_eq!(woken.len(), 1);
    assert_eq!(failure(&mut confirms, 1), ErrorKind::TimedOut);
    assert!(outcome(&mut confirms, 2).is_pending());
    assert!(confirms.armed().is_some());
    // The broker's answers go on counting from the first.
    confirm(&mut confirms, 1);
    confirm_up_to(&mut confirms, 2);
    assert!(settled_ok(&mut confirms, 2));
    assert!(confirms.slots.is_empty());
}

#[test]
fn a_return_after_the_deadline_is_not_the_next_attempts() {
    let message = message("red");
    let mut confirms = mandatory(&[&message]);
    confirms.expire(Instant::now() + LIMIT, "", &mut Vec::new());
    assert_eq!(failure(&mut confirms, 1), ErrorKind::TimedOut);
    // Now there is a queue, and the same message is published again.
    confirms.open(LIMIT, Instant::now(), Some(sent(&message, false)));
    assert!(
        !confirms.returned(returned(&message)),
        "nobody waits for it"
    );
    confirm_up_to(&mut confirms, 2);
    assert!(settled_ok(&mut confirms, 2));
}

#[test]
fn equal_messages_that_come_back_one_by_one_each_end_their_own_publish() {
    let message = message("red");
    let mut confirms = mandatory(&[&message, &message]);
    for sequence in 1..=2 {
        assert!(confirms.returned(returned(&message)));
        confirm(&mut confirms, sequence);
    }
    // No outcome is taken before both are settled.
    for sequence in 1..=2 {
        assert_eq!(failure(&mut confirms, sequence), ErrorKind::Returned);
    }
}

#[test]
fn of_messages_that_differ_in_a_header_the_right_one_comes_back() {
    let (red, green) = (message("red"), message("green"));
    let mut confirms = mandatory(&[&red, &green]);
    assert!(confirms.returned(returned(&green)));
    confirm_up_to(&mut confirms, 2);
    assert!(settled_ok(&mut confirms, 1));
    assert_eq!(failure(&mut confirms, 2), ErrorKind::Returned);
}

#[test]
fn a_message_whose_headers_changed_on_the_way_comes_back_all_the_same() {
    let mut confirms = mandatory(&[&message("red")]);
    assert!(confirms.returned(returned(&message("crimson"))));
    confirm(&mut confirms, 1);
    assert_eq!(failure(&mut confirms, 1), ErrorKind::Returned);
}

#[test]
fn an_unknown_or_repeated_answer_changes_nothing() {
    let mut confirms = confirms(1);
    confirm(&mut confirms, 9);
    assert!(outcome(&mut confirms, 1).is_pending());
    confirm_up_to(&mut confirms, 9);
    let refused = Err(Error::new(ErrorKind::Nacked, "late"));
    confirms.settle(1, false, &refused, &mut Vec::new());
    assert!(settled_ok(&mut confirms, 1));
    confirms.open(LIMIT, Instant::now(), None);
    confirm_up_to(&mut confirms, 2);
    assert!(settled_ok(&mut confirms, 2));
}

#[test]
fn a_limit_beyond_the_clock_is_no_limit() {
    let mut confirms = Confirms::default();
    confirms.open(Duration::MAX, Instant::now(), None);
    confirms.expire(Instant::now(), "", &mut Vec::new());
    assert!(outcome(&mut confirms, 1).is_pending());
}

#[test]
fn at_a_loss_what_is_on_its_way_ends_or_is_sent_again_as_it_was_asked() {
    let [red, green, blue] = ["red", "green", "blue"].map(message);
    let mut confirms = Confirms::default();
    confirms.open(LIMIT, Instant::now(), Some(sent(&red, true)));
    confirms.open(LIMIT, Instant::now(), Some(sent(&green, false)));
    confirms.open(LIMIT, Instant::now(), Some(sent(&blue, true)));
    confirm(&mut confirms, 1);
    lose(&mut confirms);
    assert!(settled_ok(&mut confirms, 1), "it was confirmed before");
    assert_eq!(failure(&mut confirms, 2), ErrorKind::ConnectionLost);
    assert!(outcome(&mut confirms, 3).is_pending());
    assert_eq!(replay(&mut confirms), [r#"String("blue")"#]);
    // The message is the first of the new wire.
    confirm(&mut confirms, 1);
    assert!(settled_ok(&mut confirms, 3));
    assert!(confirms.slots.is_empty());
}

#[test]
fn what_waits_for_the_channel_is_sent_in_order_before_what_is_new() {
    let mut confirms = confirms(2);
    lose(&mut confirms);
    let (red, green) = (message("red"), message("green"));
    confirms.open(LIMIT, Instant::now(), Some(waiting(&red)));
    confirms.open(LIMIT, Instant::now(), Some(waiting(&green)));
    lose(&mut confirms);
    assert_eq!(
        replay(&mut confirms),
        [r#"String("red")"#, r#"String("green")"#]
    );
    confirms.open(LIMIT, Instant::now(), None);
    confirm(&mut confirms, 1);
    assert!(settled_ok(&mut confirms, 3));
    assert!(outcome(&mut confirms, 4).is_pending());
    confirm_up_to(&mut confirms, 3);
    assert!(settled_ok(&mut confirms, 4));
    assert!(settled_ok(&mut confirms, 5));
    for id in 1..=2 {
        assert_eq!(failure(&mut confirms, id), ErrorKind::ConnectionLost);
    }
}

#[test]
fn what_is_overdue_while_it_waits_is_never_sent() {
    let mut confirms = Confirms::default();
    confirms.open(LIMIT, Instant::now(), Some(waiting(&message("red"))));
    // No publisher waits for this one.
    confirms.open(LIMIT, Instant::now(), Some(waiting(&message("green"))));
    confirms.abandon(2);
    confirms.expire(Instant::now() + LIMIT, "", &mut Vec::new());
    assert!(replay(&mut confirms).is_empty());
    let Poll::Ready(Err(err)) = outcome(&mut confirms, 1) else {
        panic!("it has no outcome");
    };
    assert_eq!(err.kind(), ErrorKind::TimedOut);
    assert!(err.to_string().contains("was not sent"), "{err}");
    assert!(confirms.slots.is_empty());
}

#[test]
fn what_is_overdue_is_not_sent_again() {
    let mut confirms = Confirms::default();
    confirms.open(LIMIT, Instant::now(), Some(sent(&message("red"), true)));
    confirms.open(LIMIT, Instant::now(), Some(sent(&message("green"), true)));
    confirms.abandon(2);
    confirms.expire(Instant::now() + LIMIT, "", &mut Vec::new());
    assert_eq!(failure(&mut confirms, 1), ErrorKind::TimedOut);
    confirms.lose(&lost(), Instant::now() + LIMIT, false, &mut Vec::new());
    assert!(replay(&mut confirms).is_empty());
    assert!(confirms.slots.is_empty());
}

#[test]
fn resend_that_stays_unsent_after_a_loss_is_not_called_unsent() {
    let mut confirms = Confirms::default();
    confirms.open(LIMIT, Instant::now(), Some(sent(&message("red"), true)));
    confirms.open(LIMIT, Instant::now(), Some(waiting(&message("green"))));
    lose(&mut confirms);
    confirms.expire(Instant::now() + LIMIT, "", &mut Vec::new());
    let text = |confirms: &mut Confirms, id| match outcome(confirms, id) {
        Poll::Ready(Err(err)) if err.kind() == ErrorKind::TimedOut => err.to_string(),
        other => panic!("publish {id} is not overdue: {other:?}"),
    };
    let red = text(&mut confirms, 1);
    assert!(red.contains("the broker may have it"), "{red}");
    assert!(!red.contains("the message was not sent"), "{red}");
    let green = text(&mut confirms, 2);
    assert!(green.contains("the message was not sent"), "{green}");
    assert!(replay(&mut confirms).is_empty());
    assert!(confirms.slots.is_empty());
}

#[test]
fn a_channel_that_the_broker_closed_gets_nothing_again() {
    let mut confirms = Confirms::default();
    confirms.open(LIMIT, Instant::now(), Some(sent(&message("red"), true)));
    let closed = Error::channel(ErrorKind::ExchangeNotFound, "no such exchange");
    confirms.lose(&closed, Instant::now(), true, &mut Vec::new());
    assert_eq!(failure(&mut confirms, 1), ErrorKind::ExchangeNotFound);
    assert!(replay(&mut confirms).is_empty());
}

#[test]
fn a_replay_that_breaks_off_leaves_the_rest_waiting() {
    let mut confirms = Confirms::default();
    for colour in ["red", "green", "blue"] {
        confirms.open(LIMIT, Instant::now(), Some(waiting(&message(colour))));
    }
    let mut taken = 0;
    let hand_over = |_: &mut Publish| match taken {
        0 => {
            taken += 1;
            Ok(())
        }
        _ => Err(lost()),
    };
    confirms.replay(7, Instant::now(), hand_over).unwrap_err();
    lose(&mut confirms);
    // The first may have arrived.
    assert_eq!(failure(&mut confirms, 1), ErrorKind::ConnectionLost);
    assert_eq!(
        replay(&mut confirms),
        [r#"String("green")"#, r#"String("blue")"#]
    );
}
