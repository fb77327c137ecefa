//! Direct reply-to: replies that go straight to the requesting channel.

use std::sync::Arc;

use mooq_core::{Consume, ErrorKind, Message, Properties, Publish, QueueDeclare, Settlement};

use crate::expect::method;
use crate::raw::{
    Raw, binding, consumer, exchange_binding, mandatory, message, message_with, passive_queue,
    queue, table, text,
};
use crate::scenario;
use crate::{Fixture, expect_reason};

/// The pseudo-queue.
const REPLY_TO: &str = "amq.rabbitmq.reply-to";

fn replies() -> Consume {
    Consume {
        no_ack: true,
        ..consumer(REPLY_TO)
    }
}

/// A request to the queue `to`.
fn request(to: &str) -> Publish {
    let mut properties = Properties::default();
    properties.reply_to = Some(REPLY_TO.try_into().unwrap());
    Publish::new(Message {
        properties: Arc::new(properties),
        ..message("", to, "request")
    })
}

/// Sends a request from `raw`, and returns the address of its replies.
async fn ask(fixture: &Fixture, raw: &mut Raw) -> String {
    let requests = fixture.name("requests");
    raw.declare(&requests).await;
    raw.send(request(&requests));
    raw.settled().await;
    let fetched = raw.fetch(&requests).await;
    raw.ack(fetched.delivery_tag);
    let reply_to = &fetched.message.properties.reply_to;
    reply_to
        .as_ref()
        .expect("the request has reply-to")
        .to_string()
}

/// Well-formed addresses that no channel has: one of a closed channel, and some with other keys
/// than a live channel's.
async fn dead_addresses(fixture: &Fixture, live: &str) -> Vec<String> {
    let (gone, address) = requester(fixture).await;
    gone.channel.close().await.unwrap();
    let (channel, _key) = live.rsplit_once('.').unwrap();
    vec![address, format!("{channel}.key"), format!("{live}.more")]
}

/// The reply text when RabbitMQ crashes on a request.
const FAILED: &str = "INTERNAL_ERROR";

/// Asserts that RabbitMQ crashes on `declare`.
async fn fails(fixture: &Fixture, declare: QueueDeclare) {
    let mut raw = fixture.raw().await;
    let err = raw.channel.declare_queue(declare).await.unwrap_err();
    expect_reason(&err, 541, (0, 0), FAILED);
    raw.closes_connection(541, (0, 0), FAILED).await;
}

/// A channel that gets replies, and its address.
async fn requester(fixture: &Fixture) -> (Raw, String) {
    let mut raw = fixture.raw().await;
    raw.consume_with(replies()).await;
    let address = ask(fixture, &mut raw).await;
    (raw, address)
}

#[scenario]
async fn a_reply_goes_straight_to_the_channel_that_asked(fixture: Fixture) {
    let (mut requester, address) = requester(&fixture).await;
    let mut server = fixture.publisher().await;
    server.put("", &address, "reply").await;
    let reply = requester.delivery().await;
    assert_eq!(text(&reply), "reply");
    assert_eq!(reply.message.exchange, "");
    assert_eq!(reply.message.routing_key, *address);
    assert!(!reply.redelivered);
    requester.nothing_more().await;
}

#[scenario]
async fn the_broker_writes_the_channels_own_address_into_a_request(fixture: Fixture) {
    let (mut first, address) = requester(&fixture).await;
    assert!(address.starts_with("amq.rabbitmq.reply-to."), "{address}");
    assert_eq!(ask(&fixture, &mut first).await, address);
    let (_second, other) = requester(&fixture).await;
    assert_ne!(address, other);
}

#[scenario]
async fn any_other_reply_to_is_left_as_it_is(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let queue = fixture.name("queue");
    raw.declare(&queue).await;
    for other in ["replies", "amq.rabbitmq.reply-to.somebody", ""] {
        let mut publish = request(&queue);
        Arc::make_mut(&mut publish.message.properties).reply_to = Some(other.try_into().unwrap());
        raw.put_message(publish).await;
        let fetched = raw.fetch(&queue).await;
        assert_eq!(fetched.message.properties.reply_to.as_deref(), Some(other));
    }
}

