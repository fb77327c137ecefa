//! Permissions: users may use the names that match their patterns, and no others.

use mooq::{ConnectOptions, ErrorKind};
use mooq_core::{ExchangeKind, Publish, QueueDeclare};

use crate::expect::{Method, method};
use crate::raw::{
    Raw, binding, consumer, exchange, exchange_binding, mandatory, message, message_with,
    passive_exchange, passive_queue, queue, table,
};
use crate::scenario;
use crate::steps::{put, ready_in, record};
use crate::{Fixture, Version, expect_reason};

pub(super) const EVERYTHING: [&str; 3] = [".*", ".*", ".*"];
pub(super) const NOTHING: [&str; 3] = ["", "", ""];

/// Options to log in as this scenario's own user.
fn login(fixture: &Fixture, password: &str) -> ConnectOptions {
    fixture
        .options()
        .credentials(fixture.name("user"), password)
}

/// A user with these permissions, and a channel of that user.
pub(super) async fn user(fixture: &Fixture, permissions: [&str; 3]) -> (String, Raw) {
    let name = fixture.name("user");
    let control = fixture.control();
    control.add_user(&name, "secret").await;
    control.set_permissions(&name, permissions).await;
    let raw = fixture.raw_with(&login(fixture, "secret")).await;
    (name, raw)
}

/// A user with every permission on names that begin with `mine`, and write on the default exchange.
async fn owner(fixture: &Fixture) -> (String, Raw) {
    user(fixture, ["/mine", "/mine|^amq\\.default$", "/mine"]).await
}

pub(super) fn refusal(
    fixture: &Fixture,
    access: &str,
    what: &str,
    name: &str,
    user: &str,
) -> String {
    let access = named(fixture, access);
    format!(
        "ACCESS_REFUSED - {access}access to {what} '{name}' in vhost '/' refused for user '{user}'"
    )
}

pub(super) fn topic_refusal(
    fixture: &Fixture,
    access: &str,
    key: &str,
    exchange: &str,
    user: &str,
) -> String {
    let access = named(fixture, access);
    format!(
        "ACCESS_REFUSED - {access}access to topic '{key}' in exchange '{exchange}' in vhost '/' \
         refused for user '{user}'"
    )
}

/// The refused access, in versions of RabbitMQ that name it.
fn named(fixture: &Fixture, access: &str) -> String {
    if fixture.version() < Version::V4_0 {
        String::new()
    } else {
        format!("{access} ")
    }
}

/// Asserts that a call is refused to the user for lack of this access.
pub(super) async fn refused<T: std::fmt::Debug>(
    raw: &mut Raw,
    outcome: mooq_core::Result<T>,
    method: Method,
    text: String,
) {
    let err = outcome.as_ref().expect_err(&text);
    assert_eq!(err.kind(), ErrorKind::AccessRefused);
    raw.refused(outcome, 403, method, &text).await;
}

#[scenario]
async fn a_callback_on_a_queue_that_is_there_takes_read_and_no_more(fixture: Fixture) {
    let queue = fixture.name("queue");
    let (_conn, operator) = fixture.channel().await;
    // An argument that only the declaring user knows.
    let declare = operator.declare_queue(&queue).argument("x-max-length", 7);
    declare.await.unwrap();
    put(&operator, &queue, "body").await;
    let name = fixture.name("user");
    fixture.control().add_user(&name, "secret").await;
    let read_only = ["", "", ".*"];
    fixture.control().set_permissions(&name, read_only).await;
    let conn = fixture.open(login(&fixture, "secret")).await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    let (recorder, mut calls) = record::<String>();
    let callback = chan.register_callback(&queue).concurrency(1);
    let consumer = callback.callback(recorder.callback()).await.unwrap();
    assert_eq!(consumer.queue(), queue.as_str());
    assert_eq!(calls.next(&conn).await.msg, "body");
    consumer.cancel().await.unwrap();
    assert_eq!(ready_in(&operator, &queue).await, 0);

    let missing = fixture.name("missing");
    let missing = chan.register_callback(&missing);
    let missing = missing.callback(|_: mooq::Delivery<String>| async {});
    let err = missing.await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::QueueNotFound);
}

