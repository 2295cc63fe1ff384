//! Copies between private memory and blocks, by size: in by writing to a loan, out by the port's copy
//! of a submission's body. Both sides are on one thread, so the lines are in its cache; what it costs
//! to have them in another core's is in `peers`.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ipc_ringbuf::{Client, Request};
use support::pair;

#[expect(dead_code, reason = "the tests of ringbuf use more of it")]
#[path = "../ringbuf/tests/support/mod.rs"]
mod support;

const SIZES: [u32; 6] = [16, 64, 256, 1024, 4096, 16_384];
/// Bytes written between two readings of the clock.
const STRETCH: u32 = 64 * 1024;

/// Time for `count` copies of `bytes` into a block. A loan grows as it is written to, and is begun
/// anew when it is full; that, once for many copies, is not timed.
fn time_copies_in(client: &mut Client, bytes: &[u8], count: u64) -> Duration {
    let (mut left, mut time) = (count, Duration::ZERO);
    while left > 0 {
        let mut loan = client.loan(Request::to(0)).unwrap();
        let part = left.min(u64::from(STRETCH) / bytes.len() as u64);
        let start = Instant::now();
        for _ in 0..part {
            assert_eq!(loan.write(black_box(bytes)).unwrap(), bytes.len());
        }
        time += start.elapsed();
        left -= part;
    }
    time
}

fn copy_in(c: &mut Criterion) {
    let mut client = pair(2, STRETCH).client;
    let mut group = c.benchmark_group("arena/copy_in");
    for size in SIZES {
        let payload = vec![b'x'; size as usize];
        group.throughput(Throughput::Bytes(size.into()));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_custom(|count| time_copies_in(&mut client, &payload, count));
        });
    }
    group.finish();
}

fn copy_out(c: &mut Criterion) {
    let mut pair = pair(8, STRETCH);
    let mut body = BytesMut::with_capacity(STRETCH as usize);
    let mut group = c.benchmark_group("arena/copy_out");
    for size in SIZES {
        let payload = vec![b'x'; size as usize];
        let request = Request::to(0).payload(&payload);
        pair.client.submit(request).unwrap();
        pair.client.flush();
        let submission = pair.port.pop().unwrap().unwrap();
        let sqe = submission.sqe.unwrap();
        group.throughput(Throughput::Bytes(size.into()));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                body.clear();
                pair.port.copy_body(submission.block, &sqe, &mut body);
                black_box(&body);
            });
        });
        assert_eq!(body, payload);
    }
    group.finish();
}

criterion_group!(benches, copy_in, copy_out);
criterion_main!(benches);