#[scenario]
async fn a_reply_consumer_cannot_acknowledge(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let outcome = raw.channel.consume(consumer(REPLY_TO)).await;
    let text = "PRECONDITION_FAILED - reply consumer cannot acknowledge";
    raw.refused(outcome, 406, method::BASIC_CONSUME, text).await;
}

#[scenario]
async fn a_channel_has_one_reply_consumer(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    raw.consume_with(replies()).await;
    let outcome = raw.channel.consume(replies()).await;
    let text = "PRECONDITION_FAILED - reply consumer already set";
    raw.refused(outcome, 406, method::BASIC_CONSUME, text).await;
}

#[scenario]
async fn a_request_needs_a_reply_consumer_on_its_own_channel(fixture: Fixture) {
    let (other, _address) = requester(&fixture).await;
    let mut raw = other.sibling().await;
    raw.send(request(&fixture.name("requests")));
    let text = "PRECONDITION_FAILED - fast reply consumer does not exist";
    raw.closes(406, method::BASIC_PUBLISH, text).await;
}

#[scenario]
async fn a_reply_consumer_cannot_take_the_tag_of_another_consumer(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let queue = fixture.name("queue");
    raw.declare(&queue).await;
    let tag = raw.consume(&queue).await;
    let text = format!("NOT_ALLOWED - attempt to reuse consumer tag '{tag}'");
    let outcome = raw.channel.consume(Consume { tag, ..replies() }).await;
    expect_reason(&outcome.unwrap_err(), 530, method::BASIC_CONSUME, &text);
    raw.closes_connection(530, method::BASIC_CONSUME, &text)
        .await;
}

#[scenario]
async fn a_live_address_is_declared_as_a_queue_with_one_consumer(fixture: Fixture) {
    let (_requester, address) = requester(&fixture).await;
    let server = fixture.raw().await;
    let transient = QueueDeclare {
        durable: false,
        auto_delete: true,
        ..queue(&address)
    };
    for declare in [
        queue(&address),
        passive_queue(&address),
        transient,
        queue(REPLY_TO),
    ] {
        let name = declare.name.clone();
        let declared = server.channel.declare_queue(declare).await.unwrap();
        assert_eq!(declared.name, name);
        assert_eq!((declared.message_count, declared.consumer_count), (0, 1));
    }
}

#[scenario]
async fn reply_address_of_no_channel_is_not_found(fixture: Fixture) {
    let (_requester, live) = requester(&fixture).await;
    let mut raw = fixture.raw().await;
    for nobody in dead_addresses(&fixture, &live).await {
        for declare in [queue(&nobody), passive_queue(&nobody)] {
            let outcome = raw.channel.declare_queue(declare).await;
            let text = format!("NOT_FOUND - no queue '{nobody}' in vhost '/'");
            raw.refused(outcome, 404, method::QUEUE_DECLARE, &text)
                .await;
        }
    }
}

#[scenario(before = V4_2)]
async fn malformed_reply_address_is_not_found(fixture: Fixture) {
    let (_requester, live) = requester(&fixture).await;
    let (channel, _key) = live.rsplit_once('.').unwrap();
    let mut raw = fixture.publisher().await;
    for shape in ["x", ".", ".nobody", ".no.body.here"] {
        not_found(&mut raw, &format!("{REPLY_TO}{shape}")).await;
    }
    not_found(&mut raw, channel).await;
}

/// Asserts that `name` can neither be declared passively nor be routed to.
async fn not_found(raw: &mut Raw, name: &str) {
    let text = format!("NOT_FOUND - no queue '{name}' in vhost '/'");
    for declare in [queue(name), passive_queue(name)] {
        let outcome = raw.channel.declare_queue(declare).await;
        raw.refused(outcome, 404, method::QUEUE_DECLARE, &text)
            .await;
    }
    raw.confirm_select().await;
    raw.send(mandatory(message("", name, "reply")));
    raw.returned().await;
    raw.confirmed().await;
}