#[scenario]
async fn a_user_without_permissions_cannot_log_in(fixture: Fixture) {
    let name = fixture.name("user");
    fixture.control().add_user(&name, "secret").await;
    let err = fixture.open(login(&fixture, "secret")).await.unwrap_err();
    let text = format!("NOT_ALLOWED - access to vhost '/' refused for user '{name}'");
    expect_reason(&err, 530, method::CONNECTION_OPEN, &text);
    assert_eq!(err.kind(), ErrorKind::NotAllowed);
}

#[scenario]
async fn a_user_logs_in_once_it_may_do_something(fixture: Fixture) {
    let (name, raw) = user(&fixture, ["", "", ""]).await;
    drop(raw);
    fixture.control().clear_permissions(&name).await;
    let err = fixture.open(login(&fixture, "secret")).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotAllowed);
}

#[scenario]
async fn a_new_password_replaces_the_old_one(fixture: Fixture) {
    let (name, raw) = user(&fixture, EVERYTHING).await;
    fixture.control().add_user(&name, "other").await;
    fixture.control().set_permissions(&name, EVERYTHING).await;
    let err = fixture.open(login(&fixture, "secret")).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AuthenticationFailed);
    fixture.open(login(&fixture, "other")).await.unwrap();
    raw.settled().await; // A logged-in user stays logged in.
}

#[scenario]
async fn a_virtual_host_that_is_not_there_is_told_from_one_that_is_closed(fixture: Fixture) {
    let (_name, _raw) = user(&fixture, EVERYTHING).await;
    let options = login(&fixture, "secret").vhost("no-such-vhost");
    let err = fixture.open(options).await.unwrap_err();
    let text = "NOT_ALLOWED - vhost no-such-vhost not found";
    expect_reason(&err, 530, method::CONNECTION_OPEN, text);
}

#[scenario]
async fn declaring_a_queue_takes_configure(fixture: Fixture) {
    let (user, mut raw) = owner(&fixture).await;
    raw.declare(&fixture.name("mine")).await;
    let other = fixture.name("other");
    fixture.raw().await.declare(&other).await;
    // For existing and missing queues, with equal and different properties.
    let missing = fixture.name("missing");
    let text = |name: &str| refusal(&fixture, "configure", "queue", name, &user);
    for (name, declare) in [
        (&other, queue(&other)),
        (&missing, queue(&missing)),
        (
            &other,
            QueueDeclare {
                durable: false,
                ..queue(&other)
            },
        ),
    ] {
        let outcome = raw.channel.declare_queue(declare).await;
        refused(&mut raw, outcome, method::QUEUE_DECLARE, text(name)).await;
    }
}

#[scenario(before = V4_2)]
async fn passive_declare_takes_no_permission(fixture: Fixture) {
    let (_user, raw) = user(&fixture, ["", "", "none"]).await;
    let queue = fixture.name("queue");
    fixture.raw().await.declare(&queue).await;
    let asked = raw.channel.declare_queue(passive_queue(&queue)).await;
    asked.expect("the queue exists");
    let asked = raw.channel.declare_exchange(passive_exchange("amq.direct"));
    asked.await.expect("the exchange exists");
}

