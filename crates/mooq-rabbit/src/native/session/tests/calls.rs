//! Calls and their answers.

use super::*;

#[test]
fn a_channel_has_one_request_at_a_time_and_keeps_the_order() {
    let (mut world, id) = World::with_channel();
    let first = world.session.request(id, purge("a")).unwrap();
    world.session.publish(id, publish("1")).unwrap();
    let second = world.session.request(id, purge("b")).unwrap();
    world.session.publish(id, publish("2")).unwrap();
    assert_eq!(world.sent(), ["queue.purge", "basic.publish"]);
    assert_eq!(world.session.unwritten(), 1, "the body that waits");
    world.say(1, method::QueuePurgeOk { message_count: 1 });
    assert!(matches!(world.answer(first), Ok(Answer::Count(1))));
    assert_eq!(world.sent(), ["queue.purge", "basic.publish"]);
    world.say(1, method::QueuePurgeOk { message_count: 2 });
    assert!(matches!(world.answer(second), Ok(Answer::Count(2))));
    assert_eq!(world.session.unwritten(), 0);
}

#[test]
fn acks_of_one_write_are_sent_as_one() {
    let (mut world, id) = World::with_channel();
    world.consume(id, "t", false);
    for tag in 1..=5 {
        world.deliver(1, "t", tag);
    }
    for tag in [1, 2, 3, 5] {
        world.settle(id, tag, Settlement::Ack);
    }
    let ack = |delivery_tag, multiple| {
        let ack = method::BasicAck {
            delivery_tag,
            multiple,
        };
        (1, Method::BasicAck(ack))
    };
    assert_eq!(world.written(), [ack(3, true), ack(5, false)]);
    // Everything that is sent on the channel after an ack arrives after the ack.
    world.settle(id, 4, Settlement::Ack);
    world.session.publish(id, publish("")).unwrap();
    assert_eq!(world.sent(), ["basic.ack", "basic.publish"]);
}

#[test]
fn deliveries_without_acks_stand_in_no_ones_way() {
    let (mut world, id) = World::with_channel();
    world.consume(id, "t", false);
    world.consume(id, "free", true);
    for tag in 1..=4 {
        world.deliver(1, if tag == 2 { "free" } else { "t" }, tag);
    }
    for tag in [1, 3, 4] {
        world.settle(id, tag, Settlement::Ack);
    }
    assert_eq!(world.sent(), ["basic.ack"]);
}

#[test]
fn an_alarm_is_announced() {
    let mut world = World::new();
    let reason = "low on memory".try_into().unwrap();
    world.say(0, method::ConnectionBlocked { reason });
    world.say(0, method::ConnectionUnblocked {});
    let events = world.events();
    assert!(
        matches!(&events[..], [
            Event::Connection(ConnectionEvent::Blocked(reason)),
            Event::Connection(ConnectionEvent::Unblocked),
        ] if reason == "low on memory"),
        "{events:?}"
    );
}

#[test]
fn a_request_for_less_is_answered() {
    let (mut world, _) = World::with_channel();
    world.say(1, method::ChannelFlow { active: false });
    assert_eq!(world.sent(), ["channel.flow-ok"]);
}

#[test]
fn too_many_channels_are_the_callers_error() {
    let mut world = World::new();
    world.open();
    world.open();
    let err = world.session.open_channel().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotAllowed);
    assert_eq!(err.scope(), ErrorScope::Operation);
}