#[scenario(before = V4_2)]
async fn garbled_reply_address_is_an_internal_error(fixture: Fixture) {
    let garbled = format!("{REPLY_TO}.no.body");
    fails(&fixture, queue(&garbled)).await;
    fails(&fixture, passive_queue(&garbled)).await;
    let mut raw = fixture.raw().await;
    raw.publish("", &garbled, "reply");
    raw.closes_connection(541, (0, 0), FAILED).await;
}

#[scenario(since = V4_2)]
async fn declaring_a_malformed_reply_address_is_an_internal_error(fixture: Fixture) {
    let (_requester, live) = requester(&fixture).await;
    let (channel, _key) = live.rsplit_once('.').unwrap();
    fails(&fixture, queue(channel)).await;
    let mut raw = fixture.publisher().await;
    for shape in ["x", ".", ".nobody", ".no.body", ".no.body.here"] {
        let name = format!("{REPLY_TO}{shape}");
        fails(&fixture, queue(&name)).await;
        fails(&fixture, passive_queue(&name)).await;
        raw.send(mandatory(message("", &name, "reply")));
        raw.returned().await;
        raw.confirmed().await;
    }
}

#[scenario(before = V4_2)]
async fn a_channel_that_declares_its_own_address_fails(fixture: Fixture) {
    let (mut requester, address) = requester(&fixture).await;
    let declared = requester.channel.declare_queue(queue(&address)).await;
    expect_reason(&declared.unwrap_err(), 541, (0, 0), FAILED);
    requester.closes_connection(541, (0, 0), FAILED).await;
}

#[scenario(since = V4_2)]
async fn a_channel_does_not_find_its_own_address(fixture: Fixture) {
    let (mut requester, address) = requester(&fixture).await;
    let outcome = requester.channel.declare_queue(queue(&address)).await;
    let text = format!("NOT_FOUND - no queue '{address}' in vhost '/'");
    requester
        .refused(outcome, 404, method::QUEUE_DECLARE, &text)
        .await;
}

#[scenario]
async fn an_address_is_gone_once_its_consumer_is_cancelled(fixture: Fixture) {
    let mut requester = fixture.raw().await;
    let tag = requester.consume_with(replies()).await;
    let address = ask(&fixture, &mut requester).await;
    requester.cancel(&tag).await;

    let mut server = fixture.raw().await;
    let outcome = server.channel.declare_queue(queue(&address)).await;
    let text = format!("NOT_FOUND - no queue '{address}' in vhost '/'");
    server
        .refused(outcome, 404, method::QUEUE_DECLARE, &text)
        .await;

    requester.consume_with(replies()).await;
    assert_ne!(ask(&fixture, &mut requester).await, address);
}

#[scenario]
async fn a_reply_to_a_closed_channel_vanishes_and_is_confirmed(fixture: Fixture) {
    let (requester, address) = requester(&fixture).await;
    let mut server = fixture.publisher().await;
    requester.channel.close().await.unwrap();
    server.put("", &address, "too late").await;
    server.nothing_more().await;

    let outcome = server.channel.declare_queue(queue(&address)).await;
    let text = format!("NOT_FOUND - no queue '{address}' in vhost '/'");
    server
        .refused(outcome, 404, method::QUEUE_DECLARE, &text)
        .await;
}

#[scenario(before = V4_2)]
async fn a_mandatory_reply_comes_back_although_it_arrives(fixture: Fixture) {
    let (mut requester, address) = requester(&fixture).await;
    let mut server = fixture.publisher().await;
    server.send(mandatory(message("", &address, "reply")));
    let returned = server.returned().await;
    assert_eq!(
        (returned.reply_code, &*returned.reply_text),
        (312, "NO_ROUTE")
    );
    assert_eq!(server.confirmed().await, 1);
    assert_eq!(requester.delivered(1).await, ["reply"]);
}

#[scenario(since = V4_2)]
async fn a_mandatory_reply_is_routed_even_if_nobody_gets_it(fixture: Fixture) {
    let (mut requester, address) = requester(&fixture).await;
    let mut server = fixture.publisher().await;
    for nobody in dead_addresses(&fixture, &address).await {
        server.send(mandatory(message("", &nobody, "nobody")));
        server.confirmed().await;
    }
    server.send(mandatory(message("", &address, "reply")));
    server.confirmed().await;
    assert_eq!(requester.delivered(1).await, ["reply"]);
}

