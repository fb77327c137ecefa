//! Brokers that violate the protocol.

use super::*;

type Violation = fn(&mut World);

/// A source of numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % below
    }
}

/// Bytes of a broker, some of which are replaced.
fn mutated(random: &mut Random, template: &[u8]) -> Vec<u8> {
    let mut bytes = template.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        bytes[at] = random.below(256) as u8;
    }
    bytes
}

#[test]
fn a_broker_that_violates_the_protocol_ends_the_connection() {
    let violations: [(&str, Violation); 8] = [
        ("bytes exceeds the limit", |w| {
            w.read(b"\x01\0\x01\xff\xff\xff\xff");
        }),
        ("ends with 0", |w| {
            w.read(b"\x01\0\x01\0\0\0\x04\0\x14\0\x0b\0");
        }),
        ("unknown method", |w| {
            w.read(b"\x01\0\x01\0\0\0\x04\0\x63\0\x63\xce");
        }),
        ("unexpected channel.open-ok", |w| {
            w.say(1, method::ChannelOpenOk {});
        }),
        ("unexpected connection.tune", |w| {
            w.say(
                0,
                method::ConnectionTune {
                    channel_max: 0,
                    frame_max: 0,
                    heartbeat: 0,
                },
            );
        }),
        ("channel that was never open", |w| w.deliver(2, "t", 1)),
        ("expected method frame", |w| {
            w.read(b"\x03\0\x01\0\0\0\0\xce");
        }),
        ("unexpected channel.close-ok", |w| {
            w.say(1, method::ChannelCloseOk {});
        }),
    ];
    for (what, violate) in violations {
        let (mut world, id) = World::with_channel();
        violate(&mut world);
        assert_eq!(world.sent(), ["connection.close"], "{what}");
        let events = world.events();
        assert!(
            matches!(&events[0], Event::Channel(1, ChannelEvent::Closed(_))),
            "{events:?}"
        );
        let Some(Event::Connection(ConnectionEvent::Closed(reason))) = events.last() else {
            panic!("{events:?}");
        };
        assert_eq!(reason.kind(), ErrorKind::ConnectionLost, "{what}");
        assert!(reason.to_string().contains(what), "{reason}");
        assert!(std::error::Error::source(reason).is_some());
        assert!(world.session.publish(id, publish("")).is_err());
    }
}

#[test]
fn no_bytes_break_a_handshake() {
    let endpoint = Endpoint::default();
    let start = Method::ConnectionStart(method::ConnectionStart {
        version_major: 0,
        version_minor: 9,
        server_properties: FieldTable::new().with("a", "b").unwrap(),
        mechanisms: Bytes::from_static(b"PLAIN"),
        locales: Bytes::from_static(b"en_US"),
    });
    let tune = Method::ConnectionTune(method::ConnectionTune {
        channel_max: 2047,
        frame_max: 131_072,
        heartbeat: 60,
    });
    let mut output = Output::new();
    output.method(0, &start);
    output.method(0, &tune);
    output.method(0, &method::ConnectionOpenOk {}.into());
    let template = output.to_bytes();
    let mut whole = BytesMut::from(&template[..]);
    let tuned = Handshake::new(&endpoint, 6)
        .receive(&mut whole)
        .unwrap()
        .unwrap();
    assert_eq!(tuned.heartbeat, Some(Duration::from_secs(6)));
    assert_eq!((tuned.channel_max, tuned.frame_max), (2047, 131_072));

    let mut random = Random(3);
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut input = BytesMut::from(&mutated(&mut random, &template)[..]);
        if let Err(refusal) = Handshake::new(&endpoint, 6).receive(&mut input) {
            let error = refusal.error("rabbit:5672");
            assert!(error.to_string().contains("rabbit:5672"), "{error}");
            refused += 1;
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn no_bytes_break_a_connection() {
    let mut output = Output::new();
    let mut properties = Properties::default();
    properties.headers = FieldTable::new()
        .with("a", vec![1.into(), "b".into()])
        .unwrap();
    properties.message_id = Some("id".try_into().unwrap());
    output.content(1, &deliver("t", 1), &properties, &"body".into(), FRAME_MAX);
    output.method(1, &method::QueuePurgeOk { message_count: 1 }.into());
    let ack = method::BasicAck {
        delivery_tag: 1,
        multiple: true,
    };
    output.method(1, &ack.into());
    let template = output.to_bytes();
    let mut random = Random(11);
    let (mut ended, mut went_on) = (0, 0);
    for _ in 0..20_000 {
        let (mut world, id) = World::with_channel();
        world.consume(id, "t", false);
        world.session.request(id, purge("q")).unwrap();
        let bytes = mutated(&mut random, &template);
        world.read(&bytes);
        world.written();
        if world.session.has_ended() {
            ended += 1;
            assert_eq!(world.closed().kind(), ErrorKind::ConnectionLost);
        } else {
            went_on += 1;
            // It can still be closed.
            world.events();
            world.session.abandon(world.now);
            world.pass(GOOD_ORDER);
            assert!(world.session.is_lost());
        }
    }
    assert!(ended > 1000 && went_on > 1000, "{ended} {went_on}");
}
