//! A message's whole way in memory, beside a bounded channel.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mooq_benches::pipeline;
use tokio::runtime::Runtime;

fn benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a tokio runtime starts");
    let mut group = criterion.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(1));
    group.bench_function("publish_callback_ack", |bencher| {
        bencher.iter_custom(|count| runtime.block_on(pipeline::publish_callback_ack(count)));
    });
    group.bench_function("bounded_mpsc", |bencher| {
        bencher.iter_custom(|count| runtime.block_on(pipeline::bounded_mpsc(count)));
    });
    group.bench_function("broker_connection_channel", |bencher| {
        bencher.iter_custom(|count| fresh_brokers(&runtime, count));
    });
    group.finish();
}

fn fresh_brokers(runtime: &Runtime, count: u64) -> std::time::Duration {
    runtime.block_on(async {
        let mut total = std::time::Duration::ZERO;
        for _ in 0..count {
            total += pipeline::fresh_broker().await.0;
        }
        total
    })
}

criterion_group!(group, benches);
criterion_main!(group);