#[scenario(since = V4_2)]
async fn replies_use_their_delivery_tags_up(fixture: Fixture) {
    let (mut requester, address) = requester(&fixture).await;
    let mut server = fixture.publisher().await;
    // The request itself was fetched with tag 1.
    for (body, tag) in [("first", 2), ("second", 3)] {
        server.put("", &address, body).await;
        let reply = requester.delivery().await;
        assert_eq!((text(&reply), reply.delivery_tag), (body, tag));
    }
    let queue = fixture.name("queue");
    server.declare(&queue).await;
    server.put("", &queue, "fetched").await;
    assert_eq!(requester.fetch(&queue).await.delivery_tag, 4);
}

#[scenario(before = V4_2)]
async fn replies_take_the_next_delivery_tag_and_do_not_use_it_up(fixture: Fixture) {
    let (mut requester, address) = requester(&fixture).await;
    let mut server = fixture.publisher().await;
    // The request itself was fetched with tag 1.
    for body in ["first", "second"] {
        server.put("", &address, body).await;
        let reply = requester.delivery().await;
        assert_eq!((text(&reply), reply.delivery_tag), (body, 2));
    }
    let queue = fixture.name("queue");
    server.declare(&queue).await;
    server.put("", &queue, "fetched").await;
    assert_eq!(requester.fetch(&queue).await.delivery_tag, 2);
}

#[scenario]
async fn a_reply_goes_to_the_addresses_in_cc_and_bcc_as_well(fixture: Fixture) {
    let (mut first, address) = requester(&fixture).await;
    let (mut second, other) = requester(&fixture).await;
    let mut server = fixture.publisher().await;
    let queue = fixture.name("queue");
    server.declare(&queue).await;
    let headers = table([
        (
            "CC",
            vec![address.as_str().into(), address.as_str().into()].into(),
        ),
        ("BCC", vec![other.as_str().into()].into()),
    ]);
    server
        .put_message(Publish::new(message_with("", &queue, "reply", headers)))
        .await;
    for requester in [&mut first, &mut second] {
        let reply = requester.delivery().await;
        assert_eq!(reply.message.routing_key, *queue);
        assert!(reply.message.properties.headers.get("CC").is_some());
        assert!(reply.message.properties.headers.get("BCC").is_none());
        requester.nothing_more().await;
    }
    assert_eq!(server.drain(&queue).await, ["reply"]);
}

#[scenario(before = V4_2)]
async fn a_transaction_does_not_hold_a_reply_back(fixture: Fixture) {
    let (mut requester, address) = requester(&fixture).await;
    let server = fixture.raw().await;
    server.methods().tx_select().await.unwrap();
    server.publish("", &address, "reply");
    assert_eq!(requester.delivered(1).await, ["reply"]);
    server.methods().tx_rollback().await.unwrap();
}

#[scenario(since = V4_2)]
async fn a_transaction_holds_a_reply_back(fixture: Fixture) {
    let (mut requester, address) = requester(&fixture).await;
    let server = fixture.raw().await;
    server.methods().tx_select().await.unwrap();
    server.publish("", &address, "rolled back");
    server.methods().tx_rollback().await.unwrap();
    server.publish("", &address, "reply");
    // A reply to a channel that is closed by the commit is lost without an error.
    let (gone, dead) = self::requester(&fixture).await;
    server.publish("", &dead, "too late");
    gone.channel.close().await.unwrap();
    server.settled().await;
    requester.nothing_more().await;
    server.methods().tx_commit().await.unwrap();
    assert_eq!(requester.delivered(1).await, ["reply"]);
}

/// Rejects the first of two messages of a queue whose dead letters go to an address.
async fn reject_towards(fixture: &Fixture, address: &str) -> (Raw, String) {
    let mut raw = fixture.publisher().await;
    let dying = fixture.name("dying");
    raw.declare_with(QueueDeclare {
        arguments: table([
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", address.into()),
        ]),
        ..queue(&dying)
    })
    .await;
    raw.fill(&dying, &["letter", "after it"]).await;
    let fetched = raw.fetch(&dying).await;
    let rejected = Settlement::Nack { requeue: false };
    raw.settle(fetched.delivery_tag, rejected);
    (raw, dying)
}

