//! A transcript of a broker as seen by lapin, a Rust client: the same for every broker.
//!
//! Usage: lapin_smoke AMQP_URL
//!
//! The broker must be fresh: the names of queues are fixed. When the program is ready for a restart
//! of the broker, it waits for a line on standard input: an empty line means that the broker was
//! not restarted.

use std::fmt::Debug;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions,
    BasicRejectOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, DecimalValue, FieldTable};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, Consumer, Error, ErrorKind, Event,
};

type Result<T> = std::result::Result<T, Error>;

fn say(what: &str, value: impl Debug) {
    println!("{what}: {value:?}");
}

/// Prints the error that a call ended with.
fn refused<T>(what: &str, result: Result<T>) {
    match result.map_err(|error| error.kind().clone()) {
        Ok(_) => say(what, "not refused"),
        Err(ErrorKind::ProtocolError(error)) => {
            say(what, (error.get_id(), error.get_message().as_str()));
        }
        Err(other) => say(what, other),
    }
}

fn url() -> String {
    std::env::args()
        .nth(1)
        .expect("usage: lapin_smoke AMQP_URL")
}

async fn connect() -> Result<Connection> {
    Connection::connect(&url(), Default::default()).await
}

const DURABLE: QueueDeclareOptions = QueueDeclareOptions {
    passive: false,
    durable: true,
    exclusive: false,
    auto_delete: false,
    nowait: false,
};

async fn declare(channel: &Channel, queue: &str, arguments: FieldTable) -> Result<()> {
    channel
        .queue_declare(queue.into(), DURABLE, arguments)
        .await
        .map(drop)
}

async fn delete(channel: &Channel, queue: &str) -> Result<()> {
    let left = channel
        .queue_delete(queue.into(), Default::default())
        .await?;
    say("deleted", (queue, left));
    Ok(())
}

async fn publish(
    channel: &Channel,
    queue: &str,
    body: &[u8],
    properties: BasicProperties,
) -> Result<Confirmation> {
    let options = BasicPublishOptions {
        mandatory: true,
        immediate: false,
    };
    channel
        .basic_publish("".into(), queue.into(), options, body, properties)
        .await?
        .await
}

async fn get(channel: &Channel, queue: &str) -> Result<Delivery> {
    let message = channel.basic_get(queue.into(), Default::default()).await?;
    Ok(message.expect("a message is there").delivery)
}

async fn consume(channel: &Channel, queue: &str, no_ack: bool) -> Result<Consumer> {
    let options = BasicConsumeOptions {
        no_ack,
        ..Default::default()
    };
    channel
        .basic_consume(queue.into(), "tag".into(), options, FieldTable::default())
        .await
}

async fn delivered(consumer: &mut Consumer) -> Result<Delivery> {
    let delivery = consumer.next().await.expect("the consumer goes on")?;
    let body = String::from_utf8_lossy(&delivery.data);
    say(
        "delivered",
        (delivery.delivery_tag, delivery.redelivered, body),
    );
    Ok(delivery)
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert(key.into(), value);
    }
    table
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// Prints a value, and the values in it line by line. Without times of deaths, which differ between
/// runs.
fn say_value(what: &str, value: &AMQPValue) {
    match value {
        AMQPValue::LongString(text) => say(what, text.to_string()),
        AMQPValue::FieldArray(entries) => {
            entries
                .as_slice()
                .iter()
                .for_each(|entry| say_value(what, entry));
        }
        AMQPValue::FieldTable(table) => say_table(what, table),
        AMQPValue::Timestamp(_) if what.ends_with(", time") => say(what, "a time"),
        value => say(what, value),
    }
}

fn say_table(what: &str, table: &FieldTable) {
    for (key, value) in table.inner() {
        say_value(&format!("{what}, {}", key.as_str()), value);
    }
}

fn say_headers(what: &str, properties: &BasicProperties) {
    say_table(
        what,
        properties.headers().as_ref().expect("there are headers"),
    );
}

