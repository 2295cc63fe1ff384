//! Threads that share a client do not wait for each other without need.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use ipc_ringbuf::entry::Cqe;
use ipc_ringbuf::port::Port;
use ipc_ringbuf::{CallError, ClientBuilder, Code, Request, SharedClient, sys};
use nix::sys::socket::{Shutdown, shutdown};

use crate::support::{SOON, greet, listen_at, welcome};
use crate::times::pause;

/// A shared client, the gateway's end of its session, and where it would attach again.
fn shared(entries: u32) -> (SharedClient, Port, OwnedFd, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = listen_at(&path);
    let builder = ClientBuilder::new().socket(&path).attach_timeout(SOON);
    let builder = builder.entries(entries).message_size(64);
    let (client, port) = std::thread::scope(|scope| {
        let answering = scope.spawn(|| {
            let (socket, hello) = greet(&listener);
            welcome(socket, &hello).0
        });
        let client = builder.connect_shared().unwrap();
        (client, answering.join().unwrap())
    });
    (client, port, listener, dir)
}

#[test]
fn nobody_waits_for_a_thread_that_attaches() {
    let (client, port, listener, _dir) = shared(4);
    drop(port);
    let lost = client.call(Request::to(0)).unwrap();
    assert_eq!(lost.code(), Code::GatewayRestarted);
    std::thread::scope(|scope| {
        // Its connection waits to be accepted.
        let attaching = scope.spawn(|| {
            let start = Instant::now();
            while !sys::is_readable(listener.as_fd()) {
                let refused = client.call(Request::to(0)).unwrap_err();
                assert_eq!(refused, CallError::Detached);
                assert!(start.elapsed() < SOON * 2, "no try to attach");
            }
        });
        let start = Instant::now();
        while !sys::is_readable(listener.as_fd()) {
            assert!(start.elapsed() < SOON, "no try to attach");
            std::thread::yield_now();
        }
        let start = Instant::now();
        let refused = client.call(Request::to(0)).unwrap_err();
        let took = start.elapsed();
        assert!(!attaching.is_finished());
        // Its try ends, and there is no other.
        shutdown(listener.as_raw_fd(), Shutdown::Both).unwrap();
        drop(sys::accept(listener.as_fd()).unwrap());
        assert_eq!(refused, CallError::Detached);
        assert!(took < SOON / 4, "{took:?}");
    });
}

#[test]
fn those_who_wait_for_a_block_get_it_at_once_and_in_order() {
    const BLOCKS: usize = 4;
    const CALLS: usize = 24;
    let (client, port, _listener, _dir) = shared(4);
    let begun = Barrier::new(CALLS + 1);
    std::thread::scope(|scope| {
        // Gone when this fails, so that the calls end.
        let mut port = port;
        for _ in 0..CALLS {
            scope.spawn(|| {
                begun.wait();
                let reply = client.call(Request::to(0)).unwrap();
                assert_eq!(reply.code(), Code::Ok);
            });
        }
        begun.wait();
        // Most are in the queue then.
        pause(Duration::from_millis(50));
        let (mut held, mut order) = (VecDeque::new(), Vec::new());
        let (mut since, mut prompt) = (Instant::now(), 0);
        while order.len() < CALLS || !held.is_empty() {
            if let Some(submission) = port.pop().unwrap() {
                prompt += usize::from(since.elapsed() < Duration::from_millis(50));
                order.push(submission.user_data);
                held.push_back((submission.block, submission.user_data));
                continue;
            }
            if held.len() == BLOCKS || order.len() == CALLS {
                // One block at a time becomes free.
                let (block, mark) = held.pop_front().unwrap();
                let cqe = Cqe::bare(mark, Code::Ok);
                port.complete(block, cqe, &[], &[]).unwrap();
                port.publish();
                let _ = port.ring();
                since = Instant::now();
            }
            assert!(since.elapsed() < SOON, "{order:?}");
            std::thread::yield_now();
        }
        // The marks count those who arrive.
        assert!(order.iter().copied().eq(0..CALLS as u64), "{order:?}");
        // Others wait until their sleep of 100 ms ends.
        assert!(prompt >= CALLS * 3 / 4, "{prompt} of {CALLS}");
    });
}