/// Asserts that a dead letter whose key is an address arrives there.
async fn a_dead_letter_arrives_at(fixture: &Fixture) {
    let (mut requester, address) = requester(fixture).await;
    let _rejecting = reject_towards(fixture, &address).await;
    let reply = requester.delivery().await;
    assert_eq!((text(&reply), reply.redelivered), ("letter", false));
    assert!(reply.message.properties.headers.get("x-death").is_some());
}

#[scenario(before = V4_0)]
async fn dead_letter_may_be_a_reply_before_4_0(fixture: Fixture) {
    a_dead_letter_arrives_at(&fixture).await;
}

#[scenario(since = V4_2)]
async fn dead_letter_may_be_a_reply_from_4_2_on(fixture: Fixture) {
    a_dead_letter_arrives_at(&fixture).await;
}

#[scenario(since = V4_0, before = V4_2)]
async fn dead_letter_is_no_reply_in_4_0_and_4_1(fixture: Fixture) {
    let (mut requester, address) = requester(&fixture).await;
    let (mut raw, dying) = reject_towards(&fixture, &address).await;
    // The dead letter has been rejected by then, and the queue goes on.
    assert_eq!(raw.drain(&dying).await, ["after it"]);
    raw.put("", &address, "reply").await;
    assert_eq!(requester.delivered(1).await, ["reply"]);
    requester.nothing_more().await;
}

/// Publishes a reply to `address` in another virtual host.
async fn reply_from_elsewhere(fixture: &Fixture, address: &str) -> Raw {
    let vhost = fixture.name("vhost");
    fixture.control().add_vhost(&vhost).await;
    let options = fixture.options().vhost(&*vhost);
    let raw = fixture.raw_with(&options).await;
    raw.confirm_select().await;
    raw.send(mandatory(message("", address, "from elsewhere")));
    raw
}

#[scenario]
async fn reply_address_is_reached_through_the_default_exchange_alone(fixture: Fixture) {
    let (mut requester, address) = requester(&fixture).await;
    let mut server = fixture.publisher().await;
    server.send(mandatory(message("amq.direct", &address, "reply")));
    server.returned().await;
    server.confirmed().await;
    requester.nothing_more().await;
}

#[scenario]
async fn the_pseudo_queue_is_no_queue_to_bind(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let outcome = raw
        .channel
        .bind(binding(REPLY_TO, "amq.direct", "key"))
        .await;
    let text = format!("NOT_FOUND - no queue '{REPLY_TO}' in vhost '/'");
    raw.refused(outcome, 404, method::QUEUE_BIND, &text).await;
    raw.remove(binding(REPLY_TO, "amq.direct", "key")).await;
    let outcome = raw
        .channel
        .bind(exchange_binding(REPLY_TO, "amq.direct", "key"))
        .await;
    let text = format!("NOT_FOUND - no exchange '{REPLY_TO}' in vhost '/'");
    raw.refused(outcome, 404, method::EXCHANGE_BIND, &text)
        .await;
}

#[scenario(before = V4_2)]
async fn an_address_is_no_queue_to_bind(fixture: Fixture) {
    let (_requester, address) = requester(&fixture).await;
    let mut other = fixture.raw().await;
    let outcome = other
        .channel
        .bind(binding(&address, "amq.direct", "key"))
        .await;
    let text = format!("NOT_FOUND - no queue '{address}' in vhost '/'");
    other.refused(outcome, 404, method::QUEUE_BIND, &text).await;
    other.remove(binding(&address, "amq.direct", "key")).await;
}

#[scenario(since = V4_2)]
async fn binding_an_address_is_refused_before_anything_else(fixture: Fixture) {
    let (_requester, address) = requester(&fixture).await;
    let mut other = fixture.raw().await;
    let text = "ACCESS_REFUSED - cannot bind or unbind to a volatile (direct reply-to) queue";
    let garbled = format!("{REPLY_TO}.no.body");
    for name in [&address, &garbled] {
        for exchange in ["amq.direct", "no-such-exchange"] {
            let outcome = other.channel.bind(binding(name, exchange, "key")).await;
            other.refused(outcome, 403, method::QUEUE_BIND, text).await;
            let outcome = other.channel.unbind(binding(name, exchange, "key")).await;
            other
                .refused(outcome, 403, method::QUEUE_UNBIND, text)
                .await;
        }
    }
}

