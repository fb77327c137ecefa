//! A transcript of a broker as seen by amqprs, a Rust client: the same for every broker.
//!
//! Usage: amqprs_smoke AMQP_URL
//!
//! The broker must be fresh: the names of queues are fixed. When the program is ready for a restart
//! of the broker, it waits for a line on standard input: an empty line means that the broker was
//! not restarted.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

use amqprs::callbacks::{ChannelCallback, ConnectionCallback};
use amqprs::channel::{
    BasicAckArguments, BasicCancelArguments, BasicConsumeArguments, BasicGetArguments,
    BasicNackArguments, BasicPublishArguments, BasicQosArguments, BasicRejectArguments, Channel,
    ConfirmSelectArguments, ConsumerMessage, QueueBindArguments, QueueDeclareArguments,
    QueueDeleteArguments, QueuePurgeArguments,
};
use amqprs::connection::{Connection, OpenConnectionArguments};
use amqprs::error::Error;
use amqprs::{
    Ack, BasicProperties, Cancel, Close, CloseChannel, DecimalValue, FieldTable, FieldValue, GetOk,
    Nack, Return,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

type Result<T> = std::result::Result<T, Error>;

fn say(what: &str, value: impl Debug) {
    println!("{what}: {value:?}");
}

fn url() -> String {
    std::env::args()
        .nth(1)
        .expect("usage: amqprs_smoke AMQP_URL")
}

async fn open(password: &str, vhost: &str) -> Result<Connection> {
    let address = url();
    let address = address
        .rsplit('@')
        .next()
        .unwrap_or_default()
        .split('/')
        .next();
    let (host, port) = address
        .and_then(|address| address.split_once(':'))
        .expect("a port");
    let port = port.parse().expect("a number");
    let mut arguments = OpenConnectionArguments::new(host, port, "guest", password);
    Connection::open(arguments.virtual_host(vhost)).await
}

async fn connect() -> Result<Connection> {
    open("guest", "/").await
}

/// Forwards events that the broker sends on its own.
struct Events(UnboundedSender<String>);

impl Events {
    fn send(&self, event: impl Display) {
        // The receiver may be gone by the end of the program.
        let _ = self.0.send(event.to_string());
    }
}

#[async_trait::async_trait]
impl ConnectionCallback for Events {
    async fn close(&mut self, _: &Connection, close: Close) -> Result<()> {
        self.send(close);
        Ok(())
    }

    async fn blocked(&mut self, _: &Connection, _: String) {}

    async fn unblocked(&mut self, _: &Connection) {}

    async fn secret_updated(&mut self, _: &Connection) {}
}

#[async_trait::async_trait]
impl ChannelCallback for Events {
    async fn close(&mut self, _: &Channel, close: CloseChannel) -> Result<()> {
        self.send(close);
        Ok(())
    }

    async fn cancel(&mut self, _: &Channel, cancel: Cancel) -> Result<()> {
        self.send(format!("cancel {}", cancel.consumer_tag()));
        Ok(())
    }

    async fn flow(&mut self, _: &Channel, active: bool) -> Result<bool> {
        Ok(active)
    }

    async fn publish_ack(&mut self, _: &Channel, ack: Ack) {
        self.send(format!("ack {}", ack.delivery_tag()));
    }

    async fn publish_nack(&mut self, _: &Channel, nack: Nack) {
        self.send(format!("nack {}", nack.delivery_tag()));
    }

    async fn publish_return(
        &mut self,
        _: &Channel,
        returned: Return,
        _: BasicProperties,
        content: Vec<u8>,
    ) {
        self.send(format!("{returned} {}", String::from_utf8_lossy(&content)));
    }
}

/// Opens a channel, with the events on it.
async fn channel(connection: &Connection) -> Result<(Channel, UnboundedReceiver<String>)> {
    let (sender, events) = unbounded_channel();
    let channel = connection.open_channel(None).await?;
    channel.register_callback(Events(sender)).await?;
    Ok((channel, events))
}

async fn declare(channel: &Channel, queue: &str, arguments: FieldTable) -> Result<()> {
    let mut declaration = QueueDeclareArguments::durable_client_named(queue);
    channel
        .queue_declare(declaration.arguments(arguments).finish())
        .await
        .map(drop)
}

async fn delete(channel: &Channel, queue: &str) -> Result<()> {
    let left = channel
        .queue_delete(QueueDeleteArguments::new(queue))
        .await?;
    say("deleted", (queue, left));
    Ok(())
}

async fn publish(
    channel: &Channel,
    exchange: &str,
    key: &str,
    body: &[u8],
    properties: BasicProperties,
) -> Result<()> {
    let mut arguments = BasicPublishArguments::new(exchange, key);
    channel
        .basic_publish(
            properties,
            body.to_vec(),
            arguments.mandatory(true).finish(),
        )
        .await
}

/// Gets a message, which must be ready.
async fn get(
    channel: &Channel,
    queue: &str,
    no_ack: bool,
) -> Result<(GetOk, BasicProperties, Vec<u8>)> {
    let message = channel
        .basic_get(BasicGetArguments::new(queue).no_ack(no_ack).finish())
        .await?;
    Ok(message.expect("a message is there"))
}

async fn consume(
    channel: &Channel,
    queue: &str,
    manual_ack: bool,
) -> Result<UnboundedReceiver<ConsumerMessage>> {
    let arguments = BasicConsumeArguments::new(queue, "tag")
        .manual_ack(manual_ack)
        .finish();
    Ok(channel.basic_consume_rx(arguments).await?.1)
}

/// Waits for a delivery, and prints it.
async fn delivered(messages: &mut UnboundedReceiver<ConsumerMessage>) -> (u64, BasicProperties) {
    let message = messages.recv().await.expect("the consumer goes on");
    let deliver = message.deliver.expect("a delivery");
    let body = message.content.unwrap_or_default();
    say(
        "delivered",
        (
            deliver.delivery_tag(),
            deliver.redelivered(),
            String::from_utf8_lossy(&body),
        ),
    );
    (
        deliver.delivery_tag(),
        message.basic_properties.expect("properties"),
    )
}

fn table<const N: usize>(entries: [(&str, FieldValue); N]) -> FieldTable {
    let mut table = FieldTable::new();
    for (key, value) in entries {
        table.insert(key.try_into().expect("a short key"), value);
    }
    table
}

fn text(text: &str) -> FieldValue {
    FieldValue::S(text.try_into().expect("not too long"))
}

/// Prints a table in the order of its keys, without times, which differ between runs.
fn say_table(what: &str, table: &FieldTable) {
    let sorted: BTreeMap<_, _> = table
        .as_ref()
        .iter()
        .map(|(key, value)| (key.to_string(), value))
        .collect();
    for (key, value) in sorted {
        match value {
            FieldValue::F(inner) => say_table(&format!("{what}, {key}"), inner),
            FieldValue::A(entries) => {
                for entry in Vec::from(entries.clone()) {
                    match entry {
                        FieldValue::F(inner) => say_table(&format!("{what}, {key}"), &inner),
                        entry => say(&format!("{what}, {key}"), entry),
                    }
                }
            }
            FieldValue::T(_) if key == "time" => say(&format!("{what}, {key}"), "a time"),
            value => say(&format!("{what}, {key}"), value),
        }
    }
}

fn say_headers(what: &str, properties: &BasicProperties) {
    say_table(what, properties.headers().expect("there are headers"));
}

async fn next(what: &str, events: &mut UnboundedReceiver<String>) {
    println!("{what}: {}", events.recv().await.expect("events go on"));
}

async fn logins() {
    // The client does not pass on the broker's reply text.
    say("wrong password", open("wrong", "/").await.err());
    say("unknown virtual host", open("guest", "nowhere").await.err());
}

async fn confirms_and_returns(connection: &Connection) -> Result<()> {
    let (channel, mut events) = channel(connection).await?;
    let limit = [
        ("x-max-length", FieldValue::I(1)),
        ("x-overflow", text("reject-publish")),
    ];
    declare(&channel, "interop.amqprs.full", table(limit)).await?;
    channel
        .confirm_select(ConfirmSelectArguments::new(false))
        .await?;
    publish(
        &channel,
        "",
        "interop.amqprs.full",
        b"1",
        BasicProperties::default(),
    )
    .await?;
    next("confirmed", &mut events).await;
    publish(
        &channel,
        "",
        "interop.amqprs.full",
        b"2",
        BasicProperties::default(),
    )
    .await?;
    next("full", &mut events).await;
    publish(
        &channel,
        "",
        "interop.amqprs.nowhere",
        b"lost",
        BasicProperties::default(),
    )
    .await?;
    next("returned", &mut events).await;
    next("returned, confirm", &mut events).await;
    delete(&channel, "interop.amqprs.full").await?;
    channel.close().await
}

async fn consuming(connection: &Connection) -> Result<()> {
    let queue = "interop.amqprs.consumed";
    let (first, mut events) = channel(connection).await?;
    first.basic_qos(BasicQosArguments::new(0, 2, false)).await?;
    declare(&first, queue, FieldTable::new()).await?;
    for body in [b"0", b"1", b"2"] {
        publish(&first, "", queue, body, BasicProperties::default()).await?;
    }
    let mut messages = consume(&first, queue, true).await?;
    let (tag, _) = delivered(&mut messages).await;
    let (second, _) = delivered(&mut messages).await;
    first
        .basic_reject(BasicRejectArguments::new(tag, true))
        .await?;
    for _ in 0..2 {
        let (tag, _) = delivered(&mut messages).await;
        first.basic_ack(BasicAckArguments::new(tag, false)).await?;
    }
    first
        .basic_nack(BasicNackArguments::new(second, false, false))
        .await?;
    say(
        "cancelled",
        first.basic_cancel(BasicCancelArguments::new("tag")).await,
    );
    // A queue that is deleted ends its consumers.
    consume(&first, queue, true).await?;
    let (other, _) = channel(connection).await?;
    delete(&other, queue).await?;
    next("cancelled by the broker", &mut events).await;
    first.close().await?;
    other.close().await
}

async fn dead_letters(channel: &Channel) -> Result<()> {
    let (source, dead) = ("interop.amqprs.source", "interop.amqprs.dead");
    declare(channel, dead, FieldTable::new()).await?;
    let to_dead = [
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(dead)),
    ];
    declare(channel, source, table(to_dead)).await?;
    let mut letters = consume(channel, dead, false).await?;
    let mine = BasicProperties::default()
        .with_headers(table([("mine", FieldValue::I(1))]))
        .finish();
    publish(channel, "", source, b"rejected", mine).await?;
    let (got, _, _) = get(channel, source, false).await?;
    channel
        .basic_reject(BasicRejectArguments::new(got.delivery_tag(), false))
        .await?;
    let (_, properties) = delivered(&mut letters).await;
    say_headers("rejected", &properties);
    let expiring = BasicProperties::default().with_expiration("10").finish();
    publish(channel, "", source, b"expired", expiring).await?;
    let (_, properties) = delivered(&mut letters).await;
    say("expired", properties.expiration());
    say_headers("expired", &properties);
    channel
        .basic_cancel(BasicCancelArguments::new("tag"))
        .await?;
    delete(channel, source).await?;
    delete(channel, dead).await
}

