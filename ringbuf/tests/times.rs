//! What a client does by the clock: it notices a gateway that is gone, however often it looks, and
//! says when each request was submitted.

use std::time::{Duration, Instant};

use ipc_ringbuf::entry::Cqe;
use ipc_ringbuf::port::Port;
use ipc_ringbuf::{Code, EndReason, Request, WaitStrategy, monotonic_ns};

use crate::support::{Pair, SOON, pair, pair_that_waits};

pub(crate) fn pause(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

#[test]
fn a_client_that_polls_seldom_notices_a_gateway_that_is_gone() {
    let Pair {
        mut client, port, ..
    } = pair(4, 64);
    client.submit(Request::to(0).user_data(7)).unwrap();
    client.flush();
    drop(port);
    let gone = Instant::now();
    let completion = loop {
        if let Some(completion) = client.poll() {
            break completion;
        }
        assert!(gone.elapsed() < SOON / 10, "not noticed");
        pause(Duration::from_millis(16));
    };
    assert_eq!(completion.ticket().0, 7);
    assert_eq!(completion.code(), Code::GatewayRestarted);
    assert_eq!(client.end_reason(), Some(EndReason::PeerDied));
}

#[test]
fn a_client_that_spins_notices_a_gateway_that_is_gone() {
    let Pair {
        mut client, port, ..
    } = pair_that_waits(4, 64, WaitStrategy::Spin);
    client.submit(Request::to(0).user_data(7)).unwrap();
    drop(port);
    let gone = Instant::now();
    let completion = client.wait(SOON).unwrap();
    assert_eq!(completion.ticket().0, 7);
    assert_eq!(completion.code(), Code::GatewayRestarted);
    assert!(gone.elapsed() < SOON / 2, "noticed at the timeout");
    assert!(client.wait(SOON).is_none());
}

/// When the request that the gateway takes next says that it was submitted.
fn next_submitted_ns(port: &mut Port) -> u64 {
    let submission = port.pop().unwrap().unwrap();
    let cqe = Cqe::bare(submission.user_data, Code::Ok);
    port.complete(submission.block, cqe, &[], &[]).unwrap();
    port.publish();
    submission.sqe.unwrap().submitted_ns
}

#[test]
fn a_loan_is_dated_when_it_is_submitted_and_not_when_it_is_taken() {
    let Pair {
        mut client,
        mut port,
        ..
    } = pair(4, 64);
    let loan = client.loan(Request::to(0)).unwrap();
    pause(Duration::from_millis(20));
    let before = monotonic_ns();
    loan.submit();
    client.flush();
    assert!(next_submitted_ns(&mut port) >= before);
}

#[test]
fn a_request_is_dated_anew_when_those_before_it_were_shown() {
    let Pair {
        mut client,
        mut port,
        ..
    } = pair(4, 64);
    for _ in 0..3 {
        let before = monotonic_ns();
        // The only one outstanding is shown at once, without a flush.
        client.submit(Request::to(0)).unwrap();
        assert!(next_submitted_ns(&mut port) >= before);
        pause(Duration::from_millis(20));
        assert!(client.poll().is_some());
    }
}