#[scenario(since = V4_2)]
async fn passive_declare_takes_any_permission(fixture: Fixture) {
    let (user, mut raw) = user(&fixture, ["/mine", "/theirs|direct", "/read"]).await;
    for permitted in ["mine", "theirs", "read"].map(|what| fixture.name(what)) {
        fixture.raw().await.declare(&permitted).await;
        let asked = raw.channel.declare_queue(passive_queue(&permitted)).await;
        asked.expect("the user has a permission on the queue");
    }
    let asked = raw.channel.declare_exchange(passive_exchange("amq.direct"));
    asked
        .await
        .expect("the user has a permission on the exchange");

    // The refusal is the same for existing and missing names.
    let (other, missing) = (fixture.name("other"), fixture.name("missing"));
    fixture.raw().await.declare(&other).await;
    for name in [&other, &missing, ""] {
        let outcome = raw.channel.declare_queue(passive_queue(name)).await;
        let text = refusal(&fixture, "configure", "queue", name, &user);
        refused(&mut raw, outcome, method::QUEUE_DECLARE, text).await;
    }
    for name in ["amq.fanout", &missing] {
        let outcome = raw.channel.declare_exchange(passive_exchange(name)).await;
        let text = refusal(&fixture, "configure", "exchange", name, &user);
        refused(&mut raw, outcome, method::EXCHANGE_DECLARE, text).await;
    }
    let outcome = raw.channel.declare_exchange(passive_exchange("")).await;
    let text = "ACCESS_REFUSED - operation not permitted on the default exchange";
    refused(&mut raw, outcome, method::EXCHANGE_DECLARE, text.into()).await;
}

#[scenario]
async fn queue_name_of_the_brokers_choice_takes_configure_too(fixture: Fixture) {
    let (user, raw) = owner(&fixture).await;
    let outcome = raw
        .channel
        .declare_queue(QueueDeclare::server_named())
        .await;
    let err = outcome.unwrap_err();
    let reason = err.reason().unwrap();
    assert_eq!(reason.code, 403);
    let (start, end) = (
        format!(
            "ACCESS_REFUSED - {}access to queue 'amq.gen-",
            named(&fixture, "configure")
        ),
        refusal(&fixture, "", "", "", &user),
    );
    let end = end.split_once("''").unwrap().1;
    assert!(
        reason.text.starts_with(&start) && reason.text.ends_with(end),
        "{reason}"
    );
}

#[scenario]
async fn reserved_names_are_refused_before_permissions_are_looked_at(fixture: Fixture) {
    let (user, mut raw) = owner(&fixture).await;
    let outcome = raw.channel.declare_queue(queue("amq.new")).await;
    let text = "ACCESS_REFUSED - queue name 'amq.new' contains reserved prefix 'amq.*'";
    refused(&mut raw, outcome, method::QUEUE_DECLARE, text.into()).await;
    // For exchanges the permission is checked first.
    let declare = exchange("amq.new", ExchangeKind::Direct);
    let outcome = raw.channel.declare_exchange(declare).await;
    let text = refusal(&fixture, "configure", "exchange", "amq.new", &user);
    refused(&mut raw, outcome, method::EXCHANGE_DECLARE, text).await;
}

#[scenario]
async fn a_dead_letter_exchange_takes_write_and_its_queue_read(fixture: Fixture) {
    let (user, mut raw) = owner(&fixture).await;
    let with = |exchange: &str| QueueDeclare {
        arguments: table([("x-dead-letter-exchange", exchange.into())]),
        ..queue(&fixture.name("mine"))
    };
    let other = fixture.name("other");
    let outcome = raw.channel.declare_queue(with(&other)).await;
    let text = refusal(&fixture, "write", "exchange", &other, &user);
    refused(&mut raw, outcome, method::QUEUE_DECLARE, text).await;

    let mine = fixture.name("mine");
    fixture
        .control()
        .set_permissions(&user, [".*", ".*", "^$"])
        .await;
    let outcome = raw.channel.declare_queue(with(&mine)).await;
    let text = refusal(&fixture, "read", "queue", &mine, &user);
    refused(&mut raw, outcome, method::QUEUE_DECLARE, text).await;

    fixture.control().set_permissions(&user, EVERYTHING).await;
    raw.declare_with(with(&mine)).await;
}

