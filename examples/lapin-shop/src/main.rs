//! The shop of `examples/shop.rs`, with lapin: a price by request and reply, billing with retries
//! and parking, and notices to everyone who listens. Both do the same, but for one thing: this one
//! ends when its connection is lost, and the other goes on.
//!
//! ```console
//! $ cargo test
//! $ cargo run -- amqp://guest:guest@127.0.0.1:5672
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Time for the broker's confirm.
const CONFIRM: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    item: String,
    pieces: u32,
    cents: u32,
}

/// The price of one piece, in cents.
fn price(item: &str) -> Result<u32, String> {
    match item {
        "pencil" => Ok(250),
        "sample" => Ok(0),
        _ => Err("we do not have that".into()),
    }
}

/// Takes the money.
fn charge(order: &Order) -> Result<(), String> {
    match order.cents {
        0 => Err("nothing to pay".into()),
        _ => Ok(()),
    }
}

/// A channel in confirm mode that holds a few messages at a time.
async fn channel(connection: &Connection) -> Result<Channel, Error> {
    let channel = connection.create_channel().await?;
    let confirm = ConfirmSelectOptions::default();
    channel.confirm_select(confirm).await?;
    channel.basic_qos(256, BasicQosOptions::default()).await?;
    Ok(channel)
}

async fn declare_exchange(channel: &Channel, name: &str, kind: ExchangeKind) -> Result<(), Error> {
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let arguments = FieldTable::default();
    channel
        .exchange_declare(name.into(), kind, durable, arguments)
        .await?;
    Ok(())
}

async fn declare_queue(channel: &Channel, name: &str, arguments: FieldTable) -> Result<(), Error> {
    let durable = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare(name.into(), durable, arguments)
        .await?;
    Ok(())
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<(), Error> {
    let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
    channel
        .queue_bind(
            queue.into(),
            exchange.into(),
            key.into(),
            options,
            arguments,
        )
        .await?;
    Ok(())
}

/// Publishes a mandatory message, and waits until a queue has it.
async fn publish(
    channel: &Channel,
    exchange: &str,
    key: &str,
    body: &[u8],
    properties: BasicProperties,
) -> Result<(), Error> {
    let mandatory = BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let published = channel
        .basic_publish(exchange.into(), key.into(), mandatory, body, properties)
        .await?;
    match tokio::time::timeout(CONFIRM, published).await?? {
        Confirmation::Ack(None) => Ok(()),
        other => Err(format!("'{exchange}' with '{key}' does not take it: {other:?}").into()),
    }
}

fn persistent() -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
}

fn decode<T: DeserializeOwned>(delivery: &Delivery) -> Result<T, Error> {
    Ok(serde_json::from_slice(&delivery.data)?)
}