async fn requests(channel: &Channel) -> Result<()> {
    let queue = "interop.amqprs.requests";
    declare(channel, queue, FieldTable::new()).await?;
    let mut replies = consume(channel, "amq.rabbitmq.reply-to", false).await?;
    let properties = BasicProperties::default()
        .with_reply_to("amq.rabbitmq.reply-to")
        .finish();
    publish(channel, "", queue, b"request", properties).await?;
    let (_, request, _) = get(channel, queue, true).await?;
    let address = request.reply_to().expect("there is an address");
    say("request", address.starts_with("amq.rabbitmq.reply-to."));
    publish(channel, "", address, b"reply", BasicProperties::default()).await?;
    delivered(&mut replies).await;
    channel
        .basic_cancel(BasicCancelArguments::new("tag"))
        .await?;
    delete(channel, queue).await
}

async fn content(channel: &Channel) -> Result<()> {
    let queue = "interop.amqprs.content";
    declare(channel, queue, FieldTable::new()).await?;
    let inner = FieldValue::F(table([("innermost", FieldValue::t(true))]));
    let list = vec![FieldValue::I(1), text("two")];
    let headers = table([
        ("t", FieldValue::t(true)),
        ("b", FieldValue::b(-1)),
        ("B", FieldValue::B(200)),
        ("s", FieldValue::s(-1000)),
        ("u", FieldValue::u(40000)),
        ("I", FieldValue::I(i32::MIN)),
        ("i", FieldValue::i(u32::MAX)),
        ("l", FieldValue::l(1 << 40)),
        ("f", FieldValue::f(0.5)),
        ("d", FieldValue::d(0.1)),
        ("D", FieldValue::D(DecimalValue::new(2, 123))),
        ("S", text("gr\u{fc}n")),
        ("A", FieldValue::A(list.try_into().expect("a short list"))),
        ("T", FieldValue::T(1_767_323_045)),
        ("F", FieldValue::F(table([("inner", inner)]))),
        ("V", FieldValue::V),
        (
            "x",
            FieldValue::x(vec![0xff, 0xfe].try_into().expect("a few octets")),
        ),
    ]);
    let properties = BasicProperties::default()
        .with_headers(headers)
        .with_content_type("text/plain")
        .with_content_encoding("utf-8")
        .with_delivery_mode(2)
        .with_priority(9)
        .with_correlation_id("c")
        .with_reply_to("r")
        .with_expiration("60000")
        .with_message_id("m")
        .with_timestamp(1)
        .with_message_type("t")
        .with_user_id("guest")
        .with_app_id("a")
        .with_cluster_id("k")
        .finish();
    publish(channel, "", queue, b"", properties).await?;
    let (_, mut back, _) = get(channel, queue, true).await?;
    say_headers("header", &back);
    say("properties", back.with_headers(FieldTable::new()));
    let body: Vec<u8> = (0..10_000_000).map(|index| (index % 250) as u8).collect();
    publish(channel, "", queue, &body, BasicProperties::default()).await?;
    let (_, _, back) = get(channel, queue, true).await?;
    say("large body", (back.len(), back == body));
    delete(channel, queue).await
}

