//! What it costs to ask whether the other side sleeps, to ring it, and to be woken.
//!
//! | case | what |
//! |---|---|
//! | `awake/ask_worker`, `awake/ask_client` | a fence and a load: what every published batch pays |
//! | `asleep/ring_worker`, `asleep/ring_client` | the ringer's system call: a write to an eventfd, a futex wake; nobody waits |
//! | `asleep/round_trip` | one request with a worker that sleeps in epoll and a client that sleeps on its futex: two wake-ups |
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::os::fd::{AsFd as _, OwnedFd};

use bytes::BytesMut;
use criterion::{Criterion, criterion_group, criterion_main};
use ipc_ringbuf::doorbell::{ASLEEP, AWAKE, arm, asleep, disarm};
use ipc_ringbuf::entry::Cqe;
use ipc_ringbuf::layout::Line;
use ipc_ringbuf::port::{Port, Rung};
use ipc_ringbuf::sys::{Bell, BellPage, ring_eventfd};
use ipc_ringbuf::{Client, Code, Request, WaitStrategy};
use support::{Pair, SOON, pair, pair_that_waits};

#[expect(dead_code, reason = "the tests of ringbuf use more of it")]
#[path = "../ringbuf/tests/support/mod.rs"]
mod support;

const ENTRIES: u32 = 16;
const MESSAGE_SIZE: u32 = 64;
/// The mark of the request after which the gateway's thread ends.
const LAST: u64 = u64::MAX;

fn awake(c: &mut Criterion) {
    let pair = pair(ENTRIES, MESSAGE_SIZE);
    let mut group = c.benchmark_group("doorbell/awake");
    group.bench_function("ask_worker", |b| {
        b.iter(|| assert_eq!(asleep(black_box(pair.page.word())), AWAKE));
    });
    group.bench_function("ask_client", |b| {
        b.iter(|| assert_eq!(black_box(&pair.port).ring(), Rung::NotNeeded));
    });
    group.finish();
}

fn ring(c: &mut Criterion) {
    let pair = pair(ENTRIES, MESSAGE_SIZE);
    let mut group = c.benchmark_group("doorbell/asleep");
    let worker = pair.page.word();
    arm(worker, ASLEEP);
    group.bench_function("ring_worker", |b| {
        b.iter(|| {
            assert_eq!(asleep(black_box(worker)), ASLEEP);
            ring_eventfd(pair.eventfd.as_fd());
        });
    });
    let client = pair.shared.line32(Line::ClientBell);
    group.bench_function("ring_client", |b| {
        b.iter(|| {
            // Ringing disarms.
            arm(client, ASLEEP);
            assert_eq!(pair.port.ring(), Rung::Woken);
        });
    });
    group.finish();
}

/// Completes each request with nothing, and sleeps between, until the last has come.
fn serve(mut port: Port, page: &BellPage, eventfd: &OwnedFd) {
    let bell = Bell::new().unwrap();
    bell.watch(eventfd.as_fd(), 0).unwrap();
    let mut body = BytesMut::new();
    loop {
        while let Some(submission) = port.pop().unwrap() {
            port.copy_body(submission.block, &submission.sqe.unwrap(), &mut body);
            let cqe = Cqe::bare(submission.user_data, Code::Ok);
            port.complete(submission.block, cqe, &[], &body).unwrap();
            body.clear();
            port.publish();
            let _ = port.ring();
            if submission.user_data == LAST {
                return;
            }
        }
        arm(page.word(), ASLEEP);
        if !port.has_submissions().unwrap() {
            bell.wait(SOON);
        }
        disarm(page.word());
    }
}

fn call(client: &mut Client, request: Request<'_>) {
    client.submit(request).unwrap();
    let completion = client.wait(SOON).unwrap();
    assert_eq!(completion.code(), Code::Ok);
}

fn round_trip(c: &mut Criterion) {
    let Pair {
        mut client,
        port,
        page,
        eventfd,
        ..
    } = pair_that_waits(ENTRIES, MESSAGE_SIZE, WaitStrategy::Park);
    let gateway = std::thread::spawn(move || serve(port, &page, &eventfd));
    let mut group = c.benchmark_group("doorbell/asleep");
    group.bench_function("round_trip", |b| {
        b.iter(|| call(&mut client, Request::to(0)));
    });
    group.finish();
    call(&mut client, Request::to(0).user_data(LAST));
    gateway.join().unwrap();
}

criterion_group!(benches, awake, ring, round_trip);
criterion_main!(benches);
