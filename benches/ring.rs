//! The ring by itself, in a region as sessions have it. Times are for one batch: pushed, published
//! with one store, popped and released.
//!
//! | case | what |
//! |---|---|
//! | `one_thread/N` | both ends on one thread: the instructions, without the cost of sharing lines |
//! | `cross_core/N` | each end on a thread of its own, awake, on two cores: what crosses between them |
//! | `same_core/N` | the same with both threads on one core, which they yield to each other |
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::{black_box, spin_loop};
use std::os::fd::AsFd as _;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use core_affinity::get_core_ids;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ipc_gateway::placement::{CoreId, pin};
use ipc_ringbuf::layout::{Geometry, Layout, Ring};
use ipc_ringbuf::region::{Region, RingView};
use ipc_ringbuf::spsc::{Consumer, Producer};
use ipc_ringbuf::sys;

/// Slots of the ring; the default session's.
const ENTRIES: u32 = 256;
const BATCHES: [u32; 4] = [1, 8, 32, 128];
/// Empty looks before the processor is given to whoever else needs it.
const LOOKS: u32 = 64;

fn ends() -> (Producer<RingView>, Consumer<RingView>) {
    let geometry = Geometry {
        entries: ENTRIES,
        ..Geometry::default()
    };
    let layout = Layout::try_from(geometry).unwrap();
    let memfd = sys::sealed_memfd("bench-ring", layout.region_bytes()).unwrap();
    // Mapped twice, as by two processes.
    let near = Region::map(memfd.as_fd(), layout).unwrap();
    let far = Region::map(memfd.as_fd(), layout).unwrap();
    (
        Producer::new(near.ring(Ring::Submission)),
        Consumer::new(far.ring(Ring::Submission)),
    )
}

/// Looks again and again, and lets others run now and then.
struct Looks(u32);

impl Looks {
    fn pause(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(LOOKS) {
            sys::yield_now();
        } else {
            spin_loop();
        }
    }
}

fn one_thread(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring/one_thread");
    for batch in BATCHES {
        let (mut producer, mut consumer) = ends();
        let mut next = 0_u32;
        group.throughput(Throughput::Elements(u64::from(batch)));
        group.bench_function(BenchmarkId::from_parameter(batch), |b| {
            b.iter(|| {
                let first = next;
                for _ in 0..batch {
                    producer.push(black_box(next)).unwrap().unwrap();
                    next = next.wrapping_add(1);
                }
                producer.publish();
                for at in 0..batch {
                    assert_eq!(consumer.pop(), Ok(Some(first.wrapping_add(at))));
                }
                consumer.release();
            });
        });
    }
    group.finish();
}

/// Sends `count` batches to another thread; the time until it has the last. The threads run on the
/// first of these cores and on the last.
fn cross(count: u64, batch: u32, cores: &[CoreId]) -> Duration {
    let (mut producer, mut consumer) = ends();
    let total = count * u64::from(batch);
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        let taker = scope.spawn(|| {
            pin(*cores.last().unwrap());
            start.wait();
            let (mut taken, mut expected, mut looks) = (0, 0_u32, Looks(0));
            while taken < total {
                let Some(value) = consumer.pop().unwrap() else {
                    consumer.release();
                    looks.pause();
                    continue;
                };
                assert_eq!(value, expected);
                expected = expected.wrapping_add(1);
                taken += 1;
                if expected.is_multiple_of(batch) {
                    consumer.release();
                }
            }
            Instant::now()
        });
        let giver = scope.spawn(|| {
            pin(*cores.first().unwrap());
            start.wait();
            let begin = Instant::now();
            let (mut value, mut looks) = (0_u32, Looks(0));
            for _ in 0..count {
                for _ in 0..batch {
                    while producer.push(value).unwrap().is_err() {
                        looks.pause();
                    }
                    value = value.wrapping_add(1);
                }
                producer.publish();
            }
            begin
        });
        let begin = giver.join().unwrap();
        taker.join().unwrap().duration_since(begin)
    })
}

fn two_threads(c: &mut Criterion) {
    let cores = get_core_ids().unwrap();
    let placements = [
        ("ring/cross_core", cores.get(..2)),
        ("ring/same_core", cores.get(..1)),
    ];
    for (name, cores) in placements {
        // A machine with one core has no other to cross to.
        let Some(cores) = cores else { continue };
        let mut group = c.benchmark_group(name);
        for batch in BATCHES {
            group.throughput(Throughput::Elements(u64::from(batch)));
            group.bench_function(BenchmarkId::from_parameter(batch), |b| {
                b.iter_custom(|count| cross(count, batch, cores));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, one_thread, two_threads);
criterion_main!(benches);