async fn channel_errors(connection: &Connection) -> Result<()> {
    let (queue, missing) = ("interop.amqprs.queue", "interop.amqprs.missing");
    let owner = connect().await?;
    let (owned, _events) = channel(&owner).await?;
    let mut exclusive = QueueDeclareArguments::new("interop.amqprs.exclusive");
    owned
        .queue_declare(exclusive.exclusive(true).finish())
        .await?;
    let (declaring, _events) = channel(connection).await?;
    declare(&declaring, queue, FieldTable::new()).await?;

    // The callback gets the reason of a close, whatever the result of the call.
    let (failing, mut events) = channel(connection).await?;
    let passive = QueueDeclareArguments::new(missing).passive(true).finish();
    let _ = failing.queue_declare(passive).await;
    next("unknown queue", &mut events).await;
    let (failing, mut events) = channel(connection).await?;
    publish(&failing, missing, "", b"lost", BasicProperties::default()).await?;
    next("unknown exchange", &mut events).await;
    let (failing, mut events) = channel(connection).await?;
    let mut other = QueueDeclareArguments::durable_client_named(queue);
    let _ = failing
        .queue_declare(other.auto_delete(true).finish())
        .await;
    next("other properties", &mut events).await;
    let (failing, mut events) = channel(connection).await?;
    let bad = table([("x-queue-type", text("heap"))]);
    let _ = declare(&failing, "interop.amqprs.bad", bad).await;
    next("bad argument", &mut events).await;
    let (failing, mut events) = channel(connection).await?;
    let _ = failing
        .queue_purge(QueuePurgeArguments::new("interop.amqprs.exclusive"))
        .await;
    next("exclusive", &mut events).await;
    let (failing, mut events) = channel(connection).await?;
    let _ = declare(&failing, "amq.mine", FieldTable::new()).await;
    next("reserved name", &mut events).await;
    let (failing, mut events) = channel(connection).await?;
    let _ = failing
        .queue_bind(QueueBindArguments::new(queue, "", "key"))
        .await;
    next("default exchange", &mut events).await;
    let (failing, mut events) = channel(connection).await?;
    let another = BasicProperties::default().with_user_id("nobody").finish();
    publish(&failing, "", queue, b"", another).await?;
    next("another user", &mut events).await;
    let (failing, mut events) = channel(connection).await?;
    failing.basic_ack(BasicAckArguments::new(7, false)).await?;
    next("unknown tag", &mut events).await;

    say("open", connection.is_open());
    delete(&declaring, queue).await?;
    declaring.close().await?;
    owned.close().await?;
    owner.close().await
}

