//! Acknowledgements (<https://www.rabbitmq.com/docs/confirms#acknowledgement-modes>).

use mooq_core::Settlement;
use mooq_engine::Method;

use crate::harness::{Broker, Channel, code_and_text, settle};

/// A queue whose messages 1 to 5 are all delivered.
fn delivered() -> (Broker, Channel) {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare(c, "q");
    broker.put(c, "q", &["1", "2", "3", "4", "5"]);
    broker.consume(c, "q", "t");
    assert_eq!(broker.heard(c).len(), 5);
    (broker, c)
}

fn cancel(broker: &mut Broker, c: Channel) {
    broker.ok(
        c,
        Method::BasicCancel {
            tag: "t".try_into().unwrap(),
        },
    );
}

#[test]
fn requeued_message_returns_to_its_old_place() {
    let (mut broker, c) = delivered();
    cancel(&mut broker, c);
    broker.put(c, "q", &["6"]);
    for tag in [4, 2] {
        assert_eq!(broker.requeue(c, tag), None);
    }
    assert_eq!(broker.drain(c, "q"), ["2", "4", "6"]);
    broker.ok(c, Method::BasicRecover { requeue: true });
    assert_eq!(broker.drain(c, "q"), ["1", "3", "5"]);
}

#[test]
fn a_requeued_message_is_delivered_again_and_says_so() {
    let (mut broker, c) = delivered();
    broker.requeue(c, 2);
    assert_eq!(broker.heard(c), ["#6 2 to t again"]);
}

#[test]
fn an_unknown_tag_closes_the_channel_and_gives_everything_back_first() {
    let (mut broker, c) = delivered();
    assert_eq!(broker.ack(c, 3), None);
    let (code, text) = code_and_text(broker.ack(c, 3));
    assert_eq!(
        (code, &*text),
        (406, "PRECONDITION_FAILED - unknown delivery tag 3")
    );
    assert_eq!(broker.counts("q"), (4, 0));
    assert_eq!(
        broker.send(c, Method::BasicRecover { requeue: false }),
        None,
        "nothing counts now"
    );
}

#[test]
fn multiple_needs_the_tag_itself_to_be_outstanding() {
    let (mut broker, c) = delivered();
    broker.ack(c, 3);
    let (code, _) = code_and_text(broker.ack_up_to(c, 3));
    assert_eq!(code, 406);
    assert_eq!(broker.counts("q"), (4, 0), "nothing was acknowledged by it");

    let (mut broker, c) = delivered();
    assert_eq!(broker.ack_up_to(c, 3), None);
    assert_eq!(broker.counts("q"), (0, 2));
}

#[test]
fn tag_zero_is_everything_and_only_with_multiple() {
    let (mut broker, c) = delivered();
    assert_eq!(broker.ack_up_to(c, 0), None);
    assert_eq!(broker.counts("q"), (0, 0));
    assert_eq!(broker.ack_up_to(c, 0), None, "even if there is nothing");
    let nack_all = settle(0, true, Settlement::Nack { requeue: true });
    assert_eq!(broker.send(c, nack_all), None);
    assert_eq!(code_and_text(broker.ack(c, 0)).0, 406);
}

#[test]
fn tags_are_the_channels_own() {
    let (mut broker, c) = delivered();
    let other = broker.sibling(c);
    assert_eq!(code_and_text(broker.ack(other, 1)).0, 406);
    assert_eq!(broker.ack(c, 1), None);
}

#[test]
fn cancelling_leaves_deliveries_with_the_channel() {
    let (mut broker, c) = delivered();
    cancel(&mut broker, c);
    broker.put(c, "q", &["6"]);
    assert_eq!((broker.heard(c), broker.counts("q")), (vec![], (1, 5)));
    assert_eq!(broker.ack(c, 5), None);
}

#[test]
fn recover_without_requeue_is_not_implemented() {
    let (mut broker, c) = delivered();
    let refused = broker
        .call(c, Method::BasicRecover { requeue: false })
        .err();
    let (code, text) = code_and_text(refused);
    assert_eq!((code, &*text), (540, "NOT_IMPLEMENTED - requeue=false"));
}

#[test]
fn recover_gives_everything_back_and_delivers_it_again() {
    let (mut broker, c) = delivered();
    broker.ok(c, Method::BasicRecover { requeue: true });
    let expected: Vec<_> = (1..=5)
        .map(|n| format!("#{} {n} to t again", n + 5))
        .collect();
    assert_eq!(broker.heard(c), expected);
}
