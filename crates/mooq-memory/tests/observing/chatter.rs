//! Services that have much to say to each other, over a connection each, in every mode of
//! acknowledgement.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mooq::ExchangeKind::{Direct, Fanout};
use mooq::memory::InMemoryBroker;
use mooq::{Channel, Connection, Delivery, Retry};
use tokio::task::JoinHandle;

/// Counts of the services' actions.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Orders tried, acknowledged by the outcome of the callback.
    pub(crate) tries: AtomicU32,
    /// Invoices booked, acknowledged automatically.
    pub(crate) booked: AtomicU32,
    /// Bookings audited, acknowledged by hand before that is done.
    pub(crate) audited: AtomicU32,
    /// Orders refused, which came as dead letters.
    pub(crate) refused: AtomicU32,
    /// Prices asked for by messages, and come back as direct replies.
    pub(crate) prices: AtomicU32,
}

/// Four services, at work until they are dropped.
pub(crate) struct Services {
    pub(crate) done: Arc<Done>,
    shop: Channel,
    tasks: Vec<JoinHandle<()>>,
}

impl Services {
    pub(crate) async fn start(broker: &InMemoryBroker) -> Self {
        let done = Arc::new(Done::default());
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(mooq::connect(broker).await.unwrap());
        }
        let mut chans = Vec::new();
        for conn in &open {
            chans.push(conn.create_channel().await.unwrap());
        }
        let [till, books, archive, prices] = &*chans else {
            panic!("four channels")
        };
        take_orders(till, &done).await;
        book(books, &done).await;
        audit(archive, &done).await;
        price(prices).await;
        let replies = hear_prices(till, &done).await;
        let shop = till.clone();
        let mut tasks: Vec<_> = open.into_iter().map(process).collect();
        tasks.push(replies);
        Self { done, shop, tasks }
    }

    /// Orders so many times. Every third order is refused.
    pub(crate) async fn order(&self, orders: u32) {
        for order in 0..orders {
            self.shop.publish("orders", &order).await.unwrap();
        }
    }

    /// Counts so far, in the order of [`Done`].
    pub(crate) fn counts(&self) -> [u32; 5] {
        let done = &*self.done;
        [
            &done.tries,
            &done.booked,
            &done.audited,
            &done.refused,
            &done.prices,
        ]
        .map(|count| count.load(Ordering::Relaxed))
    }

    /// Counts once `orders` were placed at once, `times` times.
    pub(crate) fn all_done(orders: u32, times: u32) -> [u32; 5] {
        let refused = orders.div_ceil(3);
        let taken = orders - refused;
        [taken + 2 * refused, taken, taken, refused, taken].map(|each| each * times)
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn process(conn: Connection) -> JoinHandle<()> {
    tokio::spawn(async move {
        conn.process_events().await.unwrap();
    })
}

/// Lets others go on, here and there.
async fn dawdle(number: u32) {
    for _ in 0..number % 3 {
        tokio::task::yield_now().await;
    }
}

async fn take_orders(chan: &Channel, done: &Arc<Done>) {
    let (out, done) = (chan.clone(), Arc::clone(done));
    chan.declare_exchange("invoices", Fanout).await.unwrap();
    chan.declare_exchange("refused", Fanout).await.unwrap();
    chan.register_consumer("orders", Direct)
        .queue("orders")
        .queue_argument("x-dead-letter-exchange", "refused")
        .prefetch(2)
        .retry(Retry::after([Duration::ZERO]).in_place().then_reject())
        .callback(move |order: Delivery<u32>| {
            let (out, done) = (out.clone(), Arc::clone(&done));
            async move {
                dawdle(order.msg).await;
                done.tries.fetch_add(1, Ordering::Relaxed);
                if order.msg.is_multiple_of(3) {
                    return Err("no more of these".into());
                }
                out.publish("", &order.msg)
                    .routing_key("prices")
                    .reply_to("amq.rabbitmq.reply-to")
                    .await?;
                out.publish("invoices", &order.msg).await?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            }
        })
        .await
        .unwrap();
}

async fn book(chan: &Channel, done: &Arc<Done>) {
    let (out, booked) = (chan.clone(), Arc::clone(done));
    chan.declare_queue("audit").await.unwrap();
    chan.register_consumer("invoices", Fanout)
        .callback(move |invoice: Delivery<u32>| {
            let (out, done) = (out.clone(), Arc::clone(&booked));
            async move {
                dawdle(invoice.msg + 1).await;
                done.booked.fetch_add(1, Ordering::Relaxed);
                dawdle(invoice.msg).await;
                let audit = out.publish("", &invoice.msg).routing_key("audit");
                audit.unconfirmed().await.unwrap();
            }
        })
        .auto_ack()
        .await
        .unwrap();
    let refused = Arc::clone(done);
    chan.register_consumer("refused", Fanout)
        .callback(move |order: Delivery<u32>| {
            let done = Arc::clone(&refused);
            async move {
                dawdle(order.msg + 2).await;
                done.refused.fetch_add(1, Ordering::Relaxed);
            }
        })
        .retry(Retry::never().then_reject())
        .await
        .unwrap();
}

async fn audit(chan: &Channel, done: &Arc<Done>) {
    let done = Arc::clone(done);
    chan.register_consumer("audits", Direct)
        .queue("audit")
        .callback(move |booking: Delivery<u32>| {
            let done = Arc::clone(&done);
            async move {
                let number = booking.msg;
                booking.ack().await.unwrap();
                dawdle(number + 1).await;
                done.audited.fetch_add(1, Ordering::Relaxed);
            }
        })
        .manual_ack()
        .await
        .unwrap();
}

async fn price(chan: &Channel) {
    let out = chan.clone();
    chan.register_consumer("prices", Direct)
        .queue("prices")
        .callback(move |order: Delivery<u32>| {
            let out = out.clone();
            async move {
                dawdle(order.msg).await;
                let to = order.properties.reply_to.clone().unwrap_or_default();
                out.publish("", &(order.msg * 10)).routing_key(&*to).await
            }
        })
        .await
        .unwrap();
}

/// Hears of prices by a stream, in a task.
async fn hear_prices(chan: &Channel, done: &Arc<Done>) -> JoinHandle<()> {
    let replies = chan.consume::<u32>("amq.rabbitmq.reply-to").auto_ack();
    let (mut replies, done) = (replies.await.unwrap(), Arc::clone(done));
    tokio::spawn(async move {
        while let Some(Ok(reply)) = replies.next().await {
            dawdle(reply.msg / 10).await;
            done.prices.fetch_add(1, Ordering::Relaxed);
        }
    })
}
