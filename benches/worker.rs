//! Whole duty cycles of a worker that answers by itself, stepped on this thread with its client.
//! Times are for one request where requests are made, else for one cycle.
//!
//! | case | what |
//! |---|---|
//! | `cycle/BYTES/N` | N requests are submitted, taken, answered and received: a turn of both sides |
//! | `beside_idle/N` | one request, and N sessions whose clients do nothing |
//! | `empty/N` | a cycle that finds nothing in N sessions |
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ipc_gateway::clock::System;
use stage::Stage;

#[path = "stage/mod.rs"]
mod stage;
#[expect(dead_code, reason = "the tests of ringbuf use more of it")]
#[path = "../ringbuf/tests/support/mod.rs"]
mod support;

const BATCHES: [u32; 3] = [1, 32, 128];
const PAYLOADS: [u32; 3] = [64, 1024, 16_384];
const IDLE: [u32; 5] = [0, 1, 10, 100, 1_000];

/// Submits a batch and steps the worker until all of it has come back.
fn turn(stage: &mut Stage<System>, batch: u32, payload: &[u8]) {
    stage.submit(batch, payload);
    let mut taken = 0;
    while taken < batch {
        stage.worker.do_work();
        taken += stage.take();
    }
}

fn cycle(c: &mut Criterion) {
    for bytes in PAYLOADS {
        let mut group = c.benchmark_group(format!("worker/cycle/{bytes}"));
        let payload = vec![b'x'; bytes as usize];
        for batch in BATCHES {
            let mut stage = Stage::new(System, bytes);
            group.throughput(Throughput::Elements(batch.into()));
            group.bench_function(BenchmarkId::from_parameter(batch), |b| {
                b.iter(|| turn(&mut stage, batch, &payload));
            });
        }
        group.finish();
    }
}

/// One stage to which more and more sessions come: a stage for each number would compare places in
/// memory too.
fn idle_sessions(c: &mut Criterion) {
    let mut stage = Stage::new(System, 64);
    let mut seated = 0;
    for idle in IDLE {
        stage.seat_idle(idle - seated);
        seated = idle;
        let mut group = c.benchmark_group("worker/beside_idle");
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(idle), |b| {
            b.iter(|| turn(&mut stage, 1, &[b'x'; 64]));
        });
        group.finish();
        // With as many requests on their way as a client keeps that wants throughput.
        let mut group = c.benchmark_group("worker/beside_idle_window_128");
        group.throughput(Throughput::Elements(128));
        group.bench_function(BenchmarkId::from_parameter(idle), |b| {
            b.iter(|| turn(&mut stage, 128, &[b'x'; 64]));
        });
        group.finish();
        let mut group = c.benchmark_group("worker/empty");
        group.bench_function(BenchmarkId::from_parameter(idle + 1), |b| {
            b.iter(|| assert_eq!(stage.worker.do_work(), 0));
        });
        group.finish();
    }
}

criterion_group!(benches, cycle, idle_sessions);
criterion_main!(benches);
