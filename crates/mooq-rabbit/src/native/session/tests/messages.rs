//! Messages, and those among them that cannot be read.

use super::*;

#[test]
fn a_message_that_is_not_utf8_costs_its_consumer_only() {
    let (mut world, id) = World::with_channel();
    world.consume(id, "bad", false);
    world.consume(id, "good", false);
    world.deliver(1, "bad", 1);
    world.events();
    world.deliver_broken(1, "bad", 2);
    let nack = |delivery_tag| {
        let nack = method::BasicNack {
            delivery_tag,
            multiple: false,
            requeue: true,
        };
        (1, Method::BasicNack(nack))
    };
    let written = world.written();
    assert!(
        matches!(&written[0], (1, Method::BasicCancel(cancel)) if cancel.consumer_tag == "bad"),
        "cancelled first: {written:?}"
    );
    assert_eq!(written[1..], [nack(2)]);
    let events = world.events();
    assert!(
        matches!(&events[..], [Event::Channel(1, ChannelEvent::ConsumerCancelled(tag))]
            if *tag == "bad"),
        "{events:?}"
    );
    // Those on their way are requeued as well.
    world.deliver(1, "bad", 3);
    world.deliver_broken(1, "bad", 4);
    assert_eq!(world.written(), [nack(3), nack(4)]);
    assert!(world.events().is_empty());

    world.deliver(1, "good", 5);
    assert_eq!(world.events().len(), 1);
    for tag in [1, 5] {
        world.settle(id, tag, Settlement::Ack);
    }
    assert_eq!(world.sent(), ["basic.ack"]);
    // The tag is as good as any for another consumer.
    world.consume(id, "bad", false);
    world.deliver(1, "bad", 6);
    assert_eq!(world.events().len(), 1);
}

#[test]
fn a_property_that_is_not_utf8_is_delivered_with_its_octets() {
    let mut by_id = Properties::default();
    by_id.message_id = Some("VALUE".try_into().unwrap());
    let mut by_header = Properties::default();
    by_header.headers = FieldTable::new().with("VALUE", 1).unwrap();
    for properties in [by_id, by_header] {
        let (mut world, id) = World::with_channel();
        world.consume(id, "t", true);
        world.read(&broken(&delivery(1, "t", 1, &properties), b"VALUE"));
        let events = world.events();
        let [Event::Channel(1, ChannelEvent::Deliver(delivered))] = &events[..] else {
            panic!("{events:?}");
        };
        let read = &delivered.message.properties;
        // As Latin-1.
        let text = "\u{ff}".repeat(5);
        if properties.message_id.is_some() {
            assert_eq!(read.message_id.as_deref(), Some(text.as_str()));
        } else {
            assert_eq!(read.headers.get(&text), Some(&1.into()));
        }
        let octets = &read.verbatim.as_ref().unwrap().octets;
        assert!(
            octets[0].1.windows(5).any(|octets| octets == [0xff; 5]),
            "{octets:?}"
        );
    }
}

#[test]
fn text_in_a_header_may_be_any_bytes() {
    let (mut world, id) = World::with_channel();
    world.consume(id, "t", false);
    let mut properties = Properties::default();
    properties.headers = FieldTable::new().with("h", "VALUE").unwrap();
    world.read(&broken(&delivery(1, "t", 1, &properties), b"VALUE"));
    let events = world.events();
    let [Event::Channel(1, ChannelEvent::Deliver(delivered))] = &events[..] else {
        panic!("{events:?}");
    };
    let expected = FieldTable::new().with("h", Bytes::from_static(&[0xff; 5]));
    assert_eq!(delivered.message.properties.headers, expected.unwrap());
}

/// The answer to `basic.get` on channel 1.
fn fetched(exchange: &str, routing_key: &str) -> Bytes {
    let fetched = Method::BasicGetOk(method::BasicGetOk {
        delivery_tag: 1,
        redelivered: false,
        exchange: exchange.try_into().unwrap(),
        routing_key: routing_key.try_into().unwrap(),
        message_count: 0,
    });
    let mut output = Output::new();
    output.content(
        1,
        &fetched,
        &Properties::default(),
        &"body".into(),
        FRAME_MAX,
    );
    output.to_bytes()
}

