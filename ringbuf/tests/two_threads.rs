//! Both sides on threads of their own: at full speed, and asleep whenever there is nothing to do.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ipc_ringbuf::doorbell::{ASLEEP, arm, disarm};
use ipc_ringbuf::entry::Cqe;
use ipc_ringbuf::port::Port;
use ipc_ringbuf::sys::{Bell, BellPage};
use ipc_ringbuf::{Client, Code, Request, WaitStrategy};

use crate::support::{Pair, SOON, pair, pair_that_waits};

const REQUESTS: u64 = 1_000_000;

/// Echoes each payload with a word added, until all have come.
fn echo(mut port: Port) {
    let mut body = BytesMut::new();
    let mut taken = 0;
    while taken < REQUESTS {
        let mut any = false;
        while let Some(submission) = port.pop().unwrap() {
            any = true;
            assert_eq!(submission.user_data, taken, "out of order");
            taken += 1;
            body.clear();
            let sqe = submission.sqe.unwrap();
            port.copy_body(submission.block, &sqe, &mut body);
            body.extend_from_slice(&taken.to_le_bytes());
            let cqe = Cqe::bare(submission.user_data, Code::Ok);
            port.complete(submission.block, cqe, &[], &body).unwrap();
            if port.publish_due() {
                port.publish();
                let _ = port.ring();
            }
        }
        if any {
            port.publish();
            let _ = port.ring();
        } else {
            std::thread::yield_now();
        }
    }
}

fn exchange(client: &mut Client, window: usize) {
    let (mut sent, mut done) = (0_u64, 0_u64);
    while done < REQUESTS {
        while sent < REQUESTS && client.outstanding() < window {
            let payload = [sent.wrapping_mul(7).to_le_bytes(), sent.to_be_bytes()].concat();
            let request = Request::to(0).payload(&payload[..usize::try_from(sent % 17).unwrap()]);
            client.submit(request.user_data(sent)).unwrap();
            sent += 1;
        }
        client.flush();
        let mut take = client.wait(SOON);
        assert!(take.is_some(), "{done} of {REQUESTS}");
        while let Some(completion) = take {
            assert_eq!(completion.ticket().0, done);
            let expected = [done.wrapping_mul(7).to_le_bytes(), done.to_be_bytes()].concat();
            let (echoed, word) = completion.payload().split_last_chunk::<8>().unwrap();
            assert_eq!(echoed, &expected[..usize::try_from(done % 17).unwrap()]);
            done += 1;
            assert_eq!(u64::from_le_bytes(*word), done);
            take = client.poll();
        }
    }
}

#[test]
fn a_million_small_requests_cross_in_order_and_intact() {
    // The page says that the gateway is awake, so it is never rung.
    let Pair {
        mut client,
        port,
        page,
        ..
    } = pair(256, 64);
    let gateway = std::thread::spawn(|| echo(port));
    exchange(&mut client, 256);
    gateway.join().unwrap();
    assert!(client.poll().is_none());
    drop(page);
}

/// Requests of the test whose sides sleep; each costs up to two wake-ups.
const ROUNDS: u64 = 20_000;

/// Completes `ROUNDS` requests and sleeps whenever none waits.
fn serve_asleep(mut port: Port, page: &BellPage, eventfd: &OwnedFd) {
    let bell = Bell::new().unwrap();
    bell.watch(eventfd.as_fd(), 0).unwrap();
    let mut taken = 0;
    while taken < ROUNDS {
        while let Some(submission) = port.pop().unwrap() {
            assert_eq!(submission.user_data, taken, "out of order");
            taken += 1;
            let cqe = Cqe::bare(submission.user_data, Code::Ok);
            port.complete(submission.block, cqe, &[], &[]).unwrap();
        }
        port.publish();
        let _ = port.ring();
        if taken == ROUNDS {
            break;
        }
        arm(page.word(), ASLEEP);
        if !port.has_submissions().unwrap() {
            let before = Instant::now();
            bell.wait(SOON);
            assert!(before.elapsed() < SOON, "slept beside request {taken}");
        }
        disarm(page.word());
    }
}

/// With a window of 1 both sides sleep at each request; with 3 a side that is about to sleep meets
/// work that arrives. A client looks again every 100 ms even if nobody wakes it, so the worker's
/// side is the one whose lost wake-up fails here; `loom.rs` has both.
#[test]
fn sides_that_sleep_are_woken() {
    let Pair {
        mut client,
        port,
        page,
        eventfd,
        ..
    } = pair_that_waits(8, 64, WaitStrategy::Park);
    let gateway = std::thread::spawn(move || serve_asleep(port, &page, &eventfd));
    let (mut sent, mut done) = (0_u64, 0_u64);
    while done < ROUNDS {
        let window = if done < ROUNDS / 2 { 1 } else { 3 };
        while sent < ROUNDS && client.outstanding() < window {
            client.submit(Request::to(0).user_data(sent)).unwrap();
            sent += 1;
        }
        let completion = client.wait(SOON).unwrap();
        assert_eq!(completion.ticket().0, done);
        done += 1;
    }
    gateway.join().unwrap();
}

#[test]
fn a_bell_that_nobody_rings_is_waited_for_at_least_as_long_as_asked() {
    let bell = Bell::new().unwrap();
    for micros in [1, 900, 1100] {
        let asked = Duration::from_micros(micros);
        let start = Instant::now();
        assert_eq!(bell.wait(asked).keys().count(), 0);
        assert!(start.elapsed() >= asked, "{:?}", start.elapsed());
    }
}
