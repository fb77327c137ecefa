use mooq_core::*;
use mooq_rabbit::{NativeTransport, RabbitTransport};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;
const N: u64 = 100_000;
fn msg() -> Publish {
    Publish::new(Message {
        exchange: "".try_into().unwrap(),
        routing_key: "speed".try_into().unwrap(),
        properties: Arc::default(),
        body: vec![b'x'; 64].into(),
    })
}
async fn run(name: &str, t: &dyn Transport, e: &Endpoint) {
    let o = t.open(e).await.unwrap();
    let ch = o.connection.open_channel().await.unwrap();
    let (c, mut ev) = (ch.channel, ch.events);
    c.declare_queue(QueueDeclare::new("speed".try_into().unwrap()))
        .await
        .unwrap();
    c.purge_queue("speed".try_into().unwrap()).await.unwrap();
    c.confirm_select().await.unwrap();
    let began = Instant::now();
    let (mut sent, mut conf) = (0u64, 0u64);
    let mut batch = VecDeque::new();
    while conf < N {
        while sent < N && sent - conf < 256 {
            if let Handoff::Full(f) = c.publish(msg()).unwrap() {
                f.await
            }
            sent += 1;
        }
        poll_fn(|cx| ev.poll_batch(cx, &mut batch)).await;
        for e in batch.drain(..) {
            if let ChannelEvent::Confirm { sequence, multiple } = e {
                if multiple {
                    conf = conf.max(sequence)
                } else {
                    conf += 1
                }
            }
        }
    }
    println!(
        "{name}: publish {:.0}/s",
        N as f64 / began.elapsed().as_secs_f64()
    );
    let ch = o.connection.open_channel().await.unwrap();
    let (c, mut ev) = (ch.channel, ch.events);
    c.qos(250, false).await.unwrap();
    let began = Instant::now();
    c.consume(Consume::new("speed".try_into().unwrap()))
        .await
        .unwrap();
    let mut got = 0;
    while got < N {
        poll_fn(|cx| ev.poll_batch(cx, &mut batch)).await;
        for e in batch.drain(..) {
            if let ChannelEvent::Deliver(d) = e {
                got += 1;
                c.settle(Settle {
                    delivery_tag: d.delivery_tag,
                    multiple: false,
                    settlement: Settlement::Ack,
                })
                .unwrap();
            }
        }
    }
    println!(
        "{name}: consume+ack {:.0}/s",
        N as f64 / began.elapsed().as_secs_f64()
    );
    c.close().await.unwrap();
    o.connection.close().await.unwrap();
}
#[tokio::main]
async fn main() {
    let e: Endpoint = std::env::args().nth(1).unwrap().parse().unwrap();
    for _ in 0..3 {
        run("amqprs", &RabbitTransport, &e).await;
        run("native", &NativeTransport, &e).await;
    }
}