#[scenario]
async fn deleting_takes_configure_even_for_missing_names(fixture: Fixture) {
    let (user, mut raw) = owner(&fixture).await;
    let other = fixture.name("other");
    let name: mooq_core::QueueName = other.as_str().try_into().unwrap();
    let outcome = raw.channel.delete_queue(name, false, false).await;
    let text = refusal(&fixture, "configure", "queue", &other, &user);
    refused(&mut raw, outcome, method::QUEUE_DELETE, text).await;

    let name: mooq_core::ExchangeName = other.as_str().try_into().unwrap();
    let outcome = raw.channel.delete_exchange(name, false).await;
    let text = refusal(&fixture, "configure", "exchange", &other, &user);
    refused(&mut raw, outcome, method::EXCHANGE_DELETE, text).await;

    let system = "amq.direct".try_into().unwrap();
    let outcome = raw.channel.delete_exchange(system, false).await;
    let text = "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed";
    refused(&mut raw, outcome, method::EXCHANGE_DELETE, text.into()).await;
}

#[scenario]
async fn getting_consuming_and_purging_take_read(fixture: Fixture) {
    let (user, mut raw) = owner(&fixture).await;
    let other = fixture.name("other"); // Missing, but a user without read access cannot tell.
    let text = refusal(&fixture, "read", "queue", &other, &user);
    let name: mooq_core::QueueName = other.as_str().try_into().unwrap();
    let outcome = raw.channel.get(name.clone(), true).await;
    refused(&mut raw, outcome, method::BASIC_GET, text.clone()).await;
    let outcome = raw.channel.purge_queue(name).await;
    refused(&mut raw, outcome, method::QUEUE_PURGE, text.clone()).await;
    let outcome = raw.channel.consume(consumer(&other)).await;
    refused(&mut raw, outcome, method::BASIC_CONSUME, text).await;
}

#[scenario]
async fn publishing_takes_write_before_anything_else_is_looked_at(fixture: Fixture) {
    let (user, mut raw) = owner(&fixture).await;
    let other = fixture.name("other");
    raw.publish(&other, "key", "body");
    let text = refusal(&fixture, "write", "exchange", &other, &user);
    raw.closes(403, method::BASIC_PUBLISH, &text).await;

    let internal = fixture.name("mine");
    let declare = mooq_core::ExchangeDeclare {
        internal: true,
        ..exchange(&internal, ExchangeKind::Direct)
    };
    raw.channel.declare_exchange(declare).await.unwrap();
    raw.publish(&internal, "key", "body");
    let text =
        format!("ACCESS_REFUSED - cannot publish to internal exchange '{internal}' in vhost '/'");
    raw.closes(403, method::BASIC_PUBLISH, &text).await;
}

#[scenario]
async fn the_default_exchange_is_amq_default_to_permissions(fixture: Fixture) {
    let (user, mut raw) = owner(&fixture).await;
    let other = fixture.name("other");
    let admin = fixture.raw().await;
    admin.declare(&other).await;
    raw.confirm_select().await;
    raw.put("", &other, "body").await; // The default exchange takes no permission on the queue.
    assert_eq!(admin.drain(&other).await, ["body"]);

    fixture
        .control()
        .set_permissions(&user, ["/mine", "/mine", "/mine"])
        .await;
    raw.reopen().await;
    raw.publish("", &other, "body");
    let text = refusal(&fixture, "write", "exchange", "amq.default", &user);
    raw.closes(403, method::BASIC_PUBLISH, &text).await;
}

#[scenario]
async fn binding_takes_write_at_the_queue_and_read_at_the_exchange(fixture: Fixture) {
    let (user, mut raw) = owner(&fixture).await;
    let (mine, other) = (fixture.name("mine"), fixture.name("other"));
    raw.declare(&mine).await;
    raw.declare_exchange(&mine, ExchangeKind::Direct).await;
    raw.bind(&mine, &mine, "key").await;
    let write = refusal(&fixture, "write", "queue", &other, &user);
    let read = refusal(&fixture, "read", "exchange", &other, &user);
    for (binding, text) in [
        (binding(&other, &mine, "key"), &write),
        (binding(&other, &other, "key"), &write),
        (binding(&other, "", "key"), &write),
        (binding(&mine, &other, "key"), &read),
    ] {
        let outcome = raw.channel.bind(binding.clone()).await;
        refused(&mut raw, outcome, method::QUEUE_BIND, text.clone()).await;
        let outcome = raw.channel.unbind(binding).await;
        refused(&mut raw, outcome, method::QUEUE_UNBIND, text.clone()).await;
    }
}