/// Answers for prices.
async fn answer_for_prices(channel: Channel) -> Result<(), Error> {
    let options = BasicConsumeOptions::default();
    let arguments = FieldTable::default();
    let mut questions = channel
        .basic_consume("prices".into(), "prices".into(), options, arguments)
        .await?;
    while let Some(question) = questions.next().await {
        let question = question?;
        let reply = match decode::<String>(&question) {
            Ok(item) => price(&item),
            Err(err) => Err(err.to_string()),
        };
        if let Some(reply_to) = question.properties.reply_to() {
            let mut properties = BasicProperties::default();
            if let Some(id) = question.properties.correlation_id() {
                properties = properties.with_correlation_id(id.clone());
            }
            let options = BasicPublishOptions::default();
            let body = serde_json::to_vec(&reply)?;
            // Who asked may be gone.
            channel
                .basic_publish("".into(), reply_to.clone(), options, &body, properties)
                .await?
                .await?;
        }
        question.acker.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

/// The queue in which an order waits for its next attempt: it goes back to `billing` when the delay
/// is over.
fn delay_queue(delay: Duration) -> String {
    format!("billing.retry.{}ms", delay.as_millis())
}

async fn declare_billing(channel: &Channel, delays: [Duration; 2]) -> Result<(), Error> {
    declare_exchange(channel, "orders", ExchangeKind::Topic).await?;
    declare_exchange(channel, "notices", ExchangeKind::Fanout).await?;
    declare_queue(channel, "billing", FieldTable::default()).await?;
    declare_queue(channel, "billing.parked", FieldTable::default()).await?;
    bind(channel, "billing", "orders", "order.new").await?;
    for delay in delays {
        let mut arguments = FieldTable::default();
        let ttl = i64::try_from(delay.as_millis())?;
        arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(ttl));
        let text = |text: &str| AMQPValue::LongString(LongString::from(text));
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        arguments.insert("x-dead-letter-routing-key".into(), text("billing"));
        declare_queue(channel, &delay_queue(delay), arguments).await?;
    }
    Ok(())
}

/// The attempts at this order that have failed, from the headers that `put_off` sets.
fn attempts(delivery: &Delivery) -> usize {
    let headers = delivery.properties.headers().as_ref();
    let attempts = headers.and_then(|headers| headers.inner().get("attempts"));
    let attempts = attempts.and_then(AMQPValue::as_long_long_int);
    attempts.map_or(0, |n| usize::try_from(n).unwrap_or(0))
}

/// Bills orders: three attempts, and then an order waits in `billing.parked` until somebody looks
/// at it.
async fn bill(channel: Channel, delays: [Duration; 2]) -> Result<(), Error> {
    let options = BasicConsumeOptions::default();
    let arguments = FieldTable::default();
    let mut orders = channel
        .basic_consume("billing".into(), "billing".into(), options, arguments)
        .await?;
    while let Some(order) = orders.next().await {
        let order = order?;
        let (channel, delays) = (channel.clone(), delays);
        // An order that takes long holds no other up.
        tokio::spawn(async move {
            if let Err(err) = bill_one(&channel, delays, order).await {
                // Not acknowledged: it comes again when the channel ends.
                eprintln!("an order could neither be billed nor put off: {err}");
            }
        });
    }
    Ok(())
}

async fn bill_one(
    channel: &Channel,
    delays: [Duration; 2],
    delivery: Delivery,
) -> Result<(), Error> {
    let billed = async {
        let order: Order = decode(&delivery)?;
        charge(&order)?;
        let body = serde_json::to_vec(&order)?;
        let options = BasicPublishOptions::default();
        let notice = channel
            .basic_publish("notices".into(), "".into(), options, &body, persistent())
            .await?;
        match tokio::time::timeout(CONFIRM, notice).await?? {
            Confirmation::Ack(_) => Ok::<(), Error>(()),
            other => Err(format!("the notice is not taken: {other:?}").into()),
        }
    };
    if let Err(err) = billed.await {
        put_off(channel, delays, &delivery, &err.to_string()).await?;
    }
    delivery.acker.ack(BasicAckOptions::default()).await?;
    Ok(())
}

/// Moves a copy of an order to where it waits, or is parked. The order is acknowledged only then, so
/// that it may come twice and is never lost.
async fn put_off(
    channel: &Channel,
    delays: [Duration; 2],
    delivery: &Delivery,
    error: &str,
) -> Result<(), Error> {
    let failed = attempts(delivery);
    let queue = match delays.get(failed) {
        Some(delay) => delay_queue(*delay),
        None => "billing.parked".into(),
    };
    let mut headers = FieldTable::default();
    let failed = i64::try_from(failed + 1)?;
    headers.insert("attempts".into(), AMQPValue::LongLongInt(failed));
    headers.insert(
        "error".into(),
        AMQPValue::LongString(LongString::from(error)),
    );
    let properties = delivery.properties.clone().with_headers(headers);
    publish(channel, "", &queue, &delivery.data, properties).await
}

/// Asks for prices: a reply comes to the channel that has asked, with the id of its request.
#[derive(Clone)]
struct Asking {
    channel: Channel,
    last: Arc<AtomicU64>,
    waiting: Arc<Mutex<HashMap<String, oneshot::Sender<Vec<u8>>>>>,
}

impl Asking {
    async fn start(connection: &Connection) -> Result<Self, Error> {
        let asking = Self {
            channel: channel(connection).await?,
            last: Arc::default(),
            waiting: Arc::default(),
        };
        let no_ack = BasicConsumeOptions {
            no_ack: true,
            ..Default::default()
        };
        let mut replies = asking
            .channel
            .basic_consume(
                "amq.rabbitmq.reply-to".into(),
                "replies".into(),
                no_ack,
                FieldTable::default(),
            )
            .await?;
        let waiting = Arc::clone(&asking.waiting);
        tokio::spawn(async move {
            while let Some(Ok(reply)) = replies.next().await {
                let id = reply.properties.correlation_id();
                let id = id.as_ref().map(|id| id.to_string());
                let waiting = id.and_then(|id| waiting.lock().ok()?.remove(&id));
                if let Some(waiting) = waiting {
                    // Who asked may have given up.
                    let _ = waiting.send(reply.data);
                }
            }
        });
        Ok(asking)
    }

    async fn price(&self, item: &str, limit: Duration) -> Result<u32, Error> {
        let id = self.last.fetch_add(1, Ordering::Relaxed).to_string();
        let (sender, reply) = oneshot::channel();
        if let Ok(mut waiting) = self.waiting.lock() {
            waiting.insert(id.clone(), sender);
        }
        let properties = BasicProperties::default()
            .with_correlation_id(id.as_str().into())
            .with_reply_to("amq.rabbitmq.reply-to".into())
            .with_expiration(limit.as_millis().to_string().into());
        let body = serde_json::to_vec(item)?;
        let asked = async {
            publish(&self.channel, "", "prices", &body, properties).await?;
            Ok::<_, Error>(tokio::time::timeout(limit, reply).await??)
        };
        let reply = asked.await;
        if let Ok(mut waiting) = self.waiting.lock() {
            waiting.remove(&id);
        }
        let price: Result<u32, String> = serde_json::from_slice(&reply?)?;
        Ok(price?)
    }
}

/// Answers for prices, and bills orders.
async fn start(connection: &Connection, delays: [Duration; 2]) -> Result<(), Error> {
    let prices = channel(connection).await?;
    declare_queue(&prices, "prices", FieldTable::default()).await?;
    tokio::spawn(report("prices", answer_for_prices(prices)));
    let billing = channel(connection).await?;
    declare_billing(&billing, delays).await?;
    tokio::spawn(report("billing", bill(billing, delays)));
    Ok(())
}

async fn report(what: &str, work: impl Future<Output = Result<(), Error>>) {
    if let Err(err) = work.await {
        eprintln!("{what} has ended: {err}");
    }
}

/// Orders something: returns once the order is in the queue of billing.
async fn order(asking: &Asking, item: &str, pieces: u32) -> Result<Order, Error> {
    let each = asking.price(item, Duration::from_secs(30)).await?;
    let order = Order {
        item: item.to_owned(),
        pieces,
        cents: each * pieces,
    };
    let body = serde_json::to_vec(&order)?;
    publish(&asking.channel, "orders", "order.new", &body, persistent()).await?;
    Ok(order)
}

/// Prints notices under this name, from a queue of its own.
async fn read(
    connection: &Connection,
    name: &'static str,
    read: tokio::sync::mpsc::UnboundedSender<()>,
) -> Result<(), Error> {
    let channel = channel(connection).await?;
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..Default::default()
    };
    let queue = channel
        .queue_declare("".into(), exclusive, FieldTable::default())
        .await?;
    let queue = queue.name().as_str();
    bind(&channel, queue, "notices", "").await?;
    let options = BasicConsumeOptions::default();
    let arguments = FieldTable::default();
    let mut notices = channel
        .basic_consume(queue.into(), name.into(), options, arguments)
        .await?;
    tokio::spawn(report(name, async move {
        let _open = channel;
        while let Some(notice) = notices.next().await {
            let notice = notice?;
            let Order {
                item,
                pieces,
                cents,
            } = decode(&notice)?;
            println!("{name} reads: {pieces} of {item} for {cents} cents");
            notice.acker.ack(BasicAckOptions::default()).await?;
            let _ = read.send(());
        }
        Ok(())
    }));
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1);
    let url = url.unwrap_or_else(|| "amqp://guest:guest@127.0.0.1:5672".into());
    let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
    start(&connection, [1, 30].map(Duration::from_secs)).await?;
    let (sender, mut notices) = tokio::sync::mpsc::unbounded_channel();
    for name in ["Ada", "Bob"] {
        read(&connection, name, sender.clone()).await?;
    }
    let asking = Asking::start(&connection).await?;
    order(&asking, "pencil", 3).await?;
    notices.recv().await;
    notices.recv().await;
    connection.close(200, "bye".into()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use mooq::FieldValue;
    use mooq::testing::TestBroker;

    use super::*;

    const AT_ONCE: [Duration; 2] = [Duration::from_millis(1); 2];
    const LIMIT: Duration = Duration::from_secs(60);

    async fn shop(broker: &TestBroker) -> Result<(Connection, Asking), Error> {
        let connection = Connection::connect(broker.url(), ConnectionProperties::default()).await?;
        start(&connection, AT_ONCE).await?;
        let asking = Asking::start(&connection).await?;
        Ok((connection, asking))
    }

    #[mooq::test(wire)]
    async fn an_order_is_billed_and_everyone_reads_it(
        broker: TestBroker,
        chan: mooq::Channel,
    ) -> Result<(), Error> {
        let (_connection, asking) = shop(&broker).await?;
        chan.declare_queue("reader").await?;
        chan.bind_queue("reader", "notices", "").await?;
        let ordered = order(&asking, "pencil", 3).await?;
        assert_eq!(ordered.cents, 750);
        let notice = chan.get_one::<Order>("reader").timeout(LIMIT).await?;
        assert_eq!(notice.ack().await?, ordered);
        Ok(())
    }

    #[mooq::test(wire)]
    async fn an_order_that_cannot_be_billed_is_parked_with_the_reason(
        broker: TestBroker,
        chan: mooq::Channel,
    ) -> Result<(), Error> {
        let (_connection, asking) = shop(&broker).await?;
        order(&asking, "sample", 1).await?;
        let parked = chan
            .get_one::<Order>("billing.parked")
            .timeout(LIMIT)
            .await?;
        let headers = &parked.properties.headers;
        let error = headers.get("error").and_then(FieldValue::as_str);
        assert_eq!(error, Some("nothing to pay"));
        assert_eq!(headers.get("attempts"), Some(&FieldValue::I64(3)));
        parked.ack().await?;
        Ok(())
    }

    #[mooq::test(wire)]
    async fn what_the_shop_does_not_have_is_an_error(broker: TestBroker) -> Result<(), Error> {
        let (_connection, asking) = shop(&broker).await?;
        let refused = order(&asking, "elephant", 1).await.unwrap_err();
        assert_eq!(refused.to_string(), "we do not have that");
        Ok(())
    }
}