async fn connection_errors() -> Result<()> {
    let connection = connect().await?;
    let (sender, mut events) = unbounded_channel();
    connection.register_callback(Events(sender)).await?;
    let (channel, _events) = channel(&connection).await?;
    let immediate = BasicPublishArguments::new("", "key")
        .immediate(true)
        .finish();
    channel
        .basic_publish(BasicProperties::default(), Vec::new(), immediate)
        .await?;
    next("immediate", &mut events).await;
    Ok(())
}

async fn restart(connection: Connection) -> Result<()> {
    let (sender, mut events) = unbounded_channel();
    connection.register_callback(Events(sender)).await?;
    println!("ready for a restart");
    let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await;
    let Ok(Some(Ok(line))) = line else {
        return Ok(());
    };
    if line.is_empty() {
        return Ok(());
    }
    next("restarted", &mut events).await;
    let connection = connect().await?;
    let (channel, _events) = channel(&connection).await?;
    let queue = "interop.amqprs.restarted";
    declare(&channel, queue, FieldTable::new()).await?;
    publish(&channel, "", queue, b"after", BasicProperties::default()).await?;
    let (_, _, body) = get(&channel, queue, true).await?;
    say("after the restart", String::from_utf8_lossy(&body));
    delete(&channel, queue).await?;
    channel.close().await?;
    connection.close().await
}

#[tokio::main]
async fn main() -> Result<()> {
    let connection = connect().await?;
    let server = connection.server_properties();
    let version: Vec<_> = server.version().split('.').take(2).collect();
    say("greeting", (server.product(), version));
    say(
        "limits",
        (
            connection.channel_max(),
            connection.frame_max(),
            connection.heartbeat(),
        ),
    );
    logins().await;
    confirms_and_returns(&connection).await?;
    consuming(&connection).await?;
    let (open, _events) = channel(&connection).await?;
    dead_letters(&open).await?;
    requests(&open).await?;
    content(&open).await?;
    open.close().await?;
    channel_errors(&connection).await?;
    connection_errors().await?;
    restart(connection).await
}
