//! One request at a time from a client to a gateway's port and back, both awake on threads of their
//! own: the floor under every latency. Times are for one round trip, by bytes of payload; the reply
//! is as long as the request.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::spin_loop;
use std::thread::JoinHandle;

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ipc_ringbuf::entry::Cqe;
use ipc_ringbuf::port::Port;
use ipc_ringbuf::{Client, Code, Request, WaitStrategy, sys};
use support::{Pair, SOON, pair_that_waits};

#[expect(dead_code, reason = "the tests of ringbuf use more of it")]
#[path = "../ringbuf/tests/support/mod.rs"]
mod support;

const ENTRIES: u32 = 16;
const PAYLOADS: [usize; 3] = [64, 1024, 16 * 1024];
/// The mark of the request after which the gateway's thread ends.
const LAST: u64 = u64::MAX;
/// Empty looks before the processor is given to whoever else needs it.
const LOOKS: u32 = 1024;

/// Echoes until the last request has come.
fn echo(mut port: Port) {
    let mut body = BytesMut::new();
    let mut looks = 0_u32;
    loop {
        let Some(submission) = port.pop().unwrap() else {
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(LOOKS) {
                sys::yield_now();
            } else {
                spin_loop();
            }
            continue;
        };
        body.clear();
        port.copy_body(submission.block, &submission.sqe.unwrap(), &mut body);
        let cqe = Cqe::bare(submission.user_data, Code::Ok);
        port.complete(submission.block, cqe, &[], &body).unwrap();
        port.publish();
        let _ = port.ring();
        if submission.user_data == LAST {
            return;
        }
    }
}

fn call(client: &mut Client, request: Request<'_>, payload: &[u8]) {
    client.submit(request.payload(payload)).unwrap();
    let completion = client.wait(SOON).unwrap();
    assert_eq!(completion.payload().len(), payload.len());
}

fn round_trip(c: &mut Criterion) {
    let mut group = c.benchmark_group("round_trip");
    for bytes in PAYLOADS {
        let payload: Vec<u8> = (0..bytes).map(|at| at.to_le_bytes()[0]).collect();
        let message_size = u32::try_from(bytes).unwrap();
        let Pair {
            mut client,
            port,
            page: _awake,
            ..
        } = pair_that_waits(ENTRIES, message_size, WaitStrategy::Spin);
        let gateway: JoinHandle<()> = std::thread::spawn(|| echo(port));

        client.submit(Request::to(0).payload(&payload)).unwrap();
        assert_eq!(client.wait(SOON).unwrap().payload(), payload);

        group.throughput(Throughput::Bytes(2 * u64::from(message_size)));
        group.bench_function(BenchmarkId::from_parameter(bytes), |b| {
            b.iter(|| call(&mut client, Request::to(0), &payload));
        });
        call(&mut client, Request::to(0).user_data(LAST), &payload);
        gateway.join().unwrap();
    }
    group.finish();
}

criterion_group!(benches, round_trip);
criterion_main!(benches);