#[scenario]
async fn the_pseudo_queue_is_no_queue_to_get_from_or_purge(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let text = format!("NOT_FOUND - no queue '{REPLY_TO}' in vhost '/'");
    let name: mooq_core::QueueName = REPLY_TO.try_into().unwrap();
    let outcome = raw.channel.get(name.clone(), true).await;
    raw.refused(outcome, 404, method::BASIC_GET, &text).await;
    let outcome = raw.channel.purge_queue(name).await;
    raw.refused(outcome, 404, method::QUEUE_PURGE, &text).await;
    assert_eq!(raw.delete(REPLY_TO).await, 0);
}

#[scenario(before = V4_2)]
async fn an_address_cannot_be_consumed(fixture: Fixture) {
    let (raw, address) = requester(&fixture).await;
    let mut other = raw.sibling().await;
    let outcome = other.channel.consume(consumer(&address)).await;
    let err = outcome.as_ref().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::QueueNotFound);
    let text = format!("NOT_FOUND - no queue '{address}' in vhost '/'");
    expect_reason(err, 404, method::BASIC_CONSUME, &text);
    other
        .refused(outcome, 404, method::BASIC_CONSUME, &text)
        .await;
}

#[scenario(since = V4_2)]
async fn reply_address_is_consumed_by_its_own_channel_alone_and_once(fixture: Fixture) {
    let (mut requester, live) = requester(&fixture).await;
    let mut other = requester.sibling().await;
    let mut addresses = dead_addresses(&fixture, &live).await;
    addresses.push(live.clone());
    for address in addresses {
        let outcome = other.channel.consume(consumer(&address)).await;
        let text = format!(
            "PRECONDITION_FAILED - only creator channel may consume from queue '{address}' in \
             vhost '/'"
        );
        other
            .refused(outcome, 406, method::BASIC_CONSUME, &text)
            .await;
    }
    let outcome = requester.channel.consume(consumer(&live)).await;
    let text = format!(
        "PRECONDITION_FAILED - multiple consumers are unsupported for queue '{live}' in vhost '/'"
    );
    requester
        .refused(outcome, 406, method::BASIC_CONSUME, &text)
        .await;
}

#[scenario(since = V4_2)]
async fn an_address_is_a_queue_that_is_purged_but_not_got_from(fixture: Fixture) {
    let (_requester, live) = requester(&fixture).await;
    let mut addresses = dead_addresses(&fixture, &live).await;
    addresses.push(live);
    for address in addresses {
        let mut raw = fixture.raw().await;
        let name: mooq_core::QueueName = address.as_str().try_into().unwrap();
        assert_eq!(raw.channel.purge_queue(name.clone()).await.unwrap(), 0);
        assert_eq!(raw.delete(&address).await, 0);
        let err = raw.channel.get(name, true).await.unwrap_err();
        let text = format!(
            "NOT_IMPLEMENTED - basic.get not supported by volatile queue '{address}' in vhost '/'"
        );
        expect_reason(&err, 540, method::BASIC_GET, &text);
        raw.closes_connection(540, method::BASIC_GET, &text).await;
    }
}

#[scenario(before = V4_2)]
async fn a_reply_reaches_another_virtual_host(fixture: Fixture) {
    let (mut requester, address) = requester(&fixture).await;
    let mut server = reply_from_elsewhere(&fixture, &address).await;
    server.returned().await;
    server.confirmed().await;
    assert_eq!(requester.delivered(1).await, ["from elsewhere"]);
}

#[scenario(since = V4_2)]
async fn a_reply_does_not_reach_another_virtual_host(fixture: Fixture) {
    let (mut requester, address) = requester(&fixture).await;
    let mut server = reply_from_elsewhere(&fixture, &address).await;
    server.confirmed().await;
    let mut here = fixture.publisher().await;
    here.put("", &address, "from here").await;
    assert_eq!(requester.delivered(1).await, ["from here"]);
}
