//! A shop: a price by request and reply, billing with retries and parking, and notices to everyone
//! who listens. `examples/lapin-shop` is the same shop with lapin.
//!
//! ```console
//! $ cargo test --example shop
//! $ cargo run --example shop
//! $ cargo run --example shop -- amqp://localhost:5672
//! ```

use std::time::Duration;

use mooq::memory::InMemoryBroker;
use mooq::{
    CallbackError, Channel, Connection, Delivery, ExchangeKind::Fanout, ExchangeKind::Topic,
    RemoteError, Retry, Rpc,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    item: String,
    pieces: u32,
    cents: u32,
}

/// The price of one piece, in cents.
async fn price(item: Delivery<String>) -> Result<u32, RemoteError> {
    match item.msg.as_str() {
        "pencil" => Ok(250),
        "sample" => Ok(0),
        _ => Err(RemoteError::new("Unknown", "we do not have that")),
    }
}

/// Takes the money.
async fn charge(order: &Order) -> Result<(), CallbackError> {
    match order.cents {
        0 => Err("nothing to pay".into()),
        _ => Ok(()),
    }
}

/// Answers for prices, and bills orders: three attempts, and then an order waits in `billing.parked`
/// until somebody looks at it.
async fn start(conn: &Connection, delays: [Duration; 2]) -> mooq::Result<()> {
    let chan = conn.create_channel().await?;
    chan.register_responder("prices", "direct")
        .queue("prices")
        .callback(price)
        .await?;
    chan.register_producer("notices", Fanout).await?;
    let notices = chan.clone();
    chan.register_consumer("orders", Topic)
        .queue("billing")
        .routing_key("order.new")
        .retry(Retry::after(delays).then_park("billing.parked"))
        .callback(move |order: Delivery<Order>| {
            let notices = notices.clone();
            async move {
                charge(&order.msg).await?;
                notices.publish("notices", &order.msg).await?;
                Ok::<(), CallbackError>(())
            }
        })
        .await?;
    Ok(())
}

/// Orders something: returns once the order is in the queue of billing.
async fn order(chan: &Channel, item: &str, pieces: u32) -> mooq::Result<Order> {
    let limit = Duration::from_secs(30);
    let each: u32 = chan.request("prices", item).timeout(limit).await?;
    let order = Order {
        item: item.to_owned(),
        pieces,
        cents: each * pieces,
    };
    let publish = chan.publish("orders", &order).routing_key("order.new");
    publish.mandatory().await?;
    Ok(order)
}

#[tokio::main]
async fn main() -> mooq::Result<()> {
    let broker = InMemoryBroker::new("localhost", 5672);
    broker.run();
    let url = std::env::args().nth(1);
    let url = url.unwrap_or_else(|| "memory://localhost:5672".into());
    let conn = mooq::connect(&url).await?;
    start(&conn, [1, 30].map(Duration::from_secs)).await?;
    let chan = conn.create_channel().await?;
    let (noticed, mut notices) = tokio::sync::mpsc::unbounded_channel();
    for name in ["Ada", "Bob"] {
        let noticed = noticed.clone();
        chan.register_consumer("notices", Fanout)
            .callback(move |order: Delivery<Order>| {
                let Order {
                    item,
                    pieces,
                    cents,
                } = order.msg;
                println!("{name} reads: {pieces} of {item} for {cents} cents");
                let _ = noticed.send(());
                async {}
            })
            .await?;
    }
    let processing = conn.process_events().spawn();
    order(&chan, "pencil", 3).await?;
    notices.recv().await;
    notices.recv().await;
    conn.shutdown(Duration::from_secs(20)).await?;
    processing.await
}

#[cfg(test)]
mod tests {
    use mooq::ErrorKind;

    use super::*;

    const AT_ONCE: [Duration; 2] = [Duration::from_millis(1); 2];

    #[mooq::test]
    async fn an_order_is_billed_and_everyone_reads_it(conn: Connection) -> mooq::Result<()> {
        start(&conn, AT_ONCE).await?;
        let chan = conn.create_channel().await?;
        chan.declare_queue("reader").await?;
        chan.bind_queue("reader", "notices", "").await?;
        let processing = conn.process_events().spawn();
        let ordered = order(&chan, "pencil", 3).await?;
        assert_eq!(ordered.cents, 750);
        let notice = chan
            .get_one::<Order>("reader")
            .timeout(Duration::from_secs(60));
        assert_eq!(notice.await?.ack().await?, ordered);
        conn.shutdown(Duration::from_secs(60)).await?;
        processing.await
    }

    #[mooq::test]
    async fn an_order_that_cannot_be_billed_is_parked_with_the_reason(
        conn: Connection,
    ) -> mooq::Result<()> {
        start(&conn, AT_ONCE).await?;
        let chan = conn.create_channel().await?;
        let processing = conn.process_events().spawn();
        order(&chan, "sample", 1).await?;
        let parked = chan.get_one::<Order>("billing.parked");
        let parked = parked.timeout(Duration::from_secs(60)).await?;
        let headers = &parked.properties.headers;
        let error = headers.get("mooq-error").and_then(mooq::FieldValue::as_str);
        assert_eq!(error, Some("nothing to pay"));
        parked.ack().await?;
        conn.shutdown(Duration::from_secs(60)).await?;
        processing.await
    }

    #[mooq::test]
    async fn what_the_shop_does_not_have_is_an_error(conn: Connection) -> mooq::Result<()> {
        start(&conn, AT_ONCE).await?;
        let chan = conn.create_channel().await?;
        let processing = conn.process_events().spawn();
        let refused = order(&chan, "elephant", 1).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Remote);
        conn.shutdown(Duration::from_secs(60)).await?;
        processing.await
    }
}