#[scenario]
async fn binding_exchanges_takes_write_at_the_one_and_read_at_the_other(fixture: Fixture) {
    let (user, mut raw) = owner(&fixture).await;
    let (mine, other) = (fixture.name("mine"), fixture.name("other"));
    for (binding, access) in [
        (exchange_binding(&other, &mine, "key"), "write"),
        (exchange_binding(&mine, &other, "key"), "read"),
    ] {
        let text = refusal(&fixture, access, "exchange", &other, &user);
        let outcome = raw.channel.bind(binding.clone()).await;
        refused(&mut raw, outcome, method::EXCHANGE_BIND, text.clone()).await;
        let outcome = raw.channel.unbind(binding).await;
        refused(&mut raw, outcome, method::EXCHANGE_UNBIND, text).await;
    }
}

#[scenario]
async fn declaring_an_exchange_takes_configure(fixture: Fixture) {
    let (user, mut raw) = owner(&fixture).await;
    let other = fixture.name("other");
    let outcome = raw
        .channel
        .declare_exchange(exchange(&other, ExchangeKind::Direct))
        .await;
    let text = refusal(&fixture, "configure", "exchange", &other, &user);
    refused(&mut raw, outcome, method::EXCHANGE_DECLARE, text).await;
}

#[scenario]
async fn an_alternate_exchange_takes_write_and_the_other_read(fixture: Fixture) {
    let (user, mut raw) = owner(&fixture).await;
    let (mine, other) = (fixture.name("mine"), fixture.name("other"));
    let with = |alternate: &str| mooq_core::ExchangeDeclare {
        arguments: table([("alternate-exchange", alternate.into())]),
        ..exchange(&mine, ExchangeKind::Direct)
    };
    let outcome = raw.channel.declare_exchange(with(&other)).await;
    let text = refusal(&fixture, "write", "exchange", &other, &user);
    refused(&mut raw, outcome, method::EXCHANGE_DECLARE, text).await;

    fixture
        .control()
        .set_permissions(&user, [".*", ".*", "^$"])
        .await;
    let outcome = raw.channel.declare_exchange(with(&other)).await;
    let text = refusal(&fixture, "read", "exchange", &mine, &user);
    refused(&mut raw, outcome, method::EXCHANGE_DECLARE, text).await;
}

#[scenario]
async fn permissions_that_are_taken_away_are_gone_for_open_connections(fixture: Fixture) {
    let (user, raw) = user(&fixture, EVERYTHING).await;
    let queue = fixture.name("queue");
    raw.declare(&queue).await;
    fixture.control().clear_permissions(&user).await;
    let outcome = raw
        .sibling()
        .await
        .channel
        .get(queue.as_str().try_into().unwrap(), true)
        .await;
    let text = refusal(&fixture, "read", "queue", &queue, &user);
    expect_reason(&outcome.unwrap_err(), 403, method::BASIC_GET, &text);
    raw.prefetch(1).await; // The other channel stays open.
}

