//! The worker's books: a request enters the slab and the timing wheel and leaves both, while so many
//! others are on their way; and the gate of its route, which it passes and leaves. Times are for one
//! request. And what a cycle pays to look for expired ones when none is.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ipc_gateway::bridge::{Admissions, Code, Token};
use ipc_gateway::clock::Nanos;
use ipc_gateway::metrics::worker::WorkerMetrics;
use ipc_gateway::route::Route;
use ipc_gateway::worker::breaker::Pass;
use ipc_gateway::worker::gate::Gates;
use ipc_gateway::worker::in_flight::{Entry, InFlight};
use ipc_gateway::worker::timers::{TICK, Timers};
use ipc_ringbuf::Request;
use ipc_ringbuf::port::Block;
use support::pair;

#[expect(dead_code, reason = "the tests of ringbuf use more of it")]
#[path = "../ringbuf/tests/support/mod.rs"]
mod support;

const POPULATIONS: [u32; 3] = [1, 1_000, 60_000];
/// Time between two requests, and what each is given.
const STEP_NS: u64 = 1_000;
const TIMEOUT: Duration = Duration::from_secs(5);

/// A block as only a port hands it out.
fn block() -> Block {
    let mut pair = pair(2, 64);
    pair.client.submit(Request::to(0)).unwrap();
    pair.client.flush();
    pair.port.pop().unwrap().unwrap().block
}

struct Books {
    slab: InFlight,
    timers: Timers,
    order: VecDeque<Token>,
    block: Block,
    now: Nanos,
    fired: Vec<u32>,
}

impl Books {
    fn with(population: u32) -> Self {
        let mut books = Self {
            slab: InFlight::new(0, 65_536, 7),
            timers: Timers::new(Nanos(0)),
            order: VecDeque::new(),
            block: block(),
            now: Nanos(0),
            fired: Vec::new(),
        };
        for _ in 0..population {
            books.enter();
        }
        books
    }

    fn enter(&mut self) {
        self.now = Nanos(self.now.0 + STEP_NS);
        let deadline = self.now.after(TIMEOUT);
        let entry = Entry {
            seat: 0,
            session: 1,
            block: self.block,
            route: 0,
            pass: Pass::default(),
            user_data: self.now.0,
            accepted: self.now,
            ring_wait_ns: 0,
            deadline,
        };
        let token = self.slab.insert(entry).unwrap();
        self.timers.arm(token.place(), deadline);
        self.order.push_back(token);
    }

    fn leave(&mut self) -> Entry {
        let token = self.order.pop_front().unwrap();
        self.timers.disarm(token.place());
        self.slab.remove(token).unwrap()
    }
}

fn in_flight(c: &mut Criterion) {
    let mut group = c.benchmark_group("in_flight");
    group.throughput(Throughput::Elements(1));
    for population in POPULATIONS {
        let mut books = Books::with(population);
        group.bench_function(BenchmarkId::new("enter_and_leave", population), |b| {
            b.iter(|| {
                books.enter();
                black_box(books.leave())
            });
        });
        let mut books = Books::with(population);
        group.bench_function(BenchmarkId::new("nothing_expires", population), |b| {
            b.iter(|| {
                // A tick later than the last look at most; nobody's deadline comes.
                books.timers.expire(black_box(books.now), &mut books.fired);
                assert!(books.fired.is_empty());
            });
        });
    }
    group.finish();
}

/// The timing wheel by itself: a timer is armed and disarmed, or armed and fires.
fn timers(c: &mut Criterion) {
    const EACH: u32 = 1_000;
    let mut group = c.benchmark_group("timers");
    group.throughput(Throughput::Elements(EACH.into()));
    let mut timers = Timers::new(Nanos(0));
    group.bench_function("arm_and_disarm", |b| {
        b.iter(|| {
            for place in 0..EACH {
                timers.arm(black_box(place), Nanos(0).after(TIMEOUT));
            }
            for place in 0..EACH {
                timers.disarm(black_box(place));
            }
        });
    });
    let (mut now, mut fired) = (Nanos(0), Vec::new());
    group.bench_function("arm_and_expire", |b| {
        b.iter(|| {
            for place in 0..EACH {
                timers.arm(black_box(place), now);
            }
            now = now.after(TICK);
            fired.clear();
            timers.expire(now, &mut fired);
            assert_eq!(fired.len(), EACH as usize);
        });
    });
    group.finish();
}

/// What a route's gate costs a request: it is asked for room, lets it pass, and sees it leave.
fn gate(c: &mut Criterion) {
    let routes: Arc<[Route]> = [Route::decide()].into();
    let admissions = Arc::new(Admissions::new(1));
    let metrics = Arc::new(WorkerMetrics::for_routes(1));
    let limits = (Duration::from_millis(5), 65_536, 7);
    let mut gates = Gates::new(&routes, admissions, metrics, 0, limits, Nanos(0));
    let mut entry = Books::with(1).leave();
    let mut group = c.benchmark_group("gate");
    group.throughput(Throughput::Elements(1));
    group.bench_function("enter_and_leave", |b| {
        b.iter(|| {
            let now = Nanos(entry.accepted.0 + STEP_NS);
            assert!(gates.has_room(black_box(0), 1, 4, now));
            entry.pass = gates.admit(black_box(0), now).unwrap();
            entry.accepted = now;
            gates.left(black_box(&entry), Code::Ok, now);
        });
    });
    group.finish();
}

criterion_group!(benches, in_flight, timers, gate);
criterion_main!(benches);
