//! A channel's permission cache: the channel keeps a permission that its user has lost until it has
//! been idle for a second.

use mooq_core::{ChannelEvent, VirtualHost};
use mooq_engine::{Command, Effect, Method, Permissions, Profile, Time};

use crate::harness::{Broker, Channel, publish};

/// A channel that has published to the queue `q`, and whose user has lost every permission since.
fn setup(profile: Profile) -> (Broker, Channel) {
    let mut broker = Broker::of(profile);
    let c = broker.channel();
    broker.declare(c, "q");
    broker.put(c, "q", &["before"]);
    take_away(&mut broker);
    (broker, c)
}

fn take_away(broker: &mut Broker) {
    let nothing = Permissions::new("", "", "").unwrap();
    let root = VirtualHost::root();
    let set = broker.engine.set_permissions("guest", &root, Some(nothing));
    set.unwrap();
}

/// Publishes to `q`, and gives the code if the broker closes the channel for it.
fn put(broker: &mut Broker, channel: Channel) -> Option<u16> {
    let closed = broker.publish(channel, publish("", "q", "after"));
    closed.map(|reason| reason.code)
}

#[test]
fn a_permission_is_kept_for_a_second_after_the_last_use() {
    for profile in Profile::ALL {
        let (mut broker, c) = setup(profile);
        for _ in 0..3 {
            broker.pass(999);
            assert_eq!(put(&mut broker, c), None, "{profile:?}");
        }
        broker.pass(1000);
        assert_eq!(put(&mut broker, c), Some(403), "{profile:?}");
    }
}

#[test]
fn a_delivery_keeps_its_channel_awake() {
    let (mut broker, other) = setup(Profile::V4_0);
    let root = VirtualHost::root();
    let everything = Permissions::new(".*", ".*", ".*").unwrap();
    let set = broker
        .engine
        .set_permissions("guest", &root, Some(everything));
    set.unwrap();
    let c = broker.channel();
    broker.consume(c, "q", "t");
    broker.put(c, "q", &["1"]);
    broker.put(other, "q", &["2"]);
    take_away(&mut broker);
    broker.pass(600);
    broker.put(other, "q", &["3"]);
    broker.pass(600);
    assert_eq!(put(&mut broker, c), None, "it got a delivery meanwhile");
}

#[test]
fn a_channel_that_is_cleared_of_permissions_keeps_those_it_has_used() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare(c, "q");
    broker.put(c, "q", &["before"]);
    let root = VirtualHost::root();
    broker.engine.set_permissions("guest", &root, None).unwrap();
    assert_eq!(put(&mut broker, c), None);
    broker.pass(1000);
    assert_eq!(put(&mut broker, c), Some(403));
}

/// In a stream of messages the engine does not ask for the time of each.
#[test]
fn a_channel_that_publishes_all_the_time_stays_awake() {
    for profile in Profile::ALL {
        let mut broker = Broker::of(profile);
        let c = broker.channel();
        broker.declare(c, "q");
        let mut untimed = 0;
        for step in 0..3000_u64 {
            let now = broker.time_after(step);
            let method = Method::BasicPublish(publish("", "q", "body"));
            let is_timed = broker.engine.needs_time(&method);
            untimed += u64::from(!is_timed);
            if broker.engine.next_deadline().is_some_and(|at| at <= now) {
                broker.engine.advance(now);
            }
            let command = Command {
                connection: c.connection,
                channel: c.number,
                method,
            };
            let now = if is_timed { now } else { Time::START };
            broker.engine.handle(now, command);
        }
        assert!(untimed > 500, "{untimed}");
        take_away(&mut broker);
        let now = broker.time_after(3500);
        let method = Method::BasicPublish(publish("", "q", "after"));
        let command = Command {
            connection: c.connection,
            channel: c.number,
            method,
        };
        broker.engine.handle(now, command);
        let is_close = |effect: Effect| {
            let event = match effect {
                Effect::Channel { event, .. } => event,
                other => panic!("{other:?}"),
            };
            matches!(event, ChannelEvent::Closed(_))
        };
        let mut effects = std::iter::from_fn(|| broker.engine.poll_effect());
        assert!(!effects.any(is_close), "{profile:?}");
    }
}