#[test]
fn a_fetched_message_that_is_not_utf8_fails_its_fetch_only() {
    let (mut world, id) = World::with_channel();
    let get = method::BasicGet {
        queue: "orders".try_into().unwrap(),
        no_ack: false,
    };
    let ticket = world.session.request(id, get).unwrap();
    let next = world.session.request(id, purge("q")).unwrap();
    world.sent();
    world.read(&broken(&fetched("", "KEY"), b"KEY"));
    assert_eq!(world.sent(), ["basic.nack", "queue.purge"]);
    let err = world.answer(ticket).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Decode);
    assert_eq!(err.scope(), ErrorScope::Operation);
    for part in ["'orders'", "routing key"] {
        assert!(err.to_string().contains(part), "{err}");
    }
    world.say(1, method::QueuePurgeOk { message_count: 0 });
    assert!(world.answer(next).is_ok());
}

#[test]
fn a_header_that_nests_deep_is_recorded_and_the_message_delivered() {
    let (mut world, id) = World::with_channel();
    world.consume(id, "t", false);
    // Built by hand, since no table takes it: `deep` is a table in a table, 600 times, and `next`
    // comes after it.
    let mut value = b"V".to_vec();
    for _ in 0..600 {
        let mut table = vec![1, b'k'];
        table.extend(&value);
        value = b"F".to_vec();
        value.extend(u32::try_from(table.len()).unwrap().to_be_bytes());
        value.extend(table);
    }
    let mut entries = b"\x04deep".to_vec();
    entries.extend(value);
    entries.extend(b"\x04nextt\x01");
    let mut header = b"\0\x3c\0\0\0\0\0\0\0\0\0\0\x20\0".to_vec();
    header.extend(u32::try_from(entries.len()).unwrap().to_be_bytes());
    header.extend(entries);
    let mut output = Output::new();
    output.method(1, &deliver("t", 1));
    let mut bytes = output.to_bytes().to_vec();
    bytes.extend(b"\x02\0\x01");
    bytes.extend(u32::try_from(header.len()).unwrap().to_be_bytes());
    bytes.extend(header);
    bytes.push(0xce);
    world
        .session
        .decoder
        .set_limits(Limits::default().recording_deep_values());
    world.read(&bytes);
    let events = world.events();
    let [Event::Channel(1, ChannelEvent::Deliver(delivered))] = &events[..] else {
        panic!("{events:?}");
    };
    let headers = &delivered.message.properties.headers;
    assert_eq!(headers.too_deep().unwrap(), "deep");
    assert_eq!(headers.get("next"), Some(&true.into()));
}

#[test]
fn large_bodies_arrive_in_pieces() {
    let (mut world, id) = World::with_channel();
    world.consume(id, "t", true);
    let body = Bytes::from(vec![7; 20_000]);
    let mut output = Output::new();
    output.content(
        1,
        &deliver("t", 1),
        &Properties::default(),
        &body,
        FRAME_MAX,
    );
    let bytes = output.to_bytes();
    let (first, second) = bytes.split_at(9_999);
    let mut input = BytesMut::from(first);
    while world.session.receive(world.now, &mut input) {}
    input.extend_from_slice(second);
    while world.session.receive(world.now, &mut input) {}
    let events = world.events();
    let [Event::Channel(1, ChannelEvent::Deliver(delivered))] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(delivered.message.body, body);
}

#[test]
fn a_name_in_a_request_stands_for_a_queue() {
    let (mut world, id) = World::with_channel();
    let declare = method::QueueDeclare {
        queue: QueueName::default(),
        passive: false,
        durable: false,
        exclusive: true,
        auto_delete: false,
        nowait: false,
        arguments: FieldTable::new(),
    };
    let ticket = world.session.request(id, declare).unwrap();
    let declared = method::QueueDeclareOk {
        queue: "amq.gen-1".try_into().unwrap(),
        message_count: 0,
        consumer_count: 0,
    };
    world.say(1, declared);
    assert!(
        matches!(world.answer(ticket), Ok(Answer::Declared(declared))
        if declared.name == "amq.gen-1")
    );
    let get = method::BasicGet {
        queue: QueueName::default(),
        no_ack: true,
    };
    let ticket = world.session.request(id, get).unwrap();
    world.sent();
    world.read(&broken(&fetched("KEY", ""), b"KEY"));
    let err = world.answer(ticket).unwrap_err();
    assert!(err.to_string().contains("queue 'amq.gen-1'"), "{err}");
    assert!(world.sent().is_empty(), "nothing to give back");
}
