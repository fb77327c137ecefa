//! Closes, by either side and by both, and heartbeats.

use super::super::ending::LAST_WORDS;
use super::*;

#[test]
fn the_broker_closes_a_channel() {
    let (mut world, id) = World::with_channel();
    let first = world.session.request(id, purge("q")).unwrap();
    let second = world.session.request(id, purge("q")).unwrap();
    world.sent();
    world.say(1, channel_close(404));
    assert_eq!(world.sent(), ["channel.close-ok"]);
    for ticket in [first, second] {
        let err = world.answer(ticket).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::QueueNotFound);
    }
    let reason = world.channel_closed(id);
    assert_eq!(reason.kind(), ErrorKind::QueueNotFound);
    assert!(world.session.publish(id, publish("")).is_err());

    // RabbitMQ may close a channel twice.
    world.say(1, channel_close(406));
    assert!(world.sent().is_empty());
    assert!(!world.session.has_ended());

    // The number is used again when no other is left, by another channel.
    world.open();
    let next = world.open();
    assert_eq!(next.number, id.number);
    assert!(world.session.publish(id, publish("")).is_err());
    assert!(world.session.publish(next, publish("")).is_ok());
}

#[test]
fn closes_of_a_channel_may_cross() {
    let (mut world, id) = World::with_channel();
    world.session.close_channel(id, world.now);
    assert_eq!(world.sent(), ["channel.close"]);
    world.say(1, channel_close(404));
    assert_eq!(world.sent(), ["channel.close-ok"]);
    assert!(world.events().is_empty(), "the broker's answer follows");
    world.session.open_channel().unwrap();
    assert!(world.session.open_channel().is_err(), "it is not free yet");
    world.say(1, method::ChannelCloseOk {});
    let events = world.events();
    assert!(
        matches!(&events[..], [Event::Channel(1, ChannelEvent::Closed(_))]),
        "{events:?}"
    );
}

#[test]
fn a_close_waits_for_confirms_but_not_for_ever() {
    for confirmed in [true, false] {
        let (mut world, id) = World::with_channel();
        let select = method::ConfirmSelect { nowait: false };
        world.session.request(id, select).unwrap();
        world.session.publish(id, publish("1")).unwrap();
        world.say(1, method::ConfirmSelectOk {});
        world.events();
        world.session.close_channel(id, world.now);
        assert_eq!(world.sent(), ["confirm.select", "basic.publish"]);
        let err = world.session.publish(id, publish("2")).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ChannelClosed);
        world.pass(Duration::from_secs(4));
        assert!(world.sent().is_empty());
        if confirmed {
            let ack = method::BasicAck {
                delivery_tag: 1,
                multiple: false,
            };
            world.say(1, ack);
        } else {
            assert!(world.session.next_deadline().unwrap() <= world.now + Duration::from_secs(1));
            world.pass(Duration::from_secs(1));
        }
        assert_eq!(world.sent(), ["channel.close"]);
        world.events();
        world.say(1, method::ChannelCloseOk {});
        let reason = world.channel_closed(id);
        assert_eq!(reason.kind(), ErrorKind::ChannelClosed);
    }
}

#[test]
fn a_close_waits_for_answers_as_long_as_someone_else_does() {
    let (mut world, id) = World::with_channel();
    let ticket = world.session.request(id, purge("q")).unwrap();
    world.session.close(world.now);
    assert_eq!(world.sent(), ["queue.purge"]);
    for _ in 0..10 {
        world.pass(Duration::from_secs(3));
        world.read(b"\x08\0\0\0\0\0\0\xce");
        assert!(world.sent().is_empty());
    }
    world.session.forsake(id, ticket, world.now);
    world.pass(Duration::from_millis(999));
    assert!(world.sent().is_empty());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.sent(), ["connection.close"]);
    world.say(0, ConnectionCloseOk {});
    assert_eq!(world.closed().kind(), ErrorKind::ConnectionClosed);
    assert!(world.session.has_ended());
}

#[test]
fn the_broker_closes_the_connection() {
    let (mut world, id) = World::with_channel();
    let ticket = world.session.request(id, purge("q")).unwrap();
    world.sent();
    world.say(0, connection_close());
    assert_eq!(world.sent(), ["connection.close-ok"]);
    let err = world.answer(ticket).unwrap_err();
    assert_eq!(err.scope(), ErrorScope::Connection);
    let reason = world.closed();
    assert_eq!(reason.kind(), ErrorKind::ConnectionLost);
    assert_eq!(reason.reason().unwrap().code, 320);
    assert!(world.session.has_ended() && !world.session.is_lost());
    // The last frame has its time, and no more.
    world.pass(LAST_WORDS);
    assert!(world.session.is_lost());
}

#[test]
fn closes_of_the_connection_may_cross() {
    let (mut world, _) = World::with_channel();
    world.session.close(world.now);
    assert_eq!(world.sent(), ["connection.close"]);
    // Everything that arrives before the answer is ignored, or passed on.
    world.deliver(1, "t", 1);
    world.deliver(2, "t", 1);
    world.say(1, channel_close(404));
    world.say(0, connection_close());
    assert_eq!(world.sent().last(), Some(&"connection.close-ok"));
    assert_eq!(world.closed().kind(), ErrorKind::ConnectionClosed);
}

#[test]
fn a_connection_without_handles_closes_in_any_case() {
    let (mut world, _) = World::with_channel();
    world.session.abandon(world.now);
    assert_eq!(world.sent(), ["connection.close"]);
    world.pass(GOOD_ORDER);
    assert!(world.session.is_lost());
    assert_eq!(world.closed().kind(), ErrorKind::ConnectionLost);
}

#[test]
fn heartbeats_go_both_ways() {
    let mut world = World::new();
    let beats = |world: &mut World| {
        let mut output = Output::new();
        world.session.take_output(world.now, &mut output);
        output.to_bytes() == b"\x08\0\0\0\0\0\0\xce"[..]
    };
    assert!(!beats(&mut world));
    world.pass(Duration::from_secs(3));
    assert!(beats(&mut world));
    assert!(!beats(&mut world), "one is enough");
    world.read(b"\x08\0\0\0\0\0\0\xce");
    world.pass(Duration::from_secs(11));
    assert!(!world.session.has_ended());
    world.pass(Duration::from_secs(1));
    let reason = world.closed();
    assert_eq!(reason.kind(), ErrorKind::ConnectionLost);
    assert!(reason.to_string().contains("for 12s"), "{reason}");
    assert!(reason.to_string().contains("rabbit:5672"), "{reason}");
}
