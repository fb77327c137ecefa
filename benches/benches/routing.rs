//! Routing by each kind of exchange, at 100, 10,000 and 100,000 bindings.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mooq_benches::routing::{Routing, Topic};

const BINDINGS: [usize; 3] = [100, 10_000, 100_000];

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routing");
    // Scans and fanouts are slow: fewer samples keep the benchmark within minutes.
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(2));
    for bindings in BINDINGS {
        let mut topic = Topic::new(bindings);
        group.bench_function(BenchmarkId::new("topic", bindings), |bencher| {
            bencher.iter_custom(|count| topic.route(count));
        });
        group.bench_function(
            BenchmarkId::new("topic by glob-match scan", bindings),
            |bencher| {
                bencher.iter_custom(|count| topic.scan(count));
            },
        );
        for (kind, mut routing) in [
            ("direct", Routing::direct(bindings)),
            ("headers", Routing::headers(bindings)),
            ("fanout", Routing::fanout(bindings)),
        ] {
            group.bench_function(BenchmarkId::new(kind, bindings), |bencher| {
                bencher.iter_custom(|count| routing.route(count));
            });
        }
    }
    group.finish();
}

criterion_group!(group, benches);
criterion_main!(group);
