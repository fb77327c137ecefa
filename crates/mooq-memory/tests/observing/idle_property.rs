//! Properties of idleness: whatever services do, the broker becomes idle, and by then they have
//! done it all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mooq::ExchangeKind::Direct;
use mooq::memory::InMemoryBroker;
use mooq::{Channel, Delivery};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::idle::LONG;

/// Actions of a service on each message of its queue.
#[derive(Debug, Clone, Copy)]
struct Service {
    ack: Ack,
    prefetch: u16,
    /// Number of times that it yields before it publishes, and after that.
    yields: (u8, u8),
    /// It publishes a message for each of so many services that come after it.
    sends: usize,
}

#[derive(Debug, Clone, Copy)]
enum Ack {
    ByOutcome,
    First,
    Auto,
}

/// Number of messages that each service has handled.
type Done = Arc<Vec<AtomicU32>>;

fn services() -> impl Strategy<Value = Vec<Service>> {
    let ack = prop_oneof![Just(Ack::ByOutcome), Just(Ack::First), Just(Ack::Auto)];
    let service = (ack, 1..4_u16, (0..4_u8, 0..4_u8), 0..3_usize);
    let service = service.prop_map(|(ack, prefetch, yields, sends)| Service {
        ack,
        prefetch,
        yields,
        sends,
    });
    vec(service, 1..6)
}

/// Number of messages that each service gets if the first one gets so many.
fn expected(services: &[Service], first: u32) -> Vec<u32> {
    let mut counts = vec![0; services.len()];
    counts[0] = first;
    for (at, service) in services.iter().enumerate() {
        let sent = counts[at];
        counts
            .iter_mut()
            .skip(at + 1)
            .take(service.sends)
            .for_each(|count| *count += sent);
    }
    counts
}

async fn start(broker: &InMemoryBroker, services: &[Service], done: &Done) {
    for (at, service) in services.iter().copied().enumerate() {
        let conn = mooq::connect(broker).await.unwrap();
        let chan = conn.create_channel().await.unwrap();
        let (out, done, all) = (chan.clone(), Arc::clone(done), services.len());
        let register = chan
            .register_consumer("services", Direct)
            .queue(at.to_string())
            .prefetch(service.prefetch)
            .callback(move |message: Delivery<()>| {
                serve(at, all, service, out.clone(), Arc::clone(&done), message)
            });
        match service.ack {
            Ack::ByOutcome => register.await,
            Ack::First => register.manual_ack().await,
            Ack::Auto => register.auto_ack().await,
        }
        .unwrap();
        tokio::spawn(async move { conn.process_events().await });
    }
}

async fn serve(
    at: usize,
    all: usize,
    service: Service,
    out: Channel,
    done: Done,
    message: Delivery<()>,
) {
    if let Ack::First = service.ack {
        message.ack().await.unwrap();
    }
    for _ in 0..service.yields.0 {
        tokio::task::yield_now().await;
    }
    for later in (at + 1..all).take(service.sends) {
        let publish = out.publish("", &()).routing_key(later.to_string());
        publish.await.unwrap();
    }
    for _ in 0..service.yields.1 {
        tokio::task::yield_now().await;
    }
    done[at].fetch_add(1, Ordering::Relaxed);
}

async fn run(services: Vec<Service>, first: u32, seed: Option<u64>) -> Vec<u32> {
    let broker = match seed {
        Some(seed) => InMemoryBroker::start_seeded(seed),
        None => InMemoryBroker::start(),
    };
    let done: Done = Arc::new(services.iter().map(|_| AtomicU32::new(0)).collect());
    start(&broker, &services, &done).await;
    let chan = mooq::connect(&broker)
        .await
        .unwrap()
        .create_channel()
        .await
        .unwrap();
    for _ in 0..first {
        let publish = chan.publish("", &()).routing_key("0");
        publish.unconfirmed().await.unwrap();
    }
    let idle = timeout(LONG, broker.wait_idle()).await;
    assert!(idle.is_ok(), "{}", broker.activity());
    done.iter()
        .map(|count| count.load(Ordering::Relaxed))
        .collect()
}

proptest! {
    #[test]
    fn services_have_done_it_all_once_the_broker_is_idle(
        services in services(),
        first in 0..5_u32,
        seed in any::<Option<u64>>(),
        on_threads in any::<bool>(),
    ) {
        let expected = expected(&services, first);
        let mut runtime = if on_threads {
            Builder::new_multi_thread()
        } else {
            Builder::new_current_thread()
        };
        let runtime = runtime.worker_threads(2).enable_time().build().unwrap();
        let done = runtime.block_on(async {
            tokio::spawn(run(services, first, seed)).await.unwrap()
        });
        prop_assert_eq!(done, expected);
    }
}
