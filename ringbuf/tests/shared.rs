//! Threads that share a client do not wait for each other without need.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Instant;

use ipc_ringbuf::port::Port;
use ipc_ringbuf::{CallError, ClientBuilder, Code, Request, SharedClient, sys};
use nix::sys::socket::{Shutdown, shutdown};

use crate::support::{SOON, greet, listen_at, welcome};

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
