//! Cost of a publish among 1, 100, 10,000 or a million queues, bindings, waiting messages or
//! channels.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mooq_benches::scaling::{Crowd, Crowded};

const COUNTS: [usize; 4] = [1, 100, 10_000, 1_000_000];

fn benches(criterion: &mut Criterion) {
    for crowd in Crowd::ALL {
        let mut group = criterion.benchmark_group(format!("publish and get, by {}", crowd.name()));
        group
            .sample_size(20)
            .measurement_time(Duration::from_secs(2));
        for count in COUNTS {
            let mut broker = Crowded::new(crowd, count);
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                bencher.iter_custom(|count| broker.publish_and_get(count));
            });
        }
        group.finish();
    }
}

criterion_group!(group, benches);
criterion_main!(group);