async fn logins() {
    let wrong = url().replace("guest:guest", "guest:wrong");
    refused(
        "wrong password",
        Connection::connect(&wrong, Default::default()).await,
    );
    let nowhere = url().replace("/%2f", "/nowhere");
    refused(
        "unknown virtual host",
        Connection::connect(&nowhere, Default::default()).await,
    );
}

async fn confirms_and_returns(channel: Channel) -> Result<()> {
    let limit = [
        ("x-max-length", 1.into()),
        ("x-overflow", text("reject-publish")),
    ];
    declare(&channel, "interop.lapin.full", table(limit)).await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let confirm = publish(&channel, "interop.lapin.full", b"1", Default::default()).await?;
    say("confirmed", confirm);
    let confirm = publish(&channel, "interop.lapin.full", b"2", Default::default()).await?;
    say("full", confirm);
    let confirm = publish(
        &channel,
        "interop.lapin.nowhere",
        b"lost",
        Default::default(),
    )
    .await?;
    say("returned, confirm", confirm.is_ack());
    let returned = confirm.take_message().expect("the message is returned");
    let message = returned.delivery;
    say(
        "returned",
        (returned.reply_code, returned.reply_text.as_str()),
    );
    say(
        "returned, content",
        (
            message.routing_key.as_str(),
            String::from_utf8_lossy(&message.data),
        ),
    );
    delete(&channel, "interop.lapin.full").await
}

async fn consuming(connection: &Connection) -> Result<()> {
    let queue = "interop.lapin.consumed";
    let channel = connection.create_channel().await?;
    channel.basic_qos(2, Default::default()).await?;
    declare(&channel, queue, Default::default()).await?;
    for body in [b"0", b"1", b"2"] {
        publish(&channel, queue, body, Default::default()).await?;
    }
    let mut consumer = consume(&channel, queue, false).await?;
    let (first, second) = (
        delivered(&mut consumer).await?,
        delivered(&mut consumer).await?,
    );
    first.reject(BasicRejectOptions { requeue: true }).await?;
    delivered(&mut consumer)
        .await?
        .ack(Default::default())
        .await?;
    delivered(&mut consumer)
        .await?
        .ack(Default::default())
        .await?;
    second
        .nack(BasicNackOptions {
            requeue: false,
            multiple: false,
        })
        .await?;
    channel
        .basic_cancel("tag".into(), BasicCancelOptions::default())
        .await?;
    say("cancelled", consumer.next().await.is_none());
    // A queue that is deleted ends its consumers, and their tag can be used again.
    let mut consumer = consume(&channel, queue, false).await?;
    let other = connection.create_channel().await?;
    delete(&other, queue).await?;
    say("cancelled by the broker", consumer.next().await.is_none());
    declare(&channel, queue, Default::default()).await?;
    let mut consumer = consume(&channel, queue, false).await?;
    publish(&channel, queue, b"again", Default::default()).await?;
    delivered(&mut consumer)
        .await?
        .ack(Default::default())
        .await?;
    delete(&channel, queue).await
}

async fn dead_letters(channel: Channel) -> Result<()> {
    let (source, dead) = ("interop.lapin.source", "interop.lapin.dead");
    let to_dead = [
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(dead)),
    ];
    declare(&channel, dead, Default::default()).await?;
    declare(&channel, source, table(to_dead)).await?;
    let mut letters = consume(&channel, dead, true).await?;
    let mine = BasicProperties::default().with_headers(table([("mine", 1.into())]));
    publish(&channel, source, b"rejected", mine).await?;
    get(&channel, source)
        .await?
        .reject(BasicRejectOptions { requeue: false })
        .await?;
    say_headers("rejected", &delivered(&mut letters).await?.properties);
    let expiring = BasicProperties::default().with_expiration("10".into());
    publish(&channel, source, b"expired", expiring).await?;
    let letter = delivered(&mut letters).await?;
    say("expired", letter.properties.expiration());
    say_headers("expired", &letter.properties);
    delete(&channel, source).await?;
    delete(&channel, dead).await
}

