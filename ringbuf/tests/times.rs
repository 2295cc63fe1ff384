//! What a client does by the clock: it notices a gateway that is gone, however often it looks, and
//! says when each request was submitted.

use std::time::{Duration, Instant};

use ipc_ringbuf::{Code, EndReason, Request, WaitStrategy};

use crate::support::{Pair, SOON, pair, pair_that_waits};

fn pause(time: Duration) {
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