#[scenario]
async fn a_topic_permission_limits_routing_keys(fixture: Fixture) {
    let (user, mut raw) = user(&fixture, EVERYTHING).await;
    let (topic, queue) = (fixture.name("topic"), fixture.name("queue"));
    raw.declare(&queue).await;
    raw.declare_exchange(&topic, ExchangeKind::Topic).await;
    let control = fixture.control();
    control
        .set_topic_permissions(&user, &topic, "^a\\.", "^b\\.")
        .await;
    let refusal = |access: &str, key: &str| topic_refusal(&fixture, access, key, &topic, &user);
    raw.bind(&queue, &topic, "b.1").await;
    let outcome = raw.channel.bind(binding(&queue, &topic, "a.1")).await;
    refused(
        &mut raw,
        outcome,
        method::QUEUE_BIND,
        refusal("read", "a.1"),
    )
    .await;

    raw.confirm_select().await;
    raw.put(&topic, "a.1", "body").await;
    raw.publish(&topic, "b.1", "body");
    raw.closes(403, method::BASIC_PUBLISH, &refusal("write", "b.1"))
        .await;
    // Every key counts, from 4.0 on those in CC too.
    let headers = table([("CC", vec!["c.1".into()].into())]);
    let publish = Publish::new(message_with(&topic, "a.1", "body", headers));
    if fixture.version() < Version::V4_0 {
        raw.confirm_select().await;
        raw.put_message(publish).await;
    } else {
        raw.send(publish);
        raw.closes(403, method::BASIC_PUBLISH, &refusal("write", "c.1"))
            .await;
    }
}

#[scenario]
async fn a_topic_permission_means_nothing_to_other_exchanges(fixture: Fixture) {
    let (user, mut raw) = user(&fixture, EVERYTHING).await;
    let direct = fixture.name("direct");
    raw.declare_exchange(&direct, ExchangeKind::Direct).await;
    fixture
        .control()
        .set_topic_permissions(&user, &direct, "^$", "^$")
        .await;
    raw.confirm_select().await;
    raw.send(mandatory(message(&direct, "key", "body")));
    raw.returned().await;
    raw.confirmed().await;
}

#[scenario]
async fn deleting_a_user_closes_its_connections(fixture: Fixture) {
    let (user, mut raw) = user(&fixture, EVERYTHING).await;
    fixture.control().delete_user(&user).await;
    let text = format!("CONNECTION_FORCED - user '{user}' is deleted");
    raw.closes_connection(320, (0, 0), &text).await;
    let err = fixture.open(login(&fixture, "secret")).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AuthenticationFailed);
}

#[scenario]
async fn a_new_virtual_host_is_a_world_of_its_own(fixture: Fixture) {
    let vhost = fixture.name("vhost");
    fixture.control().add_vhost(&vhost).await;
    let queue = fixture.name("queue");
    fixture.raw().await.declare(&queue).await;
    let mut inside = fixture.raw_with(&fixture.options().vhost(&vhost)).await;
    let outcome = inside.channel.declare_queue(passive_queue(&queue)).await;
    let text = format!("NOT_FOUND - no queue '{queue}' in vhost '{vhost}'");
    inside
        .refused(outcome, 404, method::QUEUE_DECLARE, &text)
        .await;
    assert!(inside.has_exchange("amq.topic").await);
}

#[scenario]
async fn deleting_a_virtual_host_closes_its_connections(fixture: Fixture) {
    let vhost = fixture.name("vhost");
    let control = fixture.control();
    control.add_vhost(&vhost).await;
    let mut inside = fixture.raw_with(&fixture.options().vhost(&vhost)).await;
    inside.declare(&fixture.name("queue")).await;
    control.delete_vhost(&vhost).await;
    let mut text = format!("CONNECTION_FORCED - vhost '{vhost}' is deleted");
    let err = inside.closed().await;
    let down = format!("CONNECTION_FORCED - vhost '{vhost}' is down");
    if err.reason().is_some_and(|why| why.text == down) {
        // RabbitMQ stops the virtual host's processes meanwhile, and may answer with that.
        text = down;
    }
    expect_reason(&err, 320, (0, 0), &text);

    control.add_vhost(&vhost).await;
    let inside = fixture.raw_with(&fixture.options().vhost(&vhost)).await;
    assert!(!inside.has_queue(&fixture.name("queue")).await);
}