async fn requests(channel: Channel) -> Result<()> {
    let queue = "interop.lapin.requests";
    declare(&channel, queue, Default::default()).await?;
    let mut replies = consume(&channel, "amq.rabbitmq.reply-to", true).await?;
    let properties = BasicProperties::default().with_reply_to("amq.rabbitmq.reply-to".into());
    publish(&channel, queue, b"request", properties).await?;
    let request = get(&channel, queue).await?;
    let address = request
        .properties
        .reply_to()
        .clone()
        .expect("there is an address");
    say(
        "request",
        address.as_str().starts_with("amq.rabbitmq.reply-to."),
    );
    publish(&channel, address.as_str(), b"reply", Default::default()).await?;
    delivered(&mut replies).await?;
    delete(&channel, queue).await
}

async fn content(channel: Channel) -> Result<()> {
    let queue = "interop.lapin.content";
    declare(&channel, queue, Default::default()).await?;
    let inner = table([("innermost", AMQPValue::Boolean(true))]);
    let headers = table([
        ("boolean", AMQPValue::Boolean(true)),
        ("short short int", AMQPValue::ShortShortInt(-1)),
        ("short short uint", AMQPValue::ShortShortUInt(200)),
        ("short int", AMQPValue::ShortInt(-1000)),
        ("short uint", AMQPValue::ShortUInt(40000)),
        ("long int", AMQPValue::LongInt(i32::MIN)),
        ("long uint", AMQPValue::LongUInt(u32::MAX)),
        ("long long int", AMQPValue::LongLongInt(1 << 40)),
        ("float", AMQPValue::Float(0.5)),
        ("double", AMQPValue::Double(0.1)),
        (
            "decimal",
            AMQPValue::DecimalValue(DecimalValue {
                scale: 2,
                value: 123,
            }),
        ),
        ("text", text("gr\u{fc}n")),
        (
            "array",
            AMQPValue::FieldArray(vec![1.into(), text("two")].into()),
        ),
        ("timestamp", AMQPValue::Timestamp(1_767_323_045)),
        (
            "table",
            AMQPValue::FieldTable(table([("inner", AMQPValue::FieldTable(inner))])),
        ),
        ("bytes", AMQPValue::ByteArray(vec![0xff, 0xfe].into())),
        ("void", AMQPValue::Void),
    ]);
    let properties = BasicProperties::default()
        .with_content_type("text/plain".into())
        .with_content_encoding("utf-8".into())
        .with_delivery_mode(2)
        .with_priority(9)
        .with_correlation_id("c".into())
        .with_reply_to("r".into())
        .with_expiration("60000".into())
        .with_message_id("m".into())
        .with_timestamp(1)
        .with_type("t".into())
        .with_user_id("guest".into())
        .with_app_id("a".into())
        .with_cluster_id("k".into());
    publish(
        &channel,
        queue,
        b"",
        properties.clone().with_headers(headers),
    )
    .await?;
    let back = get(&channel, queue).await?.properties;
    say_headers("header", &back);
    say("properties", back.with_headers(Default::default()));
    let body: Vec<u8> = (0..10_000_000).map(|index| (index % 250) as u8).collect();
    publish(&channel, queue, &body, Default::default()).await?;
    let back = get(&channel, queue).await?.data;
    say("large body", (back.len(), back == body));
    delete(&channel, queue).await
}

async fn channel_errors(connection: &Connection) -> Result<()> {
    let owner = connect().await?;
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        ..Default::default()
    };
    let channel = owner.create_channel().await?;
    channel
        .queue_declare(
            "interop.lapin.exclusive".into(),
            exclusive,
            Default::default(),
        )
        .await?;
    let queue = "interop.lapin.queue";
    declare(&channel, queue, Default::default()).await?;

    let open = async || connection.create_channel().await;
    let passive = QueueDeclareOptions {
        passive: true,
        ..DURABLE
    };
    let missing = "interop.lapin.missing";
    let declared = open()
        .await?
        .queue_declare(missing.into(), passive, Default::default())
        .await;
    refused("unknown queue", declared);
    let other = QueueDeclareOptions {
        auto_delete: true,
        ..DURABLE
    };
    let declared = open()
        .await?
        .queue_declare(queue.into(), other, Default::default())
        .await;
    refused("other properties", declared);
    let bad = table([("x-message-ttl", text("soon"))]);
    refused(
        "bad argument",
        declare(&open().await?, "interop.lapin.bad", bad).await,
    );
    let consumed = consume(&open().await?, "interop.lapin.exclusive", false).await;
    refused("exclusive", consumed);
    refused(
        "reserved name",
        declare(&open().await?, "amq.mine", Default::default()).await,
    );
    let bound = open().await?;
    let bound = bound.queue_bind(
        queue.into(),
        "".into(),
        "key".into(),
        Default::default(),
        Default::default(),
    );
    refused("default exchange", bound.await);
    // Confirms end with the error of the channel.
    let channel = open().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let other_user = BasicProperties::default().with_user_id("nobody".into());
    refused(
        "another user",
        publish(&channel, queue, b"", other_user).await,
    );
    let channel = open().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let sent = channel.basic_publish(
        missing.into(),
        "".into(),
        Default::default(),
        b"",
        Default::default(),
    );
    refused("unknown exchange", sent.await?.await);
    // Consumers end with it too.
    let channel = open().await?;
    let mut consumer = consume(&channel, queue, false).await?;
    channel.basic_ack(7, Default::default()).await?;
    refused(
        "unknown tag",
        consumer
            .next()
            .await
            .expect("the consumer ends with an error"),
    );

    say("open", connection.status().connected());
    delete(&open().await?, queue).await?;
    owner.close(200, "".into()).await
}

/// Waits for the error that ends a connection.
async fn lost(events: impl futures_util::Stream<Item = Event>) -> Error {
    let mut events = std::pin::pin!(events);
    loop {
        if let Some(Event::Error(error)) = events.next().await {
            return error;
        }
    }
}

async fn connection_errors() -> Result<()> {
    let connection = connect().await?;
    let events = connection.events_listener();
    let channel = connection.create_channel().await?;
    let immediate = BasicPublishOptions {
        immediate: true,
        mandatory: false,
    };
    channel
        .basic_publish("".into(), "key".into(), immediate, b"", Default::default())
        .await?;
    refused::<()>("immediate", Err(lost(events).await));
    Ok(())
}

async fn restart(connection: Connection) -> Result<()> {
    let events = connection.events_listener();
    println!("ready for a restart");
    let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await;
    let Ok(Some(Ok(line))) = line else {
        return Ok(());
    };
    if line.is_empty() {
        return Ok(());
    }
    // The error comes from the broker or from the socket, whichever lapin handles first.
    lost(events).await;
    say("restarted", "connection lost");
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = "interop.lapin.restarted";
    declare(&channel, queue, Default::default()).await?;
    publish(&channel, queue, b"after", Default::default()).await?;
    say(
        "after the restart",
        String::from_utf8_lossy(&get(&channel, queue).await?.data),
    );
    delete(&channel, queue).await?;
    connection.close(200, "".into()).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let connection = connect().await?;
    let limits = connection.configuration();
    say(
        "limits",
        (limits.channel_max(), limits.frame_max(), limits.heartbeat()),
    );
    logins().await;
    confirms_and_returns(connection.create_channel().await?).await?;
    consuming(&connection).await?;
    dead_letters(connection.create_channel().await?).await?;
    requests(connection.create_channel().await?).await?;
    content(connection.create_channel().await?).await?;
    channel_errors(&connection).await?;
    connection_errors().await?;
    restart(connection).await
}
